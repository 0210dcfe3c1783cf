//! System-call allow lists: text in, a filter for the kernel out.
//!
//! A list has one call a line, `#` begins a comment. A line may narrow the call by its arguments' low 32 bits:
//! `socket arg0==1` allows only Unix sockets, `clone arg0&0x7e020000==0` looks at some bits only. Numbers are decimal or
//! begin with `0x`. Several lines for one call are alternatives. What no line allows fails
//! with "operation not permitted" or ends the program; calls of another architecture's table (32-bit, x32) match no line.
//!
//! `clone3` is special: its flags lie in memory, where no filter can look. A list that does not name it makes it "not
//! implemented", upon which C libraries start threads by `clone`, whose flags a line can narrow.

use std::fmt::Write as _;

use seccompiler::{BpfProgram, TargetArch};

use crate::filter::{Stopped, install};

/// A compiled allow list.
#[derive(Clone)]
pub struct CallFilter {
    allowed: BpfProgram,
    not_implemented: Option<BpfProgram>,
}

impl std::fmt::Debug for CallFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CallFilter({} instructions)", self.allowed.len())
    }
}

/// What happens to a call that is not on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// It fails with "operation not permitted".
    Fails,
    /// The program is killed.
    Kills,
}

/// The list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CallListError {
    /// A line is not of the form `name [argN==VALUE]…`.
    #[error(
        "line {line} of the system-call list: '{}' is not 'name' or 'name argN==NUMBER' or 'name argN&MASK==NUMBER', N from 0 to 5",
        text.escape_default()
    )]
    Form {
        /// Counted from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// The list has no line.
    #[error("the system-call list is empty; a program cannot run without any call")]
    Empty,
    /// An unknown call, or more lines than a filter can hold.
    #[error("the system-call list cannot be compiled")]
    Compile(#[from] seccompiler::Error),
}

impl CallFilter {
    /// Compiles a list.
    pub fn compile(list: &str, otherwise: Otherwise) -> Result<Self, CallListError> {
        let action = match otherwise {
            Otherwise::Fails => format!(r#"{{"errno":{}}}"#, libc::EPERM),
            Otherwise::Kills => r#""kill_process""#.to_owned(),
        };
        let mut rules = Vec::new();
        for (index, line) in list.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                let form = || CallListError::Form { line: index + 1, text: line.chars().take(80).collect() };
                rules.push(rule(line).ok_or_else(form)?);
            }
        }
        if rules.is_empty() {
            return Err(CallListError::Empty);
        }
        let clone3 = r#"{"syscall":"clone3"}"#.to_owned();
        let not_implemented = if rules.contains(&clone3) {
            None
        } else {
            // Of two filters the stricter answer counts, so the list has to let pass what the other one answers.
            rules.push(clone3.clone());
            let action = format!(r#"{{"errno":{}}}"#, libc::ENOSYS);
            Some(compile(r#""allow""#, &action, &clone3)?)
        };
        Ok(Self { allowed: compile(&action, r#""allow""#, &rules.join(","))?, not_implemented })
    }

    /// Puts the calling thread under the filter, for good.
    pub(crate) fn apply(&self) -> std::io::Result<()> {
        if let Some(program) = &self.not_implemented {
            install(program, Stopped::Unrecorded)?;
        }
        // The list comes last: it need not allow a second filter.
        install(&self.allowed, Stopped::Recorded)
    }
}

fn compile(mismatch: &str, matched: &str, rules: &str) -> Result<BpfProgram, seccompiler::Error> {
    let json = format!(r#"{{"all":{{"mismatch_action":{mismatch},"match_action":{matched},"filter":[{rules}]}}}}"#);
    let mut programs = seccompiler::compile_from_json(json.as_bytes(), TargetArch::x86_64)?;
    Ok(programs.remove("all").unwrap_or_default())
}

/// One line as a rule of the filter compiler's own JSON; only harmless characters get that far.
fn rule(line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    let name = words.next()?;
    if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
        return None;
    }
    let mut conditions = String::new();
    for word in words {
        let (argument, value) = word.strip_prefix("arg")?.split_once("==")?;
        let (argument, operator) = match argument.split_once('&') {
            Some((argument, mask)) => (argument, format!(r#"{{"masked_eq":{}}}"#, number(mask)?)),
            None => (argument, r#""eq""#.to_owned()),
        };
        let argument: u8 = argument.parse().ok().filter(|argument| *argument < 6)?;
        let value = number(value)?;
        let comma = if conditions.is_empty() { "" } else { "," };
        write!(conditions, r#"{comma}{{"index":{argument},"type":"dword","op":{operator},"val":{value}}}"#).ok()?;
    }
    Some(match conditions.is_empty() {
        true => format!(r#"{{"syscall":"{name}"}}"#),
        false => format!(r#"{{"syscall":"{name}","args":[{conditions}]}}"#),
    })
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_list_compiles() {
        let filter = CallFilter::compile(
            "# reading\nread\nwrite # and writing\n\nsocket arg0==1\nclone arg0&0x7e020000==0\n",
            Otherwise::Fails,
        )
        .expect("a good list");
        assert!(filter.allowed.len() > 8);
    }

    #[test]
    fn a_bad_list_says_where() {
        for (list, expected) in [
            ("read\nwrite arg9==1", "line 2"),
            ("read arg0=1", "line 1"),
            ("read arg0&==1", "line 1"),
            ("read arg0==0xg", "line 1"),
            ("\"},{\"syscall\":\"write\"", "line 1"),
            ("read \u{1b}[31m", "line 1"),
            ("", "empty"),
            ("# nothing\n", "empty"),
        ] {
            let error = CallFilter::compile(list, Otherwise::Kills).expect_err(list).to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains('\u{1b}'));
        }
        assert!(matches!(CallFilter::compile("no_such_call", Otherwise::Fails), Err(CallListError::Compile(_))));
    }

    proptest::proptest! {
        #[test]
        fn no_list_makes_it_panic(list in "\\PC{0,200}") {
            let _ = CallFilter::compile(&list, Otherwise::Fails).is_ok();
        }
    }
}
