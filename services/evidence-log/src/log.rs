//! The open log: appending to the segment, and reading what is committed.
//!
//! Readers see an entry only after it is durable. The order of one append: frames and their commit frame are written and
//! synced (from here the entries are kept), the new head is signed and shown, the callers are told, and the stored
//! checkpoint is replaced. A crash leaves, at most, frames that nobody was told of or a checkpoint one append behind; the
//! next start repairs both.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use aios_evidence::scan::Place;
use aios_evidence::segment::{Frame, GROUP_LIMIT};
use aios_evidence::{
    Checkpoint, Clock, CommitmentKey, Fault, Filter, Frontier, InclusionBundle, KeySource, Kind, Parts, RECORD_LIMIT,
    Record, RecordError, Report, ResourcePath, SigningKey, TILE_WIDTH, Tree, TreeError, VerifierKey, canonical_text,
    clear, encode_bundle_entry, leaf_hash, verify_export,
};
use aios_store::{AppendError, AppendFile, ReplaceError};

use crate::key::Secrets;
use crate::open::CHECKPOINT;

/// One answer to a query is at most this long, so that it passes every limit on the way.
const ANSWER_LIMIT: usize = 192 * 1024;

/// How many records a query gives when it does not say, and at most.
const DEFAULT_RECORDS: usize = 100;
const MOST_RECORDS: usize = 1000;

/// A record before it has a place.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What it is about.
    pub kind: Kind,
    /// The action, or nothing.
    pub action: String,
    /// Who writes, as attested.
    pub writer: String,
    /// The writer's own part, one JSON object.
    pub payload: String,
}

/// When and in which boot a group is written.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// The kernel's boot id.
    pub boot: String,
    /// Milliseconds since the kernel started.
    pub at_ms: u64,
    /// Milliseconds since 1970.
    pub wall: u64,
    /// What that is worth.
    pub clock: Clock,
}

/// A record was not written.
#[derive(Debug, thiserror::Error)]
pub enum AppendRefused {
    /// The record itself is wrong.
    #[error("the record cannot be written")]
    Record(#[from] RecordError),
    /// The log takes no more records.
    #[error("the evidence log is read-only: {0}; start recovery")]
    Closed(String),
    /// The disk is full or failed, and nothing was added.
    #[error("the record was not written: {0}; free space on the data partition")]
    Disk(String),
}

/// A question cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No such entry.
    #[error("there is no entry {index}: the log has {size}")]
    NoEntry {
        /// The question.
        index: u64,
        /// The log's size.
        size: u64,
    },
    /// No such file.
    #[error("there is no {path} in a log of {size} entries")]
    NoResource {
        /// The question.
        path: String,
        /// The log's size.
        size: u64,
    },
    /// The segment cannot be read.
    #[error("cannot read entry {index} from the segment")]
    Read {
        /// Which.
        index: u64,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// What the segment holds now is not what was written.
    #[error("entry {index} in the segment is not what was written")]
    Changed {
        /// Which.
        index: u64,
    },
    /// No proof for this entry.
    #[error(transparent)]
    Proof(#[from] TreeError),
}

/// Where entries are and which belong to a kind or an action. Rebuilt at each start.
#[derive(Debug, Default)]
pub(crate) struct Index {
    places: Vec<Place>,
    kinds: BTreeMap<Kind, Vec<u64>>,
    actions: BTreeMap<String, Vec<u64>>,
}

impl Index {
    pub(crate) fn push(&mut self, kind: Kind, action: &str, place: Place) {
        let index = self.places.len() as u64;
        self.places.push(place);
        self.kinds.entry(kind).or_default().push(index);
        if !action.is_empty() {
            self.actions.entry(action.to_owned()).or_default().push(index);
        }
    }
}

/// What readers see: committed entries only.
struct View {
    tree: Tree,
    index: Index,
    head: String,
    closed: Option<String>,
}

/// The log.
pub struct Log {
    folder: PathBuf,
    key: SigningKey,
    commitment: CommitmentKey,
    segment: Mutex<AppendFile>,
    reader: File,
    view: RwLock<View>,
}

impl Log {
    pub(crate) fn new(
        folder: &Path,
        secrets: Secrets,
        segment: AppendFile,
        reader: File,
        tree: Tree,
        index: Index,
        closed: Option<String>,
    ) -> Self {
        let Secrets { signing: key, commitment } = secrets;
        let head = head_of(&key, &tree);
        let view = RwLock::new(View { tree, index, head, closed });
        Self { folder: folder.to_owned(), key, commitment, segment: Mutex::new(segment), reader, view }
    }

    /// Why nothing can be appended, if so.
    pub fn closed(&self) -> Option<String> {
        self.view().closed.clone()
    }

    /// How many entries the log has.
    pub fn size(&self) -> u64 {
        self.view().tree.size()
    }

    /// The public halves of the log's keys.
    pub fn key(&self) -> &VerifierKey {
        self.key.public()
    }

    /// Writes records in order, as few syncs as their size allows; each gets its own answer. Durable on return.
    pub fn append(&self, drafts: &[Draft], stamp: &Stamp) -> Vec<Result<u64, AppendRefused>> {
        // Held for the whole group: this is what makes one writer of many callers.
        let mut segment = lock(&self.segment);
        let mut answers = Vec::with_capacity(drafts.len());
        while answers.len() < drafts.len() {
            let rest = &drafts[answers.len()..];
            answers.extend(self.append_group(&mut segment, rest, stamp));
        }
        answers
    }

    /// Writes as many of the drafts as one group holds, at least one.
    fn append_group(
        &self,
        segment: &mut AppendFile,
        drafts: &[Draft],
        stamp: &Stamp,
    ) -> Vec<Result<u64, AppendRefused>> {
        if let Some(reason) = self.closed() {
            return drafts.iter().map(|_| Err(AppendRefused::Closed(reason.clone()))).collect();
        }
        let view = self.view();
        let mut tree = Frontier::of(&view.tree, view.tree.size()).expect("a tree has its own hashes");
        drop(view);
        let mut bytes = Vec::new();
        let mut written = Vec::new();
        let mut answers = Vec::new();
        for draft in drafts {
            if bytes.len() + 2 * RECORD_LIMIT > GROUP_LIMIT {
                break;
            }
            let index = tree.size();
            answers.push(encode(draft, stamp, &self.commitment, index).map(|line| {
                let hash = leaf_hash(line.as_bytes());
                Frame::Entry { hash, entry: line.as_bytes() }.write(&mut bytes);
                let offset = segment.length() + (bytes.len() - line.len()) as u64;
                written.push((draft, hash, Place { offset, length: line.len() as u32 }));
                tree.push(hash);
                index
            }));
        }
        if written.is_empty() {
            return answers;
        }
        Frame::Commit { size: tree.size(), root: tree.root() }.write(&mut bytes);
        if let Err(error) = segment.append(&bytes) {
            let text = aios_daemon::error_chain(&error);
            if !matches!(error, AppendError::Undone { .. }) {
                eprintln!("{text}; no more records are taken until the log has been read again");
                self.view_mut().closed = Some(text.clone());
            }
            return answers.into_iter().map(|answer| answer.and(Err(AppendRefused::Disk(text.clone())))).collect();
        }
        let mut view = self.view_mut();
        for (draft, hash, place) in written {
            view.tree.push(hash);
            view.index.push(draft.kind, &draft.action, place);
        }
        view.head = head_of(&self.key, &view.tree);
        answers
    }

    /// Replaces the stored checkpoint by the newest one. It costs nothing but detection to be late with this: the segment
    /// already keeps the entries.
    pub fn store_checkpoint(&self) -> Result<(), ReplaceError> {
        let head = self.view().head.clone();
        aios_store::replace(&self.folder.join(CHECKPOINT), head.as_bytes(), 0o600)
    }

    /// The newest signed head.
    pub fn checkpoint(&self) -> String {
        self.view().head.clone()
    }

    /// The line of one record.
    pub fn record_line(&self, index: u64) -> Result<String, QueryError> {
        String::from_utf8(self.entry(index)?).map_err(|_| QueryError::Changed { index })
    }

    /// A proof that an entry is under the newest head.
    pub fn prove(&self, index: u64) -> Result<String, QueryError> {
        let view = self.view();
        let path = view.tree.inclusion(index, view.tree.size())?;
        Ok(InclusionBundle { index, path, checkpoint: view.head.clone() }.text())
    }

    /// A file of the log under its name in an export.
    pub fn resource(&self, path: ResourcePath) -> Result<Vec<u8>, QueryError> {
        let missing = |size| QueryError::NoResource { path: path.to_string(), size };
        match path {
            ResourcePath::Checkpoint => Ok(self.checkpoint().into_bytes()),
            ResourcePath::Key => Ok(format!("{}\n", self.key()).into_bytes()),
            ResourcePath::Hashes { level, tile } => {
                let view = self.view();
                let size = view.tree.size();
                ResourcePath::hashes(level, tile, &view.tree, size).ok_or_else(|| missing(size))
            }
            ResourcePath::Entries { tile } => {
                let size = self.size();
                let begin = tile.index.checked_mul(TILE_WIDTH).ok_or_else(|| missing(size))?;
                if begin.checked_add(tile.width).is_none_or(|end| end > size) {
                    return Err(missing(size));
                }
                let mut bundle = Vec::new();
                for index in begin..begin + tile.width {
                    encode_bundle_entry(&self.stored(index)?, &mut bundle);
                }
                Ok(bundle)
            }
        }
    }

    /// Reads the whole log again and checks it as an export is checked.
    pub fn verify(&self) -> Result<Report, Fault> {
        // Appends go on meanwhile, so the files asked for are those of the head that was read first.
        let head = self.checkpoint();
        let read = |name: &str| {
            let path: ResourcePath = name.parse().map_err(|_| "no such file".to_owned())?;
            match path {
                ResourcePath::Checkpoint => Ok(head.clone().into_bytes()),
                path => self.resource(path).map_err(|error| aios_daemon::error_chain(&error)),
            }
        };
        verify_export(&read, KeySource::Pinned(&self.key().ed25519_line()))
    }

    /// The lines of the records that a filter asks for, oldest first.
    pub fn query(&self, filter: &Filter) -> Result<Vec<String>, QueryError> {
        let limit = filter.limit.unwrap_or(DEFAULT_RECORDS).min(MOST_RECORDS);
        let candidates = self.candidates(filter);
        let mut lines = Vec::new();
        let mut total = 0;
        let mut look = |index: u64| -> Result<bool, QueryError> {
            let line = self.record_line(index)?;
            if filter.matches(&line).ok_or(QueryError::Changed { index })? {
                total += line.len() + 1;
                if total > ANSWER_LIMIT {
                    return Ok(false);
                }
                lines.push(line);
            }
            Ok(lines.len() < limit)
        };
        if filter.after.is_some() {
            for index in candidates {
                if !look(index)? {
                    break;
                }
            }
        } else {
            for index in candidates.into_iter().rev() {
                if !look(index)? {
                    break;
                }
            }
            lines.reverse();
        }
        Ok(lines)
    }

    /// The entries that the index cannot rule out, in order.
    fn candidates(&self, filter: &Filter) -> Vec<u64> {
        let view = self.view();
        let first = filter.after.map_or(0, |after| after.saturating_add(1));
        let row = match (&filter.action, filter.kind) {
            (Some(action), _) => view.index.actions.get(action),
            (None, Some(kind)) => view.index.kinds.get(&kind),
            (None, None) => return (first..view.tree.size()).collect(),
        };
        row.map(|row| row[row.partition_point(|index| *index < first)..].to_vec()).unwrap_or_default()
    }

    /// The newest record of a kind.
    pub(crate) fn newest(&self, kind: Kind) -> Result<Option<Record>, QueryError> {
        let newest = self.view().index.kinds.get(&kind).and_then(|row| row.last().copied());
        let Some(index) = newest else { return Ok(None) };
        Record::decode(&self.entry(index)?).map(Some).map_err(|_| QueryError::Changed { index })
    }

    /// An entry's bytes, compared with the tree: a reader is never given what was changed on the disk.
    fn entry(&self, index: u64) -> Result<Vec<u8>, QueryError> {
        let bytes = self.stored(index)?;
        if self.view().tree.subtree(0, index) != Some(leaf_hash(&bytes)) {
            return Err(QueryError::Changed { index });
        }
        Ok(bytes)
    }

    /// An entry's bytes as the segment has them now; the verifier is given these.
    fn stored(&self, index: u64) -> Result<Vec<u8>, QueryError> {
        let (place, size) = {
            let view = self.view();
            let place = usize::try_from(index).ok().and_then(|index| view.index.places.get(index).copied());
            (place, view.tree.size())
        };
        let place = place.ok_or(QueryError::NoEntry { index, size })?;
        let mut bytes = vec![0; place.length as usize];
        self.reader.read_exact_at(&mut bytes, place.offset).map_err(|source| QueryError::Read { index, source })?;
        Ok(bytes)
    }

    // A thread that panicked cannot have left the view half changed in a way that matters: nothing in it is promised
    // before the segment has it, and the segment is checked at the next start.
    fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(segment: &Mutex<AppendFile>) -> MutexGuard<'_, AppendFile> {
    segment.lock().unwrap_or_else(PoisonError::into_inner)
}

fn head_of(key: &SigningKey, tree: &Tree) -> String {
    Checkpoint { origin: key.public().name().to_owned(), size: tree.size(), root: tree.root() }.sign(key)
}

fn encode(draft: &Draft, stamp: &Stamp, key: &CommitmentKey, index: u64) -> Result<String, AppendRefused> {
    let cleared = clear(draft.kind, Record::payload_from(&draft.payload)?, key);
    let parts = Parts {
        kind: draft.kind,
        writer: &draft.writer,
        subject: cleared.subject.as_deref().unwrap_or(&draft.writer),
        action: &draft.action,
        digest: cleared.digest,
        epoch: cleared.epoch.as_deref().unwrap_or("none"),
        boot: &stamp.boot,
        at_ms: stamp.at_ms,
        wall: stamp.wall,
        clock: stamp.clock,
        payload: &canonical_text(&cleared.payload),
    };
    Ok(parts.line(index)?)
}
