//! The kernel's device-mapper: create a device, load its table, start it, take it away. What a table says is the targets'
//! business ([`crate::verity`], [`crate::crypt`]).

#![expect(unsafe_code, reason = "device-mapper is driven by ioctls that nothing wraps")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use zeroize::Zeroizing;

/// A device that device-mapper made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where it can be opened.
    pub path: PathBuf,
}

/// The device could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum MapperError {
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
    #[error("cannot {step} the mapped device '{name}'")]
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

/// Whether a device can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Whether a table has a key in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    None,
    /// The kernel overwrites its copy of the argument, and this module its own.
    Key,
}

/// A device's one target.
pub(crate) struct Target<'a> {
    pub(crate) kind: &'static str,
    /// Its length in sectors of 512 bytes.
    pub(crate) sectors: u64,
    pub(crate) parameters: &'a str,
    pub(crate) access: Access,
    pub(crate) secrecy: Secrecy,
}

const HEADER: usize = 312;
const ARGUMENT: usize = 2048;
/// `struct dm_target_spec`.
const TARGET: usize = 40;

const READ_ONLY: u32 = 1 << 0;
const SECURE_DATA: u32 = 1 << 15;

const CREATE: u8 = 3;
const REMOVE: u8 = 4;
/// The call that suspends; without the flag to do so it resumes.
const RESUME: u8 = 6;
const STATUS: u8 = 7;
const LOAD: u8 = 9;

type Argument = Zeroizing<[u8; ARGUMENT]>;

/// Makes `/dev/dm-N`.
pub(crate) fn open(name: &str, target: &Target<'_>) -> Result<Device, MapperError> {
    let control = control()?;
    let call = |step: &'static str, number: u8, argument: &mut Argument| {
        request(&control, number, argument).map_err(|source| MapperError::Step { step, name: name.to_owned(), source })
    };
    let flags = match target.access {
        Access::Read => READ_ONLY,
        Access::Write => 0,
    };
    let mut created = header(name, flags, 0)?;
    call("create", CREATE, &mut created)?;
    let built = (|| {
        call("load the table of", LOAD, &mut table(name, flags, target)?)?;
        call("start", RESUME, &mut header(name, 0, 0)?)
    })();
    if let Err(error) = built {
        // A device without a table is of no use to anybody; that it cannot be removed changes nothing.
        let _ = header(name, 0, 0).map(|mut argument| request(&control, REMOVE, &mut argument));
        return Err(error);
    }
    Ok(device(&created))
}

/// The device of this name, if there is one.
pub(crate) fn find(name: &str) -> Result<Option<Device>, MapperError> {
    let mut argument = header(name, 0, 0)?;
    match request(&control()?, STATUS, &mut argument) {
        Ok(()) => Ok(Some(device(&argument))),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        Err(source) => Err(MapperError::Step { step: "look for", name: name.to_owned(), source }),
    }
}

/// Takes a device away that nothing uses.
pub(crate) fn remove(name: &str) -> Result<(), MapperError> {
    request(&control()?, REMOVE, &mut header(name, 0, 0)?).map_err(|source| MapperError::Step {
        step: "remove",
        name: name.to_owned(),
        source,
    })
}

fn control() -> Result<File, MapperError> {
    File::options().read(true).write(true).open("/dev/mapper/control").map_err(MapperError::Control)
}

/// The device that the kernel named in an argument.
fn device(argument: &Argument) -> Device {
    let number = u64::from_ne_bytes(argument[40..48].try_into().expect("eight bytes of a longer array"));
    // The kernel's wide encoding of device numbers: the minor is in two pieces.
    let minor = number & 0xff | (number >> 12) & 0xffff_ff00;
    Device { path: PathBuf::from(format!("/dev/dm-{minor}")) }
}

fn table(name: &str, flags: u32, target: &Target<'_>) -> Result<Argument, MapperError> {
    let flags = match target.secrecy {
        Secrecy::None => flags,
        Secrecy::Key => flags | SECURE_DATA,
    };
    let mut table = header(name, flags, 1)?;
    let spec = &mut table[HEADER..];
    if TARGET + target.parameters.len() + 1 > spec.len() {
        return Err(MapperError::Long { what: "table" });
    }
    spec[8..16].copy_from_slice(&target.sectors.to_ne_bytes());
    spec[24..24 + target.kind.len()].copy_from_slice(target.kind.as_bytes());
    spec[TARGET..TARGET + target.parameters.len()].copy_from_slice(target.parameters.as_bytes());
    Ok(table)
}

/// `struct dm_ioctl` at the beginning of an argument.
fn header(name: &str, flags: u32, targets: u32) -> Result<Argument, MapperError> {
    let mut argument = Zeroizing::new([0; ARGUMENT]);
    if name.len() >= 128 {
        return Err(MapperError::Long { what: "name" });
    }
    for (place, value) in
        [(0, 4), (4, 0), (8, 0), (12, ARGUMENT as u32), (16, HEADER as u32), (20, targets), (28, flags)]
    {
        argument[place..place + 4].copy_from_slice(&value.to_ne_bytes());
    }
    argument[48..48 + name.len()].copy_from_slice(name.as_bytes());
    Ok(argument)
}

fn request(control: &File, number: u8, argument: &mut Argument) -> io::Result<()> {
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

    #[test]
    fn a_table_has_its_target_behind_the_header() {
        let mut target = Target {
            kind: "crypt",
            sectors: 8,
            parameters: "aes-xts-plain64 00 0 /dev/vda7 0",
            access: Access::Write,
            secrecy: Secrecy::Key,
        };
        let argument = table("aios-data", 0, &target).expect("short enough");
        assert_eq!(argument[28..32], SECURE_DATA.to_ne_bytes());
        assert_eq!(argument[HEADER + 8..HEADER + 16], 8_u64.to_ne_bytes());
        assert_eq!(&argument[HEADER + 24..HEADER + 30], b"crypt\0");
        assert!(argument[HEADER + TARGET..].starts_with(b"aes-xts-plain64 00 0 /dev/vda7 0\0"));
        let long = "x".repeat(ARGUMENT - HEADER - TARGET);
        target.parameters = &long;
        assert!(matches!(table("aios-data", 0, &target), Err(MapperError::Long { what: "table" })));
    }

    #[test]
    fn the_minor_number_is_in_two_pieces() {
        let mut argument = header("x", 0, 0).expect("short enough");
        argument[40..48].copy_from_slice(&0x0010_fd23_u64.to_ne_bytes());
        assert_eq!(device(&argument).path, PathBuf::from("/dev/dm-291"));
    }
}
