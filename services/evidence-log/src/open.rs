//! Opening the log is recovering it: the whole segment is read, every hash compared, the end judged against the newest
//! signed checkpoint. A crash's unfinished append is cut off; anything else that is wrong makes the log read-only.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use aios_evidence::scan::{Place, scan, tail};
use aios_evidence::segment::{self, Damage, Replay, Verdict};
use aios_evidence::{Checkpoint, CheckpointError, Line, NoteError, Tree};
use aios_store::{AppendError, AppendFile, ReplaceError};

use crate::key::{self, Expect, SEED};
use crate::log::{Index, Log};

pub(crate) const SEGMENT: &str = "segment";
pub(crate) const CHECKPOINT: &str = "checkpoint";

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

/// The log cannot even be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or the folder.
    #[error("cannot read {}", path.display())]
    Access {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The segment.
    #[error(transparent)]
    Segment(#[from] AppendError),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] ReplaceError),
    /// The key is gone and the log is not.
    #[error("the key {} is gone and the log is not: put the key back from a backup, or move the log away", path.display())]
    KeyGone {
        /// Where it was.
        path: PathBuf,
    },
    /// The key has another form.
    #[error("the key {} has {found} bytes instead of 96", path.display())]
    KeyForm {
        /// Where.
        path: PathBuf,
        /// How long.
        found: usize,
    },
    /// The key's name.
    #[error(transparent)]
    Key(#[from] NoteError),
    /// The segment is gone and a checkpoint promises entries.
    #[error("{} is gone and a checkpoint of it is there: put it back from a backup, or move the checkpoint away", path.display())]
    SegmentGone {
        /// Where it was.
        path: PathBuf,
    },
    /// Written by another version, or not a log.
    #[error("{} is no log of version 2; a log of an earlier build is not read: move its folder away to begin a new one", path.display())]
    Version {
        /// Which file.
        path: PathBuf,
    },
}

/// Opens the log in `folder`, or begins one there. `new_seed` gives the key of a new log.
pub fn open(folder: &Path, new_seed: impl FnOnce() -> io::Result<[u8; SEED]>) -> Result<(Log, Opened), OpenError> {
    let access = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Access { path, source }
    };
    aios_store::remove_temporaries(folder).map_err(access(folder))?;
    let (segment_path, checkpoint_path) = (folder.join(SEGMENT), folder.join(CHECKPOINT));
    let exists = |path: &Path| path.try_exists().map_err(access(path));
    let begun = exists(&segment_path)?;
    let promised = exists(&checkpoint_path)?;
    if promised && !begun {
        return Err(OpenError::SegmentGone { path: segment_path });
    }
    // Key, then segment, then the first append: a crash between leaves a key that the next start uses.
    let key = key::load(folder, if begun { Expect::ExistingLog } else { Expect::NewLog }, new_seed)?;
    if !begun {
        aios_store::replace(&segment_path, segment::HEADER, 0o600)?;
    }
    let signed = match promised {
        true => Some(std::fs::read(&checkpoint_path).map_err(access(&checkpoint_path))?),
        false => None,
    };

    let mut file = AppendFile::open(&segment_path)?;
    let reader = file.reader()?;
    let (mut tree, mut places) = (Tree::default(), Vec::new());
    let read_at = |offset, bytes: &mut [u8]| reader.read_at(bytes, offset);
    let signed = signed.map(|note| Checkpoint::open(&note, key.signing.public())).transpose();
    let watch = signed.as_ref().ok().and_then(Option::as_ref).map_or(0, |head| head.size);
    let found = scan(read_at, watch, |hash, place| {
        tree.push(hash);
        places.push(place);
    });
    let found = found.map_err(access(&segment_path))?;
    let Some(mut read) = found else { return Err(OpenError::Version { path: segment_path }) };

    let tail = tail(read_at, &read, file.length()).map_err(access(&segment_path))?;
    let opened = match judge(&read.replay, signed, &tail, read.damage.take()) {
        Ok(Verdict::Whole) => Opened::Ready { cut: 0 },
        Ok(Verdict::CutTail) => {
            let cut = file.length() - read.end;
            file.cut(read.end)?;
            Opened::Ready { cut }
        }
        Err(reason) => Opened::ReadOnly { reason },
    };
    let mut index = Index::default();
    for place in places {
        index_entry(&mut index, &reader, place).map_err(access(&segment_path))?;
    }
    let closed = match &opened {
        Opened::Ready { .. } => None,
        Opened::ReadOnly { reason } => Some(reason.clone()),
    };
    let log = Log::new(folder, key, file, reader, tree, index, closed);
    if matches!(opened, Opened::Ready { .. }) {
        // A crash may have left the checkpoint one append behind.
        log.store_checkpoint()?;
    }
    Ok((log, opened))
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

fn index_entry(index: &mut Index, reader: &std::fs::File, place: Place) -> io::Result<()> {
    let mut entry = vec![0; place.length as usize];
    reader.read_exact_at(&mut entry, place.offset)?;
    let line = Line::parse(&entry).map_err(io::Error::other)?;
    index.push(line.kind, line.action, place);
    Ok(())
}
