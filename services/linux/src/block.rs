//! Block devices: making the kernel read a partition table again.

#![expect(unsafe_code, reason = "BLKRRPART has no safe wrapper")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// `_IO(0x12, 95)`.
const REREAD: libc::c_ulong = 0x125f;

/// Replaces the partitions that the kernel knows of `disk` by those in its table. Busy while one of them is in use.
pub fn reread_partitions(disk: &File) -> io::Result<()> {
    // SAFETY: the call takes no argument beyond the descriptor, which lives until it returns.
    match unsafe { libc::ioctl(disk.as_raw_fd(), REREAD) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
