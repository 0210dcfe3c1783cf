//! The power button, which the kernel shows as a keyboard with one key.
//!
//! Only devices that are a power button are opened: PID 1 reads nobody's typing.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// What the ACPI driver calls it.
const NAME: &str = "Power Button";
/// `struct input_event` of `linux/input.h` on 64 bits: two words of time, type, code, value.
const EVENT: usize = 24;
const KEY: u16 = 1;
const KEY_POWER: u16 = 116;
const PRESSED: i32 = 1;

/// An open power button.
#[derive(Debug)]
pub(crate) struct Button(File);

/// All power buttons of the machine.
pub(crate) fn find() -> Vec<Button> {
    let devices = fs::read_dir("/sys/class/input").into_iter().flatten().flatten();
    let is_button = |place: &Path| fs::read_to_string(place.join("device/name")).is_ok_and(|name| name.trim() == NAME);
    devices
        .filter(|device| device.file_name().to_string_lossy().starts_with("event") && is_button(&device.path()))
        .filter_map(|device| {
            let path = Path::new("/dev/input").join(device.file_name());
            let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
            File::options().read(true).custom_flags(flags).open(path).ok().map(Button)
        })
        .collect()
}

impl Button {
    /// What to wait for.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// How often it was pressed since the last look. Never waits.
    pub(crate) fn presses(&mut self) -> usize {
        let mut bytes = [0; EVENT * 16];
        match self.0.read(&mut bytes) {
            Ok(length) => presses(&bytes[..length]),
            Err(_) => 0,
        }
    }
}

fn presses(bytes: &[u8]) -> usize {
    bytes.chunks_exact(EVENT).filter(|event| is_press(event)).count()
}

fn is_press(event: &[u8]) -> bool {
    let half = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
    let value = i32::from_ne_bytes([event[20], event[21], event[22], event[23]]);
    (half(16), half(18), value) == (KEY, KEY_POWER, PRESSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        let mut bytes = vec![9; 16];
        bytes.extend([kind.to_ne_bytes(), code.to_ne_bytes()].concat());
        bytes.extend(value.to_ne_bytes());
        bytes
    }

    #[test]
    fn only_pressing_the_power_key_counts() {
        let events = [event(1, 116, 1), event(0, 0, 0), event(1, 116, 0), event(1, 30, 1), event(1, 116, 2)].concat();
        assert_eq!(presses(&events), 1);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_read_beyond_their_end(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            assert!(presses(&bytes) <= bytes.len() / EVENT);
        }
    }
}
