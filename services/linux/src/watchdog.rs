//! Hardware that restarts the machine unless it is told again and again that somebody is there.

#![expect(unsafe_code, reason = "a watchdog's limit is set by ioctls that nothing wraps")]

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// `_IOR('W', 2, int)`.
const GET_BOOT_STATUS: libc::c_ulong = 0x8004_5702;
/// `_IOWR('W', 6, int)`.
const SET_TIMEOUT: libc::c_ulong = 0xc004_5706;
/// `WDIOF_CARDRESET`.
const IT_RESTARTED_US: libc::c_int = 0x20;

/// An open watchdog. It runs from here on, and closing it does not stop it.
#[derive(Debug)]
pub struct Watchdog(File);

impl Watchdog {
    /// Opens a device such as `/dev/watchdog0`, which starts it. One process can have it.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::options().write(true).open(path).map(Self)
    }

    /// Sets after how many seconds of silence it restarts the machine; returns what the hardware made of it.
    pub fn set_limit(&self, seconds: u16) -> io::Result<u32> {
        let mut value = libc::c_int::from(seconds);
        // SAFETY: the kernel reads and writes one integer that lives until the call returns.
        match unsafe { libc::ioctl(self.0.as_raw_fd(), SET_TIMEOUT, &raw mut value) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(value.unsigned_abs()),
        }
    }

    /// Tells it that somebody is there. Never waits.
    pub fn feed(&self) -> io::Result<()> {
        // Any byte does; a 'V' would allow closing it.
        (&self.0).write_all(&[0])
    }

    /// Whether it was this watchdog that ended the system before this one. Not all hardware remembers.
    pub fn restarted_us(&self) -> io::Result<bool> {
        let mut value: libc::c_int = 0;
        // SAFETY: the kernel writes one integer that lives until the call returns.
        match unsafe { libc::ioctl(self.0.as_raw_fd(), GET_BOOT_STATUS, &raw mut value) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(value & IT_RESTARTED_US != 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_no_watchdog_says_so() {
        let null = Watchdog::open(Path::new("/dev/null")).expect("always there");
        assert!(null.set_limit(30).is_err() && null.restarted_us().is_err());
    }
}
