//! The tiers as one table: what the programs of each may see and be given. Every other layer is the same for all, and no
//! request changes a row.
//!
//! The specification has four tiers. T0, for code that nobody has approved, and T2, for services of apps, get a row when
//! something runs in them; until then a request for them has no form.

use aios_wire::launch::{Resource, Tier};

/// What a tier opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Folders of the machine that are seen, read and executed from, beside the program itself.
    pub programs: &'static [&'static str],
    /// Whether there is a `/proc` of its own processes.
    pub processes: Shown,
    /// Devices, by their names in `/dev`.
    pub devices: &'static [&'static str],
    /// What may become descriptor 3.
    pub resources: &'static [Resource],
}

/// Whether something is there to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// It is not there.
    No,
    /// It may be read.
    Yes,
}

/// The row of a tier.
pub const fn of(tier: Tier) -> Profile {
    match tier {
        // C libraries expect their devices and /proc/self.
        Tier::Program => Profile {
            programs: &["/nix/store"],
            processes: Shown::Yes,
            devices: &["null", "zero", "full", "random", "urandom"],
            resources: &[Resource::None],
        },
        Tier::Adapter => Profile {
            programs: &[],
            processes: Shown::No,
            devices: &[],
            resources: &[Resource::None, Resource::Connection, Resource::Folder],
        },
    }
}
