//! Short memory: the kernel tells when programs wait for it, and actions are ended before anything else suffers.
//!
//! The kernel's own last resort goes by the scores in the unit files; this acts before it, one action at a time.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};

use crate::cgroups::{self, Expendable};

const PRESSURE: &str = "/proc/pressure/memory";
/// A tenth of every two seconds, somebody waited for memory.
const TRIGGER: &[u8] = b"some 200000 2000000\0";
/// Waiting alone is no shortage: a program at its own limit waits as well. Below a tenth that is free, it is one.
const FREE_PART: u64 = 10;

/// The kernel's word about memory, as a descriptor that becomes urgent.
#[derive(Debug)]
pub(crate) struct Pressure(File);

impl Pressure {
    /// Asks the kernel to tell.
    pub(crate) fn watch() -> io::Result<Self> {
        let mut file = File::options().read(true).write(true).open(PRESSURE)?;
        file.write_all(TRIGGER)?;
        Ok(Self(file))
    }

    /// What to wait for.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Ends what has to go, if memory really is short; says what was done.
pub(crate) fn relieve() -> Option<String> {
    let memory = fs::read_to_string("/proc/meminfo").ok()?;
    let (total, available) = (kib(&memory, "MemTotal:")?, kib(&memory, "MemAvailable:")?);
    let victim = choose(total, available, cgroups::expendable())?;
    let (name, mib) = (victim.name.escape_default(), victim.bytes >> 20);
    Some(match victim.end() {
        Ok(()) => format!("{name} held {mib} MiB and was ended: {} MiB of {} were free", available >> 10, total >> 10),
        Err(error) => format!("{name} holds {mib} MiB and cannot be ended: {error}"),
    })
}

/// The largest action, if there is none the largest agent, then the largest app; nothing while there is memory.
fn choose(total: u64, available: u64, from: Vec<Expendable>) -> Option<Expendable> {
    if available.saturating_mul(FREE_PART) >= total {
        return None;
    }
    from.into_iter().filter(|one| one.bytes > 0).min_by_key(|one| (one.branch, std::cmp::Reverse(one.bytes)))
}

fn kib(memory: &str, key: &str) -> Option<u64> {
    let line = memory.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroups::Branch;

    #[test]
    fn the_largest_action_goes_first_then_agents_and_apps_last() {
        let one = |branch, name: &str, bytes| Expendable { branch, name: name.into(), bytes };
        let all = vec![
            one(Branch::Agents, "agent", 900),
            one(Branch::Actions, "small", 10),
            one(Branch::Actions, "large", 20),
            one(Branch::Actions, "ended", 0),
            one(Branch::Apps, "app", 950),
        ];
        let chosen = |available, from: &[Expendable]| choose(1000, available, from.to_vec()).map(|one| one.name);
        assert_eq!(chosen(99, &all).as_deref(), Some("large"));
        assert_eq!(chosen(99, &all[..1]).as_deref(), Some("agent"));
        assert_eq!(chosen(100, &all), None, "there is memory: somebody waits at a limit of their own");
        assert_eq!(chosen(0, &all[3..4]), None);
        assert_eq!(chosen(0, &all[3..]).as_deref(), Some("app"));
    }

    #[test]
    fn the_kernels_table_is_read() {
        let text = "MemTotal:         500124 kB\nMemFree: 7 kB\nMemAvailable:     41000 kB\n";
        assert_eq!((kib(text, "MemTotal:"), kib(text, "MemAvailable:")), (Some(500_124), Some(41_000)));
        assert_eq!(kib("MemTotal: many kB", "MemTotal:"), None);
    }
}
