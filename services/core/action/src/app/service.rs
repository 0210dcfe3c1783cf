//! What an app may say of itself as a service, and the unit that follows from it.
//!
//! The manifest says how it is started, what it may use up, whether it is started again after an end that is good, and
//! whether it is an agent. The rest of its unit is the same for every app or follows from the rights that a person approved.

use serde::{Deserialize, Serialize};

use super::manifest::{AppRight, Manifest};

/// All arguments together have at most so many bytes: the unit's text has to fit into one request to PID 1.
const ARGS_LIMIT: usize = 512;
const MEMORY_MIB: std::ops::RangeInclusive<u64> = 1..=512;
const PROCESSES: std::ops::RangeInclusive<u64> = 1..=64;

/// An app as a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// What it does as one.
    #[serde(default)]
    pub kind: ServiceKind,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// After which ends it is started again.
    #[serde(default)]
    pub restart: Again,
    /// Its memory.
    #[serde(default = "some_memory")]
    pub memory_mib: u64,
    /// Its processes and threads.
    #[serde(default = "some_processes")]
    pub processes: u64,
}

/// What an app does as a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceKind {
    /// Works by itself; nobody calls it and it calls nobody.
    #[default]
    Plain,
    /// Proposes actions at the door of agents, under its own name.
    Agent,
}

impl ServiceKind {
    /// The kind of its unit.
    const fn unit(self) -> &'static str {
        match self {
            Self::Plain => "app",
            Self::Agent => "agent",
        }
    }

    /// Where it may connect.
    const fn connect(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &[],
            Self::Agent => &["/run/aios/agent-door"],
        }
    }

    /// The list of system calls that it may make: those of an action, or the shortest one with sockets.
    const fn calls(self) -> &'static str {
        match self {
            Self::Plain => "action",
            Self::Agent => "service",
        }
    }
}

/// After which ends a service is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Again {
    /// After each.
    #[default]
    Always,
    /// After those that are failures.
    OnFailure,
}

impl Again {
    /// Its word, in manifests and units.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::OnFailure => "on-failure",
        }
    }
}

const fn some_memory() -> u64 {
    64
}

const fn some_processes() -> u64 {
    8
}

impl Service {
    /// Whether its limits are ones that a service may have.
    pub(super) fn is_right(&self) -> bool {
        let length: usize = self.args.iter().map(String::len).sum();
        length <= ARGS_LIMIT && MEMORY_MIB.contains(&self.memory_mib) && PROCESSES.contains(&self.processes)
    }
}

impl Manifest {
    /// The text of the unit that runs the app as a service: `program` with the digest of this manifest, as `user`. None for
    /// an app that is no service.
    pub fn unit(&self, user: u32, program: &str) -> Option<String> {
        let service = self.service.as_ref()?;
        let list = |words: &mut dyn Iterator<Item = &str>| words.map(quoted).collect::<Vec<_>>().join(", ");
        let args = list(&mut service.args.iter().map(String::as_str));
        let opened = |right, paths: &[&str]| list(&mut paths.iter().copied().filter(|_| self.rights.contains(&right)));
        let devices = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
        Some(format!(
            "kind = \"{kind}\"\n\
             program = {program}\n\
             sha256 = \"{sha256}\"\n\
             args = [{args}]\n\
             user = \"{user}\"\n\n\
             [restart]\n\
             policy = \"{restart}\"\n\n\
             [resources]\n\
             memory-max-mib = {memory}\n\
             pids-max = {processes}\n\
             descriptors-max = 256\n\
             cpu-weight = 50\n\n\
             [sandbox]\n\
             own = [\"mount\", \"pid\", \"ipc\", \"uts\", \"cgroup\"]\n\
             execute = [{store}]\n\
             read = [{processes_seen}]\n\
             device = [{devices}]\n\
             connect = [{connect}]\n\
             calls = [\"{calls}\"]\n",
            kind = service.kind.unit(),
            connect = list(&mut service.kind.connect().iter().copied()),
            calls = service.kind.calls(),
            program = quoted(program),
            sha256 = self.program.sha256,
            restart = service.restart.word(),
            memory = service.memory_mib,
            processes = service.processes,
            store = opened(AppRight::Store, &["/nix/store"]),
            processes_seen = opened(AppRight::Processes, &["/proc"]),
            devices = opened(AppRight::Devices, &devices),
        ))
    }
}

/// A word as TOML has it. What would need more than these two is no argument of an app.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}
