//! Everything between the verified root and the first service.
//!
//! Mounts, kernel settings, the table of users, the data, the cgroup tree. In this order, each step once; a step that
//! fails ends the start, except where the text says otherwise.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use aios_identity::PeerTable;
use aios_units::{Graph, Mode};
use aios_wire::init::{BootTimes, Measured, Origin, SigningKeys, System};
use rustix::fs::{Gid, Mode as Bits, Uid};
use rustix::mount::{MountFlags, mount, mount_remount};
use rustix::system::{RebootCommand, reboot};

use crate::cgroups;
use crate::cmdline;
use crate::data;
use crate::efi;
use crate::failure::{Failure, at};
use crate::measure::Words;
use crate::terminals;
use crate::unit_files::{self, Units, Users};

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
    /// What could not be done and does not stop the start.
    pub(crate) notes: Vec<String>,
}

/// Sets the machine up.
pub(crate) fn set_up(origin: Origin, mut words: Words, born_ms: u64) -> Result<Machine, Failure> {
    let system = system(origin, born_ms)?;
    let mode = match system.origin {
        Origin::Live => Mode::Live,
        Origin::Install => Mode::Install,
        Origin::Disk { .. } => Mode::Disk,
    };
    let users = Users::read()?;
    mounts(&users)?;
    let mut notes = kernel_settings();
    // From here on Ctrl-Alt-Del is a signal to this program.
    if let Err(error) = reboot(RebootCommand::CadOff) {
        notes.push(format!("Ctrl-Alt-Del restarts at once: {error}"));
    }
    let peers = fs::read_to_string(PEERS).map_err(at("read", PEERS))?;
    let peers = PeerTable::parse(&peers).map_err(at("use", PEERS))?;
    let terminals = terminals::find();
    let Units { graph, session } = unit_files::read(mode, &terminals)?;
    notes.extend(data::open(&system.origin, &users)?);
    cgroups::prepare()?;
    words.say("sysinit");
    Ok(Machine { system, words, users, peers, graph, session, notes })
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

/// Kernel settings before any service runs. Locks that only close come last.
const SETTINGS: &[(&str, &str)] = &[
    ("kernel/kptr_restrict", "2"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/perf_event_paranoid", "3"),
    ("kernel/yama/ptrace_scope", "2"),
    ("kernel/io_uring_disabled", "2"),
    ("kernel/sysrq", "0"),
    ("kernel/oops_limit", "100"),
    ("kernel/warn_limit", "100"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/randomize_va_space", "2"),
    ("kernel/core_pattern", "|/bin/false"),
    ("net/core/bpf_jit_harden", "2"),
    ("fs/protected_symlinks", "1"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_fifos", "2"),
    ("fs/protected_regular", "2"),
    ("fs/suid_dumpable", "0"),
    ("vm/mmap_min_addr", "65536"),
    ("vm/mmap_rnd_bits", "32"),
    ("vm/unprivileged_userfaultfd", "0"),
    ("dev/tty/ldisc_autoload", "0"),
    ("dev/tty/legacy_tiocsti", "0"),
    ("user/max_user_namespaces", "0"),
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv4/tcp_syncookies", "1"),
    ("net/ipv4/tcp_rfc1337", "1"),
    ("net/ipv4/icmp_echo_ignore_broadcasts", "1"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv4/conf/all/secure_redirects", "0"),
    ("net/ipv4/conf/default/secure_redirects", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/accept_source_route", "0"),
    ("net/ipv4/conf/default/accept_source_route", "0"),
    // Off until a link has an address: an offer of one comes from a host that nothing leads to yet.
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/log_martians", "1"),
    ("net/ipv4/conf/default/log_martians", "1"),
    ("net/ipv6/conf/all/accept_redirects", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
    ("net/ipv6/conf/all/accept_source_route", "0"),
    ("net/ipv6/conf/default/accept_source_route", "0"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("kernel/kexec_load_disabled", "1"),
    ("kernel/modules_disabled", "1"),
];

/// Applies the settings; a kernel that was built without a feature has no setting for it, which is as good.
fn kernel_settings() -> Vec<String> {
    let mut notes = Vec::new();
    for (name, value) in SETTINGS {
        let path = Path::new("/proc/sys").join(name);
        match fs::write(&path, value) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                notes.push(format!("kernel setting {name} could not be set to {value}: {error}"));
            }
            _ => {}
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::SETTINGS;

    /// The part of the kernel's policy that is about settings; `cargo xtask kernel config` compares the rest.
    #[derive(Deserialize)]
    struct Policy {
        setting: Vec<Row>,
    }

    #[derive(Deserialize)]
    struct Row {
        name: String,
        value: String,
        exception: Option<String>,
    }

    #[test]
    fn the_settings_are_those_of_the_kernel_policy() {
        let policy: Policy = toml::from_str(include_str!("../../../kernel-config/required.toml")).expect("understood");
        let settings: BTreeMap<&str, &str> = SETTINGS.iter().copied().collect();
        assert_eq!(settings.len(), SETTINGS.len(), "no setting is written twice");
        for row in &policy.setting {
            let written = settings.get(row.name.as_str()).is_some_and(|value| *value == row.value);
            assert_eq!(written, row.exception.is_none(), "{} = {}", row.name, row.value);
        }
        for name in settings.keys() {
            assert!(policy.setting.iter().any(|row| row.name == *name), "{name} has no row in required.toml");
        }
    }
}
