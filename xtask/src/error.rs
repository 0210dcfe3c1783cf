//! What goes wrong while building: what, on what, why, and what to try.

use std::io;
use std::path::{Path, PathBuf};

/// The result of everything here.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// A build that cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The build machine's file system said no.
    #[error("cannot {doing} {path}")]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    /// A program of the build machine could not be started.
    #[error("cannot start {program}")]
    Start { program: String, source: io::Error },
    /// A program of the build machine failed.
    #[error("`{command}` failed ({status}){output}")]
    Tool { command: String, status: String, output: String },
    /// One of our libraries refused its input.
    #[error("{what}")]
    Library { what: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// A folder of outputs cannot be used.
    #[error("{what}")]
    Unwritable { what: String, hint: String, source: io::Error },
    /// A promise of the tree does not hold, or something is missing.
    #[error("{what}")]
    Refused { what: String, hint: String },
}

impl Error {
    pub(crate) fn refused(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), hint: hint.into() }
    }

    pub(crate) fn library(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Library { what: what.into(), source: source.into() }
    }

    /// What to try, when there is something.
    pub(crate) fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused { hint, .. } | Self::Unwritable { hint, .. } if !hint.is_empty() => Some(hint),
            Self::File { source, .. } => of_file(source),
            Self::Tool { output, .. } if output.contains("No space left on device") => {
                of_file(&io::ErrorKind::StorageFull.into())
            }
            Self::Start { .. } => Some("is it installed? `cargo xtask iso` installs what Debian has"),
            _ => None,
        }
    }

    /// The chain of causes, then the hint.
    pub(crate) fn report(&self) {
        eprintln!("error: {self}");
        let mut cause = std::error::Error::source(self);
        while let Some(source) = cause {
            eprintln!("  because: {source}");
            cause = source.source();
        }
        if let Some(hint) = self.hint() {
            eprintln!("  hint: {hint}");
        }
    }
}

/// What to try when a file cannot be used, where that is not plain from the cause.
fn of_file(source: &io::Error) -> Option<&'static str> {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
            "make room on that disk and repeat the command: what was complete is kept; AIOS_CACHE and CARGO_TARGET_DIR \
             may name folders on another disk",
        ),
        io::ErrorKind::FileTooLarge => Some("this user may not write files of that size: see `ulimit -f`"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some("AIOS_CACHE, AIOS_KEYS and CARGO_TARGET_DIR may name folders that this user may write")
        }
        _ => None,
    }
}

/// Names the file and the deed when a file operation fails.
pub(crate) trait OnFile<T> {
    fn on(self, doing: &'static str, path: &Path) -> Result<T>;
}

impl<T> OnFile<T> for io::Result<T> {
    fn on(self, doing: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::File { doing, path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_the_same_hint_whoever_meets_it() {
        let source = || io::Error::from(io::ErrorKind::StorageFull);
        let ours = Error::File { doing: "write", path: "/a".into(), source: source() };
        let output = "\n    tar: a: Cannot write: No space left on device".to_owned();
        let theirs = Error::Tool { command: "tar".into(), status: "exit status: 2".into(), output };
        assert!(ours.hint().is_some_and(|hint| hint.starts_with("make room") && hint.contains("AIOS_CACHE")));
        assert_eq!(ours.hint(), theirs.hint());
        assert_eq!(Error::Tool { command: "tar".into(), status: String::new(), output: String::new() }.hint(), None);
    }
}
