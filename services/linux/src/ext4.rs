//! Growing a mounted ext4 file system.

#![expect(unsafe_code, reason = "EXT4_IOC_RESIZE_FS has no safe wrapper")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// `_IOW('f', 16, u64)`.
const RESIZE: libc::c_ulong = 1 << 30 | 8 << 16 | (b'f' as libc::c_ulong) << 8 | 16;

/// Grows the file system mounted at `mount_point` to `blocks` of its own blocks.
pub fn resize(mount_point: &Path, blocks: u64) -> io::Result<()> {
    let root = File::open(mount_point)?;
    // SAFETY: the kernel reads one 64-bit number that lives until the call returns.
    match unsafe { libc::ioctl(root.as_raw_fd(), RESIZE, &raw const blocks) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
