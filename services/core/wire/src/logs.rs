//! What programs and the kernel say, from PID 1's memory to a reader, and how long the parts of a boot took.

use serde::{Deserialize, Serialize};

/// How urgent a line is, in syslog's words. The most urgent is the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// The system cannot be used.
    Emerg,
    /// Somebody has to act at once.
    Alert,
    /// A critical condition.
    Crit,
    /// Something failed.
    Err,
    /// Something is not as it should be.
    Warning,
    /// Normal, and worth attention.
    Notice,
    /// What a program says without a priority.
    Info,
    /// For whoever looks for a fault.
    Debug,
}

impl Priority {
    /// All, the most urgent first; the place is syslog's number.
    pub const ALL: [Self; 8] =
        [Self::Emerg, Self::Alert, Self::Crit, Self::Err, Self::Warning, Self::Notice, Self::Info, Self::Debug];

    /// Syslog's number from 0 to 7; nothing else has a priority.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Emerg => "emerg",
            Self::Alert => "alert",
            Self::Crit => "crit",
            Self::Err => "err",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// Who a line of the kernel is from.
pub const KERNEL: &str = "kernel";
/// Who a line of PID 1 is from.
pub const INIT: &str = "init";

/// A line in PID 1's memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Counts all lines of this boot from 1.
    pub number: u64,
    /// Counts the lines of this unit from 1, lost ones too: a jump is a loss.
    pub nth: u64,
    /// Milliseconds since the kernel started.
    pub at_ms: u64,
    /// Who said it.
    pub unit: String,
    /// How urgent it is.
    pub priority: Priority,
    /// Without control characters.
    pub text: String,
}

/// A line that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Counts the kept lines of a boot from 1.
    pub index: u64,
    /// [`Line::number`]; absent for what PID 1 never had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// [`Line::nth`].
    pub nth: u64,
    /// Milliseconds since the kernel of its boot started.
    pub at_ms: u64,
    /// Milliseconds since 1970, as the clock stood when the line was kept.
    pub wall_ms: u64,
    /// Who said it.
    pub unit: String,
    /// How urgent it is.
    pub priority: Priority,
    /// What was said.
    pub text: String,
    /// How many lines are missing before this one, which then only says so.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A question for kept lines. The answer is the newest ones that match, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Question {
    /// How many boots back: 0 is the running one, 1 the one before.
    pub boots_back: u32,
    /// Only what this unit said.
    pub unit: Option<String>,
    /// Only what is at least so urgent.
    pub priority: Option<Priority>,
    /// Only what was said at this time or later, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Only lines after this index.
    pub after: Option<u64>,
    /// Only lines before this index.
    pub before: Option<u64>,
    /// At most so many.
    pub last: Option<usize>,
}

/// An answer to a [`Question`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// The kernel's id of the boot that was asked about.
    pub boot_id: String,
    /// Oldest first.
    pub lines: Vec<Kept>,
    /// Whether older lines match too; ask again with `before` the first index here.
    pub more: bool,
    /// Places in the files that are no lines, such as where power failed.
    pub unreadable: u64,
}

/// How long the parts of a boot took. What is not known is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootReport {
    /// The kernel's id of the boot.
    pub boot_id: String,
    /// The release.
    pub version: String,
    /// Milliseconds that the firmware took before the boot loader ran.
    pub firmware_ms: Option<u64>,
    /// Milliseconds from there until the loader started the kernel's image.
    pub loader_ms: Option<u64>,
    /// From here on milliseconds since the kernel started: PID 1's first instruction.
    pub init_ms: Option<u64>,
    /// How much of the time until units were started went by while a person was asked for a pass phrase.
    #[serde(default)]
    pub waited_ms: u64,
    /// PID 1 began to start units: the root is verified, everything is mounted.
    pub units_ms: Option<u64>,
    /// The first console can be typed on.
    pub console_ms: Option<u64>,
    /// Every service of the boot is ready.
    pub system_ms: Option<u64>,
    /// The units that were started, in the order of their starts.
    pub units: Vec<UnitTimes>,
}

impl BootReport {
    /// From power to a ready system, as far as the parts are known. Waiting for a person is not part of it.
    pub fn total_ms(&self) -> Option<u64> {
        let kernel_and_after = self.system_ms?.saturating_sub(self.waited_ms);
        Some(kernel_and_after + self.firmware_ms.unwrap_or(0) + self.loader_ms.unwrap_or(0))
    }
}

/// The first start of a unit in a boot, in milliseconds since the kernel started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitTimes {
    /// The unit.
    pub name: String,
    /// Nothing kept it from starting any more.
    pub started_ms: u64,
    /// Its program ran, in its sandbox.
    pub running_ms: Option<u64>,
    /// It was ready.
    pub ready_ms: Option<u64>,
}

/// The boots of a machine that are still on record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boots {
    /// Oldest first; the last is the running one once it is ready.
    pub boots: Vec<BootReport>,
    /// The running boot took much longer than usual.
    pub slow: Option<Slow>,
}

/// A boot that took much longer than usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slow {
    /// How long it took.
    pub took_ms: u64,
    /// The median of the boots before.
    pub usual_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_its_number_and_its_word() {
        for (number, priority) in Priority::ALL.into_iter().enumerate() {
            assert_eq!(Priority::from_number(number as u32), Some(priority));
            let word = serde_json::to_string(&priority).expect("a word");
            assert_eq!(word, format!("\"{}\"", priority.word()));
        }
        assert_eq!(Priority::from_number(8), None);
        assert!(Priority::Err < Priority::Info, "the more urgent is the less");
    }
}
