//! The launcher's code with every layer, in a guest that has a kernel and nothing else of ours: what launches cost and
//! leave, beside other sandboxes that are started by the same program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::guest::Guest;
use crate::scenario::{Failure, Stage};
use crate::vm::process::output;
use crate::vm::{Echo, Machine, Options};

/// The example of the launcher's crate that measures.
const EXAMPLE: &str = "launch-figures";

/// The one that writes more than it may.
const WRITER: &str = "write-on";

/// The disk that it writes to, as the guest mounts it.
const DISK: &str = "/disk";
const DISK_SIZE: &str = "256M";

/// Where the guest has what is launched.
pub(crate) const LAUNCHED: &str = "/nix/store/busybox/bin/busybox";

/// What the program needs to be there: cgroups with the controllers that PID 1 would make available.
const PREPARE: &str = "busybox mount -t cgroup2 none /sys/fs/cgroup && \
     echo '+memory +pids +cpu +io' > /sys/fs/cgroup/cgroup.subtree_control && busybox mkdir /sys/fs/cgroup/actions";

/// How long the guest may take for one command, and for all. Under translation a launch takes up to a tenth of a second.
const LIMIT: Duration = Duration::from_secs(900);
const LONG: Duration = Duration::from_secs(12 * 3600);

/// What was printed, by name.
#[derive(Debug)]
pub(crate) struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// One number.
    pub(crate) fn get(&self, name: &str) -> Result<f64, Failure> {
        self.0.get(name).copied().ok_or_else(|| Failure::broken(format!("{EXAMPLE} did not say {name}: {:?}", self.0)))
    }
}

/// Another sandbox: its files with their places in the guest, and the command that runs one program in it.
#[derive(Debug)]
pub(crate) struct Other {
    pub(crate) files: Vec<(PathBuf, String)>,
    /// What has to be written or made before.
    pub(crate) prepare: &'static str,
    pub(crate) command: &'static str,
}

/// A guest that can launch.
pub(crate) struct Launching {
    machine: Machine,
    limit: Duration,
}

impl Launching {
    /// Starts it on this kernel with these other sandboxes.
    pub(crate) fn start(stage: &Stage<'_>, kernel: &Path, others: &[Other]) -> Result<Self, Failure> {
        build(stage)?;
        let example = |name: &str| stage.context.programs.join("examples").join(name);
        let mut guest = Guest::new()?;
        for path in [
            "nix",
            "nix/store",
            "nix/store/busybox",
            "nix/store/busybox/bin",
            "sys",
            "run",
            "root",
            "usr/lib",
            "usr/lib/aios",
        ] {
            guest.folder(path);
        }
        for (minor, name) in [(5, "zero"), (7, "full"), (8, "random"), (9, "urandom")] {
            guest.device(&format!("dev/{name}"), 1, minor);
        }
        guest.copy(Path::new(super::guest::BUSYBOX), LAUNCHED)?;
        guest.copy(&stage.context.program("aios-probe"), "/usr/lib/aios/aios-probe")?;
        guest.copy(&example(EXAMPLE), "/bin/launch-figures")?;
        guest.copy(&example(WRITER), "/usr/lib/aios/adapter")?;
        for (from, at) in others.iter().flat_map(|other| &other.files) {
            guest.copy(from, at)?;
        }
        let disk = stage.folder.join("written.raw");
        output(
            "mke2fs",
            "e2fsprogs",
            &["-q".into(), "-t".into(), "ext4".into(), disk.clone().into(), DISK_SIZE.into()],
        )?;
        let limit = stage.context.extent.choose(LIMIT, LONG);
        let options = Options {
            direct: Some(guest.finish(kernel, &stage.folder)?),
            disk: vec![disk],
            no_net: true,
            timeout: 2 * limit.as_secs(),
            ..Options::default()
        };
        let mut launching = Self { machine: Machine::start(options, &stage.log("launching"), Echo::Hidden)?, limit };
        launching.run(&format!("busybox mount -t sysfs none /sys; {PREPARE}"))?;
        for other in others.iter().filter(|other| !other.prepare.is_empty()) {
            launching.run(other.prepare)?;
        }
        Ok(launching)
    }

    /// What the launcher's own launches cost and leave, in so many rounds.
    pub(crate) fn ours(&mut self, rounds: u32) -> Result<Figures, Failure> {
        self.figures(&format!("launch-figures {rounds} {LAUNCHED} true"))
    }

    /// What programs got onto a disk, in bytes, that stay within their limit or go beyond it.
    pub(crate) fn writes(&mut self) -> Result<Figures, Failure> {
        self.run(&format!(
            "busybox mknod /dev/disk b $(busybox tr : ' ' < /sys/block/vda/dev) && busybox mkdir {DISK} && \
             busybox mount -t ext4 /dev/disk {DISK}"
        ))?;
        self.figures(&format!("launch-figures writes {DISK}/granted"))
    }

    /// How long one launch of the other sandbox takes in the middle, in microseconds.
    pub(crate) fn other(&mut self, rounds: u32, other: &Other) -> Result<f64, Failure> {
        self.figures(&format!("launch-figures {rounds} --peer {}", other.command))?.get("peer-p50-us")
    }

    fn figures(&mut self, line: &str) -> Result<Figures, Failure> {
        let said = self.run(line)?;
        let pair = |line: &str| {
            line.trim().split_once(' ').and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        };
        Ok(Figures(said.lines().filter_map(pair).collect()))
    }

    fn run(&mut self, line: &str) -> Result<String, Failure> {
        let output = self.machine.console.run(line, self.limit)?;
        match output.status {
            0 => Ok(output.text),
            status => {
                Err(Failure::broken(format!("'{line}' ended with status {status} in the guest:\n{}", output.text)))
            }
        }
    }
}

/// Builds both examples, static as everything that is built for the image.
fn build(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "-q", "-p", "launcher", "--example", EXAMPLE, "--example", WRITER]);
    match cargo.current_dir(&stage.context.workspace).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::broken(format!("{EXAMPLE} or {WRITER} does not compile ({status})"))),
        Err(error) => Err(Failure::broken(format!("cannot start cargo: {error}"))),
    }
}
