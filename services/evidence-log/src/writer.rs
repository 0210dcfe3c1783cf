//! The one thread that writes. Appends that wait while the disk syncs are written together in the next group.

use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aios_evidence::Clock;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot};

use crate::log::{AppendRefused, Draft, Log, Stamp};

/// How many appends may wait; more callers than this wait for room.
const WAITING: usize = 256;

/// The way to the writer.
#[derive(Clone)]
pub(crate) struct Appends(mpsc::Sender<Job>);

struct Job {
    draft: Draft,
    answer: oneshot::Sender<Result<u64, AppendRefused>>,
}

impl Appends {
    /// Appends one record; durable when the answer is an index.
    pub(crate) async fn append(&self, draft: Draft) -> Result<u64, AppendRefused> {
        let (answer, answered) = oneshot::channel();
        let gone = || AppendRefused::Closed("its writer has ended".to_owned());
        self.0.send(Job { draft, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Appends several records from a thread of its own; the first refusal is the answer.
    pub(crate) fn append_all(&self, drafts: Vec<Draft>) -> Result<(), AppendRefused> {
        let gone = || AppendRefused::Closed("its writer has ended".to_owned());
        let mut answers = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let (answer, answered) = oneshot::channel();
            self.0.blocking_send(Job { draft, answer }).map_err(|_| gone())?;
            answers.push(answered);
        }
        answers.into_iter().try_for_each(|answered| answered.blocking_recv().map_err(|_| gone())?.map(drop))
    }
}

/// Starts the writer.
pub(crate) fn start(log: Arc<Log>, boot: String) -> io::Result<Appends> {
    let (sender, mut jobs) = mpsc::channel::<Job>(WAITING);
    std::thread::Builder::new().name("writer".into()).spawn(move || {
        while let Some(first) = jobs.blocking_recv() {
            let mut group = vec![first];
            while let Ok(job) = jobs.try_recv() {
                group.push(job);
            }
            write(&log, group, &boot);
        }
    })?;
    Ok(Appends(sender))
}

fn write(log: &Log, group: Vec<Job>, boot: &str) {
    let (drafts, answers): (Vec<_>, Vec<_>) = group.into_iter().map(|job| (job.draft, job.answer)).unzip();
    let results = log.append(&drafts, &now(boot));
    for (answer, result) in answers.into_iter().zip(results) {
        // A caller that has gone away does not want its answer; its record is written all the same.
        let _ = answer.send(result);
    }
    if log.closed().is_none()
        && let Err(error) = log.store_checkpoint()
    {
        // The entries are kept by the segment; only the detection of a lost end is one append behind.
        eprintln!("{}", aios_daemon::error_chain(&error));
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
        clock: Clock::Local,
    }
}
