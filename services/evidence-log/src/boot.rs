//! The first record of each boot: what was started, from where, and under which key the log is signed.

use aios_daemon::init::{AskError, ask};
use aios_evidence::Kind;
use aios_wire::init::{Reply, Request, System};
use serde_json::json;

use crate::log::{AppendRefused, Draft, Log, QueryError};
use crate::writer::now;

/// Who the log's own records are from.
pub(crate) const SELF: &str = "service:evidence-log";

/// The boot was not begun in the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    /// PID 1.
    #[error("cannot learn from PID 1 how the machine was started")]
    Ask(#[from] AskError),
    /// PID 1 answered something else.
    #[error("PID 1 answered the question for its status with something else")]
    Answer,
    /// The log cannot be read.
    #[error("cannot read the last boot from the log")]
    Read(#[from] QueryError),
    /// The record was refused.
    #[error("cannot write the boot into the log")]
    Append(#[from] AppendRefused),
    /// The checkpoint cannot be stored.
    #[error(transparent)]
    Checkpoint(#[from] aios_store::ReplaceError),
}

/// How the machine was started.
pub(crate) fn status() -> Result<System, BootError> {
    match ask(&Request::Status)? {
        Reply::Status(system) => Ok(system),
        _ => Err(BootError::Answer),
    }
}

/// Writes the boot record, unless this boot has one, and what opening the log had to repair.
pub(crate) fn begin(log: &Log, system: &System, cut: u64) -> Result<(), BootError> {
    let mut drafts = Vec::new();
    let draft = |kind, payload: serde_json::Value| Draft {
        kind,
        action: String::new(),
        writer: SELF.to_owned(),
        payload: payload.to_string(),
    };
    // A service that was restarted goes on in the same boot.
    if log.newest(Kind::Boot)?.is_none_or(|record| record.boot != system.boot_id) {
        let payload = json!({
            "version": system.version,
            "origin": system.origin,
            "root_hash": system.root_hash,
            "secure_boot": system.secure_boot,
            "boot": system.boot_id,
            "key": log.key().ed25519_line(),
            "key_ml_dsa": log.key().ml_dsa_line(),
        });
        drafts.push(draft(Kind::Boot, payload));
    }
    if cut > 0 {
        drafts.push(draft(Kind::Repair, json!({ "removed_bytes": cut })));
    }
    for answer in log.append(&drafts, &now(&system.boot_id)) {
        answer?;
    }
    Ok(log.store_checkpoint()?)
}

#[cfg(test)]
mod tests {
    use aios_evidence::{Filter, Record};
    use aios_wire::init::{BootTimes, Origin};

    use super::*;
    use crate::open::open;

    fn system(boot_id: &str) -> System {
        System {
            version: "1.2.3".into(),
            origin: Origin::Live,
            boot_id: boot_id.into(),
            root_hash: "00".into(),
            secure_boot: true,
            uptime_s: 1,
            boot_ms: BootTimes::default(),
            frozen: None,
        }
    }

    #[test]
    fn each_boot_is_begun_once_and_a_repair_is_recorded() {
        let folder = tempfile::tempdir().expect("a folder");
        let (log, _) = open(folder.path(), || Ok([7; 96])).expect("a new log");
        begin(&log, &system("one"), 0).expect("begun");
        begin(&log, &system("one"), 0).expect("goes on");
        begin(&log, &system("one"), 40).expect("goes on after a repair");
        begin(&log, &system("two"), 0).expect("begun");
        let lines = log.query(&Filter::default()).expect("answered");
        let records = lines.iter().map(|line| Record::decode(line.as_bytes()).expect("a record"));
        let seen: Vec<_> = records.map(|record| (record.kind, record.boot)).collect();
        let boot = |boot: &str| boot.to_owned();
        assert_eq!(seen, [(Kind::Boot, boot("one")), (Kind::Repair, boot("one")), (Kind::Boot, boot("two"))]);
        // The verifier asks for the key in the first record, and that is this one.
        assert_eq!(log.verify().expect("sound").boots, 2);
    }
}
