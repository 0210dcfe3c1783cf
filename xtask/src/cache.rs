//! Steps that are not done twice.
//!
//! A step is a name, a key (the hash of everything its result depends on) and a folder of results. The folder appears
//! under its final name only when the step is complete, so an interrupted build leaves nothing that looks done; sums of
//! its files show when they have changed since. A result is locked while it is made and while it is used, so builds
//! wait for each other only where they need the same. The cache lies outside the tree; deleting it costs time only.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use aios_ids::Digest;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, OnFile, Result};
use crate::interrupt;
use crate::lock::Lock;
use crate::progress::{self, End, Step};

/// Results kept of each step: enough to switch between a few branches, few enough to bound the disk.
const KEPT: usize = 6;

/// In each folder of results: a line of digest and name for each file.
const SUMS: &str = ".sums";

/// Counts the caches that this process opened.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// The cache folder. What it has given stays as long as this is open.
pub(crate) struct Cache {
    root: PathBuf,
    /// This build's folder for work that is thrown away.
    work: PathBuf,
    work_lock: Option<Lock>,
    /// Results that this build uses.
    used: Mutex<Vec<Lock>>,
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
    /// Opens the cache of this user.
    pub(crate) fn open() -> Result<Self> {
        Self::open_at(folder()?)
    }

    fn open_at(root: PathBuf) -> Result<Self> {
        let works = root.join("work");
        fs::create_dir_all(&works).on("make the cache folder", &works)?;
        let locks = root.join("locks");
        for entry in fs::read_dir(&works).on("list", &works)? {
            let entry = entry.on("list", &works)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Work of a build that was ended without a chance to remove it.
            if name.starts_with("build-")
                && let Some(lock) = Lock::alone_now(&locks.join(&name))?
            {
                remove_tree(&entry.path())?;
                lock.remove()?;
            }
        }
        let name = format!("build-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let lock = Lock::alone(&locks.join(&name), "a work folder")?;
        let work = works.join(name);
        interrupt::litter(&work);
        Ok(Self { root, work, work_lock: Some(lock), used: Mutex::default() })
    }

    /// Where the results of a step are or will be.
    pub(crate) fn place(&self, name: &str, key: &Key) -> PathBuf {
        self.root.join(name).join(key.folder())
    }

    /// The folder of all results of a step. Nothing is locked there.
    pub(crate) fn results_of(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A folder for work that is thrown away, empty.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let path = self.work.join(name);
        remove_tree(&path)?;
        fs::create_dir_all(&path).on("make", &path)?;
        Ok(path)
    }

    /// A folder for work that an interrupted build goes on with, in the step of this key. It may not exist yet.
    pub(crate) fn unfinished(&self, name: &str, key: &Key) -> PathBuf {
        self.root.join("work").join(format!("{name}-{}", key.folder()))
    }

    /// The folder of results of a step, made now or earlier.
    pub(crate) fn step(&self, name: &str, key: &Key, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let place = self.place(name, key);
        let lock_file = self.lock_of(name, &key.folder());
        let what = format!("step {name}");
        let mut make = Some(make);
        loop {
            let reader = Lock::with_readers(&lock_file, &what)?;
            let just_made = make.is_none();
            if place.is_dir() && (just_made || fault_of(&place)?.is_none()) {
                // Marks it as used, so that the oldest unused result is the one to go.
                let _ = File::open(&place).and_then(|folder| folder.set_modified(SystemTime::now()));
                if !just_made {
                    progress::cached(name);
                }
                self.used.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(reader);
                return Ok(place);
            }
            drop(reader);
            let lock = Lock::alone(&lock_file, &what)?;
            if place.is_dir() {
                let Some(fault) = fault_of(&place)? else { continue };
                progress::say(&format!("the cached result of step {name} is damaged: {fault}; it is made again"));
                remove_tree(&place)?;
            }
            let Some(make) = make.take() else {
                return Err(Error::refused(
                    format!("the result of step {name} is gone right after it was made: {}", place.display()),
                    "is something else removing files from the cache?",
                ));
            };
            self.make(name, &place, make)?;
            lock.let_readers_in()?;
            self.drop_oldest(name)?;
        }
    }

    fn make(&self, name: &str, place: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let step = Step::begin(name);
        let result = (|| {
            let key = place.file_name().unwrap_or_default().to_string_lossy();
            let unfinished = place.with_file_name(format!(".{key}.new"));
            remove_tree(&unfinished)?;
            fs::create_dir_all(&unfinished).on("make", &unfinished)?;
            make(&unfinished)?;
            write_sums(&unfinished)?;
            fs::rename(&unfinished, place).on("finish", place)
        })();
        step.end(if result.is_ok() { End::Made } else { End::Failed });
        result
    }

    fn lock_of(&self, name: &str, key: &str) -> PathBuf {
        self.root.join("locks").join(format!("{name}-{key}"))
    }

    /// Removes what is beyond [`KEPT`], and beginnings whose build is no more. What somebody makes or uses stays.
    fn drop_oldest(&self, name: &str) -> Result<()> {
        let folder = self.root.join(name);
        let mut results = Vec::new();
        let mut beginnings = Vec::new();
        for entry in fs::read_dir(&folder).on("list", &folder)? {
            let entry = entry.on("list", &folder)?;
            let file_name = entry.file_name().to_string_lossy().into_owned();
            if let Some(key) = file_name.strip_prefix('.').and_then(|name| name.strip_suffix(".new")) {
                beginnings.push((key.to_owned(), entry.path()));
            } else {
                let used = entry.metadata().and_then(|metadata| metadata.modified()).on("look at", &entry.path())?;
                results.push((used, file_name, entry.path()));
            }
        }
        results.sort();
        results.truncate(results.len().saturating_sub(KEPT));
        let oldest = results.into_iter().map(|(_, key, path)| (key, path));
        for (key, path) in oldest.chain(beginnings) {
            if let Some(lock) = Lock::alone_now(&self.lock_of(name, &key))? {
                remove_tree(&path)?;
                lock.remove()?;
            }
        }
        Ok(())
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let _ = remove_tree(&self.work);
        interrupt::no_litter(&self.work);
        if let Some(lock) = self.work_lock.take() {
            let _ = lock.remove();
        }
    }
}

/// Writes down what the files of a finished step are.
fn write_sums(folder: &Path) -> Result<()> {
    let mut sums = BTreeMap::new();
    sums_below(folder, "", &mut sums)?;
    let text: String = sums.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect();
    let path = folder.join(SUMS);
    fs::write(&path, text).on("write", &path)
}

fn sums_below(folder: &Path, prefix: &str, sums: &mut BTreeMap<String, Digest>) -> Result<()> {
    for entry in fs::read_dir(folder).on("list", folder)? {
        let entry = entry.on("list", folder)?;
        let kind = entry.file_type().on("look at", &entry.path())?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if kind.is_dir() {
            sums_below(&entry.path(), &format!("{name}/"), sums)?;
        } else if kind.is_file() && name != SUMS {
            sums.insert(name, digest_of(&entry.path())?);
        }
    }
    Ok(())
}

/// What is wrong with a folder of results, if something is. Files that came later do not matter.
fn fault_of(place: &Path) -> Result<Option<String>> {
    let sums = place.join(SUMS);
    let text = match fs::read_to_string(&sums) {
        Ok(text) => text,
        // It was put here by other means than a step, such as by hand from another machine's cache: good from now on.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return write_sums(place).map(|()| None),
        Err(source) => return Err(Error::File { doing: "read", path: sums, source }),
    };
    for line in text.lines() {
        let parts = line.split_once("  ").and_then(|(digest, name)| Some((digest.parse::<Digest>().ok()?, name)));
        let Some((expected, name)) = parts else { return Ok(Some(format!("its sums are not understood at {line:?}"))) };
        let path = place.join(name);
        if !path.is_file() {
            return Ok(Some(format!("{} is missing", path.display())));
        }
        if digest_of(&path)? != expected {
            return Ok(Some(format!("{} has changed", path.display())));
        }
    }
    Ok(None)
}

/// Does one thing that is not cached, with the same lines as a step.
pub(crate) fn timed<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let step = Step::begin(name);
    let result = work();
    step.end(if result.is_ok() { End::Made } else { End::Failed });
    result
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
            cache.used.lock().expect("the list").clear();
            std::thread::sleep(std::time::Duration::from_millis(3));
        }
        let left: Vec<bool> = keys.iter().map(|key| cache.place("made", key).exists()).collect();
        assert_eq!(left.iter().filter(|exists| **exists).count(), KEPT);
        assert!(!left[0] && left[KEPT + 2]);
    }

    #[test]
    fn what_a_build_uses_stays() {
        let (folder, cache) = opened();
        let other = Cache::open_at(folder.path().join("cache")).expect("a cache");
        let old = Key::new("old");
        other.step("made", &old, |_| Ok(())).expect("made");
        for number in 0..KEPT + 3 {
            cache.step("made", &Key::new(&number.to_string()), |_| Ok(())).expect("made");
        }
        assert!(cache.place("made", &old).exists());
        drop(other);
        cache.step("made", &Key::new("one more"), |_| Ok(())).expect("made");
        assert!(!cache.place("made", &old).exists());
    }

    #[test]
    fn the_same_step_of_two_builds_is_done_once_and_another_goes_on() {
        let (folder, cache) = opened();
        let other = Cache::open_at(folder.path().join("cache")).expect("a cache");
        let runs = AtomicU32::new(0);
        let (begun, wait) = std::sync::mpsc::channel();
        let count = |_: &Path| {
            runs.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let slow = |out: &Path| {
                    begun.send(()).expect("the test listens");
                    std::thread::sleep(std::time::Duration::from_millis(200));
                    count(out)
                };
                cache.step("slow", &Key::new("a"), slow).expect("made");
            });
            wait.recv().expect("begun");
            other.step("slow", &Key::new("b"), count).expect("another result is made meanwhile");
            assert_eq!(runs.load(Ordering::SeqCst), 1);
            other.step("slow", &Key::new("a"), count).expect("the same result is waited for");
        });
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_damaged_result_is_made_again() {
        let (_folder, cache) = opened();
        let key = Key::new("a");
        let make = |out: &Path| {
            fs::create_dir(out.join("deep")).on("make", out)?;
            fs::write(out.join("deep/result"), "good").on("write", out)
        };
        let place = cache.step("made", &key, make).expect("made");
        for damage in ["changed", "missing", "wrong sums"] {
            match damage {
                "changed" => fs::write(place.join("deep/result"), "bad!"),
                "missing" => fs::remove_file(place.join("deep/result")),
                _ => fs::write(place.join(SUMS), "deep/result\n"),
            }
            .expect("damaged");
            // A later build: this one still uses what it was given.
            cache.used.lock().expect("the list").clear();
            cache.step("made", &key, make).expect("made again");
            assert_eq!(fs::read_to_string(place.join("deep/result")).expect("read"), "good", "{damage}");
        }
        fs::remove_file(place.join(SUMS)).expect("removed");
        cache.step("made", &key, |_| panic!("a result from elsewhere is taken as it is")).expect("cached");
        assert!(place.join(SUMS).exists());
        fs::write(place.join("deep/later"), "").expect("written");
        cache.step("made", &key, |_| panic!("a file that came later is no damage")).expect("cached");
    }

    #[test]
    fn work_of_a_build_that_is_no_more_goes() {
        let (folder, cache) = opened();
        let left = folder.path().join("cache").join("work").join("build-1-1");
        fs::create_dir_all(left.join("root")).expect("made");
        let kept = cache.scratch("root").expect("a folder");
        let second = Cache::open_at(folder.path().join("cache")).expect("a cache");
        assert!(!left.exists() && kept.exists());
        drop(cache);
        assert!(!kept.exists());
        drop(second);
    }
}
