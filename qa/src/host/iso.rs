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
const CD_SECTOR: u64 = 2048;
/// The root file system of the release on the ISO.
pub const ROOT_NAME: &str = "aios/root.erofs";

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

    /// Copies a file of the ISO 9660 file system, such as `aios/root.erofs`, into a folder.
    pub fn extract(&self, name: &str, folder: &Path) -> Result<PathBuf, Failure> {
        let to = folder.join(name.rsplit('/').next().unwrap_or(name));
        let from = format!("/{name}");
        let words = ["-osirrox", "on", "-indev"].map(Into::into).into_iter();
        let rest = ["-extract".into(), from.into(), to.clone().into()];
        let arguments: Vec<_> = words.chain([self.path.clone().into()]).chain(rest).collect();
        output("xorriso", "xorriso", &arguments)?;
        Ok(to)
    }

    /// Where a file of the ISO 9660 file system begins in the image.
    pub fn offset_of(&self, name: &str) -> Result<u64, Failure> {
        let arguments = ["-indev".into(), self.path.clone().into(), "-find".into(), format!("/{name}").into()];
        let arguments: Vec<_> = arguments.into_iter().chain(["-exec", "report_lba", "--"].map(Into::into)).collect();
        let report = String::from_utf8_lossy(&output("xorriso", "xorriso", &arguments)?).into_owned();
        // `File data lba:  0 ,     1234 ,     5678 , 11627008 , '/aios/root.erofs'`
        let line = report.lines().find(|line| line.starts_with("File data lba:"));
        let sector = line.and_then(|line| line.split(',').nth(1)?.trim().parse::<u64>().ok());
        let sector = sector.ok_or_else(|| Failure::broken(format!("{} has no {name}", self.path.display())))?;
        Ok(sector * CD_SECTOR)
    }

    /// The EFI system partition's file system.
    pub fn esp(&self) -> Result<Fat, Failure> {
        let table = self.read(2 * SECTOR, 128 * 128)?;
        let entry = table.chunks_exact(128).find(|entry| entry[..16] == ESP);
        let Some(entry) = entry else {
            return Err(Failure::broken(format!("{} has no EFI system partition", self.path.display())));
        };
        let first = u64::from_le_bytes(entry[32..40].try_into().expect("eight bytes"));
        Ok(Fat::within(&self.path, first * SECTOR))
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
