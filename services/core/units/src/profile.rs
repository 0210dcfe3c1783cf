//! A unit's profile: what its program may reach, as its file says it.
//!
//! A profile lists; what it does not list is not there. Lifting a layer has a word of its own (`view = "whole"`,
//! `paths = "unlimited"`, `calls = ["unlimited"]`), so that it is seen in a review. Agents can lift none.

use aios_ids::UnitName;
use serde::Deserialize;

use crate::unit::{Kind, shown};

/// What a unit may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// Capabilities it keeps, such as `CAP_NET_ADMIN`.
    pub capabilities: Vec<String>,
    /// Groups it is in besides its own, by name.
    pub groups: Vec<String>,
    /// What it has of its own.
    pub own: Vec<Own>,
    /// Whether it sees the machine's network.
    pub network: Network,
    /// Whether it sees only what this profile lists, or the whole file tree.
    pub view: View,
    /// Whether Landlock holds it to the paths below.
    pub paths: Paths,
    /// Paths it may read.
    pub read: Vec<String>,
    /// Paths it may read and execute; its own program always is one.
    pub execute: Vec<String>,
    /// Paths it may change; its state folders always are.
    pub write: Vec<String>,
    /// Sockets and folders of sockets it may connect to.
    pub connect: Vec<String>,
    /// Devices it may use.
    pub device: Vec<String>,
    /// Lists of system calls that it may make, files of the image's `seccomp` folder; `["unlimited"]` for no limit.
    pub calls: Vec<String>,
}

/// In place of a list: every system call.
const UNLIMITED: &str = "unlimited";

impl Profile {
    /// Whether the program may make only listed system calls.
    pub fn limits_calls(&self) -> bool {
        !self.calls.iter().any(|list| list == UNLIMITED)
    }

    /// What makes no sense in any unit: the key, and why.
    pub(crate) fn check(&self, kind: Kind) -> Result<(), (&'static str, String)> {
        if self.calls.is_empty() {
            return Err(("sandbox.calls", "is missing: name lists of the seccomp folder".into()));
        }
        if let Some(list) = self.calls.iter().find(|name| name.parse::<UnitName>().is_err()) {
            return Err(("sandbox.calls", format!("has '{}', which is no list's name", shown(list))));
        }
        if self.calls.len() > 1 && !self.limits_calls() {
            return Err(("sandbox.calls", "has 'unlimited' beside a list".into()));
        }
        if self.view == View::Listed && !self.own.contains(&Own::Mount) {
            return Err(("sandbox.own", "lacks 'mount', which a view of its own needs".into()));
        }
        // An app's view has the five devices without state, and its own rules say which.
        if self.view == View::Listed && !self.device.is_empty() && kind != Kind::App {
            return Err(("sandbox.device", "needs view = \"whole\": a view of its own has no devices".into()));
        }
        Ok(())
    }

    /// What no agent ever gets, whatever its file says.
    pub(crate) fn check_agent(&self) -> Result<(), &'static str> {
        if [Own::Mount, Own::Pid, Own::Ipc, Own::Uts].iter().any(|own| !self.own.contains(own)) {
            return Err("of an agent has mount, pid, ipc and uts of its own");
        }
        if self.network != Network::None || self.view != View::Listed || self.paths != Paths::Enforced {
            return Err("of an agent has no network, only listed paths, and these enforced");
        }
        if !self.capabilities.is_empty() || !self.groups.is_empty() || !self.limits_calls() {
            return Err("of an agent has no capabilities, no groups and a list of calls");
        }
        if self.connect.iter().any(|path| path != AGENT_DOOR) {
            return Err("of an agent connects to nothing but /run/aios/agent-door");
        }
        let mut seen = self.read.iter().chain(&self.execute);
        if seen.any(|path| !path.starts_with("/usr/")) || !self.write.is_empty() {
            return Err("of an agent reads and executes below /usr and writes only its state");
        }
        Ok(())
    }
}

/// The only thing of the system that an agent can talk to.
pub(crate) const AGENT_DOOR: &str = "/run/aios/agent-door";

/// What a program has of its own instead of sharing it with the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Own {
    /// Mounts.
    Mount,
    /// Process ids. Not for a program that identifies its callers: it would not see their processes.
    Pid,
    /// Shared memory and message queues.
    Ipc,
    /// Host name.
    Uts,
    /// The root of the cgroup tree it sees.
    Cgroup,
}

/// Whether a program sees the machine's network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// It has an empty one of its own.
    #[default]
    None,
    /// The machine's.
    Host,
}

/// Which file tree a program sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// One with only the paths of its profile, an empty `/tmp` and a few devices.
    #[default]
    Listed,
    /// The machine's.
    Whole,
}

/// Whether Landlock holds a program to the paths of its profile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Paths {
    /// It does.
    #[default]
    Enforced,
    /// It does not, for programs that mount or start others with wider rules.
    Unlimited,
}
