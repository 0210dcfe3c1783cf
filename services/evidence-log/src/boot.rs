//! The first record of each boot: what was started, from where, and under which key the log is signed.

use aios_daemon::init::{AskError, ask};
use aios_evidence::Kind;
use aios_wire::init::{Reply, Request, System};
use serde_json::json;

use crate::boot_state::Outside;
use crate::ending;
use crate::log::{AppendRefused, Draft, Log};
use crate::read::QueryError;
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
}

/// How the machine was started.
pub(crate) fn status() -> Result<System, BootError> {
    match ask(&Request::Status)? {
        Reply::Status(system) => Ok(system),
        _ => Err(BootError::Answer),
    }
}

/// Writes the boot record, unless this boot has one, what opening the log had to repair, and a person's word about it.
pub(crate) fn begin(log: &Log, system: &System, cut: u64, outside: &Outside) -> Result<(), BootError> {
    let mut drafts = Vec::new();
    let draft = |kind, payload: serde_json::Value| Draft {
        kind,
        action: String::new(),
        writer: SELF.to_owned(),
        payload: payload.to_string(),
    };
    // A service that was restarted goes on in the same boot.
    let before = log.newest(Kind::Boot)?;
    if before.as_ref().is_none_or(|record| record.boot != system.boot_id) {
        let previous_end = match before {
            Some(before) => ending::of(log, &before)?,
            None => "none before".to_owned(),
        };
        let payload = json!({
            "version": system.version,
            "origin": system.origin,
            "root_hash": system.root_hash,
            "secure_boot": system.secure_boot,
            "boot": system.boot_id,
            "measurements": system.measured,
            "previous_end": previous_end,
            "boot_state": outside.told(),
            "key": log.key().ed25519_line(),
            "key_ml_dsa": log.key().ml_dsa_line(),
        });
        drafts.push(draft(Kind::Boot, payload));
    }
    if cut > 0 {
        drafts.push(draft(Kind::Repair, json!({ "removed_bytes": cut })));
    }
    drafts.extend(outside.accepted());
    for answer in log.append(&drafts, &now(&system.boot_id)) {
        answer?;
    }
    // It is tried again every second; the records are kept without it.
    if let Err(error) = log.store_checkpoint() {
        eprintln!("the head is not stored: {error}");
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use aios_evidence::{Filter, Record};
    use aios_wire::init::{BootTimes, FirmwareKeys, Measured, Origin, SigningKeys};

    use super::*;
    use crate::open::open;

    pub(crate) fn system(boot_id: &str) -> System {
        System {
            version: "1.2.3".into(),
            origin: Origin::Live,
            boot_id: boot_id.into(),
            root_hash: "00".into(),
            secure_boot: true,
            firmware_keys: FirmwareKeys::Enrolled,
            keys: SigningKeys::Development,
            measured: Measured::NoTpm.into(),
            uptime_s: 1,
            boot_ms: BootTimes::default(),
            frozen: None,
            degraded: Vec::new(),
        }
    }

    #[test]
    fn each_boot_is_begun_once_and_a_repair_is_recorded() {
        let folder = tempfile::tempdir().expect("a folder");
        let (log, ..) = open(folder.path(), || Ok([7; 96])).expect("a new log");
        begin(&log, &system("one"), 0, &Outside::None).expect("begun");
        begin(&log, &system("one"), 0, &Outside::None).expect("goes on");
        begin(&log, &system("one"), 40, &Outside::None).expect("goes on after a repair");
        begin(&log, &system("two"), 0, &Outside::None).expect("begun");
        let lines = log.query(&Filter::default()).expect("answered");
        let records = lines.iter().map(|line| Record::decode(line.as_bytes()).expect("a record"));
        let seen: Vec<_> = records.map(|record| (record.kind, record.boot)).collect();
        let boot = |boot: &str| boot.to_owned();
        assert_eq!(seen, [(Kind::Boot, boot("one")), (Kind::Repair, boot("one")), (Kind::Boot, boot("two"))]);
        assert!(!lines.iter().any(|line| line.contains("withheld")), "the schema knows all of it: {lines:?}");
        // The verifier asks for the key in the first record, and that is this one.
        assert_eq!(log.verify().expect("sound").boots, 2);
    }
}
