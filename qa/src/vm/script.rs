//! Scripts for a machine's console: one command a line, as a person would type it.
//!
//! `# text` is a comment; a line that starts with `!` must fail; `@wait PATTERN`, `@reboot` and `@power-cut` act on the
//! machine. The pattern is a plain text. A script is read completely before its machine starts.

use std::fmt;

/// The largest script.
pub const LIMIT: usize = 1 << 20;

/// One line of a script that does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its line, counted from 1.
    pub line: usize,
    /// What it does.
    pub action: Action,
}

/// What a line does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Runs a command.
    Run {
        /// The command.
        command: String,
        /// How it has to end.
        expected: Expected,
    },
    /// Waits until the console says this.
    Wait(String),
    /// Reboots in order and waits for the next prompt.
    Reboot,
    /// Ends the machine without warning, starts it again and waits for the next prompt.
    PowerCut,
}

/// How a command has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// With status 0.
    Success,
    /// With any other status.
    Failure,
}

impl Expected {
    /// Whether a command that ended with `status` did as expected.
    #[must_use]
    pub fn is_met_by(self, status: u8) -> bool {
        (status == 0) == (self == Self::Success)
    }
}

/// A line that is no step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptError {
    line: usize,
    column: usize,
    text: String,
    reason: &'static str,
    hint: &'static str,
}

impl std::error::Error for ScriptError {}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "line {}: {}", self.line, self.reason)?;
        writeln!(f, "  | {}", self.text)?;
        writeln!(f, "  | {:1$}^", "", self.column)?;
        write!(f, "{}", self.hint)
    }
}

/// Reads a script.
pub fn parse(text: &str) -> Result<Vec<Step>, ScriptError> {
    if text.len() > LIMIT {
        return Err(ScriptError {
            line: 1,
            column: 0,
            text: String::new(),
            reason: "a script is at most 1 MiB",
            hint: "split it",
        });
    }
    let lines = text.lines().enumerate();
    lines.filter_map(|(index, line)| parse_line(index + 1, line).transpose()).collect()
}

fn parse_line(line: usize, text: &str) -> Result<Option<Step>, ScriptError> {
    let indent = text.chars().take_while(|character| character.is_whitespace()).count();
    let wrong = |column: usize, reason, hint| {
        let shown: String =
            text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect();
        ScriptError { line, column, text: shown, reason, hint }
    };
    if let Some(column) = text.chars().position(|character| character.is_control() && character != '\t') {
        return Err(wrong(column, "a control character cannot be typed", "remove it"));
    }
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return Ok(None);
    }
    let action = if let Some(directive) = trimmed.strip_prefix('@') {
        let (name, argument) = directive.split_once(char::is_whitespace).unwrap_or((directive, ""));
        let argument = argument.trim();
        let after_name = indent + 1 + name.chars().count();
        match (name, argument) {
            ("wait", "") => {
                return Err(wrong(after_name, "@wait needs a pattern", "write the text to wait for: @wait PATTERN"));
            }
            ("wait", pattern) => Action::Wait(pattern.to_owned()),
            ("reboot", "") => Action::Reboot,
            ("power-cut", "") => Action::PowerCut,
            ("reboot" | "power-cut", _) => {
                return Err(wrong(
                    after_name + 1,
                    "nothing may follow here",
                    "write @reboot or @power-cut alone on its line",
                ));
            }
            _ => {
                return Err(wrong(
                    indent + 1,
                    "there is no such directive",
                    "there are @wait PATTERN, @reboot and @power-cut",
                ));
            }
        }
    } else if let Some(command) = trimmed.strip_prefix('!') {
        let command = command.trim();
        if command.is_empty() {
            return Err(wrong(indent + 1, "'!' needs a command", "write the command that must fail: ! COMMAND"));
        }
        Action::Run { command: command.to_owned(), expected: Expected::Failure }
    } else {
        Action::Run { command: trimmed.to_owned(), expected: Expected::Success }
    };
    Ok(Some(Step { line, action }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(command: &str, expected: Expected) -> Action {
        Action::Run { command: command.into(), expected }
    }

    #[test]
    fn every_form_of_line() {
        let text = "# smoke\n\nstatus\n ! service show nothing \n@wait aios: system ready\n@reboot\n\t@power-cut\n";
        let actions: Vec<_> = parse(text).expect("a script").into_iter().map(|step| (step.line, step.action)).collect();
        assert_eq!(
            actions,
            [
                (3, run("status", Expected::Success)),
                (4, run("service show nothing", Expected::Failure)),
                (5, Action::Wait("aios: system ready".into())),
                (6, Action::Reboot),
                (7, Action::PowerCut),
            ]
        );
    }

    fn check_error(text: &str, expected: &str) {
        assert_eq!(parse(text).expect_err(text).to_string(), expected);
    }

    #[test]
    fn an_error_points_at_the_place() {
        check_error(
            "status\n  @wiat x",
            "line 2: there is no such directive\n  |   @wiat x\n  |    ^\nthere are @wait PATTERN, @reboot and @power-cut",
        );
        check_error(
            "@wait",
            "line 1: @wait needs a pattern\n  | @wait\n  |      ^\nwrite the text to wait for: @wait PATTERN",
        );
        check_error(
            "@reboot now",
            "line 1: nothing may follow here\n  | @reboot now\n  |         ^\nwrite @reboot or @power-cut alone on its line",
        );
        check_error("!", "line 1: '!' needs a command\n  | !\n  |  ^\nwrite the command that must fail: ! COMMAND");
        check_error("a\u{1b}b", "line 1: a control character cannot be typed\n  | a\u{fffd}b\n  |  ^\nremove it");
    }

    #[test]
    fn a_failure_is_expected_only_where_it_is_written() {
        assert!(Expected::Success.is_met_by(0) && !Expected::Success.is_met_by(3));
        assert!(Expected::Failure.is_met_by(3) && !Expected::Failure.is_met_by(0));
    }

    proptest! {
        #[test]
        fn any_text_is_a_script_or_an_error_with_a_place(text in "(\\PC|[\n\r\t@!# ])*") {
            match parse(&text) {
                Ok(steps) => prop_assert!(steps.iter().all(|step| step.line <= text.lines().count())),
                Err(error) => prop_assert!(error.to_string().starts_with("line ")),
            }
        }

        /// What is typed is what stands in the file.
        #[test]
        fn a_command_is_not_changed(command in "[a-z][a-z =/.'-]{0,40}[a-z]") {
            let steps = parse(&command).expect("a command");
            prop_assert_eq!(&steps[0].action, &run(&command, Expected::Success));
        }
    }
}
