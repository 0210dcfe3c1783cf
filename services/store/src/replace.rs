//! Replacing one file by another with all or nothing of the new content.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Names of files that are still being written begin with this; after a crash they are rubbish.
pub const TEMPORARY_PREFIX: &str = ".tmp-";

/// A file was not replaced; the old one, if any, is as it was.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {}", path.display())]
pub struct ReplaceError {
    step: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl ReplaceError {
    /// What the kernel said.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Makes `path` a file of `content` with the permissions `mode`. When it returns, the new content survives a power cut;
/// after an error or a power cut before that, the old file is there unchanged.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), ReplaceError> {
    let failed = |step: &'static str, at: &Path| {
        let path = at.to_owned();
        move |source| ReplaceError { step, path, source }
    };
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed("replace", path)(io::ErrorKind::InvalidInput.into()));
    };
    let mut beside = std::ffi::OsString::from(TEMPORARY_PREFIX);
    beside.push(name);
    let beside = folder.join(beside);

    let written = write_new(&beside, content, mode).and_then(|()| fs::rename(&beside, path));
    if let Err(source) = written {
        // What is left is rubbish either way; the error that matters is the first one.
        let _ = fs::remove_file(&beside);
        return Err(failed("write", path)(source));
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("make durable the folder", folder))
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    // Set rather than passed to open: the process's umask must not decide who can read the file.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Removes what a crash left behind in `folder`, and says how many files that were.
pub fn remove_temporaries(folder: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_the_new_content_and_mode_and_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        replace(&path, b"a long first content", 0o600).expect("written");
        replace(&path, b"second", 0o444).expect("replaced");
        assert_eq!(fs::read(&path).expect("readable"), b"second");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o444);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn after_an_error_the_old_content_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("taken");
        fs::create_dir(&path).expect("a folder in the way");
        fs::write(path.join("kept"), b"old").expect("written");
        let error = replace(&path, b"new", 0o644).expect_err("a folder is in the way");
        assert!(error.to_string().contains("taken"), "{error}");
        assert_eq!(fs::read(path.join("kept")).expect("readable"), b"old");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn rubbish_of_a_crash_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(".tmp-file"), b"half").expect("written");
        fs::write(folder.path().join("file"), b"whole").expect("written");
        assert_eq!(remove_temporaries(folder.path()).expect("readable"), 1);
        assert_eq!(fs::read(folder.path().join("file")).expect("readable"), b"whole");
        replace(&folder.path().join("file"), b"next", 0o644).expect("replaced");
    }
}
