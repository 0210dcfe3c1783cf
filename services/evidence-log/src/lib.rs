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
mod ending;
mod events;
mod export;
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
use aios_wire::init::System;

pub use export::ExportError;
pub use keeper::start as keep;
pub use log::{AppendRefused, Draft, Entry, Log, Stamp};
pub use medium::{Bytes, Medium, Space};
pub use open::{OpenError, Opened, Read, open, open_on};
pub use read::QueryError;
pub use writer::{Appends, start as start_writer};

/// Where the log lives.
const FOLDER: &str = "/aios/system/evidence";

/// Opens the log, begins the boot in it, and answers until the process is stopped. A log that must not be written answers
/// readers, and PID 1 keeps actions and agents still.
pub async fn run() -> Result<(), Fatal> {
    let (log, opened, read) = open(Path::new(FOLDER), key::random_seed)?;
    let log = Arc::new(log);
    let partition = aios_linux::inherited::boot_state()?.map(|partition| Arc::new(partition) as Arc<dyn Bytes>);
    let system = boot::status()?;
    let appends = match begin(&log, &system, opened, partition.as_deref()) {
        Ok(ring) => {
            let appends = writer::start(Arc::clone(&log), system.boot_id.clone())?;
            start_sources(&log, &appends, read, &system.boot_id)?;
            if let Some(partition) = &partition {
                boot_state::start(Arc::clone(&log), Arc::clone(partition), ring)?;
            }
            appends
        }
        Err(why) => {
            log.close(&why);
            writer::start(Arc::clone(&log), system.boot_id.clone())?
        }
    };
    aios_daemon::ready()?;
    let boot = system.boot_id;
    let mut request = ending::request()?;
    let (served_log, served_appends) = (Arc::clone(&log), appends.clone());
    let served = aios_daemon::serve("/org/aios/Evidence1", move |caller| {
        door::Door::new(caller, Arc::clone(&served_log), served_appends.clone())
    });
    tokio::select! {
        Err(error) = served => Err(error.into()),
        _ = request.recv() => {
            let end = move || ending::end(&log, &appends, &boot, partition.as_deref());
            tokio::task::spawn_blocking(end).await.map_err(|error| Fatal::new("the log's end was not written", &error))
        }
    }
}

/// Compares the log with what is kept of it outside and begins the boot in it; an error says why it may only be read, and
/// what helps.
fn begin(log: &Log, system: &System, opened: Opened, partition: Option<&dyn Bytes>) -> Result<Ring, String> {
    let because =
        |error: &dyn std::error::Error, remedy: &str| format!("{}; {remedy}", aios_daemon::error_chain(error));
    let cut = match opened {
        Opened::Ready { cut } => cut,
        Opened::ReadOnly { reason } => {
            return Err(format!("{reason}; start recovery and compare the log with an export"));
        }
    };
    let (outside, ring) = boot_state::look(log, partition)
        .map_err(|error| because(&error, "start recovery: 'accept-restored' shows both and lets you decide"))?;
    // Mostly a disk that others have filled.
    boot::begin(log, system, cut, &outside)
        .map_err(|error| because(&error, "start recovery; if the data partition is full, make room in its shell"))?;
    Ok(ring)
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

#[cfg(test)]
mod tests {
    use aios_evidence::{Filter, Kind};
    use aios_wire::evidence::RoomState;

    use super::*;
    use crate::boot::tests::system;
    use crate::writer::now;

    #[test]
    fn a_log_that_waits_for_a_person_answers_and_takes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let partition = tempfile::tempfile().expect("a file");
        partition.set_len(1 << 20).expect("extended");
        let open = || open(folder.path(), || Ok([7; 96])).expect("readable");
        for boot in ["one", "two"] {
            let (log, opened, _) = open();
            let ring = begin(&log, &system(boot), opened, Some(&partition)).expect("it goes on");
            boot_state::place(&log, &partition, &ring).expect("placed");
        }
        partition.set_len(0).and_then(|()| partition.set_len(1 << 20)).expect("emptied");

        let (log, opened, _) = open();
        let why = begin(&log, &system("three"), opened, Some(&partition)).expect_err("not trusted");
        assert!(why.contains("removed") && why.contains("accept-restored"), "{why}");
        // The end of a machine is recorded only by a log that goes on; its head would make this one trusted.
        let log = Arc::new(log);
        let (action, writer) = (String::new(), "service:init".to_owned());
        let payload = serde_json::json!({"what": "shutdown", "detail": "PowerOff, asked by operator:ada"}).to_string();
        log.append(&[Draft { kind: Kind::UnitEvent, action, writer, payload }], &now("three"));
        log.close(&why);
        let appends = writer::start(Arc::clone(&log), "three".to_owned()).expect("a writer");
        ending::end(&log, &appends, "three", Some(&partition));
        assert_eq!(Ring::read(&boot_state::read(&partition).expect("readable")), Ring::Empty);
        let draft =
            Draft { kind: Kind::Login, action: String::new(), writer: "service:x".into(), payload: "{}".into() };
        let refused = log.append(&[draft], &now("three")).pop().expect("one").expect_err("read-only");
        assert!(refused.to_string().contains("accept-restored"), "{refused}");
        assert_eq!(log.room().expect("told").state, RoomState::ReadOnly(why));
        assert_eq!(log.query(&Filter::default()).expect("answered").len() as u64, log.size());
        log.prove(0).expect("proved");
        log.verify().expect("what is there is whole");
    }
}
