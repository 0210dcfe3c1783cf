//! Bytes for the kernel's random generator that count as unpredictable.

#![expect(unsafe_code, reason = "crediting is an ioctl that nothing wraps")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// At most so many bytes at a time.
pub const SEED: usize = 512;

/// `_IOW('R', 3, int[2])`.
const ADD_ENTROPY: libc::c_ulong = 0x4008_5203;

/// `struct rand_pool_info` of `linux/random.h` with its bytes.
#[repr(C)]
struct Pool {
    bits: libc::c_int,
    size: libc::c_int,
    bytes: [u8; SEED],
}

/// Mixes `seed` in and counts each of its bits. Only for bytes that were never used before and that nobody else knows.
pub fn credit(seed: &[u8; SEED]) -> io::Result<()> {
    let pool = Pool { bits: SEED as libc::c_int * 8, size: SEED as libc::c_int, bytes: *seed };
    let device = File::options().write(true).open("/dev/urandom")?;
    // SAFETY: the kernel reads the two numbers and `size` bytes behind them, all within `pool`.
    match unsafe { libc::ioctl(device.as_raw_fd(), ADD_ENTROPY, &raw const pool) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_taken_from_root_and_from_nobody_else() {
        let taken = credit(&[7; SEED]);
        assert_eq!(taken.is_ok(), rustix::process::geteuid().is_root(), "{taken:?}");
    }
}
