//! How a command ends when it does not end well: what could not be done, on what, why, and what to try.

use std::error::Error;
use std::fmt;
use std::path::Path;

/// The end of a command.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The command's exit status.
    pub(crate) status: u8,
    what: String,
    causes: String,
    hint: Option<String>,
}

/// Something did not work or does not hold.
const FAILED: u8 = 1;
/// The line is not a command.
const WRONG_USAGE: u8 = 2;

impl Failure {
    /// What is wrong, without a deeper cause.
    pub(crate) fn plain(what: impl Into<String>) -> Self {
        Self { status: FAILED, what: what.into(), causes: String::new(), hint: None }
    }

    /// What could not be done, and why.
    pub(crate) fn new(what: impl Into<String>, source: &dyn Error) -> Self {
        Self { causes: chain(source), ..Self::plain(what) }
    }

    /// The line cannot be carried out as it stands.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self { status: WRONG_USAGE, ..Self::plain(what) }
    }

    /// Adds what to try.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&harmless(&self.what))?;
        if !self.causes.is_empty() {
            write!(f, ": {}", harmless(&self.causes))?;
        }
        match &self.hint {
            Some(hint) => write!(f, "; {}", harmless(hint)),
            None => Ok(()),
        }
    }
}

/// For `map_err`: a failure at a path.
pub(crate) fn at<E: Error>(doing: &str, path: impl AsRef<Path>) -> impl FnOnce(E) -> Failure {
    let what = format!("cannot {doing} {}", path.as_ref().display());
    move |error| Failure::new(what, &error)
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

/// Text from a disk or a person with nothing in it that a terminal obeys.
pub(crate) fn harmless(text: &str) -> String {
    let escaped = |letter: char| if letter.is_control() { letter.escape_default().to_string() } else { letter.into() };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_causes_and_advice_and_no_control_character() {
        let cause = std::io::Error::other("bad \x1b[2J sector");
        let failure = Failure::new("cannot read /dev/vda", &cause).hint("try another cable");
        assert_eq!(failure.to_string(), "cannot read /dev/vda: bad \\u{1b}[2J sector; try another cable");
    }
}
