//! A block device that checks every block it gives against a root hash: the kernel's dm-verity.
//!
//! Only what starting the root needs: create, load a table, resume, remove. The table's text is made by
//! `aios_verity::target_parameters`; a wrong root hash or a changed block shows up as an I/O error when it is read.

#![expect(unsafe_code, reason = "device-mapper is driven by ioctls that nothing wraps")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

/// A verified device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where it can be read.
    pub path: PathBuf,
}

/// The device could not be made.
#[derive(Debug, thiserror::Error)]
pub enum VerityError {
    /// The kernel has no device-mapper, or the caller may not use it.
    #[error("cannot open /dev/mapper/control")]
    Control(#[source] io::Error),
    /// A name or a table that does not fit.
    #[error("a device-mapper {what} is too long")]
    Long {
        /// What.
        what: &'static str,
    },
    /// One of the steps failed.
    #[error("cannot {step} the verified device '{name}'")]
    Step {
        /// What was tried.
        step: &'static str,
        /// The device's name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

const HEADER: usize = 312;
const ARGUMENT: usize = 2048;
/// `struct dm_target_spec`.
const TARGET: usize = 40;

const READ_ONLY: u32 = 1 << 0;

const CREATE: u8 = 3;
const REMOVE: u8 = 4;
/// The call that suspends; without the flag to do so it resumes.
const RESUME: u8 = 6;
const LOAD: u8 = 9;

/// Makes `/dev/dm-N`, read-only, of `sectors` sectors of 512 bytes, with these parameters of the target `verity`.
pub fn open(name: &str, sectors: u64, parameters: &str) -> Result<Device, VerityError> {
    let control = File::options().read(true).write(true).open("/dev/mapper/control").map_err(VerityError::Control)?;
    let call = |step: &'static str, number: u8, argument: &mut [u8; ARGUMENT]| {
        request(&control, number, argument).map_err(|source| VerityError::Step { step, name: name.to_owned(), source })
    };
    let mut created = header(name, READ_ONLY, 0)?;
    call("create", CREATE, &mut created)?;
    let device = u64::from_ne_bytes(created[40..48].try_into().expect("eight bytes of a longer array"));
    let built = (|| {
        let mut table = header(name, READ_ONLY, 1)?;
        let target = &mut table[HEADER..];
        if TARGET + parameters.len() + 1 > target.len() {
            return Err(VerityError::Long { what: "table" });
        }
        target[8..16].copy_from_slice(&sectors.to_ne_bytes());
        target[24..30].copy_from_slice(b"verity");
        target[TARGET..TARGET + parameters.len()].copy_from_slice(parameters.as_bytes());
        call("load the table of", LOAD, &mut table)?;
        call("start", RESUME, &mut header(name, 0, 0)?)
    })();
    if let Err(error) = built {
        // A device without a table is of no use to anybody; that it cannot be removed changes nothing.
        let _ = header(name, 0, 0).map(|mut argument| request(&control, REMOVE, &mut argument));
        return Err(error);
    }
    // The kernel's wide encoding of device numbers: the minor is in two pieces.
    let minor = device & 0xff | (device >> 12) & 0xffff_ff00;
    Ok(Device { path: PathBuf::from(format!("/dev/dm-{minor}")) })
}

/// Takes a device away that nothing uses.
pub fn remove(name: &str) -> Result<(), VerityError> {
    let control = File::options().read(true).write(true).open("/dev/mapper/control").map_err(VerityError::Control)?;
    request(&control, REMOVE, &mut header(name, 0, 0)?).map_err(|source| VerityError::Step {
        step: "remove",
        name: name.to_owned(),
        source,
    })
}

/// `struct dm_ioctl` at the beginning of an argument.
fn header(name: &str, flags: u32, targets: u32) -> Result<[u8; ARGUMENT], VerityError> {
    let mut argument = [0; ARGUMENT];
    if name.len() >= 128 {
        return Err(VerityError::Long { what: "name" });
    }
    for (place, value) in
        [(0, 4), (4, 0), (8, 0), (12, ARGUMENT as u32), (16, HEADER as u32), (20, targets), (28, flags)]
    {
        argument[place..place + 4].copy_from_slice(&value.to_ne_bytes());
    }
    argument[48..48 + name.len()].copy_from_slice(name.as_bytes());
    Ok(argument)
}

fn request(control: &File, number: u8, argument: &mut [u8; ARGUMENT]) -> io::Result<()> {
    let request = 3 << 30 | (HEADER as libc::c_ulong) << 16 | 0xfd << 8 | libc::c_ulong::from(number);
    // SAFETY: the argument says its own size, 2048 bytes, at its offset 12; the kernel reads and writes no more.
    match unsafe { libc::ioctl(control.as_raw_fd(), request, argument.as_mut_ptr()) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_has_the_kernels_layout() {
        let argument = header("aios-root", READ_ONLY, 1).expect("short enough");
        let word = |place: usize| u32::from_ne_bytes(argument[place..place + 4].try_into().expect("four"));
        assert_eq!((word(0), word(12), word(16), word(20), word(28)), (4, 2048, 312, 1, 1));
        assert_eq!(&argument[48..58], b"aios-root\0");
        assert!(header(&"x".repeat(128), 0, 0).is_err());
    }
}
