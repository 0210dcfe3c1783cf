//! Opening the log is recovering it. A short log is read whole; of a long one the end that no stored head promised, behind
//! a head whose root the kept hashes have: the rest is read once the service runs. A crash's unfinished append is cut
//! off; anything else that is wrong makes the log read-only.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aios_evidence::scan::{Place, Scan, scan, scan_from, tail};
use aios_evidence::segment::{self, Damage, Frame, HEADER, Next, Replay, Verdict};
use aios_evidence::{Checkpoint, CheckpointError, Frontier, Line, NoteError, Tree};
use aios_ids::Digest;

use crate::derived::{Additions, Derived};
use crate::index::Index;
use crate::key::{self, Expect, SEED};
use crate::log::{Found, Log};
use crate::medium::{Bytes, Folder, Medium, read_exact};

pub(crate) const SEGMENT: &str = "segment";
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// A segment up to this length is read whole at the start: a fraction of a second.
pub(crate) const READ_WHOLE: u64 = 32 << 20;

/// A commit's frame, which stands behind the last entry of a head.
const COMMIT_LENGTH: u64 = 1 + 8 + 32 + 8;

/// How the log came up.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened {
    /// Everything fits; it can be written.
    Ready {
        /// Bytes of an unfinished append that were removed.
        cut: u64,
    },
    /// Something does not fit; what was committed before it can be read.
    ReadOnly {
        /// What.
        reason: String,
    },
}

/// How much of the segment a start has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// All of it.
    Whole,
    /// What came after the stored head.
    Tail,
}

/// The log cannot even be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or the folder.
    #[error("cannot read {name} of the log")]
    Access {
        /// Which.
        name: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The folder.
    #[error("cannot use {} for the log", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {name} of the log")]
    Write {
        /// Which.
        name: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The key is gone and the log is not.
    #[error("the file {name} is gone and the log is not: put it back from a backup, or move the log away")]
    KeyGone {
        /// Which.
        name: &'static str,
    },
    /// The key has another form.
    #[error("the file {name} has {found} bytes instead of 96")]
    KeyForm {
        /// Which.
        name: &'static str,
        /// How long.
        found: usize,
    },
    /// The key's name.
    #[error(transparent)]
    Key(#[from] NoteError),
    /// The segment is gone and a checkpoint promises entries.
    #[error(
        "the file segment is gone and a checkpoint of it is there: put it back from a backup, or move the checkpoint away"
    )]
    SegmentGone,
    /// Written by another version, or not a log.
    #[error(
        "the segment is no log of version 2; a log of an earlier build is not read: move its folder away to begin a new one"
    )]
    Version,
}

/// Opens the log in `folder`, or begins one there. `new_seed` gives the secrets of a new log.
pub fn open(
    folder: &Path,
    new_seed: impl FnOnce() -> io::Result<[u8; SEED]>,
) -> Result<(Log, Opened, Read), OpenError> {
    let medium = Folder::open(folder).map_err(|source| OpenError::Folder { path: folder.to_owned(), source })?;
    open_on(Arc::new(medium), READ_WHOLE, new_seed)
}

/// The same on any medium, where a segment of more than `whole` bytes is read from its stored head on.
pub fn open_on(
    medium: Arc<dyn Medium>,
    whole: u64,
    new_seed: impl FnOnce() -> io::Result<[u8; SEED]>,
) -> Result<(Log, Opened, Read), OpenError> {
    let access = |name| move |source| OpenError::Access { name, source };
    let segment = medium.open(SEGMENT).map_err(access(SEGMENT))?;
    let mut length = segment.length().map_err(access(SEGMENT))?;
    let stored = medium.read(CHECKPOINT).map_err(access(CHECKPOINT))?;
    // The header is written and synced before anything else, so a shorter file never held a record.
    let begun = length >= HEADER.len() as u64;
    if stored.is_some() && !begun {
        return Err(OpenError::SegmentGone);
    }
    // Key, then segment, then the first append: a crash between leaves a key that the next start uses.
    let expect = if begun { Expect::ExistingLog } else { Expect::NewLog };
    let secrets = key::load(medium.as_ref(), expect, new_seed)?;
    if !begun {
        let write = |source| OpenError::Write { name: SEGMENT, source };
        segment
            .set_length(0)
            .and_then(|()| segment.write_at(0, HEADER))
            .and_then(|()| segment.sync())
            .map_err(write)?;
        length = HEADER.len() as u64;
    }
    let signed = stored.map(|note| Checkpoint::open(&note, secrets.signing.public())).transpose();
    let head = signed.as_ref().ok().and_then(Option::clone);

    let derived = Derived::open(medium.as_ref()).map_err(access("hashes and places"))?;
    let known = match &head {
        Some(head) if length > whole => known_end(segment.as_ref(), &derived, head).map_err(access(SEGMENT))?,
        _ => None,
    };
    let (mut read, how) = match known {
        Some((edge, at)) => (read_tail(segment.as_ref(), &derived, edge, at)?, Read::Tail),
        None => (read_whole(segment.as_ref(), head.as_ref(), |_, _| {})?, Read::Whole),
    };

    let tail = tail(|offset, bytes| segment.read_at(offset, bytes), &read, length).map_err(access(SEGMENT))?;
    let opened = match judge(&read.replay, signed, &tail, read.damage.take()) {
        Ok(Verdict::Whole) => Opened::Ready { cut: 0 },
        Ok(Verdict::CutTail) => {
            let cut = length - read.end;
            let write = |source| OpenError::Write { name: SEGMENT, source };
            segment.set_length(read.end).and_then(|()| segment.sync()).map_err(write)?;
            length = read.end;
            Opened::Ready { cut }
        }
        Err(reason) => Opened::ReadOnly { reason },
    };
    let edge = read.replay.edge().clone();
    let (derived, index, closed) = match &opened {
        Opened::Ready { .. } => {
            if how == Read::Whole {
                make_derived(segment.as_ref(), &derived, head.as_ref())?;
            }
            (derived, open_index(medium.as_ref()), None)
        }
        Opened::ReadOnly { reason } => (in_memory(segment.as_ref(), head.as_ref())?, None, Some(reason.clone())),
    };
    let last_wall = last_wall(segment.as_ref(), &derived, edge.size()).unwrap_or(0);
    let log = Log::new(medium, Found { secrets, segment, length, derived, index, edge, last_wall, closed });
    if matches!(opened, Opened::Ready { .. }) {
        // A crash may have left the stored head behind. A full disk keeps it so for a while, and what is there can be read.
        if let Err(error) = log.store_checkpoint() {
            eprintln!("the head is not stored: {error}");
        }
    }
    Ok((log, opened, how))
}

/// An index that cannot be made is missed, not mourned: questions are answered slowly.
fn open_index(medium: &dyn Medium) -> Option<Index> {
    Index::open(medium).inspect_err(|error| eprintln!("{}", aios_daemon::error_chain(error))).ok()
}

/// The edge of the tree at the stored head and where the segment goes on behind it; absent when the kept hashes do not
/// have the head's root or the segment does not have its commit there.
fn known_end(segment: &dyn Bytes, derived: &Derived, head: &Checkpoint) -> io::Result<Option<(Frontier, u64)>> {
    if head.size == 0 {
        return Ok(None);
    }
    let Some(edge) = derived.reach(head.size, head.root)? else { return Ok(None) };
    let Some(last) = derived.places(head.size - 1, 1)?.pop() else { return Ok(None) };
    let at = last.offset + u64::from(last.length);
    let mut commit = [0; COMMIT_LENGTH as usize];
    if read_exact(segment, at, &mut commit).is_err() {
        return Ok(None);
    }
    let expected = Frame::Commit { size: head.size, root: head.root };
    let fits = matches!(Frame::read(&commit), Next::Frame(found, _) if found == expected);
    Ok(fits.then_some((edge, at + COMMIT_LENGTH)))
}

/// Reads what comes after the stored head, and keeps its hashes and places.
fn read_tail(segment: &dyn Bytes, derived: &Derived, edge: Frontier, at: u64) -> Result<Scan, OpenError> {
    let mut additions = Additions::after(edge.clone());
    let mut written = Ok(());
    let replay = Replay::after(edge.clone(), edge.size());
    let read = scan_from(
        |offset, bytes| segment.read_at(offset, bytes),
        at,
        replay,
        |hash, place| {
            additions.push(hash, place);
            if additions.are_many() && written.is_ok() {
                written = additions.write(derived);
            }
        },
    );
    let read = read.map_err(|source| OpenError::Access { name: SEGMENT, source })?;
    written.and_then(|()| additions.write(derived)).map_err(|source| OpenError::Write { name: "hashes", source })?;
    Ok(read)
}

fn read_whole(
    segment: &dyn Bytes,
    head: Option<&Checkpoint>,
    entry: impl FnMut(Digest, Place),
) -> Result<Scan, OpenError> {
    let read = scan(|offset, bytes| segment.read_at(offset, bytes), head.map_or(0, |head| head.size), entry);
    read.map_err(|source| OpenError::Access { name: SEGMENT, source })?.ok_or(OpenError::Version)
}

/// Compares hashes and places with those of the segment, which was read whole, and writes what differs.
fn make_derived(segment: &dyn Bytes, derived: &Derived, head: Option<&Checkpoint>) -> Result<(), OpenError> {
    let mut additions = Additions::after(Frontier::default());
    let mut written = Ok(());
    read_whole(segment, head, |hash, place| {
        additions.push(hash, place);
        if additions.are_many() && written.is_ok() {
            written = additions.correct(derived);
        }
    })?;
    written.and_then(|()| additions.correct(derived)).map_err(|source| OpenError::Write { name: "hashes", source })
}

/// Hashes and places of what is whole, for readers of a log that is not to be touched.
fn in_memory(segment: &dyn Bytes, head: Option<&Checkpoint>) -> Result<Derived, OpenError> {
    let (mut tree, mut places) = (Tree::default(), Vec::new());
    read_whole(segment, head, |hash, place| {
        tree.push(hash);
        places.push(place);
    })?;
    Ok(Derived::Memory { tree, places })
}

/// The time of the newest record.
fn last_wall(segment: &dyn Bytes, derived: &Derived, size: u64) -> Option<u64> {
    let place = derived.places(size.checked_sub(1)?, 1).ok()?.pop()?;
    let mut entry = vec![0; place.length as usize];
    read_exact(segment, place.offset, &mut entry).ok()?;
    Line::parse(&entry).ok().map(|line| line.parts.wall)
}

fn judge(
    replay: &Replay,
    signed: Result<Option<Checkpoint>, CheckpointError>,
    tail: &[u8],
    damage: Option<Damage>,
) -> Result<Verdict, String> {
    // The checkpoint is replaced as a whole, so no crash leaves a broken one.
    let signed =
        signed.map_err(|error| format!("the stored checkpoint is wrong: {}", aios_daemon::error_chain(&error)))?;
    segment::judge(replay, signed.as_ref(), tail, damage).map_err(|refusal| aios_daemon::error_chain(&refusal))
}
