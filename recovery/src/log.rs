//! The evidence log as it lies on a data partition: the segment and the newest signed head, read and never changed.
//!
//! What is not stored (tiles, bundles) is computed, so that [`aios_evidence::verify_export`] checks the log as it checks
//! an export, and so that an export can be written from it.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use aios_evidence::boot_state::{self, Before, Distrust, Found, Ring, Standing};
use aios_evidence::scan::{Place, scan, tail};
use aios_evidence::segment::{Damage, FRAME_LIMIT, Frame, HEADER, Next, Refusal, Verdict, judge};
use aios_evidence::{
    Checkpoint, CheckpointError, NoteError, Record, ResourcePath, TILE_WIDTH, Tree, VerifierKey, encode_bundle_entry,
    leaf_hash,
};

/// The file that the log is.
pub(crate) const SEGMENT: &str = "segment";
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// A head is a short note.
const HEAD_LIMIT: u64 = 96 * 1024;

/// The log cannot be read or does not hold.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("cannot read {}", path.display())]
    Access { path: PathBuf, source: io::Error },
    #[error("{} is no log of version 2", path.display())]
    Version { path: PathBuf },
    #[error("the first record does not name the keys that sign the log")]
    NoKey,
    #[error("the key in the first record is wrong")]
    Key(#[source] NoteError),
    #[error("the stored head is wrong")]
    Head(#[source] CheckpointError),
    #[error("nothing of the log is whole")]
    NothingWhole(#[source] Damage),
    #[error("the log is damaged")]
    Damaged(#[source] Refusal),
}

/// A log that holds.
#[derive(Debug)]
pub(crate) struct Log {
    segment: File,
    tree: Tree,
    places: Vec<Place>,
    key: VerifierKey,
    note: Vec<u8>,
    head: Checkpoint,
    /// Bytes of an append that was never finished.
    pub(crate) unfinished: u64,
}

impl Log {
    /// Reads all of the log in `folder` and compares it with its signed head.
    pub(crate) fn open(folder: &Path) -> Result<Self, LogError> {
        let access = |path: &Path| {
            let path = path.to_owned();
            move |source| LogError::Access { path, source }
        };
        let path = folder.join(SEGMENT);
        let segment = File::open(&path).map_err(access(&path))?;
        let length = segment.metadata().map_err(access(&path))?.len();
        let read_at = |offset, bytes: &mut [u8]| segment.read_at(bytes, offset);
        let (key, note, head) = match read_first(read_at).map_err(access(&path))? {
            First::Version => return Err(LogError::Version { path }),
            First::Nothing(damage) => return Err(damage.map_or(LogError::NoKey, LogError::NothingWhole)),
            First::Record(first) => signed_head(folder, &first)?,
        };
        let (mut tree, mut places) = (Tree::default(), Vec::new());
        let scanned = scan(read_at, head.size, |hash, place| {
            tree.push(hash);
            places.push(place);
        });
        let scanned = scanned.map_err(access(&path))?;
        let mut scanned = scanned.ok_or_else(|| LogError::Version { path: path.clone() })?;
        let tail = tail(read_at, &scanned, length).map_err(access(&path))?;
        let verdict = judge(&scanned.replay, Some(&head), &tail, scanned.damage.take()).map_err(LogError::Damaged)?;
        let unfinished = match verdict {
            Verdict::Whole => 0,
            Verdict::CutTail => length - scanned.end,
        };
        Ok(Self { segment, tree, places, key, note, head, unfinished })
    }

    /// How many records the stored head has.
    pub(crate) fn signed(&self) -> u64 {
        self.head.size
    }

    /// The stored head and its note.
    pub(crate) fn head(&self) -> (Checkpoint, String) {
        (self.head.clone(), String::from_utf8_lossy(&self.note).into_owned())
    }

    /// Compares it with what the boot state partition knows of. That it once had heads there is taken for granted: an empty
    /// partition is then as much of a question as a wrong one.
    pub(crate) fn compare(&self, ring: &Ring) -> Result<Standing, Distrust> {
        let found = Found { key: &self.key, size: self.tree.size(), before: Before::Kept };
        let root = |size| Ok::<_, Infallible>(self.tree.root_at(size).unwrap_or_else(|| self.tree.root()));
        let Ok(judged) = boot_state::judge(ring, &found, root);
        judged
    }

    /// Records that are whole and came after the stored head was written.
    pub(crate) fn newer_than_head(&self) -> u64 {
        self.tree.size() - self.head.size
    }

    /// A file of the log under its name in an export of the stored head's size.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        let missing = || "not in this log".to_owned();
        let path: ResourcePath = name.parse().map_err(|_| missing())?;
        match path {
            ResourcePath::Checkpoint => Ok(self.note.clone()),
            ResourcePath::Key => Ok(format!("{}\n", self.key).into_bytes()),
            ResourcePath::Hashes { level, tile } => {
                ResourcePath::hashes(level, tile, &self.tree, self.head.size).ok_or_else(missing)
            }
            ResourcePath::Entries { tile } => {
                let begin = tile.index.checked_mul(TILE_WIDTH).and_then(|begin| usize::try_from(begin).ok());
                let begin = begin.ok_or_else(missing)?;
                let places = self.places.get(begin..begin.saturating_add(tile.width as usize)).ok_or_else(missing)?;
                let mut bundle = Vec::new();
                for (index, place) in (begin as u64..).zip(places) {
                    let entry = read_entry(&self.segment, *place).map_err(|error| error.to_string())?;
                    // What was removed when its time was over is an entry without bytes.
                    let whole = self.tree.subtree(0, index) == Some(leaf_hash(&entry));
                    let gone = !whole && entry.iter().all(|byte| *byte == 0);
                    encode_bundle_entry(if gone { &[] } else { &entry }, &mut bundle);
                }
                Ok(bundle)
            }
        }
    }
}

/// What a segment begins with.
enum First {
    Version,
    Nothing(Option<Damage>),
    Record(Box<Record>),
}

/// Reads the first group only: the record in it names the keys, without which the head cannot be read.
fn read_first(read_at: impl Fn(u64, &mut [u8]) -> io::Result<usize>) -> io::Result<First> {
    let mut bytes = vec![0; HEADER.len() + FRAME_LIMIT];
    let mut have = 0;
    while have < bytes.len() {
        match read_at(have as u64, &mut bytes[have..])? {
            0 => break,
            got => have += got,
        }
    }
    let Some(frames) = bytes[..have].strip_prefix(HEADER) else { return Ok(First::Version) };
    let Next::Frame(Frame::Entry { hash, entry }, _) = Frame::read(frames) else { return Ok(First::Nothing(None)) };
    if leaf_hash(entry) != hash {
        return Ok(First::Nothing(Some(Damage::Entry { index: 0 })));
    }
    Ok(Record::decode(entry).map_or(First::Nothing(None), |record| First::Record(Box::new(record))))
}

/// The keys that the first record names, and the stored head that they signed.
fn signed_head(folder: &Path, first: &Record) -> Result<(VerifierKey, Vec<u8>, Checkpoint), LogError> {
    let line = |field: &str| first.payload.get(field).and_then(|line| line.as_str()).ok_or(LogError::NoKey);
    let key: VerifierKey = format!("{}\n{}", line("key")?, line("key_ml_dsa")?).parse().map_err(LogError::Key)?;
    let path = folder.join(CHECKPOINT);
    let mut note = Vec::new();
    let opened = File::open(&path).and_then(|file| file.take(HEAD_LIMIT + 1).read_to_end(&mut note));
    opened.map_err(|source| LogError::Access { path, source })?;
    let head = Checkpoint::open(&note, &key).map_err(LogError::Head)?;
    Ok((key, note, head))
}

fn read_entry(segment: &File, place: Place) -> io::Result<Vec<u8>> {
    let mut entry = vec![0; place.length as usize];
    segment.read_exact_at(&mut entry, place.offset)?;
    Ok(entry)
}
