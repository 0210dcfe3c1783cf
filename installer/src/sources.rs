//! Where an installation's inputs come from: the medium with the release, and the answers.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use aios_ids::Digest;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::answers;

/// The volume that carries answers: `AIOS-ANSWERS`, of which a FAT label keeps eleven characters.
const ANSWERS_LABEL: &str = "AIOS-ANSWER";
/// Where a virtual machine's host puts answers.
const FIRMWARE_ANSWERS: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/aios/answers/raw";
/// Where this program mounts what it reads.
const MOUNTS: &str = "/run/installer";

/// An input is missing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file.
    #[error("cannot read '{}'", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A volume that was found cannot be mounted.
    #[error("cannot mount /dev/{device}")]
    Mount {
        /// The device.
        device: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No answers anywhere.
    #[error(
        "no answers were found: neither on a FAT volume labelled {ANSWERS_LABEL} nor from the virtual machine's host"
    )]
    NoAnswers,
    /// No medium.
    #[error("the medium with the release is not there: no volume AIOS with the folder 'aios' on it")]
    NoMedium,
    /// The sealed command line has no root hash.
    #[error("this system was not started from a release: its command line has no aios.root")]
    NoRoot,
}

/// A mounted volume, unmounted when it is dropped.
#[derive(Debug)]
pub struct Volume {
    /// The device's name.
    pub device: String,
    /// Where it is mounted.
    pub path: PathBuf,
}

impl Volume {
    /// Mounts a device read-only.
    pub fn mount(device: &str, kind: &CStr, flags: MountFlags) -> Result<Self, SourceError> {
        let failed = |source: io::Error| SourceError::Mount { device: device.to_owned(), source };
        let path = Path::new(MOUNTS).join(device);
        fs::create_dir_all(&path).map_err(failed)?;
        let flags = flags | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let from = Path::new("/dev").join(device);
        rustix::mount::mount(&from, &path, kind, flags, None).map_err(|errno| failed(errno.into()))?;
        Ok(Self { device: device.to_owned(), path })
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // A volume that stays mounted is in nobody's way: the machine restarts next.
        let _ = rustix::mount::unmount(&self.path, UnmountFlags::empty());
    }
}

/// The medium this system came from: a volume called AIOS with a release on it.
pub fn medium() -> Result<Volume, SourceError> {
    for device in block_devices()? {
        if !is_medium(&device) {
            continue;
        }
        let volume = Volume::mount(&device, c"iso9660", MountFlags::RDONLY)?;
        if volume.path.join("aios").join(aios_image::release::NAME).exists() {
            return Ok(volume);
        }
    }
    Err(SourceError::NoMedium)
}

/// The answers and where they were found.
pub fn answers(file: Option<&Path>) -> Result<(Vec<u8>, String), SourceError> {
    if let Some(path) = file {
        return Ok((read(path)?, path.display().to_string()));
    }
    for device in block_devices()? {
        if fat_label(&device).as_deref() == Some(ANSWERS_LABEL) {
            let volume = Volume::mount(&device, c"vfat", MountFlags::RDONLY)?;
            return Ok((read(&volume.path.join("answers.toml"))?, format!("answers.toml on /dev/{device}")));
        }
    }
    match read(Path::new(FIRMWARE_ANSWERS)) {
        Ok(bytes) => Ok((bytes, "the virtual machine's host".to_owned())),
        Err(SourceError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Err(SourceError::NoAnswers)
        }
        Err(error) => Err(error),
    }
}

/// The root hash that the signed command line names.
pub fn running_root() -> Result<Digest, SourceError> {
    let path = Path::new("/proc/cmdline");
    let line = fs::read_to_string(path).map_err(|source| SourceError::File { path: path.to_owned(), source })?;
    let root = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("aios.root="));
    root.and_then(|root| root.parse().ok()).ok_or(SourceError::NoRoot)
}

/// Reads a file of answers; longer ones are cut one byte after the limit and refused by the parser.
fn read(path: &Path) -> Result<Vec<u8>, SourceError> {
    let failed = |source| SourceError::File { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(answers::LIMIT as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn block_devices() -> Result<Vec<String>, SourceError> {
    let folder = Path::new("/sys/class/block");
    let failed = |source| SourceError::File { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Whether a device has an ISO 9660 file system with our volume name.
fn is_medium(device: &str) -> bool {
    let mut descriptor = [0; 72];
    let read = File::open(Path::new("/dev").join(device)).and_then(|file| file.read_exact_at(&mut descriptor, 0x8000));
    read.is_ok()
        && &descriptor[1..6] == b"CD001"
        && descriptor[40..].trim_ascii_end() == aios_image::iso::VOLUME.as_bytes()
}

fn fat_label(device: &str) -> Option<String> {
    let mut sector = [0; 512];
    File::open(Path::new("/dev").join(device)).and_then(|file| file.read_exact_at(&mut sector, 0)).ok()?;
    label_in(&sector)
}

/// The label in a FAT boot sector, of either form.
fn label_in(sector: &[u8; 512]) -> Option<String> {
    let label = if &sector[82..87] == b"FAT32" {
        &sector[71..82]
    } else if &sector[54..57] == b"FAT" {
        &sector[43..54]
    } else {
        return None;
    };
    Some(str::from_utf8(label).ok()?.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_of_both_kinds_of_fat_are_read() {
        let mut sector = [0; 512];
        assert_eq!(label_in(&sector), None);
        sector[54..62].copy_from_slice(b"FAT16   ");
        sector[43..54].copy_from_slice(b"NO NAME    ");
        assert_eq!(label_in(&sector).as_deref(), Some("NO NAME"));
        sector[82..87].copy_from_slice(b"FAT32");
        sector[71..82].copy_from_slice(b"AIOS-ANSWER");
        assert_eq!(label_in(&sector).as_deref(), Some(ANSWERS_LABEL));
    }

    proptest! {
        #[test]
        fn any_sector_is_read_or_none(bytes in prop::collection::vec(any::<u8>(), 512)) {
            let mut sector: [u8; 512] = bytes.try_into().expect("512 bytes");
            let _ = label_in(&sector);
            sector[82..87].copy_from_slice(b"FAT32");
            let _ = label_in(&sector);
        }
    }
}
