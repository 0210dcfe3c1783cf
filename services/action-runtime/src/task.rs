//! What the runtime tells an adapter on standard input, and what the adapter answers on standard output.

use aios_action::Envelope;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One job for an adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Task {
    /// Do the action.
    Do(Envelope),
    /// Bring the state from before the action back.
    Undo(Undo),
}

/// What brings the state from before back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Undo {
    /// The setting had this value.
    Setting {
        /// Its key.
        key: String,
        /// Its value before.
        value: Value,
    },
    /// The file had this content, or was not there.
    File {
        /// The file, below the granted folder.
        path: String,
        /// Its content before.
        content: Option<Bytes>,
    },
}

/// Bytes that travel in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(pub Vec<u8>);

impl TryFrom<String> for Bytes {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.decode(text).map(Self)
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(bytes.0)
    }
}

/// What the adapter says came of it. It is not believed: the verifier measures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Report {
    /// The call was made and answered.
    Done(Value),
    /// It was not.
    Failed(String),
}

/// A task or report is at most so long.
pub const LIMIT: usize = 4 * 1024 * 1024;
