//! What users find: `target/aios` and files at paths that they name. Files appear there whole or not at all.
//!
//! A [`Draft`] is a folder beside the outputs in which a set of files is written with plain means; [`Draft::finish`]
//! gives all of them their places at once. For one file elsewhere there is [`whole`].

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cache::remove_tree;
use crate::error::{Error, OnFile, Result};
use crate::interrupt;
use crate::lock::Lock;
use crate::project;

/// Drafts begin with it.
const DRAFT: &str = ".draft-";

/// Counts the drafts of this process.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A set of files that is being written.
pub(crate) struct Draft {
    outputs: PathBuf,
    folder: PathBuf,
    /// Says that somebody still works on it; given up by the end of the process, however that comes.
    lock: Option<Lock>,
}

impl Draft {
    /// An empty draft of files for `target/aios`.
    pub(crate) fn begin() -> Result<Self> {
        Self::begin_in(project::output()?)
    }

    /// The same for files in another folder.
    pub(crate) fn begin_in(outputs: PathBuf) -> Result<Self> {
        fs::create_dir_all(&outputs).map_err(|source| unwritable("make", &outputs, source))?;
        drop_abandoned(&outputs)?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = outputs.join(format!("{DRAFT}{}-{number}", std::process::id()));
        interrupt::make_litter(&folder).map_err(|source| unwritable("write into", &outputs, source))?;
        let lock = Lock::alone(&folder.join(".lock"), "a draft")?;
        Ok(Self { outputs, folder, lock: Some(lock) })
    }

    /// Where to write the files, under their final names.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts every file in its place, in place of what was there. Gives the paths, sorted.
    pub(crate) fn finish(self) -> Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).on("list", &self.folder)? {
            let entry = entry.on("list", &self.folder)?;
            if entry.file_name() != ".lock" {
                // What is announced must be there after a power cut, too.
                fs::File::open(entry.path()).and_then(|file| file.sync_all()).on("write", &entry.path())?;
                names.push(entry.file_name());
            }
        }
        names.sort();
        // Sets of two builds must not be mixed; one file cannot be.
        let several = names.len() > 1;
        let set = several.then(|| Lock::alone(&self.outputs.join(".lock"), "the outputs")).transpose()?;
        let places = interrupt::in_one_piece(|| {
            let place = |name| {
                let place = self.outputs.join(name);
                fs::rename(self.folder.join(name), &place).on("finish", &place)?;
                Ok(place)
            };
            names.iter().map(place).collect::<Result<_>>()
        })?;
        set.map_or(Ok(()), Lock::remove)?;
        Ok(places)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.lock = None;
        let _ = remove_tree(&self.folder);
        interrupt::no_litter(&self.folder);
    }
}

/// Makes one file that appears at `path` when it is complete: `work` is given another path beside it.
pub(crate) fn whole(path: &Path, work: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let name = path.file_name().ok_or_else(|| Error::refused(format!("{} names no file", path.display()), ""))?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let draft = Draft::begin_in(folder.to_owned())?;
    work(&draft.folder().join(name))?;
    draft.finish().map(|_| ())
}

/// Removes drafts whose builds were ended without a chance to do so.
fn drop_abandoned(outputs: &Path) -> Result<()> {
    for entry in fs::read_dir(outputs).on("list", outputs)? {
        let entry = entry.on("list", outputs)?;
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(|name| name.strip_prefix(DRAFT)) else { continue };
        let lock = entry.path().join(".lock");
        let abandoned = match lock.exists() {
            true => Lock::alone_now(&lock).is_ok_and(|lock| lock.is_some()),
            // It has only just begun, or was ended right then.
            false => !is_running(owner),
        };
        if abandoned {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether the process is there whose number stands before the first `-`.
fn is_running(owner: &str) -> bool {
    let number = owner.split('-').next().and_then(|digits| digits.parse().ok());
    let Some(process) = number.and_then(rustix::process::Pid::from_raw) else { return false };
    rustix::process::test_kill_process(process) != Err(rustix::io::Errno::SRCH)
}

fn unwritable(doing: &'static str, folder: &Path, source: std::io::Error) -> Error {
    let hint = "choose a folder that this user may write, or set CARGO_TARGET_DIR to one";
    Error::Unwritable { what: format!("cannot {doing} {}", folder.display()), hint: hint.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_appear_together_and_only_when_finished() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("a"), "old").expect("written");
        let draft = Draft::begin_in(folder.path().to_owned()).expect("begun");
        fs::write(draft.folder().join("a"), "new").expect("written");
        fs::write(draft.folder().join("b"), "new").expect("written");
        assert_eq!(fs::read_to_string(folder.path().join("a")).expect("read"), "old");
        draft.finish().expect("finished");
        assert_eq!(fs::read_to_string(folder.path().join("a")).expect("read"), "new");
        assert_eq!(names(folder.path()), ["a", "b"]);
    }

    #[test]
    fn a_failure_leaves_what_was_there() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a");
        fs::write(&path, "old").expect("written");
        let failed = whole(&path, |unfinished| {
            fs::write(unfinished, "half").on("write", unfinished)?;
            Err(Error::refused("no", ""))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&path).expect("read"), "old");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn abandoned_drafts_go_and_others_stay() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let abandoned = folder.path().join(format!("{DRAFT}1-1"));
        fs::create_dir(&abandoned).expect("made");
        fs::write(abandoned.join(".lock"), "").expect("written");
        let other = Draft::begin_in(folder.path().to_owned()).expect("begun");
        assert!(!abandoned.exists());
        let _ = Draft::begin_in(folder.path().to_owned()).expect("begun");
        assert!(other.folder().exists());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named_with_what_to_try() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        let error = Draft::begin_in(file.join("aios")).err().expect("refused");
        assert!(error.to_string().contains("file/aios"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("may write")));
    }

    /// Large enough that a signal often comes while one is written.
    const LARGE: usize = 1 << 20;

    /// The other half of the next test: writes sets of files for ever.
    #[test]
    #[ignore = "started by the test below"]
    fn writes_for_ever() {
        let folder = PathBuf::from(std::env::var_os("AIOS_TEST_OUTPUTS").expect("started by the test below"));
        interrupt::watch().expect("signals");
        for letter in (b'a'..=b'z').cycle() {
            let draft = unless_interrupted(Draft::begin_in(folder.clone()));
            for name in ["one", "two"] {
                unless_interrupted(fs::write(draft.folder().join(name), vec![letter; LARGE]));
            }
            unless_interrupted(draft.finish());
        }
    }

    /// As the program does: what fails once a signal has come is nobody's fault.
    fn unless_interrupted<T, E: std::fmt::Debug>(result: std::result::Result<T, E>) -> T {
        result.unwrap_or_else(|error| {
            interrupt::stop_if_coming();
            panic!("{error:?}")
        })
    }

    #[test]
    fn a_signal_at_any_moment_leaves_old_or_new_files_and_no_draft() {
        use std::process::{Command, Stdio};
        use std::time::Duration;

        let folder = tempfile::tempdir().expect("a temporary folder");
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        for round in 0..12_u64 {
            // A kill may have left files of two sets, and this round's writer may not come to its first.
            for path in [&one, &two] {
                let _ = fs::remove_file(path);
            }
            let mut child = Command::new(std::env::current_exe().expect("this program"))
                .args(["--exact", "output::tests::writes_for_ever", "--ignored"])
                .env("AIOS_TEST_OUTPUTS", folder.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("started");
            while !two.exists() {
                std::thread::sleep(Duration::from_millis(1));
            }
            // Not a measure of time: any other moments would do as well.
            std::thread::sleep(Duration::from_micros(40_000 + round * 3_700));
            let killed = round % 4 == 3;
            let signal = if killed { rustix::process::Signal::KILL } else { rustix::process::Signal::INT };
            rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).expect("sent");
            child.wait().expect("ended");
            let [first, second] = [&one, &two].map(|path| fs::read(path).expect("there"));
            for content in [&first, &second] {
                assert_eq!(content.len(), LARGE);
                assert!(content.iter().all(|letter| *letter == content[0]), "round {round}: half old, half new");
            }
            if !killed {
                assert_eq!(first[0], second[0], "round {round}: the files of two sets");
                let drafts = names(folder.path()).into_iter().filter(|name| name.starts_with(DRAFT)).count();
                assert_eq!(drafts, 0, "round {round}");
            }
            drop(Draft::begin_in(folder.path().to_owned()).expect("the next build begins"));
            assert_eq!(names(folder.path()).into_iter().filter(|name| name.starts_with(DRAFT)).count(), 0);
        }
    }
}
