//! What follows an append at leisure: the stored head, the index, and the second look at a log that was too long to read
//! at the start. None of it is the truth, so none of it keeps a caller waiting.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use aios_daemon::error_chain;
use aios_evidence::{Line, TILE_WIDTH, root_of};

use crate::index::{BLOCK, Batch, Index, IndexError};
use crate::log::Log;
use crate::open::Read;
use crate::prune;

/// The stored head is at most this late while the log grows.
const HEAD_EVERY: Duration = Duration::from_secs(1);

/// New entries wait this long for others before they are indexed together, which costs two syncs.
const INDEX_AFTER: Duration = Duration::from_millis(500);

/// At most so many entries are indexed together: what they need of memory is a few mebibytes.
const INDEX_MOST: u64 = 8 * BLOCK;

/// A start on a loaded machine comes before the second look.
const LOOK_AFTER: Duration = Duration::from_secs(60);

/// Starts what follows appends.
pub fn start(log: &Arc<Log>, read: Read, boot: &str) -> io::Result<()> {
    let thread = |name: &str, work: fn(&Log)| {
        let log = Arc::clone(log);
        std::thread::Builder::new().name(name.into()).spawn(move || work(&log)).map(drop)
    };
    thread("head", keep_head)?;
    thread("index", keep_index)?;
    if read == Read::Tail {
        thread("look", look_again)?;
    }
    let (log, boot) = (Arc::clone(log), boot.to_owned());
    std::thread::Builder::new().name("prune".into()).spawn(move || prune::keep_pruning(&log, &boot)).map(drop)
}

/// Stores the head while the log grows.
fn keep_head(log: &Log) {
    let (mut stored, mut said) = (0, false);
    while let Some(size) = log.grown_beyond(stored) {
        match log.store_checkpoint() {
            Ok(()) => (stored, said) = (size, false),
            // One line for a whole outage. The entries are kept by the segment; only what finds a lost end is late.
            Err(error) if !said => {
                said = true;
                eprintln!("the head is not stored: {error}");
            }
            Err(_) => {}
        }
        std::thread::sleep(HEAD_EVERY);
    }
}

/// Takes new entries into the index.
fn keep_index(log: &Log) {
    let Some(index) = &log.index else { return };
    let begun = begin(log, index);
    let mut done = match begun {
        Ok(done) => done,
        Err(error) => return eprintln!("{}; questions are answered slowly", error_chain(&error)),
    };
    while let Some(size) = log.grown_beyond(done) {
        if size - done < INDEX_MOST {
            std::thread::sleep(INDEX_AFTER);
        }
        match index_more(log, index, done) {
            Ok(now) => done = now,
            Err(error) => return eprintln!("{}; questions are answered slowly", error_chain(&error)),
        }
    }
}

/// Indexes everything that there is.
#[cfg(test)]
pub(crate) fn index_all(log: &Log) {
    let index = log.index.as_ref().expect("an index");
    let mut done = begin(log, index).expect("begun");
    while done < log.size() {
        done = index_more(log, index, done).expect("indexed");
    }
}

/// How many entries the index has; one that is not of this log is emptied.
fn begin(log: &Log, index: &Index) -> Result<u64, KeepError> {
    let (size, root) = index.reach()?;
    if size > 0 && (size > log.size() || root != root_of(&log.derived, size).ok()) {
        index.clear()?;
        return Ok(0);
    }
    Ok(size)
}

#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("new entries cannot be indexed")]
    Read(#[from] io::Error),
}

/// Indexes entries from `done` on; says how many are indexed now.
fn index_more(log: &Log, index: &Index, done: u64) -> Result<u64, KeepError> {
    let size = log.size().min(done + INDEX_MOST);
    let mut batch = Batch::default();
    for begin in (done..size).step_by(TILE_WIDTH as usize) {
        log.side_by_side(begin, TILE_WIDTH.min(size - begin), |entry| {
            // What was removed is in no answer, and what was changed is found when it is read.
            if let Ok(line) = Line::parse(entry) {
                batch.push(&line);
            }
        })?;
    }
    index.add(&batch, size, root_of(&log.derived, size)?)?;
    Ok(size)
}

/// Reads everything that the start did not read. What is found closes the log, as it would have at the start.
fn look_again(log: &Log) {
    std::thread::sleep(LOOK_AFTER);
    if let Err(fault) = log.verify() {
        log.close(&format!("{}; start recovery and compare the log with an export", error_chain(&fault)));
    }
}
