//! Files that keep builds out of each other's way. A lock ends with the process that holds it, however that ends.
//!
//! What is locked is one result, the programs, or a folder while it is filled: never the whole cache, so a long step
//! of one build keeps no other build from steps that it does not share.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, OnFile, Result};
use crate::progress;

/// A held lock.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

#[derive(Clone, Copy)]
enum Sharing {
    Alone,
    WithReaders,
}

impl Lock {
    /// Waits until nobody else has it. `what` is said while waiting.
    pub(crate) fn alone(path: &Path, what: &str) -> Result<Self> {
        Self::take(path, what, Sharing::Alone)
    }

    /// Waits until nobody has it alone.
    pub(crate) fn with_readers(path: &Path, what: &str) -> Result<Self> {
        Self::take(path, what, Sharing::WithReaders)
    }

    /// The lock, if nobody else has it.
    pub(crate) fn alone_now(path: &Path) -> Result<Option<Self>> {
        loop {
            let file = open(path)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, path) => return Self::held(file, path).map(Some),
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => return Ok(None),
                Err(fs::TryLockError::Error(source)) => return Err(not_locked(path, source)),
            }
        }
    }

    /// Lets readers in. Somebody who waits for it alone may come first, so what was seen is to be looked at again.
    pub(crate) fn let_readers_in(&self) -> Result<()> {
        self.file.lock_shared().on("lock", &self.path)
    }

    /// Removes the file of a lock that is not needed again, while it is held.
    pub(crate) fn remove(self) -> Result<()> {
        fs::remove_file(&self.path).on("remove", &self.path)
    }

    fn take(path: &Path, what: &str, sharing: Sharing) -> Result<Self> {
        loop {
            let mut file = open(path)?;
            let now = match sharing {
                Sharing::Alone => file.try_lock(),
                Sharing::WithReaders => file.try_lock_shared(),
            };
            match now {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    file.read_to_string(&mut holder).on("read", path)?;
                    progress::say(&format!("waiting for {what} in another build (process {})", holder.trim()));
                    match sharing {
                        Sharing::Alone => file.lock(),
                        Sharing::WithReaders => file.lock_shared(),
                    }
                    .on("lock", path)?;
                }
                Err(fs::TryLockError::Error(source)) => return Err(not_locked(path, source)),
            }
            // The one before us may have removed the file; then what we hold locks nothing.
            if is_at(&file, path) {
                return match sharing {
                    Sharing::Alone => Self::held(file, path),
                    Sharing::WithReaders => Ok(Self { file, path: path.to_owned() }),
                };
            }
        }
    }

    /// Says in the file who holds it.
    fn held(mut file: File, path: &Path) -> Result<Self> {
        file.set_len(0).and_then(|()| file.rewind()).on("write", path)?;
        writeln!(file, "{}", std::process::id()).on("write", path)?;
        Ok(Self { file, path: path.to_owned() })
    }
}

fn open(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).on("make", folder)?;
    }
    File::options().read(true).write(true).create(true).truncate(false).open(path).on("open", path)
}

fn is_at(file: &File, path: &Path) -> bool {
    let number = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(held), Ok(there)) if number(&held) == number(&there))
}

fn not_locked(path: &Path, source: std::io::Error) -> Error {
    Error::File { doing: "lock", path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn one_alone_or_many_readers() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("locks/a");
        let alone = Lock::alone(&path, "a").expect("locked");
        assert!(Lock::alone_now(&path).expect("asked").is_none());
        alone.let_readers_in().expect("readers");
        let reader = Lock::with_readers(&path, "a").expect("read");
        drop(alone);
        assert!(Lock::alone_now(&path).expect("asked").is_none());
        drop(reader);
        // A child that another test is just starting has our descriptors until it executes its program.
        let until = Instant::now() + Duration::from_secs(10);
        while Lock::alone_now(&path).expect("asked").is_none() {
            assert!(Instant::now() < until, "the lock is still held");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_removed_lock_locks_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a");
        let first = Lock::alone(&path, "a").expect("locked");
        let waiting = {
            let path = path.clone();
            std::thread::spawn(move || Lock::alone(&path, "a").map(|lock| is_at(&lock.file, &path)))
        };
        std::thread::sleep(std::time::Duration::from_millis(50));
        first.remove().expect("removed");
        assert!(waiting.join().expect("joined").expect("locked"), "the second lock is on a file that is still there");
    }
}
