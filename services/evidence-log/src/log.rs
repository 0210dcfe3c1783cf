//! The open log: appending to the segment, and what was appended.
//!
//! Readers see an entry only after it is durable. The order of one append: hashes and places are written (what a crash
//! leaves of them is written again), frames and their commit frame are written and synced (from here the entries are
//! kept), readers see them, the callers are told. The head is signed and stored later, by `keeper`.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use aios_evidence::scan::Place;
use aios_evidence::segment::{Frame, GROUP_LIMIT};
use aios_evidence::{
    Checkpoint, Clock, CommitmentKey, Frontier, Kind, Parts, RECORD_LIMIT, Record, RecordError, SigningKey,
    VerifierKey, canonical_text, clear, leaf_hash,
};
use aios_ids::Digest;
use aios_wire::evidence::{Room, RoomState};
use tokio::sync::watch;

use crate::derived::{Additions, Derived};
use crate::index::Index;
use crate::key::Secrets;
use crate::medium::{Bytes, Medium};
use crate::open::CHECKPOINT;
use crate::room;

/// Earlier than any release: a clock that says so was never set.
const FIRST_RELEASE: u64 = 1_767_225_600_000;

/// What helps when the disk failed once: the next start reads what it really holds.
const RESTART: &str = "reboot; if it comes again, replace the disk and restore the data";

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

/// A record whose payload was read, checked against its schema and cleared of what must not be written.
#[derive(Debug, Clone)]
pub struct Entry {
    kind: Kind,
    action: String,
    writer: String,
    subject: Option<String>,
    digest: Option<Digest>,
    epoch: Option<String>,
    payload: String,
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
}

/// A record was not written.
#[derive(Debug, thiserror::Error)]
pub enum AppendRefused {
    /// The record itself is wrong.
    #[error("the record cannot be written")]
    Record(#[from] RecordError),
    /// The log takes no more records.
    #[error("the evidence log is read-only: {0}")]
    Closed(String),
    /// Nothing new may begin.
    #[error(
        "the evidence log is full, so nothing new may begin: {0}; free space on the data partition, or export the log and begin a new one"
    )]
    Full(String),
    /// The disk is full or failed, and nothing was added.
    #[error("the record was not written: {0}; free space on the data partition")]
    Disk(String),
}

/// The end of the segment, which one thread at a time extends.
#[derive(Debug)]
struct End {
    length: u64,
    last_wall: u64,
}

/// What is committed.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    pub(crate) edge: Frontier,
    pub(crate) closed: Option<String>,
}

/// A signed head.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) note: String,
}

/// The log.
pub struct Log {
    pub(crate) medium: Arc<dyn Medium>,
    key: SigningKey,
    commitment: CommitmentKey,
    end: Mutex<End>,
    pub(crate) segment: Arc<dyn Bytes>,
    pub(crate) derived: Derived,
    pub(crate) index: Option<Index>,
    committed: watch::Sender<Committed>,
    /// The size for threads that wait; `u64::MAX` once the log is closed.
    grown: (Mutex<u64>, Condvar),
    head: Mutex<Option<Head>>,
    /// How many entries the stored head has.
    stored: AtomicU64,
}

/// The parts that opening a log finds.
pub(crate) struct Found {
    pub(crate) secrets: Secrets,
    pub(crate) segment: Arc<dyn Bytes>,
    pub(crate) length: u64,
    pub(crate) derived: Derived,
    pub(crate) index: Option<Index>,
    pub(crate) edge: Frontier,
    pub(crate) last_wall: u64,
    pub(crate) closed: Option<String>,
}

impl Log {
    pub(crate) fn new(medium: Arc<dyn Medium>, found: Found) -> Self {
        let Found { secrets, segment, length, derived, index, edge, last_wall, closed } = found;
        let grown = if closed.is_none() { edge.size() } else { u64::MAX };
        let (committed, _) = watch::channel(Committed { edge, closed });
        Self {
            medium,
            key: secrets.signing,
            commitment: secrets.commitment,
            end: Mutex::new(End { length, last_wall }),
            segment,
            derived,
            index,
            committed,
            grown: (Mutex::new(grown), Condvar::new()),
            head: Mutex::new(None),
            stored: AtomicU64::new(0),
        }
    }

    /// Why nothing can be appended, if so.
    pub fn closed(&self) -> Option<String> {
        self.committed.borrow().closed.clone()
    }

    /// How many entries the log has.
    pub fn size(&self) -> u64 {
        self.committed.borrow().edge.size()
    }

    pub(crate) fn edge(&self) -> Frontier {
        self.committed.borrow().edge.clone()
    }

    /// Tells of growth and of the log being closed.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Committed> {
        self.committed.subscribe()
    }

    /// The public halves of the log's keys.
    pub fn key(&self) -> &VerifierKey {
        self.key.public()
    }

    /// Takes no more records until it has been opened again. The reason says what a person can do.
    pub(crate) fn close(&self, reason: &str) {
        eprintln!("no more records are taken: {reason}");
        // Nothing that cannot be recorded may run. Without PID 1 nothing runs.
        let _ = aios_daemon::hold(&format!("the log is read-only: {reason}"));
        self.committed.send_modify(|committed| committed.closed = Some(reason.to_owned()));
        self.tell_threads(u64::MAX);
    }

    fn tell_threads(&self, size: u64) {
        *lock(&self.grown.0) = size;
        self.grown.1.notify_all();
    }

    /// Waits until the log has more than `seen` entries and gives their number; absent once the log is closed.
    pub(crate) fn grown_beyond(&self, seen: u64) -> Option<u64> {
        let waiting = self.grown.1.wait_while(lock(&self.grown.0), |size| *size <= seen);
        let size = *waiting.unwrap_or_else(PoisonError::into_inner);
        (size != u64::MAX).then_some(size)
    }

    /// How much room there is for more.
    pub fn room(&self) -> io::Result<Room> {
        let size = self.size();
        let room = room::room(self.medium.space()?, lock(&self.end).length + Derived::bytes(size));
        Ok(match self.closed() {
            Some(why) => Room { state: RoomState::ReadOnly(why), ..room },
            None => room,
        })
    }

    /// Reads a draft and clears its payload.
    pub fn clear(&self, draft: &Draft) -> Result<Entry, RecordError> {
        let cleared = clear(draft.kind, Record::payload_from(&draft.payload)?, &self.commitment);
        let payload = canonical_text(cleared.payload);
        let entry = Entry {
            kind: draft.kind,
            action: draft.action.clone(),
            writer: draft.writer.clone(),
            subject: cleared.subject,
            digest: cleared.digest,
            epoch: cleared.epoch,
            payload,
        };
        // With the largest numbers, so that no record is refused for its size once it has a place.
        let largest = Stamp { boot: "0".repeat(36), at_ms: 1 << 52, wall: 1 << 52 };
        entry.parts(&largest, Clock::Behind).line(1 << 52)?;
        Ok(entry)
    }

    /// Clears and writes records in order; each gets its own answer. Durable on return.
    pub fn append(&self, drafts: &[Draft], stamp: &Stamp) -> Vec<Result<u64, AppendRefused>> {
        let cleared: Vec<_> = drafts.iter().map(|draft| self.clear(draft)).collect();
        let entries: Vec<Entry> = cleared.iter().filter_map(|entry| entry.as_ref().ok().cloned()).collect();
        let mut written = self.append_entries(&entries, stamp).into_iter();
        let gone = || Err(AppendRefused::Closed("its writer has ended".to_owned()));
        let answer = |cleared: Result<Entry, RecordError>| match cleared {
            Ok(_) => written.next().unwrap_or_else(gone),
            Err(error) => Err(error.into()),
        };
        cleared.into_iter().map(answer).collect()
    }

    /// Writes entries in order, with as few syncs as their size allows; each gets its own answer. Durable on return.
    pub fn append_entries(&self, entries: &[Entry], stamp: &Stamp) -> Vec<Result<u64, AppendRefused>> {
        // Held for the whole group: this is what makes one writer of many callers.
        let mut end = lock(&self.end);
        let mut answers = Vec::with_capacity(entries.len());
        while answers.len() < entries.len() {
            let rest = &entries[answers.len()..];
            answers.extend(self.append_group(&mut end, rest, stamp));
        }
        answers
    }

    /// Writes as many of the entries as one group holds, at least one.
    fn append_group(&self, end: &mut End, entries: &[Entry], stamp: &Stamp) -> Vec<Result<u64, AppendRefused>> {
        if let Some(reason) = self.closed() {
            return entries.iter().map(|_| Err(AppendRefused::Closed(reason.clone()))).collect();
        }
        let edge = self.edge();
        let used = end.length + Derived::bytes(edge.size());
        let full = self.medium.space().ok().and_then(|space| room::refusal(&room::room(space, used)));
        let clock = clock_of(stamp.wall, end.last_wall);
        let mut additions = Additions::after(edge);
        let mut bytes = Vec::new();
        let mut answers = Vec::new();
        for entry in entries {
            if bytes.len() + 2 * RECORD_LIMIT > GROUP_LIMIT {
                break;
            }
            let index = additions.edge.size();
            let written = match &full {
                Some(reason) if entry.kind.begins() => Err(AppendRefused::Full(reason.clone())),
                // It was read back when it was cleared.
                _ => Ok(entry.parts(stamp, clock).text(index)),
            };
            answers.push(written.map(|line| {
                let hash = leaf_hash(line.as_bytes());
                Frame::Entry { hash, entry: line.as_bytes() }.write(&mut bytes);
                let offset = end.length + (bytes.len() - line.len()) as u64;
                additions.push(hash, Place { offset, length: line.len() as u32 });
                index
            }));
        }
        if bytes.is_empty() {
            return answers;
        }
        Frame::Commit { size: additions.edge.size(), root: additions.edge.root() }.write(&mut bytes);
        if let Err(text) = self.write_group(end.length, &bytes, &mut additions) {
            return answers.into_iter().map(|answer| answer.and(Err(AppendRefused::Disk(text.clone())))).collect();
        }
        end.length += bytes.len() as u64;
        end.last_wall = stamp.wall;
        let size = additions.edge.size();
        self.committed.send_modify(|committed| committed.edge = additions.edge);
        self.tell_threads(size);
        answers
    }

    /// Writes a group at the end of the segment. After an error nothing was added, or the log is closed.
    fn write_group(&self, at: u64, bytes: &[u8], additions: &mut Additions) -> Result<(), String> {
        // Beyond the committed entries nobody reads these, so a failure after this needs no repair.
        additions.write(&self.derived).map_err(|error| format!("cannot keep the hashes: {error}"))?;
        if let Err(error) = self.segment.write_at(at, bytes) {
            let text = format!("cannot add to the segment: {error}");
            // A full disk took a part of the bytes: without them the segment is what it was.
            if let Err(error) = self.segment.set_length(at) {
                self.close(&format!("{text}, and cannot take the part back: {error}; {RESTART}"));
            }
            return Err(text);
        }
        // After a failed sync the kernel forgets which pages were lost, so a second try would prove nothing.
        self.segment.sync().map_err(|error| {
            let text = format!("cannot make an addition to the segment durable: {error}");
            self.close(&format!("{text}; {RESTART}"));
            text
        })
    }

    /// The newest signed head that has entry `least`; a new one is signed when the last one has not.
    pub(crate) fn head_with(&self, least: u64) -> Head {
        let mut head = lock(&self.head);
        match &*head {
            Some(head) if head.size > least => head.clone(),
            _ => {
                let edge = self.edge();
                let checkpoint =
                    Checkpoint { origin: self.key().name().to_owned(), size: edge.size(), root: edge.root() };
                let new = Head { size: edge.size(), note: checkpoint.sign(&self.key) };
                *head = Some(new.clone());
                new
            }
        }
    }

    /// The newest signed head.
    pub fn checkpoint(&self) -> String {
        self.head_with(self.size().saturating_sub(1)).note
    }

    /// Stores the newest head, and before it makes durable what it lets the next start skip. It costs nothing but
    /// detection and time to be late with this: the segment already keeps the entries.
    pub fn store_checkpoint(&self) -> io::Result<()> {
        let head = self.head_with(self.size().saturating_sub(1));
        self.derived.sync()?;
        self.medium.replace(CHECKPOINT, head.note.as_bytes())?;
        self.stored.store(head.size, Ordering::Release);
        Ok(())
    }

    /// How many entries the stored head has.
    pub(crate) fn head_stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }
}

impl Entry {
    fn parts<'a>(&'a self, stamp: &'a Stamp, clock: Clock) -> Parts<'a> {
        Parts {
            kind: self.kind,
            writer: &self.writer,
            subject: self.subject.as_deref().unwrap_or(&self.writer),
            action: &self.action,
            digest: self.digest,
            epoch: self.epoch.as_deref().unwrap_or("none"),
            boot: &stamp.boot,
            at_ms: stamp.at_ms,
            wall: stamp.wall,
            clock,
            payload: &self.payload,
        }
    }
}

fn clock_of(wall: u64, last: u64) -> Clock {
    match wall {
        _ if wall < FIRST_RELEASE => Clock::Unset,
        _ if wall < last => Clock::Behind,
        _ => Clock::Local,
    }
}

// A thread that panicked cannot have left these half changed in a way that matters: nothing in them is promised before
// the segment has it, and the segment is checked at the next start.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_worth_what_it_says() {
        let now = FIRST_RELEASE + 5;
        assert_eq!(clock_of(1000, 0), Clock::Unset);
        assert_eq!(clock_of(now, now + 1), Clock::Behind);
        assert_eq!(clock_of(now, now), Clock::Local);
    }
}
