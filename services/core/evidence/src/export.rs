//! Checks a whole log as it is exported: the signed head, every entry, every tile, every record.
//!
//! It reads files by their C2SP names through a function, so an export in a folder, a log over D-Bus and a damaged copy in
//! a test are the same to it. It stops at the first thing that is wrong and names it.

use std::collections::BTreeMap;

use aios_ids::Digest;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::note::{NoteError, VerifierKey};
use crate::record::{Kind, Record, RecordError};
use crate::tile::{ResourcePath, TILE_WIDTH, split_bundle, tiles_of};
use crate::tree::{Tree, leaf_hash};

/// Where the verifier's trust in the key comes from.
#[derive(Debug, Clone, Copy)]
pub enum KeySource<'a> {
    /// The key is known from elsewhere: a forged log is found.
    Pinned(&'a VerifierKey),
    /// The key that lies with the export and stands in its first record: changes are found, a forgery of the whole is not.
    Export,
}

/// What was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The log.
    pub origin: String,
    /// The key that signed, as a line.
    pub key: String,
    /// How many entries.
    pub size: u64,
    /// The root over them in hexadecimal.
    pub root: Digest,
    /// How many records of each kind.
    pub kinds: BTreeMap<Kind, u64>,
    /// How many boots wrote to it.
    pub boots: u64,
    /// How many files were compared.
    pub files: u64,
}

/// The first thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A file is missing or cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// Which.
        path: String,
        /// What the reader said.
        reason: String,
    },
    /// The key file holds no key, or not the one that is trusted.
    #[error("the file key is wrong: {reason}")]
    Key {
        /// Why.
        reason: String,
    },
    /// The head is not signed by the key or has another form.
    #[error("the checkpoint is wrong")]
    Checkpoint(#[source] CheckpointError),
    /// An entry's bytes are not those that the tree was built over.
    #[error("entry {index} in {path} is wrong: {reason}")]
    Entry {
        /// Which.
        index: u64,
        /// The bundle.
        path: String,
        /// Why.
        reason: String,
    },
    /// A hash in a tile is not the one that the entries give.
    #[error("hash {place} of {path} is wrong: the entries below it give another one")]
    Hash {
        /// The tile.
        path: String,
        /// Counted in the tile.
        place: u64,
    },
    /// A file is longer or shorter than the tree's size says.
    #[error("{path} is {found} bytes longer or shorter than it must be")]
    Length {
        /// The file.
        path: String,
        /// The difference.
        found: u64,
    },
    /// Entries and tiles fit each other and not the head.
    #[error("the {size} entries and their tiles do not have the root that the checkpoint was signed over")]
    Root {
        /// How many.
        size: u64,
    },
    /// The entry is in the tree and is no record of this log.
    #[error("entry {index} is part of the tree and no good record")]
    Record {
        /// Which.
        index: u64,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// A record says that it is another one.
    #[error("entry {index} says that it is entry {says}")]
    Place {
        /// Where it is.
        index: u64,
        /// Where it says it is.
        says: u64,
    },
    /// The first record does not name the key.
    #[error("entry 0 does not name the key that signs the log")]
    FirstRecord,
}

impl From<NoteError> for Fault {
    fn from(error: NoteError) -> Self {
        Self::Key { reason: error.to_string() }
    }
}

/// Checks everything that `read` gives. The reason of a failed read is a short text such as `not there`.
pub fn verify_export(read: &dyn Fn(&str) -> Result<Vec<u8>, String>, trust: KeySource<'_>) -> Result<Report, Fault> {
    let fetch = |path: ResourcePath| {
        let path = path.to_string();
        read(&path).map_err(|reason| Fault::Unreadable { path, reason })
    };
    let key = read_key(&fetch(ResourcePath::Key)?, trust)?;
    let head = Checkpoint::open(&fetch(ResourcePath::Checkpoint)?, &key).map_err(Fault::Checkpoint)?;

    let mut report = Report {
        origin: head.origin.clone(),
        key: key.to_string(),
        size: head.size,
        root: head.root,
        kinds: BTreeMap::new(),
        boots: 0,
        files: 2,
    };
    let mut tree = Tree::default();
    let mut boot = String::new();
    for path in tiles_of(head.size) {
        report.files += 1;
        match path {
            ResourcePath::Entries { tile } => {
                let first = tile.index * TILE_WIDTH;
                let level = ResourcePath::Hashes { level: 0, tile };
                let split = bundle(path, &fetch(path)?, &level, &fetch(level)?, first, tile.width, &mut tree);
                let entries = match split {
                    // Entry and hash differ; the head says which of them is the wrong one.
                    Err(Fault::Entry { index, .. }) if !leaves_fit(&fetch, &head) => {
                        return Err(Fault::Hash { path: level.to_string(), place: index - first });
                    }
                    split => split?,
                };
                for (index, entry) in (first..).zip(entries) {
                    let record = check_record(index, &entry, &key)?;
                    *report.kinds.entry(record.kind).or_default() += 1;
                    if record.boot != boot {
                        report.boots += 1;
                        boot = record.boot;
                    }
                }
            }
            ResourcePath::Hashes { level, tile } => {
                let expected = ResourcePath::hashes(level, tile, &tree, head.size);
                let expected =
                    expected.expect("tiles_of names only tiles of a tree of this size, which was just built");
                same_hashes(path, &fetch(path)?, &expected)?;
            }
            ResourcePath::Checkpoint | ResourcePath::Key => {}
        }
    }
    if tree.root() != head.root {
        return Err(Fault::Root { size: head.size });
    }
    Ok(report)
}

fn read_key(bytes: &[u8], trust: KeySource<'_>) -> Result<VerifierKey, Fault> {
    let line = str::from_utf8(bytes).ok().and_then(|text| text.strip_suffix('\n'));
    let found: VerifierKey = line.ok_or(NoteError::Key("it must be one line"))?.parse()?;
    match trust {
        KeySource::Pinned(pinned) if *pinned != found => {
            Err(Fault::Key { reason: format!("it is the key of {}, the trusted one is {pinned}", found.name()) })
        }
        _ => Ok(found),
    }
}

/// Whether the level-0 tiles alone give the signed root: then a hash that differs from its entry accuses the entry.
fn leaves_fit(fetch: &dyn Fn(ResourcePath) -> Result<Vec<u8>, Fault>, head: &Checkpoint) -> bool {
    let mut tree = Tree::default();
    for path in tiles_of(head.size).filter(|path| matches!(path, ResourcePath::Hashes { level: 0, .. })) {
        let Ok(tile) = fetch(path) else { return false };
        for hash in tile.as_chunks::<32>().0 {
            tree.push(Digest::from_bytes(*hash));
        }
    }
    tree.root() == head.root
}

/// Splits a bundle, compares each entry with its hash in the level-0 tile, and adds it to the tree.
fn bundle(
    path: ResourcePath,
    mut rest: &[u8],
    tile_path: &ResourcePath,
    tile: &[u8],
    first: u64,
    width: u64,
    tree: &mut Tree,
) -> Result<Vec<Vec<u8>>, Fault> {
    if tile.len() as u64 != width * 32 {
        let found = (tile.len() as u64).abs_diff(width * 32);
        return Err(Fault::Length { path: tile_path.to_string(), found });
    }
    let mut entries = Vec::new();
    for (index, hash) in (first..first + width).zip(tile.chunks_exact(32)) {
        let wrong = |reason: &str| Fault::Entry { index, path: path.to_string(), reason: reason.to_owned() };
        let (entry, after) = split_bundle(rest).ok_or_else(|| wrong("the bundle ends inside it"))?;
        let leaf = leaf_hash(entry);
        if leaf.as_bytes() != hash {
            return Err(wrong("its bytes do not have the hash that the tile has for it"));
        }
        tree.push(leaf);
        entries.push(entry.to_vec());
        rest = after;
    }
    if rest.is_empty() { Ok(entries) } else { Err(Fault::Length { path: path.to_string(), found: rest.len() as u64 }) }
}

fn same_hashes(path: ResourcePath, found: &[u8], expected: &[u8]) -> Result<(), Fault> {
    if found.len() != expected.len() {
        let found = (found.len() as u64).abs_diff(expected.len() as u64);
        return Err(Fault::Length { path: path.to_string(), found });
    }
    match found.chunks(32).zip(expected.chunks(32)).position(|(found, expected)| found != expected) {
        Some(place) => Err(Fault::Hash { path: path.to_string(), place: place as u64 }),
        None => Ok(()),
    }
}

fn check_record(index: u64, entry: &[u8], key: &VerifierKey) -> Result<Record, Fault> {
    let record = Record::decode(entry).map_err(|source| Fault::Record { index, source })?;
    if record.index != index {
        return Err(Fault::Place { index, says: record.index });
    }
    if index == 0 {
        let named = record.payload.get("key").and_then(|line| line.as_str());
        if record.kind != Kind::Boot || named != Some(&key.to_string()) {
            return Err(Fault::FirstRecord);
        }
    }
    Ok(record)
}
