//! The one thread that writes. Appends that wait while the disk syncs are written together in the next group. Callers that
//! were answered together come back one after the other: the next group waits a moment for them, so that they do not fall
//! apart into one who came first and all the others behind its sync.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot};

use crate::log::{AppendRefused, Draft, Entry, Log, Stamp};

/// How many calls may wait; more callers than this wait for room.
const WAITING: usize = 1024;

/// Calls are gathered up to this many entries; what waits longer is written in the next group.
const GATHER: usize = 2048;

/// The way to the writer.
#[derive(Clone)]
pub struct Appends(mpsc::Sender<Job>);

/// The writer waits for those who were answered with the last group at most this part of the time that it took, and no
/// longer than this.
const PART: u32 = 4;
const LONGEST: Duration = Duration::from_millis(1);
/// How often it looks whether they have come.
const LOOK: Duration = Duration::from_micros(20);

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
        let mut last = Group { callers: 0, took: Duration::ZERO };
        while let Some(first) = jobs.blocking_recv() {
            let begun = Instant::now();
            let patience = last.patience();
            let mut entries = first.entries;
            let mut callers = vec![(entries.len(), first.answer)];
            while entries.len() < GATHER {
                match jobs.try_recv() {
                    Ok(job) => {
                        callers.push((job.entries.len(), job.answer));
                        entries.extend(job.entries);
                    }
                    Err(_) if callers.len() < last.callers && begun.elapsed() < patience => std::thread::sleep(LOOK),
                    Err(_) => break,
                }
            }
            let begun = Instant::now();
            let mut answers = log.append_entries(&entries, &now(&boot)).into_iter();
            last = Group { callers: callers.len(), took: begun.elapsed() };
            for (count, caller) in callers {
                // A caller that has gone away does not want its answer; its records are written all the same.
                let _ = caller.send(answers.by_ref().take(count).collect());
            }
        }
    })?;
    Ok(Appends(sender))
}

/// A group that was written.
struct Group {
    /// How many callers it had.
    callers: usize,
    took: Duration,
}

impl Group {
    /// How long the next group waits for its callers to come back. A lone caller is waited for by nobody.
    fn patience(&self) -> Duration {
        if self.callers > 1 { (self.took / PART).min(LONGEST) } else { Duration::ZERO }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_caller_is_not_waited_for_and_many_not_for_long() {
        let patience = |callers, ms| Group { callers, took: Duration::from_millis(ms) }.patience();
        assert_eq!(patience(0, 100), Duration::ZERO);
        assert_eq!(patience(1, 100), Duration::ZERO);
        assert_eq!(patience(2, 2), Duration::from_micros(500));
        assert_eq!(patience(64, 1000), LONGEST);
    }
}
