//! A file, or a part of a device, as a read-only block device.

#![expect(unsafe_code, reason = "loop devices are set up by ioctls that nothing wraps")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use crate::extent::Extent;

const GET_FREE: libc::c_ulong = 0x4c82;
const CONFIGURE: libc::c_ulong = 0x4c0a;
const READ_ONLY: u32 = 1;
/// The device goes when its last user does.
const AUTOCLEAR: u32 = 4;
/// What is read goes to the reader and is kept by nobody in between. The kernel ignores it where it cannot be.
const DIRECT: u32 = 16;

/// `struct loop_config` of `linux/loop.h`: only its first words, the place and the flags of its information are used.
#[repr(C)]
struct Configuration {
    fd: u32,
    block_size: u32,
    numbers: [u64; 3],
    offset: u64,
    size_limit: u64,
    number: u32,
    encryption: u32,
    key_size: u32,
    flags: u32,
    names_and_keys: [u8; 160],
    init: [u64; 2],
    reserved: [u64; 8],
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            fd: 0,
            block_size: 0,
            numbers: [0; 3],
            offset: 0,
            size_limit: 0,
            number: 0,
            encryption: 0,
            key_size: 0,
            flags: 0,
            names_and_keys: [0; 160],
            init: [0; 2],
            reserved: [0; 8],
        }
    }
}

/// An open loop device. It lives while this or a user of it does.
#[derive(Debug)]
pub struct Loop {
    /// Where it can be read.
    pub path: PathBuf,
    _device: File,
}

/// Attaches `file` to a free loop device, read-only. Its blocks are cached twice: as the file's and as the device's.
pub fn attach(file: &Path) -> io::Result<Loop> {
    configure(&File::open(file)?, Configuration { flags: READ_ONLY | AUTOCLEAR, ..Configuration::default() })
}

/// Attaches a part of `device` to a free loop device, read-only.
pub fn attach_part(device: &Path, part: Extent) -> io::Result<Loop> {
    let flags = READ_ONLY | AUTOCLEAR | DIRECT;
    let part = Configuration { flags, offset: part.offset, size_limit: part.length, ..Configuration::default() };
    configure(&File::open(device)?, part)
}

fn configure(backing: &File, configuration: Configuration) -> io::Result<Loop> {
    let configuration = Configuration { fd: backing.as_raw_fd().cast_unsigned(), ..configuration };
    let control = File::options().read(true).write(true).open("/dev/loop-control")?;
    // Another process may take the number in between; then the kernel says so and the next one is tried.
    for _ in 0..16 {
        // SAFETY: the request takes no argument and returns a number.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = File::open(&path)?;
        // SAFETY: the kernel reads one `struct loop_config`, which has this layout and lives until the call returns.
        match unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE, &raw const configuration) } {
            0 => return Ok(Loop { path, _device: device }),
            _ => match io::Error::last_os_error() {
                busy if busy.raw_os_error() == Some(libc::EBUSY) => {}
                error => return Err(error),
            },
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_has_the_kernels_size() {
        assert_eq!(size_of::<Configuration>(), 304);
        assert_eq!(std::mem::offset_of!(Configuration, offset), 32);
        assert_eq!(std::mem::offset_of!(Configuration, flags), 60);
    }
}
