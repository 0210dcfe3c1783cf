//! Steps that are not done twice.
//!
//! A step is a name, a key (the hash of everything its result depends on) and a folder of results. The folder appears
//! under its final name only when the step is complete, so an interrupted build leaves nothing that looks done. One lock
//! makes builds wait for each other. The cache lies outside the tree; deleting it costs time only.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use aios_ids::Digest;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, OnFile, Result};

/// Results kept of each step: enough to switch between a few branches, few enough to bound the disk.
const KEPT: usize = 6;

/// The cache folder, locked for this build.
pub(crate) struct Cache {
    root: PathBuf,
    _lock: File,
}

/// Everything a step's result depends on.
#[derive(Clone, Default)]
pub(crate) struct Key {
    hash: Sha256,
}

impl Key {
    pub(crate) fn new(recipe: &str) -> Self {
        Self::default().text("recipe", recipe)
    }

    pub(crate) fn text(self, label: &str, value: &str) -> Self {
        self.bytes(label, value.as_bytes())
    }

    pub(crate) fn bytes(mut self, label: &str, value: &[u8]) -> Self {
        // Lengths first: otherwise a part moved from one input to the next would not be seen.
        for part in [label.as_bytes(), value] {
            self.hash.update((part.len() as u64).to_le_bytes());
            self.hash.update(part);
        }
        self
    }

    pub(crate) fn file(self, label: &str, path: &Path) -> Result<Self> {
        let digest = digest_of(path)?;
        Ok(self.bytes(label, digest.as_bytes()))
    }

    fn folder(&self) -> String {
        let digest: [u8; 32] = self.hash.clone().finalize().into();
        Digest::from_bytes(digest).to_string()[..20].to_owned()
    }
}

impl Cache {
    /// Opens the cache, after any other build has ended.
    pub(crate) fn open() -> Result<Self> {
        Self::open_at(folder()?)
    }

    fn open_at(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root).on("make the cache folder", &root)?;
        let path = root.join("lock");
        let mut options = File::options();
        let mut lock = options.read(true).write(true).create(true).truncate(false).open(&path).on("open", &path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                lock.read_to_string(&mut holder).on("read", &path)?;
                eprintln!("waiting for another build to end (process {}, {})", holder.trim(), path.display());
                lock.lock().on("lock", &path)?;
            }
            Err(fs::TryLockError::Error(source)) => {
                return Err(Error::File { doing: "lock", path, source });
            }
        }
        lock.set_len(0).and_then(|()| lock.rewind()).on("write", &path)?;
        writeln!(lock, "{}", std::process::id()).on("write", &path)?;
        Ok(Self { root, _lock: lock })
    }

    /// Where the results of a step are or will be.
    pub(crate) fn place(&self, name: &str, key: &Key) -> PathBuf {
        self.root.join(name).join(key.folder())
    }

    /// A folder for work that is thrown away, empty.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join("work").join(name);
        remove_tree(&path)?;
        fs::create_dir_all(&path).on("make", &path)?;
        Ok(path)
    }

    /// A folder for work that an interrupted build goes on with. It may not exist yet.
    pub(crate) fn unfinished(&self, name: &str, key: &Key) -> PathBuf {
        self.root.join("work").join(format!("{name}-{}", key.folder()))
    }

    /// The folder of results of a step, made now or earlier.
    pub(crate) fn step(&self, name: &str, key: &Key, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let place = self.place(name, key);
        if place.is_dir() {
            // Marks it as used, so that the oldest unused result is the one to go.
            let _ = File::open(&place).and_then(|folder| folder.set_modified(SystemTime::now()));
            eprintln!("step {name:<16} (cached)");
            return Ok(place);
        }
        let started = Instant::now();
        let unfinished = place.with_file_name(format!(".{}.new", key.folder()));
        remove_tree(&unfinished)?;
        fs::create_dir_all(&unfinished).on("make", &unfinished)?;
        make(&unfinished)?;
        fs::rename(&unfinished, &place).on("finish", &place)?;
        eprintln!("step {name:<16} {:.1} s", started.elapsed().as_secs_f64());
        self.drop_oldest(name)?;
        Ok(place)
    }

    fn drop_oldest(&self, name: &str) -> Result<()> {
        let folder = self.root.join(name);
        let mut results = Vec::new();
        for entry in fs::read_dir(&folder).on("list", &folder)? {
            let entry = entry.on("list", &folder)?;
            let used = entry.metadata().and_then(|metadata| metadata.modified()).on("look at", &entry.path())?;
            results.push((used, entry.path()));
        }
        results.sort();
        for (_, path) in &results[..results.len().saturating_sub(KEPT)] {
            remove_tree(path)?;
        }
        Ok(())
    }
}

/// Does one thing that is not cached, with the same line as a step.
pub(crate) fn timed<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let result = work()?;
    eprintln!("step {name:<16} {:.1} s", started.elapsed().as_secs_f64());
    Ok(result)
}

/// The SHA-256 of a file.
pub(crate) fn digest_of(path: &Path) -> Result<Digest> {
    let mut file = File::open(path).on("read", path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).on("read", path)?;
        if count == 0 {
            return Ok(Digest::from_bytes(hash.finalize().into()));
        }
        hash.update(&buffer[..count]);
    }
}

/// Removes a folder and all in it; one that does not exist is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.on("remove", path),
    }
}

fn folder() -> Result<PathBuf> {
    user_folder("AIOS_CACHE", "XDG_CACHE_HOME", ".cache", "aios")
}

/// A folder of this user: `variable` itself, else `base`/`name`, else ~/`default`/`name`.
pub(crate) fn user_folder(variable: &str, base: &str, default: &str, name: &str) -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let path = set(variable)
        .or_else(|| set(base).map(|folder| folder.join(name)))
        .or_else(|| set("HOME").map(|home| home.join(default).join(name)));
    match path {
        Some(path) if path.is_absolute() => Ok(path),
        Some(path) => Err(Error::refused(
            format!("{} is not an absolute path", path.display()),
            format!("set {variable} to an absolute path"),
        )),
        None => Err(Error::refused("there is no home folder to keep files in", format!("set {variable}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = Cache::open_at(folder.path().join("cache")).expect("a cache");
        (folder, cache)
    }

    #[test]
    fn a_step_runs_once_for_a_key() {
        let (_folder, cache) = opened();
        let mut runs = 0;
        for key in ["a", "a", "b", "a"] {
            let place = cache
                .step("made", &Key::new(key), |out| {
                    runs += 1;
                    fs::write(out.join("result"), key).on("write", out)
                })
                .expect("made");
            assert_eq!(fs::read_to_string(place.join("result")).expect("result"), key);
        }
        assert_eq!(runs, 2);
    }

    #[test]
    fn a_failed_step_leaves_nothing_that_looks_done() {
        let (_folder, cache) = opened();
        let key = Key::new("a");
        let failed = cache.step("made", &key, |out| {
            fs::write(out.join("half"), "").on("write", out)?;
            Err(Error::refused("no", ""))
        });
        assert!(failed.is_err());
        assert!(!cache.place("made", &key).exists());
        let place = cache.step("made", &key, |_| Ok(())).expect("made the second time");
        assert!(!place.join("half").exists());
    }

    #[test]
    fn inputs_do_not_run_into_each_other() {
        let folder = |key: Key| key.folder();
        assert_ne!(folder(Key::new("").text("a", "bc")), folder(Key::new("").text("ab", "c")));
        assert_ne!(folder(Key::new("").text("a", "b")), folder(Key::new("").text("a", "b").text("", "")));
    }

    #[test]
    fn the_oldest_results_go() {
        let (_folder, cache) = opened();
        let keys: Vec<Key> = (0..KEPT + 3).map(|number| Key::new(&number.to_string())).collect();
        for key in &keys {
            cache.step("made", key, |_| Ok(())).expect("made");
            std::thread::sleep(std::time::Duration::from_millis(3));
        }
        let left: Vec<bool> = keys.iter().map(|key| cache.place("made", key).exists()).collect();
        assert_eq!(left.iter().filter(|exists| **exists).count(), KEPT);
        assert!(!left[0] && left[KEPT + 2]);
    }

    #[test]
    fn the_second_build_waits() {
        let (_folder, cache) = opened();
        let second = File::open(cache.root.join("lock")).expect("the lock file");
        assert!(matches!(second.try_lock(), Err(fs::TryLockError::WouldBlock)));
        drop(cache);
        second.try_lock().expect("free after the first build");
    }
}
