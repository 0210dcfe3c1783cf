//! A new partition table as other people's code reads it.
//!
//! Our writer and our reader could share a mistake. Before a disk counts as installed, the crate `gpt` has to find both
//! copies whole and the same partitions in them. It reads only tables that were just written here: on foreign ones it
//! ends the process when entries have an unusual size.

use std::fs::File;
use std::io;

use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;

use crate::gpt::{Geometry, Table};

/// The table on a disk is not the one that was written.
#[derive(Debug, thiserror::Error)]
pub enum SecondReaderError {
    /// The disk could not be opened once more.
    #[error("cannot read the new partition table")]
    Read(#[source] io::Error),
    /// A copy is damaged.
    #[error("the new partition table does not read back whole")]
    Damaged(#[source] gpt::GptError),
    /// Another table is there.
    #[error("the new partition table reads back with another partition {number}")]
    Differs {
        /// The first number that differs.
        number: u32,
    },
}

/// Compares both copies on `disk` with `table`.
pub fn check(disk: &File, geometry: Geometry, table: &Table) -> Result<(), SecondReaderError> {
    let size = if geometry.sector == 512 { LogicalBlockSize::Lb512 } else { LogicalBlockSize::Lb4096 };
    let device = disk.try_clone().map_err(SecondReaderError::Read)?;
    let config = GptConfig::new().writable(false).logical_block_size(size).only_valid_headers(true);
    let found = config.open_from_device(device).map_err(SecondReaderError::Damaged)?;
    for (number, entry) in (1_u32..).zip(&table.entries) {
        let same = match (entry, found.partitions().get(&number)) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => {
                (ours.first, ours.last, ours.flags) == (theirs.first_lba, theirs.last_lba, theirs.flags)
                    && ours.name == theirs.name
                    && ours.id.text_order() == *theirs.part_guid.as_bytes()
                    && ours.kind.to_string().eq_ignore_ascii_case(&theirs.part_type_guid.guid.to_string())
            }
            _ => false,
        };
        if !same {
            return Err(SecondReaderError::Differs { number });
        }
    }
    match found.partitions().keys().find(|number| **number as usize > table.entries.len()) {
        Some(number) => Err(SecondReaderError::Differs { number: *number }),
        None => Ok(()),
    }
}
