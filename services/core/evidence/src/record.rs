//! One record: a line of canonical JSON with its fields in a fixed order, so that the bytes that are hashed have one form.
//!
//! The payload belongs to its writer; the log looks at it only to see that it is one JSON object that can be read in one
//! way. What a record says is what its writer claimed; that it was this writer is what the log adds.

use std::fmt;
use std::str::FromStr;

use aios_action::canonical;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The largest record in bytes. Bundles could say twice as much; what needs more belongs into an object.
pub const RECORD_LIMIT: usize = 32 * 1024;

/// Declares the kinds once, with their names.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// What a record is about. A closed list: each has a writer in the table of peers, except what the log writes.
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
        }
    };
}

kinds! {
    /// The log begins or goes on in a new boot. Written by the log.
    Boot = "boot",
    /// PID 1 saw or did something. Written by the log from PID 1's events.
    UnitEvent = "unit-event",
    /// The log's own start removed an append that had not been finished. Written by the log.
    Repair = "repair",
    /// The policy kernel decided.
    Decision = "decision",
    /// A person has to say.
    ApprovalRequested = "approval-requested",
    /// A person said yes.
    ApprovalGranted = "approval-granted",
    /// A person said no.
    ApprovalRejected = "approval-rejected",
    /// An approval was used, once.
    ApprovalConsumed = "approval-consumed",
    /// Somebody logged in or failed to.
    Login = "login",
    /// An action is about to have an effect.
    Intent = "intent",
    /// An action's adapter runs.
    Started = "started",
    /// What the verifier measured.
    Outcome = "outcome",
    /// How an action ended.
    Result = "result",
    /// What a probe tried and whether it was stopped.
    Probe = "probe",
    /// A session of an operator or an agent began or ended.
    Session = "session",
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

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its place in the log, from 0.
    pub index: u64,
    /// What it is about.
    pub kind: Kind,
    /// The action it belongs to, or nothing.
    pub action: String,
    /// Who wrote it, as the kernel and PID 1 attest.
    pub writer: String,
    /// The boot it was written in.
    pub boot: String,
    /// Milliseconds since the kernel started.
    pub at_ms: u64,
    /// Milliseconds since 1970 by the machine's clock, which may be wrong.
    pub wall: u64,
    /// The rest, in the writer's own terms.
    pub payload: Map<String, Value>,
}

/// The bytes are no record, or the record cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// No such kind.
    #[error("'{0}' is no kind of record")]
    Kind(String),
    /// Longer than [`RECORD_LIMIT`].
    #[error("the record has {0} bytes; at most {RECORD_LIMIT} are kept, put the rest into an object")]
    Size(usize),
    /// Not UTF-8.
    #[error("the record is not UTF-8")]
    Utf8,
    /// Not JSON with one meaning.
    #[error("the record or its payload cannot be read")]
    Json(#[from] canonical::StrictError),
    /// The payload is something other than an object.
    #[error("the payload must be a JSON object")]
    Payload,
    /// A field is missing, unknown or of the wrong type.
    #[error("the record's fields are wrong")]
    Fields(#[source] serde_json::Error),
    /// Another text for the same record.
    #[error("the record is not in its canonical form")]
    Form,
}

impl Record {
    /// Reads a writer's payload.
    pub fn payload_from(text: &str) -> Result<Map<String, Value>, RecordError> {
        if text.len() > RECORD_LIMIT {
            return Err(RecordError::Size(text.len()));
        }
        match canonical::parse(text)? {
            Value::Object(payload) => Ok(payload),
            _ => Err(RecordError::Payload),
        }
    }

    /// The one text of the record, without a newline at its end.
    pub fn encode(&self) -> Result<String, RecordError> {
        let line = self.line();
        // The reader's rules are stricter than the type's: whole numbers of 53 bits, a limited depth.
        Self::decode(line.as_bytes()).map(|_| line)
    }

    /// Reads exactly what [`Record::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > RECORD_LIMIT {
            return Err(RecordError::Size(bytes.len()));
        }
        let text = str::from_utf8(bytes).map_err(|_| RecordError::Utf8)?;
        let record: Self = serde_json::from_value(canonical::parse(text)?).map_err(RecordError::Fields)?;
        if record.line() == text { Ok(record) } else { Err(RecordError::Form) }
    }

    fn line(&self) -> String {
        let text = |text: &str| canonical::write(&Value::String(text.to_owned()));
        format!(
            "{{\"index\":{},\"kind\":{},\"action\":{},\"writer\":{},\"boot\":{},\"at_ms\":{},\"wall\":{},\"payload\":{}}}",
            self.index,
            text(self.kind.as_str()),
            text(&self.action),
            text(&self.writer),
            text(&self.boot),
            self.at_ms,
            self.wall,
            canonical::write(&Value::Object(self.payload.clone())),
        )
    }
}
