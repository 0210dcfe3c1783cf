//! The hybrid image: one file that boots as a CD and, written to a stick, as a disk.
//!
//! As a CD the firmware finds the EFI system partition through El Torito; as a disk through a GPT whose second partition
//! is the same bytes, appended once. xorriso writes it; this module is the plan, the arguments it is called with.
//! The plan fixes every date and identifier, so equal content gives an equal image.

use std::ffi::OsString;
use std::path::PathBuf;

/// The name by which the running system finds the medium it was started from.
pub const VOLUME: &str = "AIOS";

/// The type of an EFI system partition.
const ESP_TYPE: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";

/// The same for every image: the medium is found by its volume name and proved by its root hash, never by this.
const DISK_GUID: &str = "6f9d1c7e-3d0b-4c53-8a0e-61696f730001";

/// What goes into an image and where it is written.
#[derive(Debug, Clone)]
pub struct Plan {
    /// A folder whose content becomes the ISO 9660 file system.
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
        fixed(&["-as", "mkisofs", "-quiet", "-r", "-J", "-V", VOLUME, "--gpt_disk_guid", DISK_GUID]);
        fixed(&["-append_partition", "2", ESP_TYPE]);
        arguments.push(self.esp.clone().into());
        let mut fixed = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
        fixed(&["-appended_part_as_gpt", "-c", "/boot.catalog"]);
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
