//! What drivers say of themselves: the devices they are for and the firmware they ask for.
//!
//! A module carries it in the section `.modinfo` of its ELF file; what is built in is collected by the kernel's build in
//! `modules.builtin.modinfo`. Both are `key=value` texts, each with a zero byte behind it.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// A driver, by its path in the source without the file's ending.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Driver {
    /// Its PCI ids.
    pub(super) devices: Vec<PciId>,
    /// Names of firmware files.
    pub(super) firmware: Vec<String>,
}

/// Drivers by path.
pub(super) type Drivers = BTreeMap<String, Driver>;

/// A pattern for PCI devices, as in `pci:v00008086d0000100Esv*sd*bc*sc*i*`. A field without value fits every device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PciId([Option<u32>; 7]);

/// The fields in the order they stand in.
const FIELDS: [&str; 7] = ["v", "d", "sv", "sd", "bc", "sc", "i"];

impl PciId {
    /// None when the text is about another bus or is no pattern.
    pub(super) fn parse(alias: &str) -> Option<Self> {
        let mut rest = alias.strip_prefix("pci:")?;
        let mut fields = [None; 7];
        for (number, name) in FIELDS.iter().enumerate() {
            rest = rest.strip_prefix(name)?;
            // A value is upper-case digits, so the next lower-case letter begins the next field.
            let end = rest.find(|letter: char| letter.is_ascii_lowercase()).unwrap_or(rest.len());
            let (value, after) = rest.split_at(end);
            // Behind the last one the kernel puts a star of its own.
            let value = if after.is_empty() && value.len() > 1 { value.strip_suffix('*')? } else { value };
            fields[number] = if value == "*" { None } else { Some(u32::from_str_radix(value, 16).ok()?) };
            rest = after;
        }
        rest.is_empty().then_some(Self(fields))
    }

    /// Whether every device that fits `other` fits this one.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(ours, theirs)| ours.is_none() || ours == theirs)
    }
}

/// What everything that is built in says.
pub(super) fn of_builtin(entries: &[u8]) -> Drivers {
    let (mut by_name, mut paths) = (BTreeMap::<&str, Driver>::new(), BTreeMap::new());
    for (key, value) in texts(entries) {
        let Some((name, key)) = key.split_once('.') else { continue };
        if key == "file" {
            paths.insert(name, value);
        }
        by_name.entry(name).or_default().take(key, value);
    }
    let placed = |(name, driver): (&str, Driver)| Some(((*paths.get(name)?).to_owned(), driver));
    by_name.into_iter().filter_map(placed).collect()
}

impl Driver {
    fn take(&mut self, key: &str, value: &str) {
        match key {
            "alias" => self.devices.extend(PciId::parse(value)),
            "firmware" => self.firmware.push(value.to_owned()),
            _ => {}
        }
    }
}

fn texts(entries: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    entries.split(|byte| *byte == 0).filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('='))
}

/// The section `.modinfo` of a module, a 64-bit little-endian ELF file.
pub(super) fn section(elf: &[u8]) -> Result<&[u8]> {
    find_section(elf).ok_or_else(|| {
        Error::refused("a module of the kernel package has no section .modinfo", "is the package whole?")
    })
}

fn find_section(elf: &[u8]) -> Option<&[u8]> {
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let number = |at: usize, size: usize| {
        let bytes = elf.get(at..at.checked_add(size)?)?;
        usize::try_from(bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))).ok()
    };
    let (table, size, count, names) = (number(40, 8)?, number(58, 2)?, number(60, 2)?, number(62, 2)?);
    let header = |index: usize| table.checked_add(size.checked_mul(index)?);
    let content = |at: usize| {
        let start = number(at.checked_add(24)?, 8)?;
        elf.get(start..start.checked_add(number(at.checked_add(32)?, 8)?)?)
    };
    let names = content(header(names)?)?;
    (0..count).find_map(|index| {
        let at = header(index)?;
        names.get(number(at, 4)?..)?.starts_with(b".modinfo\0").then(|| content(at))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(text: &str) -> PciId {
        PciId::parse(text).expect("an id")
    }

    #[test]
    fn ids_are_read_and_compared() {
        let card = id("pci:v00008086d0000100Esv*sd*bc*sc*i*");
        assert_eq!(card.0, [Some(0x8086), Some(0x100e), None, None, None, None, None]);
        assert!(id("pci:v00008086d*sv*sd*bc*sc*i*").covers(&card));
        assert!(!card.covers(&id("pci:v00008086d*sv*sd*bc*sc*i*")));
        assert!(!id("pci:v*d*sv*sd*bc01sc06i01*").covers(&card));
        for text in ["usb:v1", "pci:v8086", "pci:v00008086d0000100Esv*sd*bc*sc*i*x", "pci:vXd*sv*sd*bc*sc*i*"] {
            assert_eq!(PciId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_class_ends_in_a_star_of_its_own() {
        // The kernel writes `i*` for any interface, and `i01*` for one.
        assert_eq!(id("pci:v*d*sv*sd*bc01sc06i01*").0[6], Some(1));
    }

    #[test]
    fn what_is_built_in_is_gathered_by_driver() {
        let text = b"a.file=drivers/ata/a\0a.alias=pci:v*d*sv*sd*bc01sc*i*\0b.alias=pci:v*d*sv*sd*bc02sc*i*\0\
            a.firmware=a.bin\0c.file=drivers/c\0";
        let drivers = of_builtin(text);
        assert_eq!(drivers.keys().collect::<Vec<_>>(), ["drivers/ata/a", "drivers/c"]);
        assert_eq!(drivers["drivers/ata/a"].firmware, ["a.bin"]);
        assert_eq!(drivers["drivers/ata/a"].devices, [id("pci:v*d*sv*sd*bc01sc*i*")]);
    }

    /// A file with the sections "", `.modinfo` and the names.
    fn module(info: &[u8]) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(64, 0);
        let start = elf.len();
        elf.extend(info);
        elf.extend(names);
        let table = elf.len();
        elf[40..48].copy_from_slice(&(table as u64).to_le_bytes());
        for (at, value) in [(58, 64_u16), (60, 3), (62, 2)] {
            elf[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        for (name, offset, size) in [(0_u32, 0, 0), (1, start, info.len()), (10, start + info.len(), names.len())] {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
            elf.extend(header);
        }
        elf
    }

    #[test]
    fn the_section_of_a_module_is_found() {
        let info = b"license=GPL\0alias=pci:v*d*sv*sd*bc01sc06i01*\0firmware=x/y.bin\0";
        let elf = module(info);
        assert_eq!(section(&elf).expect("found"), info);
        assert!(section(b"\x7fELF\x02\x01").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0_usize..400, byte: u8) {
            let _ = of_builtin(&bytes);
            let _ = find_section(&bytes);
            let mut elf = module(b"a=b\0");
            if let Some(place) = elf.get_mut(at) {
                *place = byte;
            }
            let _ = find_section(&elf);
        }

        #[test]
        fn no_alias_panics(text in "pci:v.*") {
            let _ = PciId::parse(&text);
        }
    }
}
