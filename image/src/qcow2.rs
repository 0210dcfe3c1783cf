//! QEMU's disk format, version 3: written once, with holes, without snapshots, backing files or compression.
//!
//! Equal images give equal bytes. Everything is in clusters of 64 KiB, in this order: header, table of reference counts,
//! reference counts, first table, second tables, data. `qemu-img` judges it in the tests.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::sparse::{Chunks, SparseError};

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Entries of eight bytes in a cluster of a table.
const ENTRIES: u64 = CLUSTER / 8;
/// Reference counts of two bytes in a cluster.
const COUNTS: u64 = CLUSTER / 2;
/// More would need a second cluster of the table of reference counts.
const LARGEST: u64 = 8 << 40;
/// This cluster is used by nobody else, so it may be written in place.
const OWN: u64 = 1 << 63;

const FORMAT: &str = "qcow2";

/// Writes `raw` to the empty file `out`.
pub fn write(raw: &File, out: &File) -> Result<(), SparseError> {
    let chunks = Chunks::of(raw, CLUSTER)?;
    let bytes = chunks.size();
    if bytes > LARGEST || bytes % 512 != 0 {
        let limit = "whole sectors and at most 8 TiB";
        return Err(SparseError::Size { bytes, format: FORMAT, limit });
    }
    let filled = chunks.filled()?;
    let plan = Plan::of(chunks.count(), &filled);
    let failed = |source: io::Error| SparseError::Write { format: FORMAT, source };
    let put = |cluster: u64, bytes: &[u8]| out.write_all_at(bytes, cluster * CLUSTER).map_err(failed);
    put(0, &plan.header(bytes))?;
    put(1, &table((0..plan.count_clusters).map(|number| (2 + number) * CLUSTER)))?;
    let counts: Vec<u8> = (0..plan.end).flat_map(|_| 1_u16.to_be_bytes()).collect();
    put(2, &counts)?;
    let mut first = vec![0; plan.first_entries as usize];
    for (place, covered) in (plan.second_start..).zip(&plan.second) {
        first[*covered as usize] = (place * CLUSTER) | OWN;
    }
    put(plan.first_start, &table(first.into_iter()))?;
    let mut buffer = vec![0; CLUSTER as usize];
    let mut data = plan.data_start;
    let mut rest = filled.iter().copied().peekable();
    for (place, covered) in (plan.second_start..).zip(&plan.second) {
        let mut second = vec![0; ENTRIES as usize];
        while let Some(number) = rest.next_if(|number| number / ENTRIES == *covered) {
            second[(number % ENTRIES) as usize] = (data * CLUSTER) | OWN;
            put(data, chunks.read(number, &mut buffer)?)?;
            data += 1;
        }
        put(place, &table(second.into_iter()))?;
    }
    out.set_len(plan.end * CLUSTER).map_err(failed)
}

/// Where everything is, in clusters.
struct Plan {
    count_clusters: u64,
    first_start: u64,
    first_entries: u64,
    /// Which stretches of the disk have a second table, by number.
    second: Vec<u64>,
    second_start: u64,
    data_start: u64,
    end: u64,
}

impl Plan {
    fn of(clusters: u64, filled: &[u64]) -> Self {
        let first_entries = clusters.div_ceil(ENTRIES);
        let mut second: Vec<u64> = filled.iter().map(|number| number / ENTRIES).collect();
        second.dedup();
        let rest = first_entries.div_ceil(ENTRIES) + second.len() as u64 + filled.len() as u64;
        // Reference counts count themselves.
        let mut count_clusters = 1;
        while (2 + count_clusters + rest).div_ceil(COUNTS) > count_clusters {
            count_clusters += 1;
        }
        let first_start = 2 + count_clusters;
        let second_start = first_start + first_entries.div_ceil(ENTRIES);
        let data_start = second_start + second.len() as u64;
        let end = data_start + filled.len() as u64;
        Self { count_clusters, first_start, first_entries, second, second_start, data_start, end }
    }

    fn header(&self, bytes: u64) -> Vec<u8> {
        let mut header = b"QFI\xfb\0\0\0\x03".to_vec();
        header.extend_from_slice(&[0; 12]); // no backing file
        header.extend_from_slice(&CLUSTER_BITS.to_be_bytes());
        header.extend_from_slice(&bytes.to_be_bytes());
        header.extend_from_slice(&[0; 4]); // not encrypted
        header.extend_from_slice(&(self.first_entries as u32).to_be_bytes());
        header.extend_from_slice(&(self.first_start * CLUSTER).to_be_bytes());
        header.extend_from_slice(&CLUSTER.to_be_bytes());
        header.extend_from_slice(&1_u32.to_be_bytes());
        header.extend_from_slice(&[0; 12]); // no snapshots
        header.extend_from_slice(&[0; 24]); // no features
        header.extend_from_slice(&4_u32.to_be_bytes()); // reference counts of 2^4 bits
        header.extend_from_slice(&104_u32.to_be_bytes());
        header.resize(CLUSTER as usize, 0);
        header
    }
}

fn table(entries: impl Iterator<Item = u64>) -> Vec<u8> {
    entries.flat_map(u64::to_be_bytes).collect()
}
