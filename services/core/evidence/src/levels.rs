//! The hash tiles above the leaves, rebuilt while a log is read from its beginning and compared with their files.

use aios_ids::Digest;

use crate::export::{Fault, Fetch, same_hashes};
use crate::tile::{ResourcePath, TILE_WIDTH, TileAt};
use crate::tree::Frontier;

/// The tile that grows on each level, from level 1 up.
#[derive(Default)]
pub(crate) struct Levels {
    rows: Vec<Growing>,
    tiles: Frontier,
    files: u64,
}

#[derive(Default)]
struct Growing {
    index: u64,
    edge: Frontier,
    bytes: Vec<u8>,
}

impl Levels {
    /// Adds the root over the next full bundle.
    pub(crate) fn push(&mut self, root: Digest, fetch: &Fetch<'_>) -> Result<(), Fault> {
        self.tiles.push(root);
        let mut hash = root;
        for level in 0.. {
            if level == self.rows.len() {
                self.rows.push(Growing::default());
            }
            let row = &mut self.rows[level];
            row.edge.push(hash);
            row.bytes.extend_from_slice(hash.as_bytes());
            if row.edge.size() < TILE_WIDTH {
                break;
            }
            hash = row.edge.root();
            row.compare(level, fetch)?;
            self.files += 1;
            *row = Growing { index: row.index + 1, ..Growing::default() };
        }
        Ok(())
    }

    /// Compares the tiles that are not full; says how many files there are above the leaves.
    pub(crate) fn finish(&mut self, fetch: &Fetch<'_>) -> Result<u64, Fault> {
        for (level, row) in self.rows.iter().enumerate().filter(|(_, row)| row.edge.size() > 0) {
            row.compare(level, fetch)?;
            self.files += 1;
        }
        Ok(self.files)
    }

    /// The tree over the roots of the full bundles.
    pub(crate) fn tiles(&self) -> &Frontier {
        &self.tiles
    }
}

impl Growing {
    fn compare(&self, row: usize, fetch: &Fetch<'_>) -> Result<(), Fault> {
        let level = u8::try_from(row + 1).expect("a log of 64-bit size has eight levels of tiles");
        let path = ResourcePath::Hashes { level, tile: TileAt { index: self.index, width: self.edge.size() } };
        same_hashes(path, &fetch(path)?, &self.bytes)
    }
}
