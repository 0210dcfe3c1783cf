//! The kernel's records of what it refused to services, agents and actions. PID 1 has the capability to open them and never
//! reads them: the evidence log does, from a descriptor that stays open here, so that nothing is lost while it restarts.

use std::os::fd::{AsFd as _, BorrowedFd};

use aios_linux::audit::AuditSource;
use aios_units::Unit;

/// How often the kernel is asked at most how many records it has lost.
const LOSSES_EVERY_MS: u64 = 5_000;

/// The records, where a unit reads them and the kernel keeps any.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    source: Option<AuditSource>,
    asked_ms: u64,
}

impl Refusals {
    /// Switches the records on if one of `units` reads them; also gives what is wrong with them. A kernel without them
    /// refuses just as much, so the machine starts.
    pub(crate) fn open<'a>(mut units: impl Iterator<Item = &'a Unit>) -> (Self, Option<String>) {
        if !units.any(|unit| unit.audit) {
            return (Self::default(), None);
        }
        match AuditSource::open() {
            Ok(source) => (Self { source: Some(source), asked_ms: 0 }, None),
            Err(error) => (Self::default(), Some(format!("what the kernel refuses leaves no record: {error}"))),
        }
    }

    /// What a unit that reads them is given.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.source.as_ref().map(|source| source.as_fd())
    }

    /// Has the kernel tell the reader what was lost, when that was not asked for a while. Never waits.
    pub(crate) fn ask_for_losses(&mut self, now_ms: u64) {
        if let Some(source) = &self.source
            && now_ms.saturating_sub(self.asked_ms) >= LOSSES_EVERY_MS
        {
            self.asked_ms = now_ms;
            // A kernel that does not answer is asked again later.
            let _ = source.ask_for_losses();
        }
    }
}
