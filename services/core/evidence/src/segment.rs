//! The one file that the log is: frames of entries, and after each group of entries that were written together a frame
//! with the size and root that the tree then has. Everything else (tiles, bundles, the index) is computed from it.
//!
//! [`Replay`] reads frames back and checks each; [`judge`] says what a damaged end means: an append that a crash cut off,
//! which nobody was told of and which is removed, or damage to what was promised, which is never repaired silently.

use aios_ids::Digest;
use sha2::{Digest as _, Sha256};

use crate::checkpoint::Checkpoint;
use crate::kind::Kind;
use crate::record::{Line, RECORD_LIMIT, Record, RecordError};
use crate::runs::Runs;
use crate::tree::{Frontier, leaf_hash};

/// The file begins with this; another version would be another line.
pub const HEADER: &[u8] = b"aios-evidence 2\n";

/// One group of appends is at most this long with its frames, so a longer unfinished end is damage.
pub const GROUP_LIMIT: usize = 1024 * 1024;

/// The largest frame.
pub const FRAME_LIMIT: usize = ENTRY_HEAD + RECORD_LIMIT;

const ENTRY: u8 = b'E';
const COMMIT: u8 = b'C';
/// Tag, length, hash.
const ENTRY_HEAD: usize = 1 + 2 + 32;
/// Tag, size, root, the first eight bytes of the hash over these.
const COMMIT_LENGTH: usize = 1 + 8 + 32 + 8;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// An entry with the hash that was computed when it was written.
    Entry {
        /// Its leaf hash.
        hash: Digest,
        /// The record's line.
        entry: &'a [u8],
    },
    /// What stands before this was written in one go and is complete.
    Commit {
        /// The tree's size.
        size: u64,
        /// The tree's root.
        root: Digest,
    },
}

/// What a frame reader found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<'a> {
    /// A frame and its length.
    Frame(Frame<'a>, usize),
    /// The bytes end inside a frame.
    Unfinished,
    /// No frame begins like this.
    Nonsense,
}

impl<'a> Frame<'a> {
    /// The frame at the beginning of `bytes`.
    pub fn read(bytes: &'a [u8]) -> Next<'a> {
        match bytes.first() {
            None => Next::Unfinished,
            Some(&ENTRY) => {
                let Some((head, rest)) = bytes.split_first_chunk::<ENTRY_HEAD>() else { return Next::Unfinished };
                let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
                if length > RECORD_LIMIT {
                    return Next::Nonsense;
                }
                let mut hash = [0; 32];
                hash.copy_from_slice(&head[3..]);
                let Some(entry) = rest.get(..length) else { return Next::Unfinished };
                Next::Frame(Frame::Entry { hash: Digest::from_bytes(hash), entry }, ENTRY_HEAD + length)
            }
            Some(&COMMIT) => {
                let Some(frame) = bytes.first_chunk::<COMMIT_LENGTH>() else { return Next::Unfinished };
                let (mut size, mut root) = ([0; 8], [0; 32]);
                size.copy_from_slice(&frame[1..9]);
                root.copy_from_slice(&frame[9..41]);
                if frame[41..] != Sha256::digest(&frame[..41])[..8] {
                    return Next::Nonsense;
                }
                let commit = Frame::Commit { size: u64::from_be_bytes(size), root: Digest::from_bytes(root) };
                Next::Frame(commit, COMMIT_LENGTH)
            }
            Some(_) => Next::Nonsense,
        }
    }

    /// Adds the frame to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Entry { hash, entry } => {
                let length = u16::try_from(entry.len()).expect("a record is at most RECORD_LIMIT bytes");
                out.push(ENTRY);
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(hash.as_bytes());
                out.extend_from_slice(entry);
            }
            Self::Commit { size, root } => {
                let begin = out.len();
                out.push(COMMIT);
                out.extend_from_slice(&size.to_be_bytes());
                out.extend_from_slice(root.as_bytes());
                let check = Sha256::digest(&out[begin..]);
                out.extend_from_slice(&check[..8]);
            }
        }
    }
}

/// The offset of an entry's bytes inside its frame.
pub const fn entry_offset() -> usize {
    ENTRY_HEAD
}

/// Something in the file is not what was written.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The bytes of an entry and the hash beside them do not fit.
    #[error("entry {index} was changed: its bytes and its hash do not fit")]
    Entry {
        /// Which.
        index: u64,
    },
    /// The bytes are whole and no record, or one of another place.
    #[error("entry {index} is not the record that belongs there")]
    Record {
        /// Which.
        index: u64,
        /// Why, unless only its place is wrong.
        #[source]
        source: Option<RecordError>,
    },
    /// The tree over the entries is not the one that was committed.
    #[error("the tree of {size} entries does not have the root that was recorded for it")]
    Commit {
        /// How many entries there are.
        size: u64,
    },
    /// No frame where one must begin, or the file ends inside it.
    #[error("what follows entry {after} is no whole frame")]
    Frame {
        /// How many entries stand before it.
        after: u64,
    },
}

/// The log as far as it has been read and checked.
#[derive(Debug, Default)]
pub struct Replay {
    grown: Frontier,
    committed: Frontier,
    /// The size whose root is of interest, and the root once a commit of that size was read.
    watched: (u64, Option<Digest>),
    gone: Runs,
    cover: Runs,
}

impl Replay {
    /// Goes on where a log of which `edge` is known to be true ends. The root at the size `watch` is kept for [`judge`].
    pub fn after(edge: Frontier, watch: u64) -> Self {
        let root = (edge.size() == watch).then(|| edge.root());
        Self { grown: edge.clone(), committed: edge, watched: (watch, root), ..Self::default() }
    }

    /// How many entries are committed.
    pub fn committed(&self) -> u64 {
        self.committed.size()
    }

    /// How many entries were read, the uncommitted ones too.
    pub fn read(&self) -> u64 {
        self.grown.size()
    }

    /// The edge of the committed tree.
    pub fn edge(&self) -> &Frontier {
        &self.committed
    }

    /// The first entry whose bytes are gone and that no `pruned` record names.
    pub fn unexplained(&self) -> Option<u64> {
        self.gone.first_outside(&self.cover)
    }

    /// Takes the next frame; gives an entry's hash.
    pub fn take(&mut self, frame: &Frame<'_>) -> Result<Option<Digest>, Damage> {
        match frame {
            Frame::Entry { hash, entry } => {
                let index = self.grown.size();
                if leaf_hash(entry) == *hash {
                    self.read_record(index, entry)?;
                } else if index < self.watched.0 && entry.iter().all(|byte| *byte == 0) {
                    // Only what a head has promised can have outlived its time. Later entries of zeroes are pages that
                    // never reached the disk.
                    self.gone.push(index);
                } else {
                    return Err(Damage::Entry { index });
                }
                self.grown.push(*hash);
                Ok(Some(*hash))
            }
            Frame::Commit { size, root } => {
                let found = self.grown.size();
                if *size != found || *root != self.grown.root() {
                    return Err(Damage::Commit { size: found });
                }
                self.committed.clone_from(&self.grown);
                if self.watched.0 == found {
                    self.watched.1 = Some(*root);
                }
                Ok(None)
            }
        }
    }

    fn read_record(&mut self, index: u64, entry: &[u8]) -> Result<(), Damage> {
        let wrong = |source| Damage::Record { index, source: Some(source) };
        let line = Line::parse(entry).map_err(wrong)?;
        if line.index != index {
            return Err(Damage::Record { index, source: None });
        }
        if line.parts.kind == Kind::Pruned {
            self.cover.add_ranges(Record::decode(entry).map_err(wrong)?.payload.get("ranges"));
        }
        Ok(())
    }
}

/// What is to be done with the file.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every byte is accounted for.
    Whole,
    /// What follows the last commit is an append that was never finished or promised: cut it off.
    CutTail,
}

/// The log must not be written to, and what it holds beyond its last good commit must not be believed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A promised entry is gone.
    #[error("the checkpoint has {promised} entries and the segment only {kept} whole ones")]
    Missing {
        /// The signed size.
        promised: u64,
        /// The size of the last good commit.
        kept: u64,
        /// The first thing that is wrong.
        #[source]
        damage: Option<Damage>,
    },
    /// The history is another one.
    #[error("the first {size} entries are not those that the checkpoint was signed over")]
    OtherHistory {
        /// The signed size.
        size: u64,
    },
    /// An entry's bytes were removed and no record says why.
    #[error("the bytes of entry {index} are gone and no record says that its time was over")]
    Gone {
        /// Which.
        index: u64,
    },
    /// Damage before the last append.
    #[error("the segment is damaged after entry {kept}, and more was written after that place")]
    Inside {
        /// The size of the last good commit.
        kept: u64,
        /// The first thing that is wrong.
        #[source]
        damage: Option<Damage>,
    },
}

/// Judges a file that was read up to `replay`'s last commit. `signed` is the newest checkpoint that was stored beside the
/// file and whose size `replay` watched, `tail` what follows the last commit (at most one byte more than [`GROUP_LIMIT`] is needed), `damage` what stopped
/// the reading.
pub fn judge(
    replay: &Replay,
    signed: Option<&Checkpoint>,
    tail: &[u8],
    damage: Option<Damage>,
) -> Result<Verdict, Refusal> {
    let kept = replay.committed();
    if let Some(signed) = signed {
        if signed.size > kept {
            return Err(Refusal::Missing { promised: signed.size, kept, damage });
        }
        // A head is signed at the end of a group, so its size is one that a commit has.
        if replay.watched != (signed.size, Some(signed.root)) {
            return Err(Refusal::OtherHistory { size: signed.size });
        }
    }
    if let Some(index) = replay.unexplained() {
        return Err(Refusal::Gone { index });
    }
    if tail.is_empty() {
        return Ok(Verdict::Whole);
    }
    // Each group is durable before the next one is begun. So a crash can spoil the last group only, and its pages may
    // reach the disk in any order: a commit at the very end says nothing, a commit before it says that this is damage.
    let inside = tail.len() > GROUP_LIMIT
        || (0..tail.len().saturating_sub(COMMIT_LENGTH)).any(|place| {
            tail[place] == COMMIT && matches!(Frame::read(&tail[place..]), Next::Frame(Frame::Commit { .. }, _))
        });
    if inside { Err(Refusal::Inside { kept, damage }) } else { Ok(Verdict::CutTail) }
}
