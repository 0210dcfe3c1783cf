//! Checks a whole log as it is exported: the signed head, every entry, every tile, every record.
//!
//! It reads files by their C2SP names through a function, so an export in a folder, a log that is being written and a
//! damaged copy in a test are the same to it. It stops at the first thing that is wrong and names it, and needs the same
//! little memory for a log of any size.

use std::collections::BTreeMap;

use aios_ids::Digest;
use serde::{Deserialize, Serialize};

use crate::bundles::{self, CheckedBundle};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::keys::VerifierKey;
use crate::kind::Kind;
use crate::levels::Levels;
use crate::note::NoteError;
use crate::record::RecordError;
use crate::runs::Runs;
use crate::tile::{ResourcePath, TILE_WIDTH, row_tiles};
use crate::tree::Frontier;

/// Where the verifier's trust in the key comes from.
#[derive(Debug, Clone, Copy)]
pub enum KeySource<'a> {
    /// The Ed25519 line is known from elsewhere, and the first record binds the other key to it: a forged log is found.
    Pinned(&'a str),
    /// The key that lies with the export and stands in its first record: changes are found, a forgery of the whole is not.
    Export,
}

/// What was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The log.
    pub origin: String,
    /// The Ed25519 key that signed, as a line.
    pub key: String,
    /// How many entries.
    pub size: u64,
    /// The root over them in hexadecimal.
    pub root: Digest,
    /// How many records of each kind.
    pub kinds: BTreeMap<Kind, u64>,
    /// How many boots wrote to it.
    pub boots: u64,
    /// How many entries' bytes were removed when their time was over.
    #[serde(default)]
    pub pruned: u64,
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
    /// The first record does not name the keys.
    #[error("entry 0 does not name the keys that sign the log")]
    FirstRecord,
    /// An entry's bytes are not there and should be.
    #[error("the bytes of entry {index} are gone, and no record in the log says that its time was over")]
    Gone {
        /// Which.
        index: u64,
    },
}

impl From<NoteError> for Fault {
    fn from(error: NoteError) -> Self {
        Self::Key { reason: error.to_string() }
    }
}

/// How many bundles are checked between two looks at the levels above: enough to keep every processor busy.
const STRIDE: usize = 64;

pub(crate) type Fetch<'a> = dyn Fn(ResourcePath) -> Result<Vec<u8>, Fault> + Sync + 'a;

/// Checks everything that `read` gives. The reason of a failed read is a short text such as `not there`.
pub fn verify_export(
    read: &(dyn Fn(&str) -> Result<Vec<u8>, String> + Sync),
    trust: KeySource<'_>,
) -> Result<Report, Fault> {
    let fetch = |path: ResourcePath| {
        let path = path.to_string();
        read(&path).map_err(|reason| Fault::Unreadable { path, reason })
    };
    let key = read_key(&fetch(ResourcePath::Key)?, trust)?;
    let head = Checkpoint::open(&fetch(ResourcePath::Checkpoint)?, &key).map_err(Fault::Checkpoint)?;

    let mut whole = Whole::of(&head, &key);
    let mut tiles = row_tiles(head.size).peekable();
    while tiles.peek().is_some() {
        let stride: Vec<_> = tiles.by_ref().take(STRIDE).collect();
        for checked in bundles::check(&fetch, &key, &stride) {
            match checked {
                Ok(bundle) => whole.take(bundle, &fetch)?,
                // Entry and hash differ; the head says which of them is the wrong one.
                Err(Fault::Entry { index, .. }) if !leaves_fit(&fetch, &head) => {
                    let tile = row_tiles(head.size).nth((index / TILE_WIDTH) as usize).expect("it was just read");
                    let path = ResourcePath::Hashes { level: 0, tile }.to_string();
                    return Err(Fault::Hash { path, place: index % TILE_WIDTH });
                }
                Err(fault) => return Err(fault),
            }
        }
    }
    whole.finish(&fetch, &head)
}

/// What is known of the log so far.
struct Whole {
    report: Report,
    boot: String,
    gone: Runs,
    cover: Runs,
    levels: Levels,
    /// The entries of the last bundle, when it is not full.
    rest: Frontier,
}

impl Whole {
    fn of(head: &Checkpoint, key: &VerifierKey) -> Self {
        let report = Report {
            origin: head.origin.clone(),
            key: key.ed25519_line(),
            size: head.size,
            root: head.root,
            kinds: BTreeMap::new(),
            boots: 0,
            pruned: 0,
            files: 2,
        };
        let (gone, cover) = (Runs::default(), Runs::default());
        Self { report, boot: String::new(), gone, cover, levels: Levels::default(), rest: Frontier::default() }
    }

    fn take(&mut self, bundle: CheckedBundle, fetch: &Fetch<'_>) -> Result<(), Fault> {
        self.report.files += 2;
        for (kind, count) in bundle.kinds {
            *self.report.kinds.entry(kind).or_default() += count;
        }
        for boot in bundle.boots {
            if boot != self.boot {
                self.report.boots += 1;
                self.boot = boot;
            }
        }
        self.gone.extend(&bundle.gone);
        self.cover.extend(&bundle.cover);
        if bundle.edge.size() < TILE_WIDTH {
            self.rest = bundle.edge;
            return Ok(());
        }
        self.levels.push(bundle.edge.root(), fetch)
    }

    fn finish(mut self, fetch: &Fetch<'_>, head: &Checkpoint) -> Result<Report, Fault> {
        self.report.files += self.levels.finish(fetch)?;
        if self.levels.tiles().root_before(&self.rest) != head.root {
            return Err(Fault::Root { size: head.size });
        }
        self.cover.sort();
        if let Some(index) = self.gone.first_outside(&self.cover) {
            return Err(Fault::Gone { index });
        }
        self.report.pruned = self.gone.count();
        Ok(self.report)
    }
}

fn read_key(bytes: &[u8], trust: KeySource<'_>) -> Result<VerifierKey, Fault> {
    let lines = str::from_utf8(bytes).ok().and_then(|text| text.strip_suffix('\n'));
    let found: VerifierKey = lines.ok_or(NoteError::Key("it must be two lines"))?.parse()?;
    match trust {
        KeySource::Pinned(pinned) if *pinned != found.ed25519_line() => {
            Err(Fault::Key { reason: format!("it is the key of {}, the trusted one is {pinned}", found.name()) })
        }
        _ => Ok(found),
    }
}

/// Whether the level-0 tiles alone give the signed root: then a hash that differs from its entry accuses the entry.
fn leaves_fit(fetch: &Fetch<'_>, head: &Checkpoint) -> bool {
    let mut edge = Frontier::default();
    for tile in row_tiles(head.size) {
        let Ok(tile) = fetch(ResourcePath::Hashes { level: 0, tile }) else { return false };
        for hash in tile.as_chunks::<32>().0 {
            edge.push(Digest::from_bytes(*hash));
        }
    }
    edge.root() == head.root
}

pub(crate) fn same_hashes(path: ResourcePath, found: &[u8], expected: &[u8]) -> Result<(), Fault> {
    if found.len() != expected.len() {
        let found = (found.len() as u64).abs_diff(expected.len() as u64);
        return Err(Fault::Length { path: path.to_string(), found });
    }
    match found.chunks(32).zip(expected.chunks(32)).position(|(found, expected)| found != expected) {
        Some(place) => Err(Fault::Hash { path: path.to_string(), place: place as u64 }),
        None => Ok(()),
    }
}
