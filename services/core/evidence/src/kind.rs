//! The kinds of record: a closed list, each with its number, how long it is kept, and what its payload may hold.
//!
//! A kind enters with the program that writes it and the test that reads it. The numbers below 1000 are those of the
//! AI-Native Linux specification where it has the same event; ours begin at 1000.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::record::RecordError;
use crate::schema::{Field, Form};

/// How long a record is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// As long as the log.
    Forever,
    /// At least [`STANDARD_DAYS`].
    Standard,
}

/// Records that are not kept for ever are kept this many days at least.
pub const STANDARD_DAYS: u64 = 183;

/// Declares the kinds once.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $number:literal, $retention:ident, [$($field:literal: $form:ident),* $(,)?];)*) => {
        /// What a record is about. Each has a writer in the table of peers, except what the log writes itself.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Kind {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The kind's name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The kind's number, which never changes.
            pub fn number(self) -> u32 {
                match self { $(Self::$name => $number,)* }
            }

            /// Whether something new begins with such a record: a full log refuses these and takes the rest.
            pub fn begins(self) -> bool {
                matches!(self, Self::Decision | Self::ApprovalRequested | Self::Intent)
            }

            /// How long its records are kept.
            pub fn retention(self) -> Retention {
                match self { $(Self::$name => Retention::$retention,)* }
            }

            /// What its payload may hold in the clear.
            pub fn fields(self) -> &'static [Field] {
                match self { $(Self::$name => &[$(Field { name: $field, form: Form::$form }),*],)* }
            }
        }
    };
}

kinds! {
    /// The log begins or goes on in a new boot. Written by the log.
    Boot = "boot", 197, Forever, [
        "version": Text, "origin": Json, "root_hash": Text, "secure_boot": Flag, "boot": Text, "key": Text,
        "key_ml_dsa": Text, "previous_end": Text, "measurements": Json, "boot_state": Json,
    ];
    /// The machine ends in order, and nothing that needs the log runs any more. Written by the log.
    End = "end", 1010, Forever, ["asked": Text];
    /// PID 1 saw or did something. Written by the log from PID 1's events.
    UnitEvent = "unit-event", 1000, Standard, [
        "number": Whole, "at_ms": Whole, "unit": Text, "what": Text, "detail": Text, "lost": Whole,
    ];
    /// The log's own start removed an append that had not been finished. Written by the log.
    Repair = "repair", 1001, Forever, ["removed_bytes": Whole];
    /// A person let a log go on that does not have all that the boot state partition knew of. Written by the log.
    Restored = "restored", 1007, Forever, ["head": Json, "instead_of": Json];
    /// Entries were removed because their time was over. Written by the log.
    Pruned = "pruned", 1006, Forever, ["ranges": Json, "count": Whole, "before": Whole];
    /// The kernel refused something. Written by the log from the kernel's audit records.
    Denial = "denial", 1003, Forever, [
        "blocker": Text, "what": Text, "target": Text, "subject": Subject, "digest": Digest, "program": Text, "pid": Whole,
        "uid": Whole, "domain": Text, "count": Whole,
    ];
    /// The policy kernel decided.
    Decision = "decision", 4, Forever, [
        "type": Text, "decision": Inner, "verdict": Text, "reason": Text, "rules": Json, "subject": Subject, "verb": Text,
        "approval": Text, "digest": Digest, "epoch": Epoch, "key": Text,
    ];
    /// A person has to say.
    ApprovalRequested = "approval-requested", 5, Forever, [
        "approval": Text, "digest": Digest, "epoch": Epoch, "subject": Subject, "type": Text, "risk": Text,
    ];
    /// A person said yes: in a session, or with a signature by `key` that the session of `carrier` brought.
    ApprovalGranted = "approval-granted", 6, Forever, [
        "approval": Text, "digest": Digest, "epoch": Epoch, "subject": Peer, "by": Subject, "confirmation": Flag,
        "state": Json, "reason": Text, "key": Text, "carrier": Peer,
    ];
    /// A person said no.
    ApprovalRejected = "approval-rejected", 7, Forever, [
        "approval": Text, "digest": Digest, "epoch": Epoch, "subject": Peer, "by": Subject, "confirmation": Flag,
        "state": Json, "reason": Text,
    ];
    /// An approval was used, once.
    ApprovalConsumed = "approval-consumed", 93, Forever, [
        "approval": Text, "digest": Digest, "epoch": Epoch, "state": Json,
    ];
    /// Somebody logged in or failed to.
    Login = "login", 1002, Forever, [
        "operator": Text, "for": Text, "terminal": Text, "result": Text, "text": Text,
    ];
    /// Another policy is in force: this record is the moment in which it came into force.
    PolicyLoaded = "policy-loaded", 1020, Forever, [
        "epoch": Epoch, "bundle": Text, "signer": Text, "instead_of": Text, "by": Subject, "approval": Text,
    ];
    /// Somebody can log in from now on, or with another pass phrase; what a key signs is theirs, or not any more.
    Operator = "operator", 1021, Forever, [
        "name": Text, "what": Text, "uid": Whole, "by": Subject, "approval": Text, "key": Text,
    ];
    /// A person's emergency began, changed a decision, or ended.
    Override = "override", 1030, Forever, [
        "what": Text, "by": Subject, "of": Peer, "minutes": Whole, "reason": Text, "why": Text, "uses": Whole,
        "type": Text, "digest": Digest, "epoch": Epoch,
    ];
    /// A secret was put, removed, sent to a host, or refused to one. Its value is in no record.
    Secret = "secret", 86, Forever, [
        "what": Text, "name": Text, "hosts": Json, "header": Text, "method": Text, "text": Text,
    ];
    /// An agent called the vault.
    SecretRefused = "secret-refused", 89, Forever, ["subject": Subject, "verb": Text, "reason": Text];
    /// What an agent said at its door came to no decision: how many times since the last such record, one an hour at most.
    DoorRefused = "door-refused", 1045, Forever, ["subject": Subject, "reason": Text, "count": Whole];
    /// An action is about to have an effect.
    Intent = "intent", 116, Forever, [
        "type": Text, "subject": Subject, "parameters": Parameters, "digest": Digest, "epoch": Epoch, "rules": Json,
    ];
    /// An action's adapter runs.
    Started = "started", 8, Standard, ["digest": Digest, "token": Text, "uid": Whole];
    /// What the verifier measured.
    Outcome = "outcome", 10, Forever, [
        "digest": Digest, "type": Text, "held": Flag, "observed": Json, "text": Text,
    ];
    /// How an action ended.
    Result = "result", 9, Forever, [
        "type": Text, "digest": Digest, "result": Json, "cancelled-by": Text, "found": Text, "undone": Json, "ran": Json,
        "text": Text,
    ];
    /// A run of a workflow began, was resumed, answered or cancelled, or ended; its id stands in place of an action's.
    Workflow = "workflow", 1022, Forever, [
        "what": Text, "name": Text, "definition": Text, "subject": Subject, "by": Text, "step": Text, "answer": Text,
        "outcome": Json, "trace": Text, "submitted": Whole,
    ];
    /// What a probe tried and whether it was stopped.
    Probe = "probe", 1004, Forever, ["tier": Text, "resource": Text, "contained": Flag, "attempts": Json];
    /// A program that somebody handed in is tried, or was; with what came of it.
    Trial = "trial", 1023, Forever, [
        "what": Text, "type": Text, "subject": Subject, "uid": Whole, "manifest": Text, "program": Text, "report": Json,
        "digest": Digest,
    ];
    /// A session of an operator began, or ended, and how. Written by the log from PID 1's events.
    Session = "session", 1005, Forever, [
        "number": Whole, "at_ms": Whole, "subject": Subject, "terminal": Text, "what": Text, "how": Text,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        let known = Self::ALL.iter().copied().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| RecordError::Kind(text.chars().take(80).flat_map(char::escape_default).collect()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_kinds_share_a_name_or_a_number_and_a_field_stands_once() {
        let names: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        let numbers: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.number()).collect();
        assert_eq!((names.len(), numbers.len()), (Kind::ALL.len(), Kind::ALL.len()));
        for kind in Kind::ALL {
            let fields: BTreeSet<_> = kind.fields().iter().map(|field| field.name).collect();
            assert_eq!(fields.len(), kind.fields().len(), "{kind}");
        }
    }

    #[test]
    fn what_decides_and_proves_is_never_removed() {
        for kind in Kind::ALL {
            let standard = matches!(kind, Kind::UnitEvent | Kind::Started);
            assert_eq!(kind.retention() == Retention::Standard, standard, "{kind}");
        }
    }
}
