//! The only writer of the evidence log: appends, proves, answers questions, and takes over PID 1's events.
//!
//! One file holds the log (`aios_evidence::segment`), one thread writes it, and an append is durable before its caller
//! hears of it. What else is on the disk (hashes, places, the index) is computed from it. Starting is recovering: what no
//! signed head promised yet is read and checked before the service says that it is ready, all of it when the log is short;
//! damage makes the log read-only and the service never ready, so that no action can run without evidence.

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
    ReadOnly { reason: String, remedy: &'static str },
}

/// Opens the log, begins the boot in it, and answers until the process is stopped.
pub async fn run() -> Result<(), Fatal> {
    let (log, opened, read) = open(Path::new(FOLDER), key::random_seed)?;
    let log = Arc::new(log);
    let partition = aios_linux::inherited::boot_state()?.map(|partition| Arc::new(partition) as Arc<dyn Bytes>);
    let opened = match opened {
        Opened::Ready { cut } => match boot_state::look(&log, partition.as_deref()) {
            Ok((outside, ring)) => Begin::Ready { cut, outside, ring },
            Err(distrust) => {
                let reason = aios_daemon::error_chain(&distrust);
                log.close(&reason);
                Begin::ReadOnly { reason, remedy: "start recovery: 'accept-restored' shows both and lets you decide" }
            }
        },
        Opened::ReadOnly { reason } => {
            Begin::ReadOnly { reason, remedy: "start recovery and compare it with an export" }
        }
    };
    let (boot, ring) = match opened {
        Begin::Ready { cut, outside, ring } => {
            let system = boot::status()?;
            boot::begin(&log, &system, cut, &outside)?;
            aios_daemon::ready()?;
            (system.boot_id, ring)
        }
        Begin::ReadOnly { reason, remedy } => {
            // Not ready on purpose: what needs evidence must not start. Reading stays possible to see what is there.
            eprintln!("the log is read-only: {reason}; {remedy}");
            aios_daemon::status(&format!("read-only: {reason}"))?;
            (String::new(), Ring::Empty)
        }
    };
    let appends = writer::start(Arc::clone(&log), boot.clone())?;
    if log.closed().is_none() {
        keeper::start(&log, read, &boot)?;
        if let Some(partition) = partition {
            boot_state::start(Arc::clone(&log), partition, ring)?;
        }
        match aios_linux::inherited::audit_records() {
            Ok(records) => denials::start(records, Arc::clone(&log), appends.clone(), boot.clone())?,
            // The kernel refuses all the same; who reads the log finds that it is silent, and why.
            Err(error) => eprintln!("what the kernel refuses is not recorded: {error}"),
        }
        events::start(Arc::clone(&log), appends.clone(), boot)?;
    }
    let served = aios_daemon::serve("/org/aios/Evidence1", move |caller| {
        door::Door::new(caller, Arc::clone(&log), appends.clone())
    });
    let Err(error) = served.await;
    Err(error.into())
}
