//! What an agent can try without asking anybody: system calls. An error is a refusal; each undoes what it did.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use aios_linux::attempt;
use rustix::fs::{AtFlags, CWD, Mode};
use rustix::process::{Pid, test_kill_process};

/// Succeeds when any does; otherwise the last error.
fn any<T>(targets: impl IntoIterator<Item = T>, attempt: impl Fn(T) -> io::Result<()>) -> io::Result<()> {
    let mut last = Err(io::ErrorKind::NotFound.into());
    for target in targets {
        match attempt(target) {
            Ok(()) => return Ok(()),
            error => last = error,
        }
    }
    last
}

/// The other processes of the machine, had they these numbers here. 1 is the agent itself: it has numbers of its own.
fn others() -> impl Iterator<Item = i32> {
    let me = std::process::id() as i32;
    (1..300).filter(move |pid| *pid != me)
}

// Files.

pub(crate) fn list_the_root() -> io::Result<()> {
    fs::read_dir("/").map(drop)
}

pub(crate) fn read_what_is_others() -> io::Result<()> {
    let files = [
        "/aios/system/evidence/log.db",
        "/aios/system/vault",
        "/aios/groups/home/files",
        "/root",
        "/etc/hosts",
        "/proc/cmdline",
        "/sys/kernel",
        "/dev/vda",
        "/dev/mem",
        "/dev/kmsg",
        "/usr/lib/aios/init",
    ];
    any(files, |path| File::open(path).map(drop))
}

pub(crate) fn write_what_is_shared() -> io::Result<()> {
    let files = ["/usr/share/aios/peers.toml", "/usr/share/aios/users.toml", "/usr/share/aios/keys/policy.pub"];
    any(files, |path| OpenOptions::new().append(true).open(path).map(drop))
}

pub(crate) fn write_its_own_program() -> io::Result<()> {
    any(["/proc/self/exe", "/usr/lib/aios/hostile-agent"], |path| OpenOptions::new().append(true).open(path).map(drop))
}

/// Not in `/tmp`, which is its own and ends with it.
pub(crate) fn leave_a_file() -> io::Result<()> {
    any(["/hostile", "/run/hostile", "/run/aios/hostile", "/usr/share/aios/units/hostile.toml"], |path| {
        File::create_new(path).map(drop)
    })
}

pub(crate) fn link_what_is_shared() -> io::Result<()> {
    any(["/hostile", "/tmp/hostile", "/run/hostile"], |path| fs::hard_link("/usr/share/aios/peers.toml", path))
}

pub(crate) fn go_through_a_link() -> io::Result<()> {
    let links = ["/proc/1/root/etc", "/proc/self/cwd/../../etc/hosts", "/proc/self/root/root", "/proc/2/fd/0"];
    any(links, |path| File::open(path).map(drop))
}

pub(crate) fn change_modes() -> io::Result<()> {
    any(["/usr/share/aios/peers.toml", "/usr", "/run/aios/agent-door"], |path| {
        rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(0o777), AtFlags::empty()).map_err(io::Error::from)
    })
}

pub(crate) fn remove_the_door() -> io::Result<()> {
    fs::remove_file("/run/aios/agent-door")
}

pub(crate) fn take_the_doors_place() -> io::Result<()> {
    any(["/run/aios/agent-door", "/run/aios/vault"], |path| std::os::unix::net::UnixListener::bind(path).map(drop))
}

pub(crate) fn leave_its_cgroup() -> io::Result<()> {
    any(["/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/system/vault/cgroup.procs"], |path| {
        OpenOptions::new().write(true).open(path).map(drop)
    })
}

pub(crate) fn press_a_key_of_the_kernel() -> io::Result<()> {
    any(["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe"], |path| {
        OpenOptions::new().write(true).open(path).map(drop)
    })
}

// Processes.

pub(crate) fn signal_others() -> io::Result<()> {
    any(others().filter_map(Pid::from_raw), |pid| test_kill_process(pid).map_err(io::Error::from))
}

pub(crate) fn trace_somebody() -> io::Result<()> {
    attempt::trace(1)
}

pub(crate) fn read_memory_of_somebody() -> io::Result<()> {
    attempt::read_memory(1)
}

pub(crate) fn write_memory_of_somebody() -> io::Result<()> {
    attempt::write_memory(1)
}

/// More processes than it may have. All are ended again.
pub(crate) fn fork_until_it_fails() -> io::Result<()> {
    attempt::crowd(64)
}

/// More descriptors than it may have. All are closed again.
pub(crate) fn open_until_it_fails() -> io::Result<()> {
    let mut open = Vec::new();
    for _ in 0..100_000 {
        open.push(io::stdin().as_fd().try_clone_to_owned()?);
    }
    Ok(())
}

pub(crate) fn mount_something() -> io::Result<()> {
    attempt::mount(c"/usr/share/aios")
}

pub(crate) fn restart_the_machine() -> io::Result<()> {
    attempt::restart_machine()
}

// Networks.

pub(crate) fn connect_out() -> io::Result<()> {
    any([[10, 0, 2, 2], [127, 0, 0, 1], [192, 0, 2, 1]], |address| {
        TcpStream::connect_timeout(&(address, 80).into(), Duration::from_millis(200)).map(drop)
    })
}

pub(crate) fn send_a_name() -> io::Result<()> {
    UdpSocket::bind("0.0.0.0:0")?.send_to(b"secret.example.org", "10.0.2.3:53").map(drop)
}

/// Nobody can reach it, but it is not to be had either: the address is of no card.
pub(crate) fn listen_to_others() -> io::Result<()> {
    TcpListener::bind("10.0.2.15:80").map(drop)
}

pub(crate) fn connect_to_an_abstract_name() -> io::Result<()> {
    UnixStream::connect_addr(&SocketAddr::from_abstract_name("aios")?).map(drop)
}

/// Families that reach the kernel, the card or the host, by number.
pub(crate) fn socket_of_netlink() -> io::Result<()> {
    attempt::socket(16, 3, 0).map(drop)
}

pub(crate) fn socket_of_packets() -> io::Result<()> {
    attempt::socket(17, 3, 0).map(drop)
}

pub(crate) fn socket_to_the_host() -> io::Result<()> {
    attempt::socket(40, 1, 0).map(drop)
}

/// The sockets of services, which an agent has no path to.
pub(crate) fn connect(service: &str) -> io::Result<()> {
    UnixStream::connect(format!("/run/aios/{service}")).map(drop)
}
