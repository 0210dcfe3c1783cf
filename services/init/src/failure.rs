//! What went wrong while the machine was being set up: on what, why, and what to try.

use std::error::Error;
use std::fmt;
use std::path::Path;

/// What to try where the kernel lacks a layer that programs are confined with. Nothing starts with one layer less.
pub(crate) const LACKING: &str = "start the kernel of this release with its own command line, or the recovery image";

/// An error that PID 1 shows on the consoles.
#[derive(Debug)]
pub(crate) struct Failure {
    doing: String,
    source: Option<Box<dyn Error>>,
    hint: Option<&'static str>,
}

impl Failure {
    /// What could not be done, and why.
    pub(crate) fn new(doing: impl Into<String>, source: impl Into<Box<dyn Error>>) -> Self {
        Self { doing: doing.into(), source: Some(source.into()), hint: None }
    }

    /// What is wrong, without a deeper cause.
    pub(crate) fn plain(what: impl Into<String>) -> Self {
        Self { doing: what.into(), source: None, hint: None }
    }

    /// Adds what to try.
    pub(crate) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)?;
        let mut cause: Option<&dyn Error> = self.source.as_deref();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        match self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        line.push_str(": ");
        line.push_str(&source.to_string());
        cause = source.source();
    }
    line
}

/// For `map_err`: a failure at a path.
pub(crate) fn at<E: Into<Box<dyn Error>>>(doing: &str, path: impl AsRef<Path>) -> impl FnOnce(E) -> Failure {
    let doing = format!("cannot {doing} {}", path.as_ref().display());
    move |error| Failure::new(doing, error)
}
