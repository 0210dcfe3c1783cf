//! Partition tables: reading any, writing ours in an order that survives a power cut.
//!
//! The writer puts the backup down first and the primary last, with a barrier between, so that there is a whole table
//! at every moment. The same table gives the same bytes. The crate `gpt` checks what this writes
//! ([`crate::second_reader`]); it does not do the work because it ends the process on foreign entry sizes, does not fall
//! back on the backup when the primary's entries are damaged, and has no barriers.

use std::io;

use crate::bios;
use crate::guid::Guid;
use crate::medium::Medium;

/// Entries that a table of ours has room for.
const ENTRIES: u32 = 128;
const ENTRY_BYTES: u32 = 128;
/// The most that is read for the entries of a foreign table.
const ENTRIES_LIMIT: u32 = 1 << 20;
const HEADER_BYTES: usize = 92;

/// A disk's partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The disk's own GUID.
    pub disk: Guid,
    /// The partitions by number, from 1; `None` for a number that is free.
    pub entries: Vec<Option<Entry>>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is for.
    pub kind: Guid,
    /// Its PARTUUID.
    pub id: Guid,
    /// Its first sector.
    pub first: u64,
    /// Its last sector, which belongs to it.
    pub last: u64,
    /// Attribute bits.
    pub flags: u64,
    /// At most 36 UTF-16 units.
    pub name: String,
}

/// The size of a disk in its own sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes in a sector: 512 or 4096.
    pub sector: u32,
    /// How many there are.
    pub sectors: u64,
}

/// Whether the first sector is replaced as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// A new table, with the protective record that keeps old tools away.
    New,
    /// A change to a table that is there.
    Change,
}

/// No table could be read or written.
#[derive(Debug, thiserror::Error)]
pub enum GptError {
    /// Neither copy is whole.
    #[error("there is no partition table: the first copy {primary}; the second copy {backup}")]
    None {
        /// What is wrong with the first copy.
        primary: Fault,
        /// What is wrong with the second.
        backup: Fault,
    },
    /// The disk could not be read.
    #[error("cannot read the partition table")]
    Read(#[source] io::Error),
    /// The disk could not be written.
    #[error("cannot write the partition table")]
    Write(#[source] io::Error),
    /// Sectors of another size, or too few for a table.
    #[error("a disk of {} sectors of {} bytes cannot hold a partition table", .0.sectors, .0.sector)]
    Geometry(Geometry),
}

/// What is wrong with one copy of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It does not begin with its mark.
    #[error("has no signature")]
    Signature,
    /// A size or place in it is outside every sensible limit.
    #[error("has impossible numbers in its header")]
    Header,
    /// Its header is damaged.
    #[error("has a header with a wrong checksum")]
    HeaderChecksum,
    /// Its entries are damaged.
    #[error("has entries with a wrong checksum")]
    EntriesChecksum,
    /// A partition lies outside the disk.
    #[error("has a partition that is not on the disk")]
    Outside,
}

impl Geometry {
    /// Of a medium of `bytes` bytes.
    pub fn of(bytes: u64, sector: u32) -> Result<Self, GptError> {
        let geometry = Self { sector, sectors: bytes / u64::from(sector.max(1)) };
        let usable = matches!(sector, 512 | 4096) && geometry.sectors > 2 * geometry.entry_sectors() + 3;
        if usable { Ok(geometry) } else { Err(GptError::Geometry(geometry)) }
    }

    /// How many sectors the entries of a table of ours take.
    fn entry_sectors(self) -> u64 {
        u64::from((ENTRIES * ENTRY_BYTES).div_ceil(self.sector.max(1)))
    }

    /// The first sector after the first copy.
    pub fn first_usable(self) -> u64 {
        2 + self.entry_sectors()
    }

    /// The last sector before the second copy.
    pub fn last_usable(self) -> u64 {
        self.sectors - 2 - self.entry_sectors()
    }
}

impl Table {
    /// Reads the first copy, or the second when the first is damaged.
    pub fn read(medium: &impl Medium, geometry: Geometry) -> Result<Self, GptError> {
        let primary = match read_copy(medium, geometry, 1)? {
            Ok(table) => return Ok(table),
            Err(fault) => fault,
        };
        match read_copy(medium, geometry, geometry.sectors - 1)? {
            Ok(table) => Ok(table),
            Err(backup) => Err(GptError::None { primary, backup }),
        }
    }

    /// Writes both copies, the second one first.
    pub fn write(&self, medium: &impl Medium, geometry: Geometry, write: Write) -> Result<(), GptError> {
        let entries = self.stored_entries();
        let last = geometry.sectors - 1;
        let sector = u64::from(geometry.sector);
        let at = |lba: u64, bytes: &[u8]| medium.write_at(lba * sector, bytes).map_err(GptError::Write);
        let barrier = || medium.sync().map_err(GptError::Write);
        // A cut before the first barrier leaves the old first copy, which is read before any second one.
        at(last - geometry.entry_sectors(), &entries)?;
        at(last, &self.stored_header(geometry, last, 1, last - geometry.entry_sectors(), &entries))?;
        barrier()?;
        if write == Write::New {
            at(0, &protective_record(geometry))?;
        }
        // From here a torn first copy fails its checksum, and the second is the new table.
        at(2, &entries)?;
        at(1, &self.stored_header(geometry, 1, last, 2, &entries))?;
        barrier()
    }

    fn stored_entries(&self) -> Vec<u8> {
        let mut bytes = vec![0; (ENTRIES * ENTRY_BYTES) as usize];
        for (slot, entry) in bytes.chunks_exact_mut(ENTRY_BYTES as usize).zip(&self.entries) {
            let Some(entry) = entry else { continue };
            slot[..16].copy_from_slice(&entry.kind.stored());
            slot[16..32].copy_from_slice(&entry.id.stored());
            slot[32..40].copy_from_slice(&entry.first.to_le_bytes());
            slot[40..48].copy_from_slice(&entry.last.to_le_bytes());
            slot[48..56].copy_from_slice(&entry.flags.to_le_bytes());
            for (unit, stored) in entry.name.encode_utf16().zip(slot[56..].chunks_exact_mut(2)) {
                stored.copy_from_slice(&unit.to_le_bytes());
            }
        }
        bytes
    }

    fn stored_header(&self, geometry: Geometry, own: u64, other: u64, entries_at: u64, entries: &[u8]) -> Vec<u8> {
        let mut header = Vec::with_capacity(geometry.sector as usize);
        header.extend_from_slice(b"EFI PART");
        header.extend_from_slice(&0x0001_0000_u32.to_le_bytes());
        header.extend_from_slice(&(HEADER_BYTES as u32).to_le_bytes());
        header.extend_from_slice(&[0; 8]); // the checksum, below, and reserved bytes
        for number in [own, other, geometry.first_usable(), geometry.last_usable()] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        header.extend_from_slice(&self.disk.stored());
        header.extend_from_slice(&entries_at.to_le_bytes());
        for number in [ENTRIES, ENTRY_BYTES, crc32(entries)] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        header.resize(geometry.sector as usize, 0);
        header
    }
}

/// One copy, whose header is in sector `lba`. The outer error is the disk's.
fn read_copy(medium: &impl Medium, geometry: Geometry, lba: u64) -> Result<Result<Table, Fault>, GptError> {
    let sector = u64::from(geometry.sector);
    let mut header = vec![0; geometry.sector as usize];
    medium.read_at(lba * sector, &mut header).map_err(GptError::Read)?;
    let shape = match Shape::parse(&header, lba, geometry) {
        Ok(shape) => shape,
        Err(fault) => return Ok(Err(fault)),
    };
    let mut entries = vec![0; (shape.count * shape.entry_bytes) as usize];
    medium.read_at(shape.entries_at * sector, &mut entries).map_err(GptError::Read)?;
    Ok(shape.table(&entries, geometry))
}

/// A header whose numbers have been checked.
struct Shape {
    disk: Guid,
    entries_at: u64,
    count: u32,
    entry_bytes: u32,
    entries_checksum: u32,
}

impl Shape {
    fn parse(header: &[u8], lba: u64, geometry: Geometry) -> Result<Self, Fault> {
        let short = |at: usize| u32::from_le_bytes(fixed(header, at));
        let long = |at: usize| u64::from_le_bytes(fixed(header, at));
        if !header.starts_with(b"EFI PART") {
            return Err(Fault::Signature);
        }
        let length = short(12) as usize;
        if !(HEADER_BYTES..=header.len()).contains(&length) {
            return Err(Fault::Header);
        }
        let mut unsigned = header[..length].to_vec();
        unsigned[16..20].fill(0);
        if crc32(&unsigned) != short(16) {
            return Err(Fault::HeaderChecksum);
        }
        let (entries_at, count, entry_bytes) = (long(72), short(80), short(84));
        let bytes = count.checked_mul(entry_bytes).filter(|bytes| *bytes <= ENTRIES_LIMIT).ok_or(Fault::Header)?;
        let end = entries_at.checked_add(u64::from(bytes.div_ceil(geometry.sector))).ok_or(Fault::Header)?;
        if long(24) != lba || entry_bytes < ENTRY_BYTES || end > geometry.sectors {
            return Err(Fault::Header);
        }
        let disk = Guid::from_stored(fixed(header, 56));
        Ok(Self { disk, entries_at, count, entry_bytes, entries_checksum: short(88) })
    }

    fn table(&self, stored: &[u8], geometry: Geometry) -> Result<Table, Fault> {
        if crc32(stored) != self.entries_checksum {
            return Err(Fault::EntriesChecksum);
        }
        let mut entries = Vec::new();
        for stored in stored.chunks_exact(self.entry_bytes as usize) {
            let kind = Guid::from_stored(fixed(stored, 0));
            if kind == Guid::default() {
                entries.push(None);
                continue;
            }
            let first = u64::from_le_bytes(fixed(stored, 32));
            let last = u64::from_le_bytes(fixed(stored, 40));
            if first > last || last >= geometry.sectors {
                return Err(Fault::Outside);
            }
            let units = stored[56..128].chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
            let name = char::decode_utf16(units.take_while(|unit| *unit != 0));
            entries.push(Some(Entry {
                kind,
                id: Guid::from_stored(fixed(stored, 16)),
                first,
                last,
                flags: u64::from_le_bytes(fixed(stored, 48)),
                name: name.map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect(),
            }));
        }
        while matches!(entries.last(), Some(None)) {
            entries.pop();
        }
        Ok(Table { disk: self.disk, entries })
    }
}

/// `N` bytes at `at`; every caller's offsets lie inside a header of 512 bytes or an entry of 128.
fn fixed<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut taken = [0; N];
    taken.copy_from_slice(&bytes[at..at + N]);
    taken
}

/// The record of one partition over the whole disk, in the way of tools that know no GPT, and what firmware that knows
/// no GPT starts.
fn protective_record(geometry: Geometry) -> Vec<u8> {
    let mut record = bios::boot_code();
    record.resize(geometry.sector as usize, 0);
    let sectors = u32::try_from(geometry.sectors - 1).unwrap_or(u32::MAX);
    record[446..454].copy_from_slice(&[0x00, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff]);
    record[454..458].copy_from_slice(&1_u32.to_le_bytes());
    record[458..462].copy_from_slice(&sectors.to_le_bytes());
    record[510..512].copy_from_slice(&[0x55, 0xaa]);
    record
}

/// The checksum of the UEFI specification: the CRC-32 of IEEE 802.3, over a few kilobytes, so without a table.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |value: u32, _| if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
    !bytes.iter().fold(!0, |value, byte| (0..8).fold(value ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
