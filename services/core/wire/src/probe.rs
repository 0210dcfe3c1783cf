//! What `aios-probe` prints: each try to get out of the sandbox and what came of it.

use serde::{Deserialize, Serialize};

/// The argument that tells `aios-probe` that descriptor 3 is a folder. Its other arguments are paths that are opened on
/// purpose.
pub const FOLDER: &str = "--folder";

/// What ends a report on a line of its own.
pub const LAST_LINE: &str = "]}";

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

    /// What [`parse`](Self::parse) reads, with each try on a line of its own: a line of a service's log has a limit.
    pub fn to_lines(&self) -> Result<String, serde_json::Error> {
        let tries = self.attempts.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
        Ok(format!("{{\"attempts\":[\n{}\n{LAST_LINE}", tries.join(",\n")))
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
    fn a_report_in_lines_reads_back_and_ends_with_its_last_line() {
        let report = report(&[true; 3]);
        let lines = report.to_lines().expect("text");
        assert_eq!((lines.lines().count(), lines.lines().last()), (5, Some(LAST_LINE)));
        assert_eq!(ProbeReport::parse(lines.as_bytes()).expect("JSON"), report);
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
