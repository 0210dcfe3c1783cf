//! What a program that measures prints: a line `name value` for each figure.

use std::collections::BTreeMap;
use std::process::Command;

use crate::scenario::{Failure, ensure};

/// The figures of one run.
pub(super) struct Figures {
    program: &'static str,
    values: BTreeMap<String, f64>,
}

impl Figures {
    /// Runs `command`, which is `program`, to its good end.
    pub(super) fn of(program: &'static str, command: &mut Command) -> Result<Self, Failure> {
        Ok(Self::read(program, &output(command)?))
    }

    /// Reads what `program` printed.
    pub(super) fn read(program: &'static str, printed: &str) -> Self {
        let figure = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self { program, values: printed.lines().filter_map(figure).collect() }
    }

    pub(super) fn get(&self, name: &str) -> Result<f64, Failure> {
        let missing = || Failure::broken(format!("{} did not measure {name}", self.program));
        self.values.get(name).copied().ok_or_else(missing)
    }
}

/// What a command prints, once it has ended well.
pub(super) fn output(command: &mut Command) -> Result<String, Failure> {
    let ran = command.output().map_err(|error| Failure::broken(format!("cannot start {command:?}: {error}")))?;
    let complaint = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "{command:?} ended with {}: {complaint}", ran.status);
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_is_missing_names_who_did_not_measure_it() {
        let figures = Figures::read("some-figures", "a-us 1.5\nnot a figure\nb 2\n");
        assert!(figures.get("a-us").is_ok_and(|value| (value - 1.5).abs() < f64::EPSILON));
        let error = figures.get("not").expect_err("no number").to_string();
        assert!(error.contains("some-figures") && error.contains("not"), "{error}");
    }

    #[test]
    fn a_program_that_fails_is_no_measurement() {
        assert!(output(&mut Command::new("false")).expect_err("it fails").to_string().contains("false"));
    }
}
