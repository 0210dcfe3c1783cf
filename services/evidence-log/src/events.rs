//! Takes over PID 1's events. PID 1 never calls a service, so they are fetched, a few times a second, from its ring; what
//! the ring lost in between becomes a record with the count.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use aios_daemon::error_chain;
use aios_daemon::init::ask;
use aios_evidence::Kind;
use aios_wire::init::{Event, Reply, Request, Session};
use serde_json::json;

use crate::log::{Draft, Log};
use crate::writer::Appends;

/// How often. An event is in the log within this time plus one sync.
const PERIOD: Duration = Duration::from_millis(200);

/// Whose events they are.
const SOURCE: &str = "service:init";

/// Starts fetching, after the last event of this boot that the log has.
pub(crate) fn start(log: Arc<Log>, appends: Appends, boot: String) -> io::Result<()> {
    std::thread::Builder::new().name("events".into()).spawn(move || follow(&log, &appends, &boot)).map(drop)
}

fn follow(log: &Log, appends: &Appends, boot: &str) {
    let (mut known, mut said) = (None, false);
    while log.closed().is_none() {
        // From the log itself: after a refused append it says which of the events were written.
        let cursor = known.unwrap_or_else(|| last_number(log, boot));
        match fetch(log, cursor, appends) {
            Ok(last) => (known, said) = (Some(last), false),
            Err(reason) => {
                // One line for a whole outage; asking again brings the same events.
                if !said {
                    eprintln!("PID 1's events after {cursor} are not in the log yet: {reason}");
                }
                (known, said) = (None, true);
            }
        }
        std::thread::sleep(PERIOD);
    }
}

/// Takes over what happened after event `cursor`; gives the number of the last event that is in the log now.
fn fetch(log: &Log, cursor: u64, appends: &Appends) -> Result<u64, String> {
    match ask(&Request::Events { after: cursor }).map_err(|error| error_chain(&error))? {
        Reply::Events { lost, events } => {
            appends.append_all(log, &drafts(cursor, lost, &events)).map_err(|error| error_chain(&error))?;
            Ok(events.last().map_or(cursor + lost, |event| event.number))
        }
        _ => Err("PID 1 answered with something else".to_owned()),
    }
}

/// The number of the newest event of this boot in the log; 0 when there is none.
fn last_number(log: &Log, boot: &str) -> u64 {
    let number = |kind| {
        let newest = log.newest(kind).ok().flatten().filter(|record| record.boot == boot);
        newest.and_then(|record| record.payload.get("number")?.as_u64()).unwrap_or(0)
    };
    number(Kind::UnitEvent).max(number(Kind::Session))
}

fn draft(kind: Kind, payload: serde_json::Value) -> Draft {
    Draft { kind, action: String::new(), writer: SOURCE.to_owned(), payload: payload.to_string() }
}

fn drafts(cursor: u64, lost: u64, events: &[Event]) -> Vec<Draft> {
    // The number of a gap is that of the last lost event, so that a restart goes on behind it.
    let gap = json!({ "number": cursor + lost, "what": "lost", "lost": lost });
    let gap = (lost > 0).then(|| draft(Kind::UnitEvent, gap));
    gap.into_iter().chain(events.iter().map(draft_of)).collect()
}

fn draft_of(event: &Event) -> Draft {
    let Event { number, at_ms, unit, what, detail, session } = event;
    match session {
        Some(Session { operator, terminal, change }) => draft(
            Kind::Session,
            json!({
                "number": number,
                "at_ms": at_ms,
                "subject": operator,
                "terminal": terminal,
                "what": change.word(),
                "how": detail,
            }),
        ),
        None => draft(
            Kind::UnitEvent,
            json!({"number": number, "at_ms": at_ms, "unit": unit, "what": what, "detail": detail}),
        ),
    }
}

#[cfg(test)]
mod tests {
    use aios_evidence::{Filter, Record};
    use aios_identity::{Peer, SessionStrength};
    use aios_wire::init::SessionChange;

    use super::*;
    use crate::log::Stamp;
    use crate::open::open;

    fn event(number: u64, what: &str) -> Event {
        let (unit, what, detail) = ("init".into(), what.into(), "\u{1b}".into());
        Event { number, at_ms: 5, unit, what, detail, session: None }
    }

    #[test]
    fn a_gap_is_counted_before_the_events_that_follow_it() {
        let drafts = drafts(4, 3, &[event(8, "boot")]);
        assert_eq!(drafts.len(), 2);
        let gap: serde_json::Value = serde_json::from_str(&drafts[0].payload).expect("a payload");
        assert_eq!(gap, json!({"lost": 3, "number": 7, "what": "lost"}));
        assert!(drafts[1].payload.contains(r#""number":8"#), "{}", drafts[1].payload);
    }

    #[test]
    fn a_session_is_a_record_about_its_operator_and_the_events_go_on_behind_it() {
        let operator = Peer::Operator { name: "ada".into(), strength: SessionStrength::PassPhrase };
        let session = |number, change, how: &str| {
            let session = Session { operator: operator.clone(), terminal: "ttyS0".into(), change };
            Event { detail: how.into(), session: Some(session), ..event(number, "session") }
        };
        let events = [
            event(1, "boot"),
            session(2, SessionChange::Began, ""),
            session(3, SessionChange::Ended, "killed by signal 9"),
        ];
        let folder = tempfile::tempdir().expect("a folder");
        let (log, ..) = open(folder.path(), || Ok([7; 96])).expect("a new log");
        let stamp = Stamp { boot: "b".into(), at_ms: 9, wall: 1_790_000_000_000 };
        for answer in log.append(&drafts(0, 0, &events), &stamp) {
            answer.expect("written");
        }
        assert_eq!((last_number(&log, "b"), last_number(&log, "c")), (3, 0));

        let about = Filter { subject: Some("operator:ada".into()), ..Filter::default() };
        let lines = log.query(&about).expect("answered");
        let [began, ended] = lines.as_slice() else { panic!("{lines:?}") };
        let began = Record::decode(began.as_bytes()).expect("a record");
        assert_eq!((began.kind, began.writer.as_str()), (Kind::Session, SOURCE));
        assert_eq!(began.payload["subject"]["strength"], "pass-phrase");
        assert_eq!((&began.payload["what"], &began.payload["terminal"]), (&json!("began"), &json!("ttyS0")));
        let ended = Record::decode(ended.as_bytes()).expect("a record");
        assert_eq!((&ended.payload["what"], &ended.payload["how"]), (&json!("ended"), &json!("killed by signal 9")));
        assert!(!lines.iter().any(|line| line.contains("withheld")), "the schema knows all of it: {lines:?}");
    }
}
