//! A record of the log as one sentence. What has no sentence here is shown as it is; nothing is ever left out silently,
//! because `aios evidence show` and `--json` give the whole record.

use aios_action::app::Trial;
use aios_evidence::{Kind, Record};
use serde_json::Value;

use crate::show::harmless;

/// What happened, in words.
pub(crate) fn sentence(record: &Record) -> String {
    let field = |name: &str| text(record.payload.get(name));
    let said = match record.kind {
        Kind::UnitEvent if record.payload.contains_key("lost") => {
            format!("{} events were dropped before they could be recorded", field("lost"))
        }
        Kind::UnitEvent => match field("detail").as_str() {
            "" => format!("{} {}", field("unit"), field("what")),
            detail => format!("{} {}: {detail}", field("unit"), field("what")),
        },
        Kind::Decision => match record.payload.get("decision") {
            Some(decision) => format!(
                "{} for {}: {} ({})",
                field("type"),
                subject(&decision["subject"]),
                text(decision["verdict"].get("verdict")),
                text(decision.get("reason"))
            ),
            None => format!("{}: {} ({})", subject_of(record, "subject"), field("verdict"), field("reason")),
        },
        Kind::ApprovalRequested => {
            format!("{} of {} wants a person; risk {}", field("type"), subject_of(record, "subject"), field("risk"))
        }
        Kind::ApprovalGranted if record.payload.get("key").is_some() => {
            let (by, carrier) = (subject_of(record, "by"), subject_of(record, "carrier"));
            format!("{by} approved {} with {}, brought by {carrier}", field("approval"), field("key"))
        }
        Kind::ApprovalGranted => format!("{} approved {}", subject_of(record, "by"), field("approval")),
        Kind::ApprovalRejected => format!("{} rejected {}", subject_of(record, "by"), field("approval")),
        Kind::ApprovalConsumed => format!("{} was used, once", field("approval")),
        Kind::Denial => denial(record),
        Kind::Intent => format!("{} {} for {}", field("type"), field("parameters"), field("subject")),
        Kind::Started => "the adapter starts".into(),
        Kind::Outcome => match record.payload.get("held") {
            Some(Value::Bool(true)) => format!("measured: {}", field("text")),
            _ => format!("NOT as promised: {}", field("text")),
        },
        Kind::Result => {
            format!("{} {}", field("type"), text(record.payload.get("result").and_then(|r| r.get("state"))))
        }
        Kind::Login => format!("{}: {}", field("operator"), field("result")),
        Kind::End => format!("the machine ends in order: {}", field("asked")),
        Kind::PolicyLoaded => format!(
            "policy {} took the place of {}; {} approved it",
            field("epoch"),
            field("instead_of"),
            subject_of(record, "by")
        ),
        Kind::Operator if field("what") == "added" => {
            format!("{} let {} log in", subject_of(record, "by"), field("name"))
        }
        Kind::Operator if field("what") == "key-added" => {
            format!("{} added the key {}", subject_of(record, "by"), field("key"))
        }
        Kind::Operator if field("what") == "key-removed" => {
            format!("{} took the key {} from {}", subject_of(record, "by"), field("key"), field("name"))
        }
        Kind::Operator => format!("{} changed the pass phrase of {}", subject_of(record, "by"), field("name")),
        Kind::Override => emergency(record),
        Kind::Secret => match (field("what").as_str(), field("name")) {
            ("used", name) => format!("the secret {name} goes to {}", field("hosts")),
            ("put", name) => format!("the secret {name} was put, for {}", field("hosts")),
            ("refused", name) => format!("the secret {name} was NOT sent: {}", field("text")),
            (what, name) => format!("the secret {name} was {what}"),
        },
        Kind::SecretRefused => format!("{} called the vault: {}", subject_of(record, "subject"), field("reason")),
        Kind::DoorRefused => {
            format!(
                "{} was refused at the door {} times: {}",
                subject_of(record, "subject"),
                field("count"),
                field("reason")
            )
        }
        Kind::Restored => restored(record),
        Kind::Workflow => workflow(record),
        Kind::Trial if field("what") == "begins" => {
            format!("the program {} of {} is tried", field("program"), subject_of(record, "subject"))
        }
        Kind::Trial => trial(record),
        Kind::Session => session(record),
        Kind::Boot | Kind::Repair | Kind::Pruned | Kind::Probe => Value::Object(record.payload.clone()).to_string(),
    };
    harmless(&said)
}

/// What a person is told of a program that was tried.
fn trial(record: &Record) -> String {
    let report = record.payload.get("report").cloned().unwrap_or_default();
    match serde_json::from_value::<Trial>(report) {
        Ok(trial) => format!("tried: {}", trial.lines().join("; ")),
        Err(_) => "tried; the report cannot be read".to_owned(),
    }
}

/// Who came or left, and where.
fn session(record: &Record) -> String {
    let field = |name: &str| text(record.payload.get(name));
    let (who, terminal) = (subject_of(record, "subject"), field("terminal"));
    match field("what").as_str() {
        "began" => match record.payload.get("subject").and_then(|peer| peer.get("strength")).and_then(Value::as_str) {
            Some("pass-phrase") => format!("{who} logged in on {terminal} with a pass phrase"),
            _ => format!("{who} is at {terminal}"),
        },
        "logged-out" => format!("{who} left {terminal}"),
        "expired" => format!("{who} was logged out of {terminal}: nobody typed anything"),
        what => format!("the session of {who} on {terminal} {what}: {}", field("how")),
    }
}

/// What became of an emergency.
fn emergency(record: &Record) -> String {
    let field = |name: &str| text(record.payload.get(name));
    match field("what").as_str() {
        "started" => format!(
            "{} declared an emergency for {} minutes: {}",
            subject_of(record, "by"),
            field("minutes"),
            field("reason")
        ),
        "used" => format!("{} for {}: only the emergency permits it", field("type"), subject_of(record, "by")),
        _ => {
            let why = match field("why").as_str() {
                "time" => "its time was over".to_owned(),
                "restart" => "the policy kernel was restarted".to_owned(),
                _ => format!("{} ended it", subject_of(record, "by")),
            };
            format!("the emergency of {} is over: {why}", subject_of(record, "of"))
        }
    }
}

/// Which log goes on in place of which.
fn restored(record: &Record) -> String {
    let size = |head: &str| record.payload.get(head).and_then(|head| head.get("size")).map(Value::to_string);
    let accepted = size("head").unwrap_or_default();
    match size("instead_of") {
        Some(known) => format!("a person let a log of {accepted} records go on where {known} were known"),
        None => format!("a person let a log of {accepted} records go on"),
    }
}

/// What became of a run of a workflow.
fn workflow(record: &Record) -> String {
    let field = |name: &str| text(record.payload.get(name));
    let run = &record.action;
    match field("what").as_str() {
        "begun" => {
            format!("{run} of {} begins for {}, definition {}", field("name"), field("subject"), field("definition"))
        }
        "answered" => format!("{} answered step {} of {run}: {}", field("by"), field("step"), field("answer")),
        "ended" => {
            let outcome = text(record.payload.get("outcome").and_then(|end| end.get("outcome")));
            format!("{run} of {} {outcome} after {} actions", field("name"), field("submitted"))
        }
        what => format!("{run} is {what} by {}", field("by")),
    }
}

/// What the kernel refused, or how many such records are missing.
fn denial(record: &Record) -> String {
    let field = |name: &str| text(record.payload.get(name));
    let count = record.payload.get("count").and_then(Value::as_u64).unwrap_or(1);
    if field("blocker") == "audit" {
        return format!("{count} refusals of the kernel are not recorded: lost {}", field("what"));
    }
    let mut said = format!("{} refused {}", field("blocker"), field("what"));
    for (word, value) in [("on", field("target")), ("to", field("program"))] {
        if !value.is_empty() {
            said += &format!(" {word} {value}");
        }
    }
    if count > 1 { format!("{said} ({count} refusals, this is the last)") } else { said }
}

fn subject_of(record: &Record, name: &str) -> String {
    record.payload.get(name).map(subject).unwrap_or_default()
}

/// A peer as people read it.
fn subject(peer: &Value) -> String {
    serde_json::from_value::<aios_identity::Peer>(peer.clone())
        .map_or_else(|_| text(Some(peer)), |peer| peer.to_string())
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn record(kind: Kind, payload: Value) -> Record {
        let Value::Object(payload) = payload else { panic!("a payload is an object") };
        Record {
            index: 0,
            kind,
            writer: String::new(),
            subject: String::new(),
            action: String::new(),
            digest: None,
            epoch: "none".into(),
            boot: String::new(),
            at_ms: 0,
            wall: 0,
            clock: aios_evidence::Clock::Local,
            payload,
        }
    }

    fn check(kind: Kind, payload: Value, expected: &str) {
        assert_eq!(sentence(&record(kind, payload)), expected);
    }

    #[test]
    fn records_read_as_sentences() {
        check(
            Kind::Decision,
            json!({"type": "settings.set", "decision": {
                "subject": {"kind": "agent", "name": "example"},
                "verdict": {"verdict": "denied"},
                "reason": "ForbiddenByRule",
            }}),
            "settings.set for agent:example: denied (ForbiddenByRule)",
        );
        check(
            Kind::Denial,
            json!({"blocker": "seccomp", "what": "mount", "program": "/p", "count": 3}),
            "seccomp refused mount to /p (3 refusals, this is the last)",
        );
        check(
            Kind::Denial,
            json!({"blocker": "audit", "what": "by-kernel", "count": 7}),
            "7 refusals of the kernel are not recorded: lost by-kernel",
        );
        let ada = json!({"kind": "operator", "name": "ada", "strength": "pass-phrase"});
        check(
            Kind::Session,
            json!({"subject": ada, "terminal": "ttyS0", "what": "began"}),
            "operator:ada logged in on ttyS0 with a pass phrase",
        );
        check(
            Kind::Session,
            json!({"subject": ada, "terminal": "ttyS0", "what": "ended", "how": "killed by signal 9"}),
            "the session of operator:ada on ttyS0 ended: killed by signal 9",
        );
        check(Kind::UnitEvent, json!({"unit": "network", "what": "ready", "detail": ""}), "network ready");
        check(Kind::Outcome, json!({"held": false, "text": "it is not there"}), "NOT as promised: it is not there");
        check(
            Kind::Workflow,
            json!({"what": "answered", "by": "operator:ada", "step": "look", "answer": "yes"}),
            "operator:ada answered step look of : yes",
        );
        check(
            Kind::Workflow,
            json!({"what": "ended", "name": "renew", "outcome": {"outcome": "failed"}, "submitted": 3}),
            " of renew failed after 3 actions",
        );
        check(
            Kind::Override,
            json!({"what": "started", "by": ada, "minutes": 5, "reason": "the disk is full"}),
            "operator:ada declared an emergency for 5 minutes: the disk is full",
        );
        check(
            Kind::Override,
            json!({"what": "used", "by": ada, "type": "agent.run"}),
            "agent.run for operator:ada: only the emergency permits it",
        );
        check(
            Kind::Override,
            json!({"what": "ended", "by": ada, "of": ada, "why": "time", "uses": 1}),
            "the emergency of operator:ada is over: its time was over",
        );
        let digest = "ab".repeat(32);
        check(
            Kind::Trial,
            json!({"what": "report", "report": {
                "manifest": digest, "program": digest, "size": 7, "tests": ["passed"], "declared": [],
                "reached": {"network": {"count": 1, "examples": ["socket"]}}, "witnessed": "all",
            }}),
            &format!(
                "tried: NOT DECLARED: it reached for network, 1 times: socket; 1 of 1 tests passed in quarantine; declared \
                 rights: nothing; observed: network; the program has 7 bytes and the digest {digest}"
            ),
        );
        check(Kind::Result, json!({"type": "object.put", "result": {"state": "succeeded"}}), "object.put succeeded");
    }

    #[test]
    fn an_outcome_that_says_nothing_did_not_hold() {
        check(Kind::Outcome, json!({}), "NOT as promised: ");
    }

    #[test]
    fn what_a_writer_says_cannot_move_the_cursor() {
        let ada = json!({"kind": "operator", "name": "ada", "strength": "pass-phrase"});
        check(
            Kind::PolicyLoaded,
            json!({"epoch": "2-ab", "instead_of": "1-cd", "by": ada}),
            "policy 2-ab took the place of 1-cd; operator:ada approved it",
        );
        check(Kind::Operator, json!({"name": "bob", "what": "added", "by": ada}), "operator:ada let bob log in");
        let key = json!({"name": "bob", "what": "key-removed", "key": "SHA256:x", "by": ada});
        check(Kind::Operator, key, "operator:ada took the key SHA256:x from bob");
        let signed = json!({"approval": "apprq_1", "by": ada, "carrier": ada, "key": "SHA256:x"});
        check(Kind::ApprovalGranted, signed, "operator:ada approved apprq_1 with SHA256:x, brought by operator:ada");
        check(Kind::Login, json!({"operator": "a\u{1b}[2Jb", "result": "refused"}), "a\u{fffd}[2Jb: refused");
    }
}
