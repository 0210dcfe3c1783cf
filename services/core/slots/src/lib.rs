//! Releases, their two slots, and the file names by which the boot loader counts.
//!
//! Each release on a disk is one unified kernel image on the EFI system partition, `aios_<version>.efi`, and one slot
//! that its sealed command line names by root hash. The loader's record is the file name: `aios_2.0+3.efi` may be tried
//! three times, `aios_2.0+2-1.efi` twice more, `aios_2.0+0-3.efi` is spent, and a name without counter is good.
//!
//! Decisions only: names come in, and what to remove or rename comes out. The updater, recovery and the tests carry
//! them out with the same functions. The loader's order is that of systemd-boot; [`loader_choice`] follows it.

#![no_std]
extern crate alloc;

mod name;
pub mod phase;
mod version;

pub use name::{Counter, NameError, UkiName};
pub use version::{Version, VersionError};

use alloc::vec::Vec;
use core::fmt;

/// How often a new release may be tried before the loader goes back.
pub const TRIES: u32 = 3;

/// One of the two places that a release's root can be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// The slot whose root is the partition with this number on an installed disk.
    pub fn of_root_partition(number: u32) -> Option<Self> {
        match number {
            3 => Some(Self::A),
            5 => Some(Self::B),
            _ => None,
        }
    }

    /// The one that an update writes while this one runs.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

/// The slot whose root partition carries `partuuid`, when exactly one does.
pub fn slot_with(partuuid: &str, a: &str, b: &str) -> Option<Slot> {
    match (a.eq_ignore_ascii_case(partuuid), b.eq_ignore_ascii_case(partuuid)) {
        (true, false) => Some(Slot::A),
        (false, true) => Some(Slot::B),
        _ => None,
    }
}

/// One change of a file's name on the EFI system partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// The name it has.
    pub from: UkiName,
    /// The name it gets.
    pub to: UkiName,
}

/// Why the names on the partition do not allow what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// No file of this release.
    #[error("no boot entry of version {version} is on the EFI system partition")]
    NoEntry {
        /// The version looked for.
        version: Version,
    },
    /// A release that is not newer.
    #[error("version {offered} is not newer than the running version {running}")]
    NotNewer {
        /// The version that runs.
        running: Version,
        /// The version of the release.
        offered: Version,
    },
    /// A release that this one cannot be updated to directly.
    #[error("version {offered} can only be installed from version {least} on, and {running} is running")]
    TooOld {
        /// The version that runs.
        running: Version,
        /// The version of the release.
        offered: Version,
        /// The oldest version it can come from.
        least: Version,
    },
    /// The running release has not been marked good yet.
    #[error("version {running} is still on trial: until it is marked good, the other slot is the way back")]
    OnTrial {
        /// The version that runs.
        running: Version,
    },
    /// Nothing else could be started.
    #[error("there is no other release to go back to")]
    NothingToReturnTo,
}

/// What systemd-boot starts by itself: spent entries come last, then the highest version, then more tries left.
/// `None`: every entry is spent, and recovery, which has no counter, is started.
pub fn loader_choice(names: &[UkiName]) -> Option<&UkiName> {
    names.iter().filter(|name| !name.is_spent()).max_by_key(|name| name.rank())
}

/// What marks the running release good: its name without a counter. `None`: it is good already.
pub fn bless(running: &Version, names: &[UkiName]) -> Result<Option<Rename>, SlotError> {
    let entry = entry_of(running, names)?;
    Ok(entry.counter.map(|_| Rename { from: entry.clone(), to: UkiName::good(running.clone()) }))
}

/// What makes the loader start the release before the one it would start now: that one's tries are spent.
pub fn rollback(names: &[UkiName]) -> Result<Rename, SlotError> {
    let current = loader_choice(names).ok_or(SlotError::NothingToReturnTo)?;
    let others: Vec<UkiName> = names.iter().filter(|name| name.version != current.version).cloned().collect();
    loader_choice(&others).ok_or(SlotError::NothingToReturnTo)?;
    let spent = Counter { left: 0, done: TRIES };
    Ok(Rename { from: current.clone(), to: UkiName { version: current.version.clone(), counter: Some(spent) } })
}

/// What an update may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdatePlan {
    /// Entries whose slot is about to be overwritten; they go before its first byte is written.
    pub remove: Vec<UkiName>,
    /// The entry that appears when everything else is durable.
    pub add: UkiName,
}

/// Whether and how the running release can be followed by `offered`, which may come from `least` or later.
///
/// A version that was tried and failed may be offered again: what it left behind is removed first.
pub fn plan_update(
    running: &Version,
    offered: &Version,
    least: &Version,
    names: &[UkiName],
) -> Result<UpdatePlan, SlotError> {
    let (running, offered) = (running.clone(), offered.clone());
    if offered <= running {
        return Err(SlotError::NotNewer { running, offered });
    }
    if running < *least {
        return Err(SlotError::TooOld { running, offered, least: least.clone() });
    }
    if entry_of(&running, names)?.counter.is_some() {
        return Err(SlotError::OnTrial { running });
    }
    let remove = names.iter().filter(|name| name.version != running).cloned().collect();
    Ok(UpdatePlan { remove, add: UkiName { version: offered, counter: Some(Counter { left: TRIES, done: 0 }) } })
}

/// The entry of one version. Should a torn rename have left two, the better one counts.
fn entry_of<'a>(version: &Version, names: &'a [UkiName]) -> Result<&'a UkiName, SlotError> {
    let best = names.iter().filter(|name| name.version == *version).max_by_key(|name| name.rank());
    best.ok_or_else(|| SlotError::NoEntry { version: version.clone() })
}
