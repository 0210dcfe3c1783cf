//! An installed disk as an image file, seen and damaged from outside.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::fat::Fat;
use crate::scenario::Failure;
use crate::vm::process::output;

const SECTOR: u64 = 512;
/// Partition entries of the usual size, as many as there usually are.
const ENTRY: usize = 128;
const ENTRIES: usize = 128;

/// An image with a partition table.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The image.
    pub path: PathBuf,
}

/// Where a partition is on its disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its first byte.
    pub start: u64,
    /// How long it is.
    pub length: u64,
}

/// A partition's number; the layout of AIOS gives each a fixed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    /// The EFI system partition.
    Esp = 1,
    /// What decides a boot.
    BootState = 2,
    /// The root of slot a.
    RootA = 3,
    /// Its hash tree.
    TreeA = 4,
    /// The root of slot b.
    RootB = 5,
    /// What outlives every release.
    Data = 7,
}

impl Disk {
    /// Makes an empty image.
    pub fn create(path: &Path, size: u64) -> Result<Self, Failure> {
        File::create(path).and_then(|file| file.set_len(size)).map_err(Failure::file("make", path))?;
        Ok(Self { path: path.into() })
    }

    /// Where a partition is.
    pub fn place(&self, partition: Partition) -> Result<Place, Failure> {
        let mut table = [0; ENTRY * ENTRIES];
        File::open(&self.path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(2 * SECTOR))?;
                file.read_exact(&mut table)
            })
            .map_err(Failure::file("read the partitions of", &self.path))?;
        let entry = &table[(partition as usize - 1) * ENTRY..][..ENTRY];
        let number = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().expect("eight bytes"));
        let (first, last) = (number(32), number(40));
        if first == 0 || last < first {
            return Err(Failure::broken(format!("{} has no partition {partition:?}", self.path.display())));
        }
        Ok(Place { start: first * SECTOR, length: (last - first + 1) * SECTOR })
    }

    /// The EFI system partition's file system.
    pub fn esp(&self) -> Result<Fat, Failure> {
        Ok(Fat::within(&self.path, self.place(Partition::Esp)?.start))
    }

    /// A file of the data partition, such as `/groups/home/files/x`, read without the help of the system that wrote it.
    pub fn data_file(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let place = self.place(Partition::Data)?;
        let image = format!("{}?offset={}", self.path.display(), place.start);
        Ok(output("debugfs", "e2fsprogs", &["-R".into(), format!("cat {path}").into(), image.into()])?)
    }

    /// Whether these bytes stand anywhere on the data partition, in a file or not.
    pub fn holds(&self, bytes: &[u8]) -> Result<bool, Failure> {
        const PIECE: usize = 1 << 20;
        let place = self.place(Partition::Data)?;
        let find = || -> io::Result<bool> {
            let mut disk = File::open(&self.path)?;
            disk.seek(SeekFrom::Start(place.start))?;
            let mut disk = disk.take(place.length);
            let zeroes = vec![0; PIECE];
            // Each piece begins with the end of the one before.
            let mut piece = Vec::new();
            loop {
                let read = disk.by_ref().take((PIECE - piece.len()) as u64).read_to_end(&mut piece)?;
                if piece != zeroes && piece.windows(bytes.len()).any(|found| found == bytes) {
                    return Ok(true);
                }
                if read == 0 {
                    return Ok(false);
                }
                piece.drain(..piece.len().saturating_sub(bytes.len()));
            }
        };
        find().map_err(Failure::file("search", &self.path))
    }

    /// Copies a partition to a file, as a backup of it does.
    pub fn save(&self, partition: Partition, to: &Path) -> Result<(), Failure> {
        let place = self.place(partition)?;
        File::create(to)
            .and_then(|file| file.set_len(place.length))
            .and_then(|()| copy(&self.path, place.start, to, 0, place.length))
            .map_err(Failure::file("copy a partition to", to))
    }

    /// Puts a copy of a partition back.
    pub fn put_back(&self, partition: Partition, from: &Path) -> Result<(), Failure> {
        let place = self.place(partition)?;
        copy(from, 0, &self.path, place.start, place.length)
            .map_err(Failure::file("put a partition back on", &self.path))
    }

    /// Overwrites the beginning of a partition, where file systems have what they are found by.
    pub fn destroy(&self, partition: Partition) -> Result<(), Failure> {
        let place = self.place(partition)?;
        let garbage = vec![0xa5; usize::try_from(place.length.min(16 << 20)).expect("at most 16 MiB")];
        File::options()
            .write(true)
            .open(&self.path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(place.start))?;
                file.write_all(&garbage)
            })
            .map_err(Failure::file("destroy a partition of", &self.path))
    }
}

/// Copies bytes between files; where both have zeroes, holes stay holes.
fn copy(from: &Path, from_at: u64, to: &Path, to_at: u64, length: u64) -> io::Result<()> {
    let (from, to) = (File::open(from)?, File::options().read(true).write(true).open(to)?);
    let (mut wanted, mut there) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut done = 0;
    while done < length {
        let part = (length - done).min(1 << 20) as usize;
        from.read_exact_at(&mut wanted[..part], from_at + done)?;
        to.read_exact_at(&mut there[..part], to_at + done)?;
        if wanted[..part] != there[..part] {
            to.write_all_at(&wanted[..part], to_at + done)?;
        }
        done += part as u64;
    }
    to.sync_all()
}
