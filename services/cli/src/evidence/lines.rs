//! Records for people: one line each, coloured by how they ended where a terminal shows it.

use aios_evidence::{Kind, Record};
use serde_json::Value;

use crate::sentence::sentence;
use crate::show::{Ink, Tone, harmless};
use crate::when;

/// A line says at most so much; `aios evidence show` gives the whole.
const SAID: usize = 160;

/// The heading over lines.
pub(crate) const HEAD: &str = "INDEX   TIME                  KIND                WHO                     WHAT";

/// One record.
pub(crate) fn line(record: &Record, ink: Ink) -> String {
    let said: String = sentence(record).chars().take(SAID).collect();
    let who = harmless(if record.subject.is_empty() { &record.writer } else { &record.subject });
    let kind = ink.paint(tone(record), &format!("{:<18}", record.kind.as_str()));
    format!("{:<6}  {}  {kind}  {who:<22}  {said}", record.index, when::format(record.wall)).trim_end().to_owned()
}

/// How good news a record is.
pub(crate) fn tone(record: &Record) -> Tone {
    let field = |name: &str| record.payload.get(name).and_then(Value::as_str);
    match record.kind {
        Kind::Denial | Kind::ApprovalRejected => Tone::Bad,
        Kind::ApprovalRequested | Kind::Repair | Kind::Restored | Kind::Pruned => Tone::Waits,
        Kind::ApprovalGranted => Tone::Good,
        Kind::UnitEvent => match field("what") {
            Some("failed" | "exited" | "lost") => Tone::Bad,
            Some("frozen" | "holds-actions") => Tone::Waits,
            _ => Tone::Plain,
        },
        Kind::Session => match field("what") {
            Some("ended" | "expired") => Tone::Waits,
            _ => Tone::Plain,
        },
        _ => match record.outcome() {
            Some("allowed" | "held" | "succeeded" | "contained" | "accepted" | "passed") => Tone::Good,
            Some("needs-approval" | "waiting" | "cancelled" | "rolled-back") => Tone::Waits,
            Some(_) => Tone::Bad,
            None => Tone::Plain,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sentence::tests::record;

    #[test]
    fn a_line_has_its_colour_only_where_a_terminal_shows_it() {
        let denial = record(
            Kind::Denial,
            json!({"blocker": "landlock", "what": "fs.write_file", "target": "/etc/\u{1b}[2Jx", "subject": "agent:x"}),
        );
        let plain = line(&denial, Ink::None);
        assert!(plain.contains("landlock refused fs.write_file on /etc/\u{fffd}[2Jx"), "{plain}");
        assert!(!plain.contains('\u{1b}'), "{plain}");
        let coloured = line(&denial, Ink::Colour);
        assert_eq!(coloured.matches('\u{1b}').count(), 2, "{coloured}");
    }

    #[test]
    fn what_did_not_hold_is_bad_news_and_what_nobody_measured_is_none() {
        assert_eq!(tone(&record(Kind::Outcome, json!({"held": true}))), Tone::Good);
        assert_eq!(tone(&record(Kind::Outcome, json!({}))), Tone::Bad);
        assert_eq!(tone(&record(Kind::Started, json!({}))), Tone::Plain);
        assert_eq!(tone(&record(Kind::UnitEvent, json!({"what": "exited"}))), Tone::Bad);
    }
}
