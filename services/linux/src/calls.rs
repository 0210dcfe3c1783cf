//! System-call allow lists: text in, a filter for the kernel out.
//!
//! A list has one call a line, `#` begins a comment. A line may narrow the call by its arguments' low 32 bits:
//! `socket arg0==1` allows only Unix sockets, `clone arg0&0x7e020000==0` looks at some bits only. Numbers are decimal or
//! begin with `0x`. Several lines for one call are alternatives. What no line allows fails
//! with "operation not permitted" or ends the program; calls of another architecture's table (32-bit, x32) match no line.
//!
//! `clone3` is special: its flags lie in memory, where no filter can look. A list that does not name it makes it "not
//! implemented", upon which C libraries start threads by `clone`, whose flags a line can narrow.

mod numbers;
mod tree;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use crate::filter::{Stopped, install};
pub use numbers::name_of;
use tree::Allowed;

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

/// The number of `clone3`.
const CLONE3: u32 = 435;

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
    /// A call that the kernel does not have.
    #[error("line {line} of the system-call list: there is no system call '{name}' in Linux for x86-64")]
    Unknown {
        /// Counted from 1.
        line: usize,
        /// As written.
        name: String,
    },
    /// The list has no line.
    #[error("the system-call list is empty; a program cannot run without any call")]
    Empty,
    /// More than a filter can hold.
    #[error("the system-call list is too long: a filter has room for about a thousand conditions")]
    Long,
    /// A line cannot be compiled.
    #[error("the system-call list cannot be compiled")]
    Compile(#[from] seccompiler::BackendError),
}

impl CallFilter {
    /// Compiles a list.
    pub fn compile(list: &str, otherwise: Otherwise) -> Result<Self, CallListError> {
        let mut allowed = read(list)?;
        let not_implemented = match allowed.entry(CLONE3) {
            Entry::Occupied(_) => None,
            Entry::Vacant(place) => {
                // Of two filters the stricter answer counts, so the list has to let pass what the other one answers.
                place.insert(Vec::new());
                let only = BTreeMap::from([(i64::from(CLONE3), Vec::new())]);
                let answer = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
                let filter = SeccompFilter::new(only, SeccompAction::Allow, answer, TargetArch::x86_64)?;
                Some(filter.try_into()?)
            }
        };
        let otherwise = match otherwise {
            Otherwise::Fails => SeccompAction::Errno(libc::EPERM.unsigned_abs()),
            Otherwise::Kills => SeccompAction::KillProcess,
        };
        let allowed = tree::program(&allowed, otherwise.into()).ok_or(CallListError::Long)?;
        Ok(Self { allowed, not_implemented })
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

/// The numbers of the calls that a list names, whatever their conditions.
pub fn listed(list: &str) -> Result<Vec<u32>, CallListError> {
    Ok(read(list)?.into_keys().collect())
}

/// The calls of a list with the conditions of each.
fn read(list: &str) -> Result<Allowed, CallListError> {
    let mut allowed = Allowed::new();
    for (index, line) in list.lines().enumerate() {
        let text = line.split('#').next().unwrap_or_default().trim();
        let mut words = text.split_ascii_whitespace();
        let Some(name) = words.next() else { continue };
        let shown = |text: &str| text.chars().take(80).collect();
        let form = || CallListError::Form { line: index + 1, text: shown(text) };
        if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
            return Err(form());
        }
        let conditions = words.map(condition).collect::<Option<Vec<_>>>().ok_or_else(form)?;
        let unknown = || CallListError::Unknown { line: index + 1, name: shown(name) };
        let number = numbers::number_of(name).ok_or_else(unknown)?;
        if conditions.is_empty() {
            // Whatever its arguments are; no other line takes that back.
            allowed.insert(number, Vec::new());
        } else if allowed.get(&number).is_none_or(|rules| !rules.is_empty()) {
            allowed.entry(number).or_default().push(SeccompRule::new(conditions)?);
        }
    }
    if allowed.is_empty() { Err(CallListError::Empty) } else { Ok(allowed) }
}

/// `argN==VALUE` or `argN&MASK==VALUE`.
fn condition(word: &str) -> Option<SeccompCondition> {
    let (argument, value) = word.strip_prefix("arg")?.split_once("==")?;
    let (argument, operator) = match argument.split_once('&') {
        Some((argument, mask)) => (argument, SeccompCmpOp::MaskedEq(number(mask)?.into())),
        None => (argument, SeccompCmpOp::Eq),
    };
    SeccompCondition::new(argument.parse().ok()?, SeccompCmpArgLen::Dword, operator, number(value)?.into()).ok()
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
        let unknown = CallFilter::compile("read\nno_such_call", Otherwise::Fails).expect_err("unknown").to_string();
        assert!(unknown.contains("line 2") && unknown.contains("no_such_call"), "{unknown}");
    }

    proptest::proptest! {
        #[test]
        fn no_list_makes_it_panic(list in "\\PC{0,200}") {
            let _ = CallFilter::compile(&list, Otherwise::Fails).is_ok();
        }
    }
}
