//! Entry bundles of an export: every entry compared with its hash and read as a record, on every processor.

use std::collections::BTreeMap;

use aios_ids::Digest;

use crate::export::{Fault, Fetch};
use crate::keys::VerifierKey;
use crate::kind::Kind;
use crate::record::{Line, Record};
use crate::runs::Runs;
use crate::tile::{ResourcePath, TILE_WIDTH, TileAt, split_bundle};
use crate::tree::{Frontier, leaf_hash};

/// What a bundle adds to what is known of the log.
pub(crate) struct CheckedBundle {
    /// The tree over its entries alone.
    pub(crate) edge: Frontier,
    pub(crate) kinds: BTreeMap<Kind, u64>,
    /// The boots that wrote it, in order.
    pub(crate) boots: Vec<String>,
    /// Entries without bytes.
    pub(crate) gone: Runs,
    /// Entries that records in it say may be without.
    pub(crate) cover: Runs,
}

/// Checks these bundles, side by side; the answers come in order.
pub(crate) fn check(fetch: &Fetch<'_>, key: &VerifierKey, tiles: &[TileAt]) -> Vec<Result<CheckedBundle, Fault>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(tiles.len()).max(1);
    let share = tiles.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let work = |tiles: &[TileAt]| tiles.iter().map(|tile| check_one(fetch, key, *tile)).collect::<Vec<_>>();
        let mut shares = tiles.chunks(share);
        let first = shares.next().unwrap_or_default();
        let others: Vec<_> = shares.map(|share| scope.spawn(move || work(share))).collect();
        let mut all = work(first);
        for other in others {
            match other.join() {
                Ok(answers) => all.extend(answers),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}

fn check_one(fetch: &Fetch<'_>, key: &VerifierKey, tile: TileAt) -> Result<CheckedBundle, Fault> {
    let (path, level) = (ResourcePath::Entries { tile }, ResourcePath::Hashes { level: 0, tile });
    let (bytes, hashes) = (fetch(path)?, fetch(level)?);
    if hashes.len() as u64 != tile.width * 32 {
        let found = (hashes.len() as u64).abs_diff(tile.width * 32);
        return Err(Fault::Length { path: level.to_string(), found });
    }
    let mut bundle = CheckedBundle {
        edge: Frontier::default(),
        kinds: BTreeMap::new(),
        boots: Vec::new(),
        gone: Runs::default(),
        cover: Runs::default(),
    };
    let mut rest = &bytes[..];
    for (index, hash) in (tile.index * TILE_WIDTH..).zip(hashes.as_chunks::<32>().0) {
        let wrong = |reason: &str| Fault::Entry { index, path: path.to_string(), reason: reason.to_owned() };
        let (entry, after) = split_bundle(rest).ok_or_else(|| wrong("the bundle ends inside it"))?;
        rest = after;
        let leaf = Digest::from_bytes(*hash);
        if entry.is_empty() {
            bundle.gone.push(index);
        } else if leaf_hash(entry) != leaf {
            return Err(wrong("its bytes do not have the hash that the tile has for it"));
        } else {
            bundle.read(index, entry, key)?;
        }
        bundle.edge.push(leaf);
    }
    if rest.is_empty() { Ok(bundle) } else { Err(Fault::Length { path: path.to_string(), found: rest.len() as u64 }) }
}

impl CheckedBundle {
    fn read(&mut self, index: u64, entry: &[u8], key: &VerifierKey) -> Result<(), Fault> {
        let Line { index: says, parts } = Line::parse(entry).map_err(|source| Fault::Record { index, source })?;
        if says != index {
            return Err(Fault::Place { index, says });
        }
        *self.kinds.entry(parts.kind).or_default() += 1;
        if self.boots.last().is_none_or(|last| last != parts.boot.as_str()) {
            self.boots.push(parts.boot.plain());
        }
        if index == 0 || parts.kind == Kind::Pruned {
            let record = Record::decode(entry).map_err(|source| Fault::Record { index, source })?;
            let names =
                |field: &str, line: &str| record.payload.get(field).and_then(|text| text.as_str()) == Some(line);
            if index == 0
                && !(record.kind == Kind::Boot
                    && names("key", &key.ed25519_line())
                    && names("key_ml_dsa", &key.ml_dsa_line()))
            {
                return Err(Fault::FirstRecord);
            }
            if record.kind == Kind::Pruned {
                self.cover.add_ranges(record.payload.get("ranges"));
            }
        }
        Ok(())
    }
}
