//! The few firmware variables that PID 1 reads, and the two that it writes.
//!
//! A machine without them (started without UEFI) simply has none; nothing here may stop a boot.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use aios_wire::init::FirmwareKeys;
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

/// Where the variables are mounted.
pub(crate) const VARIABLES: &str = "/sys/firmware/efi/efivars";

/// Variables of the boot loader interface.
const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// Variables of the firmware itself.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Kept over a restart, readable and writable by the boot loader and by us.
const ATTRIBUTES: u32 = 7;

/// The partition that the boot loader was read from; absent when it came from a CD.
pub(crate) fn loader_partition() -> Option<String> {
    text(&format!("LoaderDevicePartUUID-{LOADER}")).map(|uuid| uuid.to_ascii_lowercase())
}

/// The entry of the boot menu that was chosen.
pub(crate) fn chosen_entry() -> Option<String> {
    text(&format!("LoaderEntrySelected-{LOADER}"))
}

/// When the loader began and when it started the kernel's image, in microseconds since the processor started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LoaderTimes {
    pub(crate) began_us: Option<u64>,
    pub(crate) ended_us: Option<u64>,
}

/// What the loader left behind about its time.
pub(crate) fn loader_times() -> LoaderTimes {
    let time = |name: &str| text(&format!("{name}-{LOADER}"))?.parse().ok();
    LoaderTimes { began_us: time("LoaderTimeInitUSec"), ended_us: time("LoaderTimeExecUSec") }
}

/// Whether the firmware checked signatures.
pub(crate) fn secure_boot() -> bool {
    let path = Path::new(VARIABLES).join(format!("SecureBoot-{GLOBAL}"));
    fs::read(path).is_ok_and(|bytes| bytes.get(4) == Some(&1))
}

/// Whether the firmware has keys.
pub(crate) fn firmware_keys() -> FirmwareKeys {
    let path = Path::new(VARIABLES).join(format!("SetupMode-{GLOBAL}"));
    match fs::read(path).ok().and_then(|bytes| bytes.get(4).copied()) {
        Some(0) => FirmwareKeys::Enrolled,
        Some(_) => FirmwareKeys::None,
        None => FirmwareKeys::Unknown,
    }
}

/// Makes the boot loader start `entry` once, at the next start.
pub(crate) fn start_once(entry: &str) -> io::Result<()> {
    let value: Vec<u8> = entry.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    write(&format!("LoaderEntryOneShot-{LOADER}"), &value)
}

/// Whether the loader counts this start: the release has not been marked good, and another one can still start.
pub(crate) fn on_trial() -> bool {
    text(&format!("LoaderBootCountPath-{LOADER}")).is_some()
}

/// Makes the firmware show its setup at the next start, if it can.
pub(crate) fn show_firmware_setup() -> io::Result<()> {
    const SETUP: u64 = 1;
    let number = |name: &str| -> io::Result<u64> {
        let bytes = fs::read(Path::new(VARIABLES).join(format!("{name}-{GLOBAL}")))?;
        let value = bytes.get(4..12).and_then(|value| value.try_into().ok());
        value.map(u64::from_le_bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
    };
    if number("OsIndicationsSupported")? & SETUP == 0 {
        return Err(io::Error::other("it does not offer that"));
    }
    let wanted = number("OsIndications").unwrap_or(0) | SETUP;
    write(&format!("OsIndications-{GLOBAL}"), &wanted.to_le_bytes())
}

fn write(name: &str, value: &[u8]) -> io::Result<()> {
    let path = PathBuf::from(VARIABLES).join(name);
    // The kernel guards most variables against deletion by accident; a new value needs the guard off.
    if let Ok(present) = File::open(&path) {
        let flags = ioctl_getflags(&present)?;
        ioctl_setflags(&present, flags - IFlags::IMMUTABLE)?;
    }
    // One write is one variable: the kernel takes it whole.
    let bytes = [&ATTRIBUTES.to_le_bytes(), value].concat();
    File::options().write(true).create(true).truncate(false).open(&path)?.write_all(&bytes)
}

fn text(name: &str) -> Option<String> {
    decode(&fs::read(Path::new(VARIABLES).join(name)).ok()?)
}

/// Four bytes of attributes, then UTF-16 up to a zero.
fn decode(bytes: &[u8]) -> Option<String> {
    let units: Vec<u16> = bytes.get(4..)?.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    String::from_utf16(&units[..end]).ok().filter(|text| !text.is_empty() && text.len() < 256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_attributes_and_utf16() {
        let mut bytes = vec![6, 0, 0, 0];
        bytes.extend("live.conf".encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        assert_eq!(decode(&bytes).as_deref(), Some("live.conf"));
        for wrong in [&[][..], &[6, 0, 0, 0], &[6, 0, 0, 0, 0, 0], &[6, 0, 0, 0, 0x00, 0xd8]] {
            assert_eq!(decode(wrong), None);
        }
    }
}
