//! The first record of each boot: what was started, from where, and under which key the log is signed.

use aios_daemon::init::{AskError, ask};
use aios_evidence::Kind;
use aios_wire::init::{Reply, Request, System};
use serde_json::json;

use crate::log::{AppendRefused, Draft, Log, QueryError};
use crate::writer::now;

/// Who the log's own records are from.
const SELF: &str = "service:evidence-log";

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
            "key": log.key_line(),
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
