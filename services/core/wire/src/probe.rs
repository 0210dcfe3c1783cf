//! What `aios-probe` prints: each try to get out of the sandbox and what came of it.

use serde::{Deserialize, Serialize};

/// The argument that tells `aios-probe` that descriptor 3 is a folder. Its other arguments are paths that are opened on
/// purpose.
pub const FOLDER: &str = "--folder";

/// The whole battery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeReport {
    /// In the order they were made.
    pub attempts: Vec<Attempt>,
}

/// One try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// Its name, as the list of attacks has it.
    pub name: String,
    /// The system call that was made.
    pub call: String,
    /// `done`, or the error's name such as `EPERM`.
    pub result: String,
    /// Whether the result is one that the sandbox is meant to give.
    pub contained: bool,
}

impl ProbeReport {
    /// Fewer tries than this prove too little.
    pub const LEAST: usize = 60;

    /// Reads a report of at most [`MESSAGE_LIMIT`](crate::MESSAGE_LIMIT) bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(&bytes[..bytes.len().min(crate::MESSAGE_LIMIT)])
    }

    /// Whether enough was tried and everything was contained; otherwise why not.
    pub fn verdict(&self) -> Result<(), String> {
        let escaped: Vec<_> =
            self.attempts.iter().filter(|a| !a.contained).map(|a| format!("{} ({})", a.name, a.result)).collect();
        if !escaped.is_empty() {
            return Err(format!("the sandbox does not contain {}", escaped.join(", ")));
        }
        if self.attempts.len() < Self::LEAST {
            return Err(format!("only {} tries were made; {} are the least", self.attempts.len(), Self::LEAST));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(contained: &[bool]) -> ProbeReport {
        let attempt = |contained: &bool| Attempt {
            name: "mount".into(),
            call: "mount".into(),
            result: if *contained { "EPERM" } else { "done" }.into(),
            contained: *contained,
        };
        ProbeReport { attempts: contained.iter().map(attempt).collect() }
    }

    #[test]
    fn one_escape_or_too_few_tries_fail_the_battery() {
        assert_eq!(report(&[true; ProbeReport::LEAST]).verdict(), Ok(()));
        assert!(report(&[true; ProbeReport::LEAST - 1]).verdict().is_err());
        let mut one = [true; ProbeReport::LEAST + 5];
        one[7] = false;
        assert!(report(&one).verdict().expect_err("an escape").contains("mount (done)"));
    }
}
