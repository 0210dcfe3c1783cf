//! The tiers as one table: what the programs of each may see and be given. Every other layer is the same for all, and no
//! request changes a row.
//!
//! The specification has four tiers. T2 is for services of apps, which PID 1 starts: no request has a form for it.

use aios_wire::launch::{Resource, Tier};

/// What a tier shows. What of it is opened is a matter of the program ([`aios_wire::launch::Program::opens`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Folders of the machine that are seen, beside the program itself; opened ones are read and executed from.
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
    /// It is there.
    Yes,
}

/// The row of a tier.
pub const fn of(tier: Tier) -> Profile {
    match tier {
        // C libraries expect their devices and /proc/self. In quarantine all of it is there and nothing of it is opened: a
        // program that reaches for what is not there leaves no trace, and one that is refused does.
        Tier::Quarantine | Tier::Program => Profile {
            programs: &["/nix/store"],
            processes: Shown::Yes,
            devices: &["null", "zero", "full", "random", "urandom"],
            resources: &[Resource::None, Resource::Program],
        },
        Tier::Adapter => Profile {
            programs: &[],
            processes: Shown::No,
            devices: &[],
            resources: &[Resource::None, Resource::Connection, Resource::Folder],
        },
    }
}
