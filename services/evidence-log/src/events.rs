//! Takes over PID 1's events. PID 1 never calls a service, so they are fetched, a few times a second, from its ring; what
//! the ring lost in between becomes a record with the count.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use aios_daemon::error_chain;
use aios_daemon::init::ask;
use aios_evidence::Kind;
use aios_wire::init::{Event, Reply, Request};
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
    let mut said = false;
    while log.closed().is_none() {
        // From the log itself: after a refused append it says which of the events were written.
        let cursor = last_number(log, boot);
        match fetch(log, cursor, appends) {
            Ok(()) => said = false,
            // One line for a whole outage; asking again brings the same events.
            Err(reason) if !said => {
                said = true;
                eprintln!("PID 1's events after {cursor} are not in the log yet: {reason}");
            }
            Err(_) => {}
        }
        std::thread::sleep(PERIOD);
    }
}

/// Takes over what happened after event `cursor`.
fn fetch(log: &Log, cursor: u64, appends: &Appends) -> Result<(), String> {
    match ask(&Request::Events { after: cursor }).map_err(|error| error_chain(&error))? {
        Reply::Events { lost, events } => {
            appends.append_all(log, &drafts(cursor, lost, &events)).map_err(|error| error_chain(&error))
        }
        _ => Err("PID 1 answered with something else".to_owned()),
    }
}

/// The number of the newest event of this boot in the log; 0 when there is none.
fn last_number(log: &Log, boot: &str) -> u64 {
    let newest = log.newest(Kind::UnitEvent).ok().flatten().filter(|record| record.boot == boot);
    newest.and_then(|record| record.payload.get("number")?.as_u64()).unwrap_or(0)
}

fn drafts(cursor: u64, lost: u64, events: &[Event]) -> Vec<Draft> {
    let draft = |payload: serde_json::Value| Draft {
        kind: Kind::UnitEvent,
        action: String::new(),
        writer: SOURCE.to_owned(),
        payload: payload.to_string(),
    };
    // The number of a gap is that of the last lost event, so that a restart goes on behind it.
    let gap = (lost > 0).then(|| draft(json!({ "number": cursor + lost, "what": "lost", "lost": lost })));
    let events = events.iter().map(|event| {
        draft(json!({
            "number": event.number,
            "at_ms": event.at_ms,
            "unit": event.unit,
            "what": event.what,
            "detail": event.detail,
        }))
    });
    gap.into_iter().chain(events).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_counted_before_the_events_that_follow_it() {
        let event = Event { number: 8, at_ms: 5, unit: "init".into(), what: "boot".into(), detail: "\u{1b}".into() };
        let drafts = drafts(4, 3, &[event]);
        assert_eq!(drafts.len(), 2);
        let gap: serde_json::Value = serde_json::from_str(&drafts[0].payload).expect("a payload");
        assert_eq!(gap, json!({"lost": 3, "number": 7, "what": "lost"}));
        assert!(drafts[1].payload.contains(r#""number":8"#), "{}", drafts[1].payload);
    }
}
