//! The partitions of an installed disk: which, where, how large, under which names.
//!
//! The image builder, the installer and the updater use this one description. Roots and their hash trees have the
//! type GUIDs of the Discoverable Partitions Specification and PARTUUIDs taken from the root hash, so that a release's
//! sealed command line names its slot and other systems' tools can read the disk.

use aios_ids::Digest;
use aios_slots::{Slot, Version};

use crate::gpt::{Entry, Geometry, GptError, Table};
use crate::guid::Guid;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A disk smaller than this is refused.
pub const LEAST_DISK: u64 = 2 * GIB;
/// From here on the partitions have their full sizes.
const FULL_SIZES_FROM: u64 = 16 * GIB;
/// From here on some space stays unallocated, so that a later release can enlarge a slot.
const GAP_FROM: u64 = 32 * GIB;
const GAP: u64 = 4 * GIB;

/// The name of the partition that outlives every release.
pub const DATA_NAME: &str = "aios-data";
/// The name of a slot's partitions while no release is in them.
pub const EMPTY_NAME: &str = "_empty";

const READ_ONLY: u64 = 1 << 60;
const GROW: u64 = 1 << 59;
const NO_AUTO: u64 = 1 << 63;

/// What a partition is for, in the order of their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The EFI system partition: loader and boot entries.
    Esp,
    /// What decides a boot and must not be restored with the data.
    BootState,
    /// A slot's root.
    Root(Slot),
    /// A slot's hash tree.
    Tree(Slot),
    /// Everything that outlives a release.
    Data,
}

/// All partitions by number.
pub const PARTS: [Part; 7] = [
    Part::Esp,
    Part::BootState,
    Part::Root(Slot::A),
    Part::Tree(Slot::A),
    Part::Root(Slot::B),
    Part::Tree(Slot::B),
    Part::Data,
];

impl Part {
    /// The type GUID.
    pub fn kind(self) -> Guid {
        Guid::from_text_order(match self {
            Self::Esp => 0xc12a7328_f81f_11d2_ba4b_00a0c93ec93b,
            // Ours alone, made once; it never changes.
            Self::BootState => 0x4cb79b1d_6c70_4902_9250_0dae1db140a9,
            Self::Root(_) => 0x4f68bce3_e8cd_4db1_96e7_fbcaf984b709,
            Self::Tree(_) => 0x2c7357ed_ebd2_46d9_aec1_23d437ec2bf5,
            Self::Data => 0x0fc63daf_8483_4772_8e79_3d69d8477de4,
        })
    }

    /// The partition's number, from 1.
    pub fn number(self) -> usize {
        match self {
            Self::Esp => 1,
            Self::BootState => 2,
            Self::Root(Slot::A) => 3,
            Self::Tree(Slot::A) => 4,
            Self::Root(Slot::B) => 5,
            Self::Tree(Slot::B) => 6,
            Self::Data => 7,
        }
    }

    /// In words, for plans and errors.
    pub fn what(self) -> &'static str {
        match self {
            Self::Esp => "EFI system partition",
            Self::BootState => "boot state",
            Self::Root(Slot::A) => "root, slot a",
            Self::Tree(Slot::A) => "hash tree, slot a",
            Self::Root(Slot::B) => "root, slot b",
            Self::Tree(Slot::B) => "hash tree, slot b",
            Self::Data => "data",
        }
    }

    /// Its size on a disk of `disk` bytes; `None` for the one that takes the rest.
    fn bytes(self, disk: u64) -> Option<u64> {
        let full = disk >= FULL_SIZES_FROM;
        match self {
            Self::Esp => Some(if full { GIB } else { 512 * MIB }),
            Self::BootState => Some(MIB),
            Self::Root(_) => Some(if full { 2 * GIB } else { 256 * MIB }),
            Self::Tree(_) => Some(if full { 64 * MIB } else { 8 * MIB }),
            Self::Data => None,
        }
    }

    fn flags(self) -> u64 {
        match self {
            Self::Esp => 0,
            Self::BootState => NO_AUTO,
            Self::Root(_) => NO_AUTO | READ_ONLY,
            Self::Tree(_) => NO_AUTO | READ_ONLY,
            Self::Data => NO_AUTO | GROW,
        }
    }
}

/// Where one partition lies, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its first byte.
    pub start: u64,
    /// How many bytes it has.
    pub length: u64,
}

/// The partitions of one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The disk they are on.
    pub geometry: Geometry,
    places: [Place; PARTS.len()],
}

/// The disk cannot carry AIOS, or does not.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// Less than [`LEAST_DISK`].
    #[error("the disk has {} MiB, and the smallest that can be installed on has {} MiB", bytes / MIB, LEAST_DISK / MIB)]
    TooSmall {
        /// What it has.
        bytes: u64,
    },
    /// Odd sectors.
    #[error(transparent)]
    Gpt(#[from] GptError),
    /// A table of another system.
    #[error("partition {} of the disk is not the {} of AIOS", part.number(), part.what())]
    Foreign {
        /// The first that differs.
        part: Part,
    },
}

impl Layout {
    /// The partitions for a disk of this size. Everything begins on a whole mebibyte.
    pub fn plan(disk_bytes: u64, sector: u32) -> Result<Self, LayoutError> {
        if disk_bytes < LEAST_DISK {
            return Err(LayoutError::TooSmall { bytes: disk_bytes });
        }
        let geometry = Geometry::of(disk_bytes, sector)?;
        let end = (geometry.last_usable() + 1) * u64::from(sector) / MIB * MIB;
        let mut start = MIB;
        let places = PARTS.map(|part| {
            if part == Part::Data && disk_bytes >= GAP_FROM {
                start += GAP;
            }
            let length = part.bytes(disk_bytes).unwrap_or(end - start);
            let place = Place { start, length };
            start += length;
            place
        });
        Ok(Self { geometry, places })
    }

    /// Where a table that is on a disk puts our partitions.
    pub fn of(table: &Table, geometry: Geometry) -> Result<Self, LayoutError> {
        let mut places = [Place { start: 0, length: 0 }; PARTS.len()];
        for (place, part) in places.iter_mut().zip(PARTS) {
            let entry = table.entries.get(part.number() - 1).and_then(Option::as_ref);
            let entry = entry.filter(|entry| entry.kind == part.kind()).ok_or(LayoutError::Foreign { part })?;
            let sector = u64::from(geometry.sector);
            *place = Place { start: entry.first * sector, length: (entry.last - entry.first + 1) * sector };
        }
        Ok(Self { geometry, places })
    }

    /// Where a partition is.
    pub fn place(&self, part: Part) -> Place {
        self.places[part.number() - 1]
    }

    /// The table of a new disk: nothing in either slot. Every GUID follows from `seed`.
    pub fn table(&self, seed: &[u8; 32]) -> Table {
        let entry = |part: Part| {
            let Place { start, length } = self.place(part);
            let sector = u64::from(self.geometry.sector);
            Some(Entry {
                kind: part.kind(),
                id: Guid::derived(seed, part.what()),
                first: start / sector,
                last: (start + length) / sector - 1,
                flags: part.flags(),
                name: match part {
                    Part::Esp => "ESP",
                    Part::BootState => "aios-bootstate",
                    Part::Root(_) | Part::Tree(_) => EMPTY_NAME,
                    Part::Data => DATA_NAME,
                }
                .to_owned(),
            })
        };
        Table { disk: Guid::derived(seed, "disk"), entries: PARTS.map(entry).to_vec() }
    }
}

/// Writes a release's name into the two partitions of a slot.
pub fn occupy(table: &mut Table, slot: Slot, version: &Version, root: &Digest) {
    let digits = u128::from_be_bytes(halves(root).0);
    label(table, Part::Root(slot), Guid::from_text_order(digits), format!("aios_{version}"));
    let digits = u128::from_be_bytes(halves(root).1);
    label(table, Part::Tree(slot), Guid::from_text_order(digits), format!("aios_{version}_verity"));
}

/// Takes the name away before a slot is written, so that half a release is never mistaken for a whole one.
pub fn vacate(table: &mut Table, slot: Slot) {
    let seed = *Digest::of(&table.disk.text_order()).as_bytes();
    for part in [Part::Root(slot), Part::Tree(slot)] {
        label(table, part, Guid::derived(&seed, part.what()), EMPTY_NAME.to_owned());
    }
}

/// The slot whose root belongs to this root hash.
pub fn slot_of(table: &Table, root: &Digest) -> Option<Slot> {
    let id = |slot| table.entries.get(Part::Root(slot).number() - 1).and_then(Option::as_ref).map(|entry| entry.id);
    let wanted = Guid::from_text_order(u128::from_be_bytes(halves(root).0));
    let mut found = [Slot::A, Slot::B].into_iter().filter(|slot| id(*slot) == Some(wanted));
    match (found.next(), found.next()) {
        (Some(slot), None) => Some(slot),
        _ => None,
    }
}

fn label(table: &mut Table, part: Part, id: Guid, name: String) {
    if let Some(Some(entry)) = table.entries.get_mut(part.number() - 1) {
        entry.id = id;
        entry.name = name;
    }
}

fn halves(root: &Digest) -> ([u8; 16], [u8; 16]) {
    let (mut first, mut last) = ([0; 16], [0; 16]);
    first.copy_from_slice(&root.as_bytes()[..16]);
    last.copy_from_slice(&root.as_bytes()[16..]);
    (first, last)
}
