//! Copies of an ISO that were tampered with.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::fat::Fat;
use crate::scenario::Failure;
use crate::vm::process::output;

const SECTOR: u64 = 512;
/// The type of an EFI system partition, `C12A7328-F81F-11D2-BA4B-00A0C93EC93B`, as it lies on disk.
const ESP: [u8; 16] = [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
const EROFS_MAGIC: [u8; 4] = [0xe2, 0xe1, 0xf5, 0xe0];
const EROFS_SUPERBLOCK: u64 = 1024;

/// A copy of an ISO, to be changed.
#[derive(Debug)]
pub struct IsoCopy {
    /// The copy.
    pub path: PathBuf,
}

impl IsoCopy {
    /// Copies an ISO.
    pub fn make(iso: &Path, to: &Path) -> Result<Self, Failure> {
        fs::copy(iso, to).map_err(Failure::file("copy", iso))?;
        Ok(Self { path: to.into() })
    }

    /// Takes the signature off every unified kernel image. Gives their paths.
    pub fn strip_signatures(&self, folder: &Path) -> Result<Vec<String>, Failure> {
        let esp = self.esp()?;
        let images: Vec<_> =
            esp.files()?.into_iter().filter(|path| path.starts_with("EFI/aios/") && path.ends_with(".efi")).collect();
        if images.is_empty() {
            return Err(Failure::broken(format!("the ESP of {} has no unified kernel image", self.path.display())));
        }
        for path in &images {
            let local = folder.join("unsigned.efi");
            esp.get(path, &local)?;
            output("sbattach", "sbsigntool", &["--remove".into(), local.clone().into()])?;
            esp.put(&local, path)?;
        }
        Ok(images)
    }

    /// Changes one bit of the root file system, in its superblock: the one place that every start reads.
    pub fn flip_root_bit(&self) -> Result<u64, Failure> {
        let root = self.root_offset()?;
        // The volume's name: the kernel would mount the file system just as well if nothing checked it.
        let at = root + EROFS_SUPERBLOCK + 64;
        flip(&self.path, at)?;
        Ok(at)
    }

    fn esp(&self) -> Result<Fat, Failure> {
        let table = self.read(2 * SECTOR, 128 * 128)?;
        let entry = table.chunks_exact(128).find(|entry| entry[..16] == ESP);
        let Some(entry) = entry else {
            return Err(Failure::broken(format!("{} has no EFI system partition", self.path.display())));
        };
        let first = u64::from_le_bytes(entry[32..40].try_into().expect("eight bytes"));
        Ok(Fat::within(&self.path, first * SECTOR))
    }

    fn root_offset(&self) -> Result<u64, Failure> {
        let mut file = File::open(&self.path).map_err(Failure::file("open", &self.path))?;
        let size = file.metadata().map_err(Failure::file("look at", &self.path))?.len();
        let mut magic = [0; 4];
        for offset in (0..size.saturating_sub(EROFS_SUPERBLOCK + 4)).step_by(2048) {
            file.seek(SeekFrom::Start(offset + EROFS_SUPERBLOCK))
                .and_then(|_| file.read_exact(&mut magic))
                .map_err(Failure::file("read", &self.path))?;
            if magic == EROFS_MAGIC {
                return Ok(offset);
            }
        }
        Err(Failure::broken(format!("{} holds no EROFS file system", self.path.display())))
    }

    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![0; length];
        File::open(&self.path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(offset))?;
                file.read_exact(&mut bytes)
            })
            .map_err(Failure::file("read", &self.path))?;
        Ok(bytes)
    }
}

/// Changes one bit of a file.
pub fn flip(path: &Path, at: u64) -> Result<(), Failure> {
    File::options()
        .read(true)
        .write(true)
        .open(path)
        .and_then(|mut file| {
            let mut byte = [0];
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut byte)?;
            byte[0] ^= 1;
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&byte)
        })
        .map_err(Failure::file("change", path))
}
