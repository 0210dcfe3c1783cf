//! Everything between the verified root and the first service.
//!
//! The table of users, mounts, what programs are confined with, kernel settings, the data. In this order, each step
//! once; a step that fails ends the start, except where the text says otherwise.

use std::fs;

use aios_identity::PeerTable;
use aios_linux::reach::require_landlock;
use aios_units::{Graph, Mode};
use aios_wire::init::{BootTimes, Measured, Origin, SigningKeys, System};
use rustix::fs::{Gid, Mode as Bits, Uid};
use rustix::mount::{MountFlags, mount, mount_remount};
use rustix::system::{RebootCommand, reboot};

use crate::cgroups;
use crate::cmdline;
use crate::data::{self, Opened};
use crate::early::Early;
use crate::efi;
use crate::failure::{Failure, LACKING, at};
use crate::measure::Words;
use crate::terminals;
use crate::unit_files::{self, Units, Users};
use crate::{kernel_settings, seed, wall_clock, watchdog};

/// Sockets of PID 1 and of the services.
pub(crate) const SOCKETS: &str = aios_wire::SOCKET_DIR;
const PEERS: &str = "/usr/share/aios/peers.toml";
const OS_RELEASE: &str = "/usr/lib/os-release";

/// A machine that is ready for its first service.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) system: System,
    pub(crate) words: Words,
    pub(crate) users: Users,
    pub(crate) peers: PeerTable,
    pub(crate) graph: Graph,
    /// What an operator's session is started like.
    pub(crate) session: Option<aios_units::Unit>,
    /// How long the start waited for a person.
    pub(crate) waited_ms: u64,
    /// What could not be done and does not stop the start.
    pub(crate) notes: Vec<String>,
}

/// Sets the machine up.
pub(crate) fn set_up(early: Early, born_ms: u64) -> Result<Machine, Failure> {
    let Early { origin, mut words, mut notes } = early;
    let system = system(origin, born_ms)?;
    let mode = match system.origin {
        Origin::Live => Mode::Live,
        Origin::Install => Mode::Install,
        Origin::Disk { .. } => Mode::Disk,
    };
    let users = Users::read()?;
    mounts(&users)?;
    require_landlock().map_err(|error| Failure::new("programs cannot be confined", error).hint(LACKING))?;
    cgroups::prepare()?;
    watchdog::feed();
    notes.extend(spare_this_program().err());
    notes.extend(kernel_settings::apply());
    let peers = fs::read_to_string(PEERS).map_err(at("read", PEERS))?;
    let peers = PeerTable::parse(&peers).map_err(at("use", PEERS))?;
    let terminals = terminals::find();
    let Units { graph, session } = unit_files::read(mode, &terminals)?;
    let Opened { notes: told, waited_ms } = data::open(&system.origin, &users)?;
    notes.extend(told);
    watchdog::feed();
    // From here on Ctrl-Alt-Del is a signal to this program. Before, while a pass phrase is asked for, it restarts at once.
    if let Err(error) = reboot(RebootCommand::CadOff) {
        notes.push(format!("Ctrl-Alt-Del restarts at once: {error}"));
    }
    notes.extend(wall_clock::not_before_what_was());
    if let Origin::Disk { .. } = system.origin
        && let Err(error) = seed::spend()
    {
        notes.push(format!("the last start's seed could not be used: {error}"));
    }
    words.say("sysinit");
    Ok(Machine { system, words, users, peers, graph, session, waited_ms, notes })
}

/// Memory may get as short as it will: the kernel never ends this program, and nobody may look into it.
fn spare_this_program() -> Result<(), String> {
    fs::write("/proc/self/oom_score_adj", "-1000")
        .map_err(|error| format!("PID 1 can be ended for its memory: {error}"))?;
    let undumpable = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    undumpable.map_err(|error| format!("PID 1 can be looked into: {error}"))
}

fn system(origin: Origin, born_ms: u64) -> Result<System, Failure> {
    let line = fs::read_to_string("/proc/cmdline").map_err(at("read", "/proc/cmdline"))?;
    let line = cmdline::parse(&line).map_err(|error| Failure::new("the kernel command line is no good", error))?;
    let boot_id = "/proc/sys/kernel/random/boot_id";
    let boot_id = fs::read_to_string(boot_id).map_err(at("read", boot_id))?.trim().to_owned();
    Ok(System {
        version: line.version,
        origin,
        boot_id,
        root_hash: line.root.to_string(),
        secure_boot: efi::secure_boot(),
        firmware_keys: efi::firmware_keys(),
        keys: signing_keys()?,
        measured: Measured::NoTpm.into(),
        uptime_s: 0,
        boot_ms: BootTimes { init: Some(born_ms), ..BootTimes::default() },
        frozen: None,
        degraded: Vec::new(),
    })
}

/// Whose keys signed this system, as the verified root says.
fn signing_keys() -> Result<SigningKeys, Failure> {
    let text = fs::read_to_string(OS_RELEASE).map_err(at("read", OS_RELEASE))?;
    let development = text.lines().any(|line| line == "VARIANT_ID=development-keys");
    Ok(if development { SigningKeys::Development } else { SigningKeys::Release })
}

fn mounts(users: &Users) -> Result<(), Failure> {
    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let settings = users.id("settings")?;
    for (kind, place, options) in [
        ("tmpfs", "/tmp", c"mode=1777,size=10%,nr_inodes=65536"),
        ("tmpfs", "/etc", c"mode=0755,size=4m,nr_inodes=4096"),
        ("cgroup2", "/sys/fs/cgroup", c"nsdelegate"),
    ] {
        mount(kind, place, kind, plain, options).map_err(at("mount", place))?;
    }
    rustix::fs::chown("/etc", Some(Uid::from_raw(settings)), Some(Gid::from_raw(settings)))
        .map_err(at("give away", "/etc"))?;
    mount_remount("/proc", plain, c"hidepid=invisible").map_err(at("remount", "/proc"))?;
    fs::create_dir_all(SOCKETS).map_err(at("make", SOCKETS))?;
    rustix::fs::chmod(SOCKETS, Bits::from_raw_mode(0o755)).map_err(at("open", SOCKETS))
}
