//! The hybrid image: one file that boots as a CD and, written to a stick, as a disk.
//!
//! As a CD the firmware finds the EFI system partition through El Torito; as a disk through a GPT whose second partition
//! is the same bytes, appended once. xorriso writes it; this module is the plan, the arguments it is called with.
//! The plan fixes every date and identifier, so equal content gives an equal image.
//!
//! What firmware starts has to be in the partition and is also part of the release in the ISO 9660 file system. Its
//! bytes are there once: [`share`] makes names of the file system point into the partition.

use std::ffi::OsString;
use std::path::PathBuf;

/// The name by which the running system finds the medium it was started from.
pub const VOLUME: &str = "AIOS";

/// The type of an EFI system partition.
const ESP_TYPE: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";

/// The same for every image: the medium is found by its volume name and proved by its root hash, never by this.
const DISK_GUID: &str = "6f9d1c7e-3d0b-4c53-8a0e-61696f730001";

/// The file of the tree that machines in legacy BIOS mode start: [`crate::bios::boot_image`].
pub const LEGACY: &str = "legacy-bios.bin";

/// What goes into an image and where it is written.
#[derive(Debug, Clone)]
pub struct Plan {
    /// A folder whose content becomes the ISO 9660 file system. It has [`LEGACY`] in it.
    pub tree: PathBuf,
    /// The EFI system partition.
    pub esp: PathBuf,
    /// The image.
    pub output: PathBuf,
    /// The one date in the image, in seconds since 1970.
    pub epoch: u64,
}

impl Plan {
    /// The arguments of `xorriso`.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut fixed = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
        fixed(&["-as", "mkisofs", "-quiet", "-r", "-V", VOLUME, "--gpt_disk_guid", DISK_GUID]);
        // Level 1 would cut names that [`share`] looks for to eight letters and three.
        fixed(&["-iso-level", "3", "--set_all_file_dates", &format!("={}", self.epoch)]);
        fixed(&["-append_partition", "2", ESP_TYPE]);
        arguments.push(self.esp.clone().into());
        // The first sector, for sticks, and the catalogue's first entry, for CDs, are what a legacy BIOS starts.
        arguments.push("-G".into());
        arguments.push(self.tree.join(LEGACY).into());
        let mut fixed = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
        fixed(&["-appended_part_as_gpt", "-c", "/boot.catalog"]);
        fixed(&["-b", LEGACY, "-no-emul-boot", "-boot-load-size", "4", "-eltorito-alt-boot"]);
        fixed(&["-e", "--interval:appended_partition_2:all::", "-no-emul-boot"]);
        arguments.push("-o".into());
        arguments.push(self.output.clone().into());
        arguments.push(self.tree.clone().into());
        arguments
    }

    /// The environment of `xorriso`: the date of everything that has one.
    pub fn environment(&self) -> (&'static str, String) {
        ("SOURCE_DATE_EPOCH", self.epoch.to_string())
    }
}

/// The unit of ISO 9660.
const SECTOR: usize = 2048;

/// Where the volume's description begins.
const VOLUME_DESCRIPTOR: usize = 16 * SECTOR;

/// The folder entry of the root within it.
const ROOT_ENTRY: usize = VOLUME_DESCRIPTOR + 156;

/// The length of a folder entry without its name.
const ENTRY: usize = 33;

/// Why a name cannot be made to point at bytes elsewhere in the image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// Not an image of ours.
    #[error("this is no ISO 9660 image, or it ends inside a folder")]
    Malformed,
    /// No such name.
    #[error("the image has no '{name}'")]
    Missing {
        /// The file or folder, as ISO 9660 writes it.
        name: String,
    },
    /// The bytes are nowhere, or not where a sector begins.
    #[error("the content of '{name}' is not in the image in one piece that begins with a sector")]
    Content {
        /// The file.
        name: String,
    },
}

/// Makes each of these empty files in `folder` a name for its content, which lies elsewhere in the image.
pub fn share(image: &mut [u8], folder: &str, files: &[(&str, &[u8])]) -> Result<(), ShareError> {
    if image.get(VOLUME_DESCRIPTOR..VOLUME_DESCRIPTOR + 6) != Some(b"\x01CD001") {
        return Err(ShareError::Malformed);
    }
    let folder_entry = find(image, ROOT_ENTRY, &folder.to_ascii_uppercase())?;
    for (name, content) in files {
        let entry = find(image, folder_entry, &format!("{};1", name.to_ascii_uppercase()))?;
        let missing = || ShareError::Content { name: (*name).to_owned() };
        let sector = image.chunks(SECTOR).enumerate().position(|(number, start)| {
            content.starts_with(&start[..start.len().min(content.len())])
                && image.get(number * SECTOR..number * SECTOR + content.len()) == Some(content)
        });
        let (Some(sector), false) = (sector, content.is_empty()) else { return Err(missing()) };
        let size = u32::try_from(content.len()).map_err(|_| missing())?;
        let sector = u32::try_from(sector).map_err(|_| missing())?;
        // Each number stands there twice, in both orders of bytes.
        for (offset, number) in [(2, sector), (10, size)] {
            image[entry + offset..entry + offset + 4].copy_from_slice(&number.to_le_bytes());
            image[entry + offset + 4..entry + offset + 8].copy_from_slice(&number.to_be_bytes());
        }
    }
    Ok(())
}

/// Where the entry of `name` begins, in the folder whose own entry begins at `folder`.
fn find(image: &[u8], folder: usize, name: &str) -> Result<usize, ShareError> {
    let number = |offset: usize| {
        let bytes = image.get(offset..offset + 4).ok_or(ShareError::Malformed)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
    };
    let start = number(folder + 2)?.saturating_mul(SECTOR);
    let end = start.saturating_add(number(folder + 10)?).min(image.len());
    let mut entry = start;
    while entry + ENTRY < end {
        let length = usize::from(image[entry]);
        if length == 0 {
            // Entries do not cross sectors; the rest of this one is empty.
            entry = (entry + 1).next_multiple_of(SECTOR);
            continue;
        }
        let name_end = entry + ENTRY + usize::from(image[entry + 32]);
        if image.get(entry + ENTRY..name_end).ok_or(ShareError::Malformed)? == name.as_bytes() {
            return Ok(entry);
        }
        entry += length;
    }
    Err(ShareError::Missing { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One folder `AIOS` with one empty file `A.EFI`, and `content` in sector 20.
    fn image(content: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 20 * SECTOR];
        image[VOLUME_DESCRIPTOR..VOLUME_DESCRIPTOR + 6].copy_from_slice(b"\x01CD001");
        let mut entry = |at: usize, sector: u32, size: u32, name: &[u8]| {
            image[at] = (ENTRY + name.len()) as u8;
            image[at + 2..at + 6].copy_from_slice(&sector.to_le_bytes());
            image[at + 10..at + 14].copy_from_slice(&size.to_le_bytes());
            image[at + 32] = name.len() as u8;
            image[at + ENTRY..at + ENTRY + name.len()].copy_from_slice(name);
        };
        entry(ROOT_ENTRY, 18, 2048, &[0]);
        entry(18 * SECTOR, 18, 2048, &[0]);
        entry(18 * SECTOR + 34, 19, 2048, b"AIOS");
        entry(19 * SECTOR, 0, 0, b"A.EFI;1");
        image.extend_from_slice(content);
        image
    }

    #[test]
    fn a_name_points_at_its_content() {
        let content = vec![7; 5000];
        let mut image = image(&content);
        share(&mut image, "aios", &[("a.efi", &content)]).expect("shared");
        let entry = &image[19 * SECTOR..];
        assert_eq!(entry[2..10], [20, 0, 0, 0, 0, 0, 0, 20]);
        assert_eq!(entry[10..18], [0x88, 0x13, 0, 0, 0, 0, 0x13, 0x88]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let mut image = image(b"content");
        let missing = |name: &str| Err(ShareError::Missing { name: name.to_owned() });
        assert_eq!(share(&mut image, "other", &[]), missing("OTHER"));
        assert_eq!(share(&mut image, "aios", &[("b.efi", b"content")]), missing("B.EFI;1"));
        let absent = Err(ShareError::Content { name: "a.efi".to_owned() });
        assert_eq!(share(&mut image, "aios", &[("a.efi", b"other content")]), absent);
        assert_eq!(share(&mut image, "aios", &[("a.efi", b"")]), absent);
        assert_eq!(share(&mut [0; 100], "aios", &[]), Err(ShareError::Malformed));
    }

    proptest! {
        #[test]
        fn no_image_panics(flips in prop::collection::vec((16 * SECTOR..20 * SECTOR, any::<u8>()), 0..40)) {
            let mut image = image(b"content");
            for (offset, value) in flips {
                image[offset] = value;
            }
            let _ = share(&mut image, "aios", &[("a.efi", b"content")]);
        }
    }
}
