//! File systems: recognising one by its first bytes, and mounting it for as long as it is needed.
//!
//! Reading never changes a disk. A data partition that was not shut down cleanly is mounted without replaying its
//! journal, so the last moments before a power cut may be missing from what is seen; [`Kind::Ext4`] says so.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use aios_luks::Header;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::failure::{Failure, at};

/// How much of a device's beginning is looked at: an ISO 9660 descriptor ends here.
const HEAD: u64 = 0x8800;

/// What a device holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Fat {
        label: String,
    },
    Ext4 {
        journal: Journal,
    },
    Iso9660,
    /// Encrypted: what it holds is known once it is open.
    Luks,
    Unknown,
}

/// Whether all that was promised is in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Journal {
    /// The file system was left in order.
    Clean,
    /// Writes stand in the journal that the next normal start puts in place.
    Waiting,
}

/// What a mount is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A mounted file system; it is unmounted when this goes.
#[derive(Debug)]
pub(crate) struct Mounted {
    device: PathBuf,
    place: PathBuf,
}

/// Looks at the beginning of a device.
pub(crate) fn kind_of(device: &Path) -> io::Result<Kind> {
    let form = fs::metadata(device)?.file_type();
    // Reading a terminal, say, would wait for somebody to type.
    if !form.is_block_device() && !form.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no disk and no partition"));
    }
    let mut head = Vec::new();
    File::open(device)?.take(HEAD).read_to_end(&mut head)?;
    Ok(recognise(&head))
}

fn recognise(head: &[u8]) -> Kind {
    let at = |offset: usize, length: usize| head.get(offset..offset + length).unwrap_or_default();
    if Header::may_be_on(head) {
        return Kind::Luks;
    }
    if at(0x8001, 5) == b"CD001" {
        return Kind::Iso9660;
    }
    if at(1024 + 56, 2) == [0x53, 0xef] {
        const RECOVER: u8 = 4;
        let waiting = at(1024 + 96, 1).iter().any(|flags| flags & RECOVER != 0);
        return Kind::Ext4 { journal: if waiting { Journal::Waiting } else { Journal::Clean } };
    }
    let label = match at(510, 2) == [0x55, 0xaa] {
        true if at(82, 5) == b"FAT32" => at(71, 11),
        true if at(54, 3) == b"FAT" => at(43, 11),
        _ => return Kind::Unknown,
    };
    Kind::Fat { label: String::from_utf8_lossy(label).trim_end().to_owned() }
}

impl Mounted {
    /// Mounts what is on a device.
    pub(crate) fn open(device: &Path, access: Access) -> Result<Self, Failure> {
        let kind = kind_of(device).map_err(|error| at("read", device)(error).hint("'status' lists the devices"))?;
        let (name, options) = match kind {
            Kind::Fat { .. } => ("vfat", c"umask=0077"),
            Kind::Ext4 { .. } => ("ext4", c"noload"),
            Kind::Iso9660 => ("iso9660", c""),
            Kind::Luks => {
                return Err(Failure::plain(format!("{} is encrypted and not open", device.display())).hint(format!(
                    "unlock {} asks for its pass phrase and says where it can be read",
                    device.display()
                )));
            }
            Kind::Unknown => {
                return Err(Failure::plain(format!("{} holds no file system that is known here", device.display()))
                    .hint("name a partition with FAT, ext4 or ISO 9660; 'status' lists them"));
            }
        };
        let mut flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        if access == Access::Read {
            flags |= MountFlags::RDONLY;
        }
        // Consoles must not get into each other's way.
        let console = rustix::process::getpid().as_raw_nonzero();
        let device_name = device.file_name().unwrap_or_default().to_string_lossy();
        let place = Path::new("/run/recovery").join(format!("{console}-{device_name}"));
        fs::create_dir_all(&place).map_err(at("make", &place))?;
        mount(device, &place, name, flags, options).map_err(|error| {
            at("mount", device)(error).hint(match error {
                Errno::BUSY => "it is mounted in a shell; look at that folder, or unmount it there",
                _ => "its file system may be damaged; 'shell dmesg' shows what the kernel says",
            })
        })?;
        Ok(Self { device: device.to_owned(), place })
    }

    /// Where its files are.
    pub(crate) fn path(&self) -> &Path {
        &self.place
    }

    /// Returns when everything written is on the medium.
    pub(crate) fn close(self) -> Result<(), Failure> {
        let safe = File::open(&self.place).and_then(|place| Ok(rustix::fs::syncfs(place)?));
        safe.map_err(|error| at("finish writing to", &self.device)(error).hint("what was written may not be there"))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A mount that stays is removed when the machine ends.
        let _ = unmount(&self.place, UnmountFlags::DETACH);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use fatfs::{FatType, FormatVolumeOptions};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_label_of_a_fat_volume_is_read_whatever_its_kind() {
        for (kind, size) in [(FatType::Fat12, 1 << 20), (FatType::Fat16, 16 << 20), (FatType::Fat32, 64 << 20)] {
            let mut volume = Cursor::new(vec![0; size]);
            let options = FormatVolumeOptions::new().fat_type(kind).volume_label(*b"AIOS-EXPORT");
            fatfs::format_volume(&mut volume, options).expect("formatted");
            assert_eq!(recognise(&volume.into_inner()), Kind::Fat { label: "AIOS-EXPORT".into() }, "{kind:?}");
        }
    }

    #[test]
    fn an_encrypted_partition_is_told_from_others() {
        assert_eq!(recognise(b"LUKS\xba\xbe\0\x02"), Kind::Luks);
        assert_eq!(recognise(b"LUKS"), Kind::Unknown);
    }

    #[test]
    fn an_ext4_tells_whether_its_journal_waits() {
        let mut head = vec![0; 4096];
        head[1024 + 56..1024 + 58].copy_from_slice(&[0x53, 0xef]);
        assert_eq!(recognise(&head), Kind::Ext4 { journal: Journal::Clean });
        head[1024 + 96] = 0x46;
        assert_eq!(recognise(&head), Kind::Ext4 { journal: Journal::Waiting });
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut head in prop::collection::vec(any::<u8>(), 0..2048)) {
            let _ = recognise(&head);
            if let Some(mark) = head.get_mut(510..512) {
                mark.copy_from_slice(&[0x55, 0xaa]);
            }
            let _ = recognise(&head);
        }
    }
}
