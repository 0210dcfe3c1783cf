//! The tries that need more than one call or a choice of targets.
//!
//! Where several targets would each be an escape, all are tried and the first that works is the result.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use aios_linux::attempt;
use rustix::fs::{AtFlags, CWD, Mode};
use rustix::process::{Pid, test_kill_process};

/// Files that exist on the machine and have no place in a sandbox.
const OUTSIDE: &[&str] =
    &["/usr/share/aios/peers.toml", "/usr/lib/aios/init", "/etc/hosts", "/etc/passwd", "/aios", "/root", "/run/aios"];

/// What the profile of this program opens.
static OPENED: OnceLock<Vec<String>> = OnceLock::new();

/// Paths that are no targets, with all below them and the folders that lead there.
pub(crate) fn leave_out(paths: Vec<String>) {
    let _ = OPENED.set(paths);
}

/// The targets that nobody opened to this program.
fn closed<'a>(targets: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let opened = OPENED.get().map_or(&[][..], Vec::as_slice);
    let leads = |path: &String, target: &str| {
        let (path, target) = (Path::new(path), Path::new(target));
        target.starts_with(path) || path.starts_with(target)
    };
    targets.iter().copied().filter(move |target| !opened.iter().any(|path| leads(path, target)))
}

/// Succeeds when any target does; otherwise the last error.
fn any<T>(targets: impl IntoIterator<Item = T>, attempt: impl Fn(T) -> io::Result<()>) -> io::Result<()> {
    let mut last = Err(io::Error::from(rustix::io::Errno::NOENT));
    for target in targets {
        match attempt(target) {
            Ok(()) => return Ok(()),
            error => last = error,
        }
    }
    last
}

/// Process ids of others. Inside a pid namespace of one's own there is nobody behind any of them.
fn others() -> impl Iterator<Item = i32> {
    let me = std::process::id() as i32;
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    parent.into_iter().chain(1..=400).filter(move |pid| *pid != me)
}

pub(crate) fn open_outside() -> io::Result<()> {
    any(closed(OUTSIDE), |path| File::open(path).map(drop))
}

pub(crate) fn inherited_descriptor() -> io::Result<()> {
    any(4..1024, attempt::open_descriptor)
}

pub(crate) fn stat_hidden() -> io::Result<()> {
    any(closed(OUTSIDE), |path| rustix::fs::stat(path).map(drop).map_err(io::Error::from))
}

pub(crate) fn chmod_outside() -> io::Result<()> {
    // The mode it has anyway: an attribute is written and nothing changes.
    any(closed(&["/etc", "/usr"]), |path| {
        rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(0o755), AtFlags::empty()).map_err(io::Error::from)
    })
}

pub(crate) fn append_outside() -> io::Result<()> {
    any(closed(&["/usr/share/aios/peers.toml", "/etc/hosts"]), |path| {
        OpenOptions::new().append(true).open(path).map(drop)
    })
}

pub(crate) fn hardlink_in() -> io::Result<()> {
    any(["/etc/passwd", "/usr/share/aios/peers.toml"], |path| {
        std::fs::hard_link(path, "/tmp/aios-probe-link").inspect(|()| {
            let _ = std::fs::remove_file("/tmp/aios-probe-link");
        })
    })
}

pub(crate) fn symlink_read() -> io::Result<()> {
    let link = format!("/tmp/aios-probe-{}", std::process::id());
    any(closed(OUTSIDE), |path| {
        std::os::unix::fs::symlink(path, &link)?;
        let read = File::open(&link).map(drop);
        std::fs::remove_file(&link)?;
        read
    })
}

pub(crate) fn write_root() -> io::Result<()> {
    File::create_new("/aios-probe-file").map(drop)?;
    std::fs::remove_file("/aios-probe-file")
}

pub(crate) fn proc_of_first() -> io::Result<()> {
    any(closed(&["/proc/1/root/usr", "/proc/1/environ", "/proc/1/exe"]), |path| File::open(path).map(drop))
}

pub(crate) fn proc_of_others() -> io::Result<()> {
    any(closed(&["/proc/self/../2", "/proc/2/status", "/proc/sys/kernel", "/proc/cmdline"]), |path| {
        File::open(path).map(drop)
    })
}

pub(crate) fn sysrq() -> io::Result<()> {
    OpenOptions::new().write(true).open("/proc/sysrq-trigger").map(drop)
}

pub(crate) fn leave_cgroup() -> io::Result<()> {
    any(["/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/actions/cgroup.procs", "/sys"], |path| {
        File::open(path).map(drop)
    })
}

pub(crate) fn block_device() -> io::Result<()> {
    any(["/dev/vda", "/dev/sda", "/dev/mem", "/dev/kmsg"], |path| File::open(path).map(drop))
}

pub(crate) fn trace_others() -> io::Result<()> {
    any(others(), attempt::trace)
}

pub(crate) fn read_memory_of_others() -> io::Result<()> {
    any(others(), attempt::read_memory)
}

pub(crate) fn descriptor_of_others() -> io::Result<()> {
    any(others(), attempt::take_descriptor)
}

pub(crate) fn signal_others() -> io::Result<()> {
    any(others().filter_map(Pid::from_raw), |pid| test_kill_process(pid).map_err(io::Error::from))
}

pub(crate) fn connect_service() -> io::Result<()> {
    any(closed(&["/run/aios/init", "/run/aios/launcher", "/run/aios/policy-kernel"]), |path| {
        UnixStream::connect(Path::new(path)).map(drop)
    })
}

pub(crate) fn connect_abstract() -> io::Result<()> {
    UnixStream::connect_addr(&SocketAddr::from_abstract_name("aios-probe")?).map(drop)
}

pub(crate) fn send_datagram() -> io::Result<()> {
    UdpSocket::bind("0.0.0.0:0")?.send_to(b"x", "192.0.2.1:53").map(drop)
}

pub(crate) fn connect_network() -> io::Result<()> {
    TcpStream::connect_timeout(&([192, 0, 2, 1], 80).into(), Duration::from_millis(200)).map(drop)
}

pub(crate) fn vsock() -> io::Result<()> {
    const AF_VSOCK: i32 = 40;
    attempt::socket(AF_VSOCK, 1).map(drop)
}

pub(crate) fn netlink() -> io::Result<()> {
    const AF_NETLINK: i32 = 16;
    attempt::socket(AF_NETLINK, 3).map(drop)
}

pub(crate) fn packet() -> io::Result<()> {
    const AF_PACKET: i32 = 17;
    attempt::socket(AF_PACKET, 3).map(drop)
}

pub(crate) fn mount() -> io::Result<()> {
    std::fs::create_dir_all("/tmp/aios-probe-mount")?;
    let mounted = attempt::mount(c"/tmp/aios-probe-mount");
    std::fs::remove_dir("/tmp/aios-probe-mount")?;
    mounted
}

pub(crate) fn type_into_terminal() -> io::Result<()> {
    any([io::stdin().as_fd(), io::stdout().as_fd(), io::stderr().as_fd()], attempt::type_into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_opened_is_left_out() {
        assert_eq!(closed(OUTSIDE).count(), OUTSIDE.len());
        let opened = ["/usr/share/aios", "/etc/hosts", "/run/aio", "/aios/groups"];
        leave_out(opened.map(str::to_owned).into());
        let left: Vec<_> = closed(OUTSIDE).collect();
        assert_eq!(left, ["/usr/lib/aios/init", "/etc/passwd", "/root", "/run/aios"]);
    }
}
