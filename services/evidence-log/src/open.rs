//! Opening the log is recovering it: the whole segment is read, every hash compared, the end judged against the newest
//! signed checkpoint. A crash's unfinished append is cut off; anything else that is wrong makes the log read-only.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use aios_evidence::scan::{scan, tail};
use aios_evidence::segment::{self, Damage, Replay, Verdict};
use aios_evidence::{Checkpoint, NoteError, VerifierKey};
use aios_store::{AppendError, AppendFile, ReplaceError};

use crate::key::{self, Expect};
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
    #[error("the key {} has {found} bytes instead of 32", path.display())]
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
    #[error("{} is no log of version 1", path.display())]
    Version {
        /// Which file.
        path: PathBuf,
    },
}

/// Opens the log in `folder`, or begins one there. `new_seed` gives the key of a new log.
pub fn open(folder: &Path, new_seed: impl FnOnce() -> io::Result<[u8; 32]>) -> Result<(Log, Opened), OpenError> {
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
    let mut index = Index::default();
    let read_at = |offset, bytes: &mut [u8]| reader.read_at(bytes, offset);
    let found = scan(read_at, |kind, action, place| index.push(kind, action, place)).map_err(access(&segment_path))?;
    let Some(mut read) = found else { return Err(OpenError::Version { path: segment_path }) };

    let tail = tail(read_at, &read, file.length()).map_err(access(&segment_path))?;
    let opened = match judge(&read.replay, signed.as_deref(), key.public(), &tail, read.damage.take()) {
        Ok(Verdict::Whole) => Opened::Ready { cut: 0 },
        Ok(Verdict::CutTail) => {
            let cut = file.length() - read.end;
            file.cut(read.end)?;
            Opened::Ready { cut }
        }
        Err(reason) => Opened::ReadOnly { reason },
    };
    read.replay.drop_uncommitted();
    let closed = match &opened {
        Opened::Ready { .. } => None,
        Opened::ReadOnly { reason } => Some(reason.clone()),
    };
    let log = Log::new(folder, key, file, reader, read.replay.tree, index, closed);
    if matches!(opened, Opened::Ready { .. }) {
        // A crash may have left the checkpoint one append behind.
        log.store_checkpoint()?;
    }
    Ok((log, opened))
}

fn judge(
    replay: &Replay,
    signed: Option<&[u8]>,
    key: &VerifierKey,
    tail: &[u8],
    damage: Option<Damage>,
) -> Result<Verdict, String> {
    let signed = signed.map(|note| Checkpoint::open(note, key)).transpose();
    // The checkpoint is replaced as a whole, so no crash leaves a broken one.
    let signed =
        signed.map_err(|error| format!("the stored checkpoint is wrong: {}", aios_daemon::error_chain(&error)))?;
    segment::judge(replay, signed.as_ref(), tail, damage).map_err(|refusal| aios_daemon::error_chain(&refusal))
}
