//! Who is at the other end of a socket, from the kernel and never from what it says.
//!
//! The kernel keeps a handle on the process that made a connection (`SO_PEERPIDFD`), and a handle on a process tells
//! its cgroup (`PIDFD_GET_INFO`). The cgroup's id is what PID 1's table of services, sessions and agents is keyed by.
//! `/proc` is not read: a number there can belong to another process by the time it is looked up.

#![expect(unsafe_code, reason = "rustix wraps neither SO_PEERPIDFD nor PIDFD_GET_INFO")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// `linux/socket.h`; libc has no name for it.
const SO_PEERPIDFD: libc::c_int = 77;

const PIDFD_INFO_PID: u64 = 1 << 0;
const PIDFD_INFO_CREDS: u64 = 1 << 1;
const PIDFD_INFO_CGROUPID: u64 = 1 << 2;

/// `struct pidfd_info` of `linux/pidfd.h` in its first published size.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ruid: u32,
    rgid: u32,
    euid: u32,
    egid: u32,
    suid: u32,
    sgid: u32,
    fsuid: u32,
    fsgid: u32,
    exit_code: i32,
}

/// `_IOWR(0xFF, 11, struct pidfd_info)`.
const PIDFD_GET_INFO: libc::c_ulong = 3 << 30 | (size_of::<PidfdInfo>() as libc::c_ulong) << 16 | 0xff << 8 | 11;

/// What the kernel says about a process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its id in the caller's pid namespace.
    pub pid: u32,
    /// Its effective user.
    pub uid: u32,
    /// The id of its cgroup in the unified hierarchy: the inode number of the cgroup's folder.
    pub cgroup: u64,
}

/// A handle on the process that connected `socket`, or that listened when this side connected.
pub fn pidfd_of(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut fd: libc::c_int = -1;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `fd`, which lives here and is that large.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if fd < 0 {
        return Err(io::ErrorKind::NotConnected.into());
    }
    // SAFETY: the call succeeded, so `fd` is a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What the kernel says about the process behind `pidfd`. A process that has ended and been reaped is an error.
pub fn process_of(pidfd: impl AsFd) -> io::Result<Process> {
    let wanted = PIDFD_INFO_PID | PIDFD_INFO_CREDS | PIDFD_INFO_CGROUPID;
    let mut info = PidfdInfo { mask: wanted, ..PidfdInfo::default() };
    // SAFETY: the request's number carries the size of `PidfdInfo`; the kernel writes no more than that into `info`.
    let result = unsafe { libc::ioctl(pidfd.as_fd().as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if info.mask & wanted != wanted {
        // A zombie has left its cgroup already; a kernel without cgroups never has one.
        return Err(io::Error::new(io::ErrorKind::NotFound, "the process has no cgroup any more"));
    }
    Ok(Process { pid: info.tgid, uid: info.euid, cgroup: info.cgroup })
}

/// The cgroup id of the process behind `pidfd`.
pub fn cgroup_of(pidfd: impl AsFd) -> io::Result<u64> {
    Ok(process_of(pidfd)?.cgroup)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    fn pidfd(pid: u32) -> OwnedFd {
        let pid = rustix::process::Pid::from_raw(pid as i32).expect("not zero");
        rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("a process of ours")
    }

    #[test]
    fn a_socket_names_the_process_that_made_it() {
        let (left, right) = UnixStream::pair().expect("a pair");
        let peer = process_of(pidfd_of(&left).expect("a peer")).expect("it runs");
        assert_eq!(peer.pid, std::process::id());
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer, process_of(pidfd(std::process::id())).expect("it runs"));
        drop(right);
    }

    #[test]
    fn a_process_that_ended_is_nobody() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat");
        let fd = pidfd(child.id());
        assert_eq!(process_of(&fd).expect("it runs").pid, child.id());
        child.kill().expect("ours");
        child.wait().expect("ours");
        assert!(process_of(&fd).is_err());
    }

    #[test]
    fn what_is_no_pidfd_is_an_error() {
        let file = std::fs::File::open("/dev/null").expect("always there");
        assert!(cgroup_of(&file).is_err());
        assert!(pidfd_of(&file).is_err());
    }
}
