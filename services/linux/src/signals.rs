//! Signals as something to read, so that a poll loop sees them beside everything else.

#![expect(unsafe_code, reason = "signal masks and signalfd have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// Blocked signals that arrive by a descriptor instead.
#[derive(Debug)]
pub struct Signals(OwnedFd);

/// A child has ended.
pub const CHILD: i32 = libc::SIGCHLD;
/// Ctrl-Alt-Del was pressed (to PID 1), or Ctrl-C.
pub const INTERRUPT: i32 = libc::SIGINT;
/// Please end.
pub const TERMINATE: i32 = libc::SIGTERM;
/// Power is failing.
pub const POWER: i32 = libc::SIGPWR;

impl Signals {
    /// Blocks `signals` for this thread and all it starts, and opens the descriptor.
    pub fn open(signals: &[i32]) -> io::Result<Self> {
        // SAFETY: `set` is plain memory that sigemptyset fills before use; a null pointer asks for no old mask.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in signals {
                if libc::sigaddset(&raw mut set, *signal) != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(Self(OwnedFd::from_raw_fd(fd))),
            }
        }
    }

    /// The next signal's number, if one has come.
    pub fn next(&self) -> io::Result<Option<i32>> {
        // SAFETY: the structure is plain memory of the size that the kernel fills as a whole or not at all.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the kernel writes at most `size` bytes into `info`.
        match unsafe { libc::read(self.0.as_raw_fd(), (&raw mut info).cast(), size) } {
            -1 => match io::Error::last_os_error() {
                none if none.kind() == io::ErrorKind::WouldBlock => Ok(None),
                error => Err(error),
            },
            _ => Ok(i32::try_from(info.ssi_signo).ok()),
        }
    }
}

/// Sends `signal` to every process but the caller. Only PID 1 may, at the very end of the machine.
pub fn send_to_all(signal: rustix::process::Signal) -> io::Result<()> {
    if rustix::process::getpid() != rustix::process::Pid::INIT {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // SAFETY: takes two integers.
    match unsafe { libc::kill(-1, signal.as_raw()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
