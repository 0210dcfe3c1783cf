//! A FAT32 file system written once, as a function of its files.
//!
//! It knows nothing of changing a file system: what exists is the plan of one, a list of stretches of bytes, that can be
//! written or compared with what is on a disk. Every date is the first that FAT knows, every file lies in one piece, so
//! equal files give equal bytes. `fsck.vfat` and the crate `fatfs` judge it in the tests; `fatfs` does not write it
//! because its folders begin with long names for `.` and `..`, which checkers take for damage.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use crate::layout::Place;
use crate::medium::Medium;

const RESERVED: u32 = 32;
const COPIES: u32 = 2;
/// Fewer clusters would be FAT16, whatever the header says.
const LEAST_CLUSTERS: u32 = 65_525;
const MOST_CLUSTERS: u32 = 0x0fff_fff5 - 2;
const ENTRY: usize = 32;
const END_OF_CHAIN: u32 = 0x0fff_ffff;
/// 1 January 1980.
const DATE: [u8; 2] = [0x21, 0x00];
/// Bytes that are read or zeroed at once.
const RUN: usize = 1 << 20;

/// A path, with `/` between names, and its content.
pub type FatFile = (String, Vec<u8>);

/// A FAT file system could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FatError {
    /// No room for a FAT32 file system, or for its files.
    #[error("{bytes} bytes are not enough for a FAT file system with these files")]
    Size {
        /// What there is.
        bytes: u64,
    },
    /// A name that FAT cannot hold.
    #[error("'{}' cannot be a path on a FAT file system", path.escape_default())]
    Name {
        /// The path.
        path: String,
    },
    /// The disk could not be written.
    #[error("cannot write the FAT file system")]
    Write(#[source] io::Error),
    /// The disk could not be read.
    #[error("cannot read the FAT file system back")]
    Read(#[source] io::Error),
    /// The disk has other bytes.
    #[error("the FAT file system does not read back as it was written: the disk is faulty at byte {offset}")]
    ReadBack {
        /// The first stretch that differs.
        offset: u64,
    },
}

/// Stretches of bytes from the start of the file system, in order; what lies between them in data clusters is unused.
pub struct Fat<'a> {
    stretches: Vec<(u64, Cow<'a, [u8]>)>,
}

impl<'a> Fat<'a> {
    /// The file system of `place` with these files. `label` and `volume_id` are what people and systems tell it by.
    pub fn plan(
        place: Place,
        sector: u32,
        label: &[u8; 11],
        volume_id: u32,
        files: &'a [FatFile],
    ) -> Result<Self, FatError> {
        let size = || FatError::Size { bytes: place.length };
        let shape = Shape::of(place, sector).ok_or_else(size)?;
        let mut tree = Folder::default();
        for (path, content) in files {
            tree.insert(path, content).ok_or_else(|| FatError::Name { path: path.clone() })?;
        }
        let mut clusters = Clusters { shape, chains: Vec::new(), stretches: Vec::new() };
        clusters.folder(&tree, None, Some(label)).ok_or_else(size)?;
        let Clusters { chains, stretches: data, .. } = clusters;
        let used = chains.len() as u32;
        let mut stretches = shape.header(label, volume_id, place.start / u64::from(sector), used);
        let mut table: Vec<u8> =
            [0x0fff_fff8, END_OF_CHAIN].iter().chain(&chains).flat_map(|n| n.to_le_bytes()).collect();
        table.resize(shape.table_sectors as usize * sector as usize, 0);
        for copy in 0..COPIES {
            let start = RESERVED + copy * shape.table_sectors;
            stretches.push((u64::from(start) * u64::from(sector), Cow::Owned(table.clone())));
        }
        stretches.extend(data);
        Ok(Self { stretches })
    }

    /// Writes it to `place` and waits until it is there.
    pub fn write(&self, medium: &impl Medium, place: Place) -> Result<(), FatError> {
        for (offset, bytes) in &self.stretches {
            medium.write_at(place.start + offset, bytes).map_err(FatError::Write)?;
        }
        medium.sync().map_err(FatError::Write)
    }

    /// Compares the medium with it.
    pub fn check(&self, medium: &impl Medium, place: Place) -> Result<(), FatError> {
        medium.forget().map_err(FatError::Read)?;
        let mut found = vec![0; RUN];
        for (start, bytes) in &self.stretches {
            for (number, expected) in bytes.chunks(RUN).enumerate() {
                let offset = start + (number * RUN) as u64;
                let found = &mut found[..expected.len()];
                medium.read_at(place.start + offset, found).map_err(FatError::Read)?;
                if found != expected {
                    return Err(FatError::ReadBack { offset });
                }
            }
        }
        Ok(())
    }
}

/// The sizes of one file system.
#[derive(Debug, Clone, Copy)]
struct Shape {
    sector: u32,
    sectors: u32,
    sectors_per_cluster: u32,
    table_sectors: u32,
    clusters: u32,
}

impl Shape {
    /// Clusters of 4 KiB, smaller where there would be too few.
    fn of(place: Place, sector: u32) -> Option<Self> {
        let sectors = u32::try_from(place.length.checked_div(u64::from(sector))?).ok()?;
        let mut sectors_per_cluster = (4096 / sector).max(1);
        while sectors_per_cluster > 0 {
            // Each cluster costs its sectors and one entry of four bytes in each table.
            let payload = sectors.checked_sub(RESERVED)?;
            let entries_per_sector = sector / 4;
            let table_sectors = payload.div_ceil(entries_per_sector * sectors_per_cluster + COPIES) + 1;
            let clusters = payload.checked_sub(COPIES * table_sectors)? / sectors_per_cluster;
            if (LEAST_CLUSTERS..=MOST_CLUSTERS).contains(&clusters) {
                return Some(Self { sector, sectors, sectors_per_cluster, table_sectors, clusters });
            }
            sectors_per_cluster /= 2;
        }
        None
    }

    fn cluster_bytes(self) -> usize {
        (self.sectors_per_cluster * self.sector) as usize
    }

    fn offset_of(self, cluster: u32) -> u64 {
        let first = RESERVED + COPIES * self.table_sectors + (cluster - 2) * self.sectors_per_cluster;
        u64::from(first) * u64::from(self.sector)
    }

    /// The reserved sectors: boot sector and information sector, each with its copy.
    fn header(self, label: &[u8; 11], volume_id: u32, hidden: u64, used: u32) -> Vec<(u64, Cow<'static, [u8]>)> {
        let mut boot = Vec::with_capacity(512);
        boot.extend_from_slice(&[0xeb, 0x58, 0x90]);
        boot.extend_from_slice(b"AIOS    ");
        boot.extend_from_slice(&(self.sector as u16).to_le_bytes());
        boot.push(self.sectors_per_cluster as u8);
        boot.extend_from_slice(&(RESERVED as u16).to_le_bytes());
        boot.push(COPIES as u8);
        boot.extend_from_slice(&[0, 0, 0, 0, 0xf8, 0, 0]); // no FAT16 fields; a fixed disk
        boot.extend_from_slice(&[63, 0, 255, 0]); // a geometry nobody uses
        boot.extend_from_slice(&u32::try_from(hidden).unwrap_or(0).to_le_bytes());
        boot.extend_from_slice(&self.sectors.to_le_bytes());
        boot.extend_from_slice(&self.table_sectors.to_le_bytes());
        boot.extend_from_slice(&[0, 0, 0, 0]); // both tables alike, version 0
        boot.extend_from_slice(&2_u32.to_le_bytes()); // the root folder's cluster
        boot.extend_from_slice(&[1, 0, 6, 0]); // the information sector, the copy of this one
        boot.extend_from_slice(&[0; 12]);
        boot.extend_from_slice(&[0x80, 0, 0x29]);
        boot.extend_from_slice(&volume_id.to_le_bytes());
        boot.extend_from_slice(label);
        boot.extend_from_slice(b"FAT32   ");
        boot.resize(510, 0);
        boot.extend_from_slice(&[0x55, 0xaa]);
        let mut information = b"RRaA".to_vec();
        information.resize(484, 0);
        information.extend_from_slice(b"rrAa");
        information.extend_from_slice(&(self.clusters - used).to_le_bytes());
        information.extend_from_slice(&(used + 2).to_le_bytes());
        information.resize(508, 0);
        information.extend_from_slice(&[0, 0, 0x55, 0xaa]);
        let sector = self.sector as usize;
        let mut reserved = vec![0; RESERVED as usize * sector];
        for (number, bytes) in [(0, &boot), (1, &information), (6, &boot), (7, &information)] {
            reserved[number * sector..number * sector + 512].copy_from_slice(bytes);
        }
        vec![(0, Cow::Owned(reserved))]
    }
}

/// One folder of the plan.
#[derive(Default)]
struct Folder<'a>(BTreeMap<&'a str, Node<'a>>);

enum Node<'a> {
    Folder(Folder<'a>),
    File(&'a [u8]),
}

impl<'a> Folder<'a> {
    fn insert(&mut self, path: &'a str, content: &'a [u8]) -> Option<()> {
        let (name, rest) = path.split_once('/').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
        if name.is_empty() || name.len() > 255 || name.ends_with('.') || !name.bytes().all(plain) {
            return None;
        }
        match rest {
            None => self.0.insert(name, Node::File(content)).is_none().then_some(()),
            Some(rest) => match self.0.entry(name).or_insert_with(|| Node::Folder(Folder::default())) {
                Node::Folder(folder) => folder.insert(rest, content),
                Node::File(_) => None,
            },
        }
    }
}

/// Data clusters as they are given out, one after the other.
struct Clusters<'a> {
    shape: Shape,
    /// What follows each cluster, from cluster 2 on.
    chains: Vec<u32>,
    stretches: Vec<(u64, Cow<'a, [u8]>)>,
}

impl<'a> Clusters<'a> {
    /// A chain of clusters for `bytes` bytes; its first cluster.
    fn take(&mut self, bytes: usize) -> Option<u32> {
        let first = self.chains.len() as u32 + 2;
        let count = u32::try_from(bytes.div_ceil(self.shape.cluster_bytes())).ok()?;
        if count > self.shape.clusters - self.chains.len() as u32 {
            return None;
        }
        self.chains.extend((1..count).map(|number| first + number));
        self.chains.push(END_OF_CHAIN);
        Some(first)
    }

    /// Lays a folder and everything below it; its first cluster. `None`: no room. The root has a label and no parent.
    fn folder(&mut self, folder: &Folder<'a>, parent: Option<u32>, label: Option<&[u8; 11]>) -> Option<u32> {
        let lengths = folder.0.keys().map(|name| 1 + long_entries(name)).sum::<usize>() + 2;
        let own = self.take(lengths * ENTRY)?;
        let mut bytes = Vec::new();
        if let Some(label) = label {
            bytes.extend_from_slice(&short_entry(label, 0x08, 0, 0));
        }
        if let Some(parent) = parent {
            bytes.extend_from_slice(&short_entry(b".          ", 0x10, own, 0));
            bytes.extend_from_slice(&short_entry(b"..         ", 0x10, parent, 0));
        }
        for (index, (name, node)) in folder.0.iter().enumerate() {
            let (attributes, cluster, size) = match node {
                // The root is called 0 where a folder names its parent.
                Node::Folder(inner) => {
                    (0x10, self.folder(inner, Some(if label.is_some() { 0 } else { own }), None)?, 0)
                }
                Node::File([]) => (0x20, 0, 0),
                Node::File(content) => {
                    let cluster = self.take(content.len())?;
                    self.stretches.push((self.shape.offset_of(cluster), Cow::Borrowed(*content)));
                    (0x20, cluster, u32::try_from(content.len()).ok()?)
                }
            };
            let short = short_name(name, index + 1);
            if long_entries(name) > 0 {
                bytes.extend(long_name(name, &short));
            }
            bytes.extend_from_slice(&short_entry(&short, attributes, cluster, size));
        }
        bytes.resize(bytes.len().next_multiple_of(self.shape.cluster_bytes()), 0);
        self.stretches.push((self.shape.offset_of(own), Cow::Owned(bytes)));
        Some(own)
    }
}

/// The parts of a name that is already short: at most eight and three characters, no small letters.
fn as_short(name: &str) -> Option<[u8; 11]> {
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    let fits = |part: &str| part.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if stem.is_empty() || stem.len() > 8 || extension.len() > 3 || !fits(stem) || !fits(extension) {
        return None;
    }
    Some(padded(stem, extension))
}

/// The name that every entry has; for a long name one that no other entry of the folder has, by its number.
fn short_name(name: &str, number: usize) -> [u8; 11] {
    as_short(name).unwrap_or_else(|| {
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let plain =
            |part: &str| part.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
        let tail = format!("~{number}");
        let mut stem = plain(stem);
        stem.truncate(8 - tail.len().min(8));
        let mut extension = plain(extension);
        extension.truncate(3);
        padded(&(stem + &tail), &extension)
    })
}

fn padded(stem: &str, extension: &str) -> [u8; 11] {
    let mut name = [b' '; 11];
    name[..stem.len().min(8)].copy_from_slice(&stem.as_bytes()[..stem.len().min(8)]);
    name[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
    name
}

fn short_entry(name: &[u8; 11], attributes: u8, cluster: u32, size: u32) -> [u8; ENTRY] {
    let [c0, c1, c2, c3] = cluster.to_le_bytes();
    let mut entry = [0; ENTRY];
    entry[..11].copy_from_slice(name);
    entry[11] = attributes;
    entry[16..18].copy_from_slice(&DATE);
    entry[18..20].copy_from_slice(&DATE);
    entry[20..22].copy_from_slice(&[c2, c3]);
    entry[24..26].copy_from_slice(&DATE);
    entry[26..28].copy_from_slice(&[c0, c1]);
    entry[28..].copy_from_slice(&size.to_le_bytes());
    entry
}

/// How many entries hold a name's long form.
fn long_entries(name: &str) -> usize {
    if as_short(name).is_some() { 0 } else { name.len().div_ceil(13) }
}

/// The long form: thirteen letters in each entry, the last part first.
fn long_name(name: &str, short: &[u8; 11]) -> Vec<u8> {
    let checksum = short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let parts: Vec<&[u8]> = name.as_bytes().chunks(13).collect();
    let mut bytes = Vec::new();
    for (index, part) in parts.iter().enumerate().rev() {
        // After the letters one zero, then filling.
        let unit = |at: usize| match part.get(at) {
            Some(byte) => [*byte, 0],
            None if at == part.len() => [0, 0],
            None => [0xff, 0xff],
        };
        let last = if index + 1 == parts.len() { 0x40 } else { 0 };
        bytes.push((index as u8 + 1) | last);
        bytes.extend((0..5).flat_map(unit));
        bytes.extend_from_slice(&[0x0f, 0, checksum]);
        bytes.extend((5..11).flat_map(unit));
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend((11..13).flat_map(unit));
    }
    bytes
}
