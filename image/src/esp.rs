//! What an installed disk has on its EFI system partition.
//!
//! It is written whole when the disk is made ([`crate::fat`]); later changes go through the kernel's FAT driver, file by
//! file. Nothing on it is unique: everything can be made again from a release.

use aios_slots::{UkiName, Version};

use crate::fat::{Fat, FatError, FatFile};
use crate::layout::Place;

/// Where boot entries with counters are.
pub const ENTRIES: &str = "EFI/Linux";
/// The program that firmware starts on a disk it knows nothing of: shim.
pub const SHIM: &str = "EFI/BOOT/BOOTX64.EFI";
/// The loader, under the name by which shim looks for it beside itself.
pub const LOADER: &str = "EFI/BOOT/grubx64.efi";
/// What shim starts when a key has to be enrolled.
pub const MOK_MANAGER: &str = "EFI/BOOT/mmx64.efi";
/// The certificate to be enrolled.
pub const CERTIFICATE: &str = "EFI/aios/aios.cer";
/// The recovery image.
pub const RECOVERY: &str = "EFI/aios/recovery.efi";
/// What makes the loader offer it.
pub const RECOVERY_ENTRY: &str = "loader/entries/recovery.conf";
/// The loader's own settings.
pub const LOADER_SETTINGS: &str = "loader/loader.conf";

/// Two seconds in which a key stops the start; the entries' text cannot be edited.
const LOADER_TEXT: &str = "timeout 2\neditor no\nauto-entries no\n";

/// The programs of an installed disk.
#[derive(Debug, Clone, Copy)]
pub struct Programs<'a> {
    /// Shim, with our signature too.
    pub shim: &'a [u8],
    /// Its MokManager.
    pub mok_manager: &'a [u8],
    /// Our certificate.
    pub certificate: &'a [u8],
    /// The signed boot loader.
    pub loader: &'a [u8],
    /// The signed kernel image of the release.
    pub uki: &'a [u8],
    /// The signed recovery image.
    pub recovery: &'a [u8],
}

/// The files of a new installed disk, whose only release is `version` and counts as good.
pub fn files(version: &Version, programs: Programs<'_>) -> Vec<FatFile> {
    let entry = format!("title AIOS recovery\nversion {version}\nefi /{RECOVERY}\n");
    let uki = UkiName::good(version.clone());
    vec![
        (SHIM.to_owned(), programs.shim.to_vec()),
        (LOADER.to_owned(), programs.loader.to_vec()),
        (MOK_MANAGER.to_owned(), programs.mok_manager.to_vec()),
        (CERTIFICATE.to_owned(), programs.certificate.to_vec()),
        (LOADER_SETTINGS.to_owned(), LOADER_TEXT.as_bytes().to_vec()),
        (RECOVERY_ENTRY.to_owned(), entry.into_bytes()),
        (RECOVERY.to_owned(), programs.recovery.to_vec()),
        (format!("{ENTRIES}/{uki}"), programs.uki.to_vec()),
    ]
}

/// The file system that carries them.
pub fn plan(place: Place, sector: u32, volume_id: u32, files: &[FatFile]) -> Result<Fat<'_>, FatError> {
    Fat::plan(place, sector, b"ESP        ", volume_id, files)
}
