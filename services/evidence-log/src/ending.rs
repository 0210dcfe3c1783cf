//! The log's own end. PID 1 stops it once nothing that needs it runs; then it writes the machine's end as its last record, and
//! the head over everything into all its places.
//!
//! What a crash leaves: before the record, a request for an end without one, which the next boot calls cut off; after it,
//! heads that are a little behind, as after any other crash.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use aios_daemon::error_chain;
use aios_evidence::boot_state::Ring;
use aios_evidence::{Filter, Kind, Record};
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::boot::SELF;
use crate::boot_state;
use crate::log::{Draft, Log};
use crate::medium::Bytes;
use crate::read::QueryError;
use crate::writer::Appends;

/// Among so many of a boot's last events the request for its end is found: each unit says that it stopped.
const LAST_EVENTS: usize = 200;
/// PID 1's events are fetched five times a second; the ends of the other services are among the last.
const FETCHED: Duration = Duration::from_millis(300);
/// A slow disk takes longer.
const LOOKS: usize = 3;

/// PID 1's word that the service is to end.
pub(crate) fn request() -> io::Result<Signal> {
    signal(SignalKind::terminate())
}

/// Writes what has to be written before the service ends. A service that is stopped while the machine goes on has nothing
/// to say.
pub(crate) fn end(log: &Arc<Log>, appends: &Appends, boot: &str, partition: Option<&dyn Bytes>) {
    if log.closed().is_some() {
        return;
    }
    let asked = (0..LOOKS).find_map(|_| {
        thread::sleep(FETCHED);
        asked(log, boot).ok().flatten()
    });
    let Some(asked) = asked else { return };
    if let Err(error) = appends.append_all(log, &[draft(&asked)]) {
        eprintln!("the end of the machine is not on record: {}", error_chain(&error));
    }
    if let Err(error) = log.store_checkpoint() {
        eprintln!("the last head is not stored: {error}");
    }
    let placed = partition.map(|partition| {
        boot_state::read(partition).and_then(|bytes| boot_state::place(log, partition, &Ring::read(&bytes)))
    });
    if let Some(Err(error)) = placed {
        eprintln!("the last head is not kept in the boot state: {error}");
    }
}

fn draft(asked: &str) -> Draft {
    let (action, writer) = (String::new(), SELF.to_owned());
    Draft { kind: Kind::End, action, writer, payload: json!({ "asked": asked }).to_string() }
}

/// Who asked for the end of a boot, by PID 1's first word about it.
fn asked(log: &Log, boot: &str) -> Result<Option<String>, QueryError> {
    let last = Filter { kind: Some(Kind::UnitEvent), limit: Some(LAST_EVENTS), ..Filter::default() };
    let found = log.query(&last)?.iter().find_map(|line| {
        let event = Record::decode(line.as_bytes()).ok()?;
        let field = |name: &str| event.payload.get(name).and_then(Value::as_str).unwrap_or_default();
        (event.boot == boot && field("what") == "shutdown").then(|| field("detail").to_owned())
    });
    Ok(found)
}

/// How the boot of this record ended.
pub(crate) fn of(log: &Log, boot: &Record) -> Result<String, QueryError> {
    let end = log.newest(Kind::End)?.filter(|end| end.boot == boot.boot);
    if let Some(end) = end {
        let asked = end.payload.get("asked").and_then(Value::as_str).unwrap_or_default();
        return Ok(format!("clean: {asked}"));
    }
    Ok(match asked(log, &boot.boot)? {
        Some(asked) => format!("cut off: {asked}"),
        None => "unclean: nobody ended it".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot_state::Outside;
    use crate::open::open;
    use crate::writer::now;
    use crate::{boot, writer};

    #[test]
    fn a_boot_knows_how_the_one_before_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let (log, ..) = open(folder.path(), || Ok([7; 96])).expect("a new log");
        let log = Arc::new(log);
        let begin = |boot: &str| {
            boot::begin(&log, &boot::tests::system(boot), 0, &Outside::None).expect("begun");
            let record = log.newest(Kind::Boot).expect("read").expect("begun");
            record.payload["previous_end"].as_str().expect("a text").to_owned()
        };
        let ask_for_the_end = |boot: &str| {
            let said = ["Reboot, asked by operator:ada", "ending all units"].map(|detail| Draft {
                kind: Kind::UnitEvent,
                action: String::new(),
                writer: SELF.to_owned(),
                payload: json!({"what": "shutdown", "detail": detail}).to_string(),
            });
            for answer in log.append(&said, &now(boot)) {
                answer.expect("written");
            }
        };
        let stop = |boot: &str, partition: Option<&dyn Bytes>| {
            let appends = writer::start(Arc::clone(&log), boot.to_owned()).expect("a writer");
            end(&log, &appends, boot, partition);
        };
        assert_eq!(begin("one"), "none before");
        stop("one", None);
        assert_eq!(begin("two"), "unclean: nobody ended it", "being stopped alone is no end of a machine");
        ask_for_the_end("two");
        assert_eq!(begin("three"), "cut off: Reboot, asked by operator:ada");
        ask_for_the_end("three");
        let partition = tempfile::tempfile().expect("a file");
        partition.set_len(1 << 20).expect("extended");
        stop("three", Some(&partition));
        let Ring::Heads { newest, .. } = Ring::read(&boot_state::read(&partition).expect("read")) else {
            panic!("the last head is kept outside")
        };
        assert!(newest.note.contains(&format!("\n{}\n", log.size())), "of everything: {}", newest.note);
        assert_eq!(log.head_stored(), log.size());
        assert_eq!(begin("four"), "clean: Reboot, asked by operator:ada");
        assert_eq!(begin("five"), "unclean: nobody ended it", "the end of an earlier boot is not this one's");
    }
}
