//! The one thread that writes. Appends that wait while the disk syncs are written together in the next group.

use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot};

use crate::log::{AppendRefused, Draft, Entry, Log, Stamp};

/// How many calls may wait; more callers than this wait for room.
const WAITING: usize = 1024;

/// Calls are gathered up to this many entries; what waits longer is written in the next group.
const GATHER: usize = 4096;

/// The way to the writer.
#[derive(Clone)]
pub struct Appends(mpsc::Sender<Job>);

type Answers = Vec<Result<u64, AppendRefused>>;

struct Job {
    entries: Vec<Entry>,
    answer: oneshot::Sender<Answers>,
}

fn gone() -> AppendRefused {
    AppendRefused::Closed("its writer has ended".to_owned())
}

impl Appends {
    /// Appends entries in order; each is durable when its answer is an index.
    pub async fn append(&self, entries: Vec<Entry>) -> Result<Answers, AppendRefused> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Job { entries, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }

    /// The same from a thread of its own.
    pub fn append_blocking(&self, entries: Vec<Entry>) -> Result<Answers, AppendRefused> {
        let (answer, answered) = oneshot::channel();
        self.0.blocking_send(Job { entries, answer }).map_err(|_| gone())?;
        answered.blocking_recv().map_err(|_| gone())
    }

    /// Clears and appends drafts from a thread of its own; the first refusal is the answer.
    pub(crate) fn append_all(&self, log: &Log, drafts: &[Draft]) -> Result<(), AppendRefused> {
        let entries = drafts.iter().map(|draft| log.clear(draft)).collect::<Result<Vec<_>, _>>()?;
        if entries.is_empty() {
            return Ok(());
        }
        self.append_blocking(entries)?.into_iter().try_for_each(|answer| answer.map(drop))
    }
}

/// Starts the writer.
pub fn start(log: Arc<Log>, boot: String) -> io::Result<Appends> {
    let (sender, mut jobs) = mpsc::channel::<Job>(WAITING);
    std::thread::Builder::new().name("writer".into()).spawn(move || {
        while let Some(first) = jobs.blocking_recv() {
            let mut entries = Vec::new();
            let mut callers = Vec::new();
            let mut next = Some(first);
            while let Some(job) = next {
                callers.push((job.entries.len(), job.answer));
                entries.extend(job.entries);
                next = if entries.len() < GATHER { jobs.try_recv().ok() } else { None };
            }
            let mut answers = log.append_entries(&entries, &now(&boot)).into_iter();
            for (count, caller) in callers {
                // A caller that has gone away does not want its answer; its records are written all the same.
                let _ = caller.send(answers.by_ref().take(count).collect());
            }
        }
    })?;
    Ok(Appends(sender))
}

/// The time by the machine's clocks.
pub(crate) fn now(boot: &str) -> Stamp {
    let since_boot = clock_gettime(ClockId::Boottime);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp {
        boot: boot.to_owned(),
        at_ms: since_boot.tv_sec.unsigned_abs() * 1000 + since_boot.tv_nsec.unsigned_abs() / 1_000_000,
        wall: wall.as_millis() as u64,
    }
}
