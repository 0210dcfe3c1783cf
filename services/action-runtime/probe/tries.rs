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

/// Files of the machine that nobody without rights may change.
const FILES: &[&str] = &["/usr/share/aios/peers.toml", "/etc/hosts", "/usr/lib/aios/init"];

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
    // Where process 1 is this program, its file is the one thing that is open to it in any tier.
    let own = std::fs::read_link("/proc/1/exe").ok() == std::env::current_exe().ok();
    let paths = closed(&["/proc/1/root/usr", "/proc/1/environ", "/proc/1/exe"]);
    any(paths.filter(|path| !own || *path != "/proc/1/exe"), |path| File::open(path).map(drop))
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

pub(crate) fn mount() -> io::Result<()> {
    std::fs::create_dir_all("/tmp/aios-probe-mount")?;
    let mounted = attempt::mount(c"/tmp/aios-probe-mount");
    std::fs::remove_dir("/tmp/aios-probe-mount")?;
    mounted
}

pub(crate) fn type_into_terminal() -> io::Result<()> {
    any([io::stdin().as_fd(), io::stdout().as_fd(), io::stderr().as_fd()], attempt::type_into)
}

pub(crate) fn truncate_outside() -> io::Result<()> {
    // Only opened: what is truncated is gone.
    any(closed(FILES), |path| OpenOptions::new().write(true).open(path).map(drop))
}

pub(crate) fn rename_outside() -> io::Result<()> {
    // To its own name, which changes nothing.
    any(closed(FILES), |path| std::fs::rename(path, path))
}

pub(crate) fn remove_outside() -> io::Result<()> {
    any(closed(&["/etc", "/usr"]), |path| match std::fs::remove_dir(path) {
        // They are not empty: somebody with the right is told so.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => other,
    })
}

pub(crate) fn touch_outside() -> io::Result<()> {
    any(closed(FILES), |path| {
        let file = File::open(path)?;
        // The time it has anyway.
        file.set_modified(file.metadata()?.modified()?)
    })
}

pub(crate) fn give_outside_away() -> io::Result<()> {
    // To its own owner.
    any(closed(FILES), |path| {
        let status = rustix::fs::stat(path)?;
        std::os::unix::fs::chown(path, Some(status.st_uid), Some(status.st_gid))
    })
}

pub(crate) fn label_outside() -> io::Result<()> {
    any(closed(FILES), |path| {
        rustix::fs::setxattr(path, "user.aios-probe", b"", rustix::fs::XattrFlags::CREATE)?;
        Ok(rustix::fs::removexattr(path, "user.aios-probe")?)
    })
}

pub(crate) fn write_own_program() -> io::Result<()> {
    any(["/proc/self/exe", "/usr/lib/aios/aios-probe"], |path| OpenOptions::new().write(true).open(path).map(drop))
}

pub(crate) fn write_own_memory() -> io::Result<()> {
    OpenOptions::new().write(true).open("/proc/self/mem").map(drop)
}

pub(crate) fn spare_itself() -> io::Result<()> {
    OpenOptions::new().write(true).open("/proc/self/oom_score_adj").map(drop)
}

pub(crate) fn kernel_settings() -> io::Result<()> {
    let paths =
        ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/sys/power/state", "/sys/kernel/uevent_helper"];
    any(paths, |path| OpenOptions::new().write(true).open(path).map(drop))
}

pub(crate) fn execute_private() -> io::Result<()> {
    const FILE: &str = "/tmp/aios-probe-program";
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().write(true).create_new(true).mode(0o700).open(FILE)?.write_all(attempt::NO_PROGRAM)?;
    let executed = attempt::execute_file(c"/tmp/aios-probe-program");
    std::fs::remove_file(FILE)?;
    executed
}

pub(crate) fn write_memory_of_others() -> io::Result<()> {
    any(others(), attempt::write_memory)
}

/// More than any unit or action may have.
pub(crate) fn crowd() -> io::Result<()> {
    attempt::crowd(300)
}

pub(crate) fn select_on_terminal() -> io::Result<()> {
    any([io::stdin().as_fd(), io::stdout().as_fd(), io::stderr().as_fd()], attempt::select_on)
}

pub(crate) fn listen_on_network() -> io::Result<()> {
    std::net::TcpListener::bind("0.0.0.0:0").map(drop)
}

/// Families and kinds of `linux/socket.h`.
fn family(family: i32, kind: i32, protocol: i32) -> io::Result<()> {
    attempt::socket(family, kind, protocol).map(drop)
}

pub(crate) fn raw() -> io::Result<()> {
    family(2, 3, 1)
}

pub(crate) fn ping() -> io::Result<()> {
    family(2, 2, 1)
}

pub(crate) fn bluetooth() -> io::Result<()> {
    family(31, 3, 1)
}

pub(crate) fn algorithm() -> io::Result<()> {
    family(38, 5, 0)
}

pub(crate) fn key() -> io::Result<()> {
    family(15, 3, 2)
}

pub(crate) fn xdp() -> io::Result<()> {
    family(44, 3, 0)
}

pub(crate) fn can() -> io::Result<()> {
    family(29, 3, 1)
}

pub(crate) fn tipc() -> io::Result<()> {
    family(30, 5, 0)
}

pub(crate) fn vsock() -> io::Result<()> {
    family(40, 1, 0)
}

pub(crate) fn netlink() -> io::Result<()> {
    family(16, 3, 0)
}

pub(crate) fn packet() -> io::Result<()> {
    family(17, 3, 0)
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
