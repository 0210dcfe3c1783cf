//! Hyper-V's disk format: written once, with holes, with an empty log.
//!
//! Equal images give equal bytes: every identifier in it follows from the content. In the file: identifier, two headers
//! and two tables of regions (1 MiB in all), then log, metadata and the table of blocks, then the blocks, each on a whole
//! mebibyte. `qemu-img` judges it in the tests.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use aios_ids::Digest;

use crate::data::crc32c;
use crate::guid::Guid;
use crate::sparse::{Chunks, SparseError};

const MIB: u64 = 1 << 20;
const KIB: usize = 1 << 10;
/// The smallest block that the format knows, for the smallest file.
const BLOCK: u64 = MIB;
/// The format's own limit.
const LARGEST: u64 = 64 << 40;

const LOG: u64 = MIB;
const METADATA: u64 = 2 * MIB;
const BLOCKS: u64 = 3 * MIB;

/// States of a block in the table.
const ZERO: u64 = 2;
const PRESENT: u64 = 6;

const REGION_BLOCKS: u128 = 0x2dc27766_f623_4200_9d64_115e9bfd4a08;
const REGION_METADATA: u128 = 0x8b7ca206_4790_4b9a_b8fe_575f050f886e;

const FORMAT: &str = "vhdx";

/// Writes `raw`, a disk whose sectors have `sector` bytes, to the empty file `out`.
pub fn write(raw: &File, sector: u32, out: &File) -> Result<(), SparseError> {
    let chunks = Chunks::of(raw, BLOCK)?;
    let bytes = chunks.size();
    if bytes > LARGEST || !matches!(sector, 512 | 4096) || bytes % u64::from(sector) != 0 {
        let limit = "whole sectors of 512 or 4096 bytes and at most 64 TiB";
        return Err(SparseError::Size { bytes, format: FORMAT, limit });
    }
    let filled = chunks.filled()?;
    let failed = |source: io::Error| SparseError::Write { format: FORMAT, source };
    let put = |offset: u64, bytes: &[u8]| out.write_all_at(bytes, offset).map_err(failed);
    // After so many blocks stands an entry for a bitmap, which only images with parents have.
    let ratio = (1 << 23) * u64::from(sector) / BLOCK;
    let place = |number: u64| number + number / ratio;
    let entries = place(chunks.count().saturating_sub(1)) + 1;
    let table_bytes = (entries * 8).next_multiple_of(MIB);
    let mut table = vec![0; table_bytes as usize];
    let mut enter = |number: u64, entry: u64| {
        let at = place(number) as usize * 8;
        table[at..at + 8].copy_from_slice(&entry.to_le_bytes());
    };
    (0..chunks.count()).for_each(|number| enter(number, ZERO));
    let mut end = BLOCKS + table_bytes;
    let mut buffer = vec![0; BLOCK as usize];
    let mut content = Digest::of(&bytes.to_le_bytes());
    for number in filled {
        let block = chunks.read(number, &mut buffer)?;
        put(end, block)?;
        enter(number, end | PRESENT);
        let parts = [content, Digest::of(&number.to_le_bytes()), Digest::of(block)];
        content = Digest::of(&parts.map(|digest| *digest.as_bytes()).concat());
        end += BLOCK;
    }
    put(BLOCKS, &table)?;
    put(METADATA, &metadata(bytes, sector, Guid::derived(content.as_bytes(), "disk")))?;
    put(LOG, &[0; MIB as usize])?;
    let regions = regions(table_bytes as u32);
    put(256 * KIB as u64, &regions)?;
    put(192 * KIB as u64, &regions)?;
    // The header with the higher number counts.
    put(128 * KIB as u64, &header(2, &content))?;
    put(64 * KIB as u64, &header(1, &content))?;
    put(0, &identifier())?;
    out.set_len(end).map_err(failed)
}

fn identifier() -> Vec<u8> {
    let mut bytes = b"vhdxfile".to_vec();
    bytes.extend("AIOS".encode_utf16().flat_map(u16::to_le_bytes));
    bytes.resize(64 * KIB, 0);
    bytes
}

fn header(number: u64, content: &Digest) -> Vec<u8> {
    let mut bytes = b"head\0\0\0\0".to_vec();
    bytes.extend_from_slice(&number.to_le_bytes());
    for purpose in ["file write", "data write"] {
        bytes.extend_from_slice(&Guid::derived(content.as_bytes(), purpose).stored());
    }
    bytes.extend_from_slice(&Guid::default().stored()); // nothing to replay from the log
    bytes.extend_from_slice(&[0, 0, 1, 0]); // versions of log and format
    bytes.extend_from_slice(&(MIB as u32).to_le_bytes());
    bytes.extend_from_slice(&LOG.to_le_bytes());
    bytes.resize(4 * KIB, 0);
    checked(bytes)
}

fn regions(table_bytes: u32) -> Vec<u8> {
    let mut bytes = b"regi\0\0\0\0".to_vec();
    bytes.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0]);
    for (region, start, length) in [(REGION_BLOCKS, BLOCKS, table_bytes), (REGION_METADATA, METADATA, MIB as u32)] {
        bytes.extend_from_slice(&Guid::from_text_order(region).stored());
        bytes.extend_from_slice(&start.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&1_u32.to_le_bytes()); // whoever does not know it must not open the file
    }
    bytes.resize(64 * KIB, 0);
    checked(bytes)
}

fn metadata(bytes: u64, sector: u32, disk: Guid) -> Vec<u8> {
    const REQUIRED: u32 = 4;
    const OF_THE_DISK: u32 = 2 | REQUIRED;
    let block = [(BLOCK as u32).to_le_bytes(), [0; 4]].concat(); // holes allowed, no parent
    let items: [(u128, Vec<u8>, u32); 5] = [
        (0xcaa16737_fa36_4d43_b3b6_33f0aa44e76b, block, REQUIRED),
        (0x2fa54224_cd1b_4876_b211_5dbed83bf4b8, bytes.to_le_bytes().to_vec(), OF_THE_DISK),
        (0xbeca12ab_b2e6_4523_93ef_c309e000c746, disk.stored().to_vec(), OF_THE_DISK),
        (0x8141bf1d_a96f_4709_ba47_f233a8faab5f, sector.to_le_bytes().to_vec(), OF_THE_DISK),
        (0xcda348c7_445d_4471_9cc9_e9885251c556, 4096_u32.to_le_bytes().to_vec(), OF_THE_DISK),
    ];
    let mut table = b"metadata\0\0".to_vec();
    table.extend_from_slice(&(items.len() as u16).to_le_bytes());
    table.resize(32, 0);
    let mut values = Vec::new();
    for (item, value, flags) in items {
        table.extend_from_slice(&Guid::from_text_order(item).stored());
        for number in [64 * KIB as u32 + values.len() as u32, value.len() as u32, flags, 0] {
            table.extend_from_slice(&number.to_le_bytes());
        }
        values.extend(value);
    }
    table.resize(64 * KIB, 0);
    table.extend(values);
    table.resize(MIB as usize, 0);
    table
}

/// With its checksum, which is over all of it and stands in its second word.
fn checked(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = !crc32c(&bytes);
    bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
    bytes
}
