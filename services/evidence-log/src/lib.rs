//! The only writer of the evidence log: appends, proves, answers questions, and takes over PID 1's events.
//!
//! One file holds the log (`aios_evidence::segment`), one thread writes it, and an append is durable before its caller
//! hears of it. What else is on the disk (hashes, places, the index) is computed from it. Starting is recovering: what no
//! signed head promised yet is read and checked before the service says that it is ready, all of it when the log is short;
//! damage makes the log read-only: readers are answered, every append is refused, and PID 1 is told that nothing may be done.

mod boot;
mod boot_state;
mod denials;
mod derived;
mod door;
mod events;
mod index;
mod keeper;
mod key;
mod log;
mod medium;
mod open;
mod prune;
mod read;
mod room;
mod subscribe;
mod writer;

use std::path::Path;
use std::sync::Arc;

use aios_daemon::Fatal;
use aios_evidence::boot_state::Ring;

pub use keeper::start as keep;
pub use log::{AppendRefused, Draft, Entry, Log, Stamp};
pub use medium::{Bytes, Medium, Space};
pub use open::{OpenError, Opened, Read, open, open_on};
pub use read::QueryError;
pub use writer::{Appends, start as start_writer};

/// Where the log lives.
const FOLDER: &str = "/aios/system/evidence";

/// Whether the log may be written, once it was compared with what is kept of it outside.
enum Begin {
    Ready { cut: u64, outside: boot_state::Outside, ring: Ring },
    ReadOnly { why: String },
}

/// Opens the log, begins the boot in it, and answers until the process is stopped. A log that must not be written answers
/// readers, and PID 1 keeps actions and agents still.
pub async fn run() -> Result<(), Fatal> {
    let (log, opened, read) = open(Path::new(FOLDER), key::random_seed)?;
    let log = Arc::new(log);
    let partition = aios_linux::inherited::boot_state()?.map(|partition| Arc::new(partition) as Arc<dyn Bytes>);
    let appends = match compare(&log, opened, partition.as_deref()) {
        Begin::Ready { cut, outside, ring } => {
            let system = boot::status()?;
            boot::begin(&log, &system, cut, &outside)?;
            let appends = writer::start(Arc::clone(&log), system.boot_id.clone())?;
            start_sources(&log, &appends, read, &system.boot_id)?;
            if let Some(partition) = partition {
                boot_state::start(Arc::clone(&log), partition, ring)?;
            }
            appends
        }
        Begin::ReadOnly { why } => {
            log.close(&why);
            writer::start(Arc::clone(&log), String::new())?
        }
    };
    aios_daemon::ready()?;
    let served = aios_daemon::serve("/org/aios/Evidence1", move |caller| {
        door::Door::new(caller, Arc::clone(&log), appends.clone())
    });
    let Err(error) = served.await;
    Err(error.into())
}

/// What may be done with the log that was opened.
fn compare(log: &Log, opened: Opened, partition: Option<&dyn Bytes>) -> Begin {
    let read_only = |reason: String, remedy: &str| Begin::ReadOnly { why: format!("{reason}; {remedy}") };
    match opened {
        Opened::ReadOnly { reason } => read_only(reason, "start recovery and compare the log with an export"),
        Opened::Ready { cut } => match boot_state::look(log, partition) {
            Ok((outside, ring)) => Begin::Ready { cut, outside, ring },
            Err(distrust) => read_only(
                aios_daemon::error_chain(&distrust),
                "start recovery: 'accept-restored' shows both and lets you decide",
            ),
        },
    }
}

/// Starts everything that adds records by itself, and what follows appends.
fn start_sources(log: &Arc<Log>, appends: &Appends, read: Read, boot: &str) -> Result<(), Fatal> {
    keeper::start(log, read, boot)?;
    match aios_linux::inherited::audit_records() {
        Ok(records) => denials::start(records, Arc::clone(log), appends.clone(), boot.to_owned())?,
        // The kernel refuses all the same; who reads the log finds that it is silent, and why.
        Err(error) => eprintln!("what the kernel refuses is not recorded: {error}"),
    }
    events::start(Arc::clone(log), appends.clone(), boot.to_owned())?;
    Ok(())
}
