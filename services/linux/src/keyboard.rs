//! The kernel's table of what the keys of the screens' keyboard say.

#![expect(unsafe_code, reason = "the table is changed by an ioctl that nothing wraps")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// `KDSKBENT` of `linux/kd.h`.
const SET_ENTRY: libc::c_ulong = 0x4b47;

/// `struct kbentry` of `linux/kd.h`.
#[repr(C)]
struct Entry {
    table: u8,
    key: u8,
    value: u16,
}

/// Sets what the key with this number says in one shift state, for all screens. Only who may configure terminals may.
pub fn set(screen: impl AsFd, table: u8, key: u8, value: u16) -> io::Result<()> {
    let entry = Entry { table, key, value };
    // SAFETY: the kernel reads one structure that lives until the call returns.
    match unsafe { libc::ioctl(screen.as_fd().as_raw_fd(), SET_ENTRY, &raw const entry) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_screen_says_so() {
        let null = std::fs::File::open("/dev/null").expect("always there");
        assert!(set(&null, 0, 30, 0x0b61).is_err());
    }
}
