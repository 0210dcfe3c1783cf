//! A file that only grows: bytes are added at its end and are durable when the call returns.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// An open file and the length up to which it is whole.
#[derive(Debug)]
pub struct AppendFile {
    file: File,
    path: PathBuf,
    length: u64,
}

/// The file could not be opened or grown.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// It cannot be opened, read or cut.
    #[error("cannot {step} {}", path.display())]
    Access {
        /// What was tried.
        step: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Nothing was added; the file is as it was and can be tried again.
    #[error("cannot add to {}; nothing was added", path.display())]
    Undone {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It is not known what the disk holds now. Nothing may be added before the file has been read again from its start.
    #[error("cannot make an addition to {} durable", path.display())]
    Unknown {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl AppendFile {
    /// Opens an existing file.
    pub fn open(path: &Path) -> Result<Self, AppendError> {
        let failed = |source| AppendError::Access { step: "open", path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok(Self { file, path: path.to_owned(), length })
    }

    /// The file's length.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// A second handle, for readers.
    pub fn reader(&self) -> Result<File, AppendError> {
        let failed = |source| AppendError::Access { step: "read", path: self.path.clone(), source };
        self.file.try_clone().map_err(failed)
    }

    /// Adds `bytes`; they survive a power cut once this returns.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        if let Err(source) = self.file.write_all_at(bytes, self.length) {
            let path = self.path.clone();
            // A full disk took a part of the bytes: without them the file is what it was.
            return Err(match self.file.set_len(self.length) {
                Ok(()) => AppendError::Undone { path, source },
                Err(_) => AppendError::Unknown { path, source },
            });
        }
        // After a failed sync the kernel forgets which pages were lost, so a second try would prove nothing.
        self.file.sync_data().map_err(|source| AppendError::Unknown { path: self.path.clone(), source })?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Cuts the file to `length`, durably.
    pub fn cut(&mut self, length: u64) -> Result<(), AppendError> {
        let failed = |source| AppendError::Access { step: "cut", path: self.path.clone(), source };
        self.file.set_len(length).and_then(|()| self.file.sync_all()).map_err(failed)?;
        self.length = length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_there_and_a_cut_takes_it_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        assert!(AppendFile::open(&path).is_err(), "only an existing file is opened");
        std::fs::write(&path, b"head").expect("written");
        let mut file = AppendFile::open(&path).expect("opened");
        file.append(b" one").expect("added");
        file.append(b" two").expect("added");
        file.cut(8).expect("cut");
        file.append(b" three").expect("added");
        assert_eq!(std::fs::read(&path).expect("readable"), b"head one three");
        assert_eq!(AppendFile::open(&path).expect("opened").length(), file.length());
    }

    #[test]
    fn a_failed_addition_leaves_the_length_as_it_was() {
        // The kernel refuses every write to this device with "no space left".
        let mut file = AppendFile {
            file: File::options().write(true).open("/dev/full").expect("opened"),
            path: "/dev/full".into(),
            length: 0,
        };
        assert!(matches!(file.append(b"x"), Err(AppendError::Undone { .. } | AppendError::Unknown { .. })));
        assert_eq!(file.length(), 0);
    }
}
