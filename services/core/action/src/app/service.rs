//! What an app may say of itself as a service, and the unit that follows from it.
//!
//! The manifest says how it is started, what it may use up, and whether it is started again after an end that is good. The
//! rest of its unit is the same for every app or follows from the rights that a person approved.

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
            "kind = \"app\"\n\
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
             calls = [\"action\"]\n",
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
