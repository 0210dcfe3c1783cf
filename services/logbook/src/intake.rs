//! Two threads that bring lines into the book: one asks PID 1, which calls nobody, and one reads the kernel's messages.
//!
//! When the disk takes nothing, lines stay where they are, in PID 1's memory and the kernel's buffer; what these drop
//! meanwhile is counted and becomes a line. A power cut takes what was said in the last second.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use aios_daemon::error_chain;
use aios_daemon::init::{ask, ask_patiently};
use aios_wire::init::{Reply, Request};
use aios_wire::logs::{BootReport, KERNEL, Priority};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::watch;

use crate::book::{Book, BookError, Clocks, Draft};
use crate::kmsg;

/// A line is durable within this time.
const SYNC: Duration = Duration::from_secs(1);
/// How long a question to PID 1 stays open when nothing is said.
const IDLE: Duration = Duration::from_secs(50);
/// What is said in a burst comes in one answer.
const GATHER: Duration = Duration::from_millis(50);
/// After an error the next try waits so long.
const AGAIN: Duration = Duration::from_secs(1);
/// The kernel's longest record fits.
const RECORD: usize = 16 << 10;
/// So many records are taken at once.
const BATCH: usize = 256;

/// The book, and a word to whoever waits for it to grow.
#[derive(Debug)]
pub(crate) struct Shared {
    book: Mutex<Book>,
    grown: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new(book: Book) -> Self {
        let index = book.index();
        Self { book: Mutex::new(book), grown: watch::Sender::new(index) }
    }

    /// Changes with each new line; its value is the newest index.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // A thread that ended in the middle left a book that is whole up to its last line.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, drafts: Vec<Draft>) -> Result<(), BookError> {
        let mut book = self.book();
        let result = book.append(drafts, clocks());
        self.grown.send_replace(book.index());
        result
    }

    fn sync(&self) -> Result<(), BookError> {
        self.book().sync()
    }
}

/// The clocks now.
pub(crate) fn clocks() -> Clocks {
    let ms = |id| {
        let now = rustix::time::clock_gettime(id);
        now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000
    };
    Clocks { up_ms: ms(rustix::time::ClockId::Boottime), wall_ms: ms(rustix::time::ClockId::Realtime) }
}

/// Says a failure once, and its end.
#[derive(Debug, Default)]
struct Trouble(bool);

impl Trouble {
    fn begins(&mut self, why: &str) {
        if !std::mem::replace(&mut self.0, true) {
            eprintln!("<3>lines are not kept: {why}; they wait in memory, and what does not fit there is lost");
            let _ = aios_daemon::status(&format!("lines are not kept: {why}"));
        }
    }

    fn ends(&mut self) {
        if std::mem::take(&mut self.0) {
            eprintln!("<5>lines are kept again");
            let _ = aios_daemon::status("");
        }
    }
}

/// Takes PID 1's lines, for ever; tells `ready` how long the boot took, once it is over.
pub(crate) fn follow_units(shared: &Shared, mut ready: impl FnMut(BootReport)) {
    let mut trouble = Trouble::default();
    let mut synced = Instant::now();
    let mut boot_over = false;
    loop {
        let after = shared.book().number();
        let due = SYNC.saturating_sub(synced.elapsed());
        let wait = if !boot_over || shared.book().is_dirty() { due.min(SYNC) } else { IDLE };
        let taken = take_units(shared, after, wait);
        if let Err(why) = taken {
            trouble.begins(&why);
            thread::sleep(AGAIN);
            continue;
        }
        if synced.elapsed() >= SYNC {
            synced = Instant::now();
            if let Err(error) = shared.sync() {
                trouble.begins(&error_chain(&error));
                continue;
            }
        }
        trouble.ends();
        if !boot_over && let Some(report) = boot_report() {
            boot_over = true;
            ready(report);
        }
        thread::sleep(GATHER);
    }
}

fn take_units(shared: &Shared, after: u64, wait: Duration) -> Result<(), String> {
    let request = Request::Lines { after, wait_ms: wait.as_millis() as u64 };
    match ask_patiently(&request, wait).map_err(|error| error_chain(&error))? {
        Reply::Lines { lines } => {
            let drafts = lines.into_iter().map(Draft::from).collect();
            shared.append(drafts).map_err(|error| error_chain(&error))
        }
        _ => Err("PID 1 answered the question for lines with something else".to_owned()),
    }
}

/// How long the boot took, if it is over.
fn boot_report() -> Option<BootReport> {
    match ask(&Request::Boot) {
        Ok(Reply::Boot(report)) => Some(report).filter(|report| report.system_ms.is_some()),
        _ => None,
    }
}

/// Takes the kernel's messages, for ever. What was taken before a restart of this program is not offered again.
pub(crate) fn follow_kernel(shared: &Shared, messages: &OwnedFd) {
    let mut trouble = Trouble::default();
    loop {
        let mut wait = [PollFd::new(messages, PollFlags::IN)];
        let _ = poll(&mut wait, None);
        let mut drafts = match read_kernel(messages) {
            Ok(drafts) => drafts,
            Err(error) => {
                eprintln!("<3>the kernel's messages cannot be read and are not kept any more: {error}");
                return;
            }
        };
        while !drafts.is_empty() {
            match shared.append(drafts.clone()).and_then(|()| shared.sync()) {
                Ok(()) => {
                    trouble.ends();
                    drafts.clear();
                }
                Err(error) => {
                    trouble.begins(&error_chain(&error));
                    thread::sleep(AGAIN);
                }
            }
        }
        thread::sleep(GATHER);
    }
}

/// The messages that are there, a batch of them at most.
fn read_kernel(messages: &OwnedFd) -> io::Result<Vec<Draft>> {
    let mut record = vec![0; RECORD];
    let mut drafts = Vec::new();
    while drafts.len() < BATCH {
        match rustix::io::read(messages, &mut record) {
            Ok(0) | Err(Errno::AGAIN) => break,
            Ok(length) => drafts.extend(kmsg::parse(&record[..length]).map(draft)),
            // The oldest were overwritten before they were read; the next number tells how many.
            Err(Errno::PIPE | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(drafts)
}

fn draft(message: kmsg::Message) -> Draft {
    let kmsg::Message { number, at_ms, priority, text } = message;
    Draft { number: None, nth: number + 1, at_ms, unit: KERNEL.to_owned(), priority, text }
}

/// The warning about a slow boot, as a line of this service.
pub(crate) fn say_if_slow(boots: &aios_wire::logs::Boots) {
    if let Some(slow) = boots.slow {
        let number = Priority::ALL.iter().position(|priority| *priority == Priority::Warning).unwrap_or(4);
        eprintln!(
            "<{number}>this boot took {} ms; usual are {} ms; 'aios boot' shows where",
            slow.took_ms, slow.usual_ms
        );
    }
}
