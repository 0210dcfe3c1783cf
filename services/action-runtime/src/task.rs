//! What the runtime tells an adapter on standard input, and what the adapter answers on standard output.

use aios_action::Envelope;
use aios_ids::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One job for an adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is written out at once")]
pub enum Task {
    /// Do the action.
    Do(Envelope),
    /// Bring the state from before the action back.
    Undo(Undo),
}

/// What brings the state from before back. Doing it twice, or when nothing has changed, is harmless: after a crash nobody
/// knows how far an earlier try came.
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
    /// The settings were those of this generation.
    Settings {
        /// Its number.
        generation: u64,
    },
    /// The file had this content, or was not there.
    File {
        /// The file, below the granted folder.
        path: String,
        /// Its content before.
        content: Option<Bytes>,
    },
    /// The file had another name.
    Move {
        /// Its name now.
        from: String,
        /// Its name before.
        to: String,
    },
    /// The service ran, or did not.
    Unit {
        /// The service.
        name: String,
        /// Which of the two.
        was: Was,
    },
    /// The app was in use at this version, or was not.
    App {
        /// The app.
        name: String,
        /// The version.
        version: Option<u64>,
    },
    /// The app was a service, or was not.
    AppService {
        /// The app.
        name: String,
        /// Which of the two.
        kept: Kept,
    },
    /// The tag was at this version, or was not there.
    Tag {
        /// The object.
        name: String,
        /// The tag.
        tag: String,
        /// The version.
        version: Option<u64>,
    },
}

/// Whether a service ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Was {
    /// It ran, or was on its way to.
    Running,
    /// It did not.
    Stopped,
}

/// Whether an app is kept as a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// It is one at each start of the machine.
    Enabled,
    /// It is none.
    Disabled,
}

impl Undo {
    /// Whether what it brings back means anything after a restart of the machine, which starts services anew.
    pub fn outlives_the_boot(&self) -> bool {
        !matches!(self, Self::Unit { .. })
    }

    /// What there is afterwards, for people.
    pub fn text(&self) -> String {
        match self {
            Self::Setting { key, value } => format!("{key} is {value} again"),
            Self::Settings { generation } => format!("the settings are those of generation {generation} again"),
            Self::File { path, content: Some(content) } => {
                format!("{path} has its {} bytes with the digest {} again", content.0.len(), Digest::of(&content.0))
            }
            Self::File { path, content: None } => format!("{path} is gone again"),
            Self::Move { from, to } => format!("{from} is {to} again"),
            Self::Unit { name, was: Was::Running } => format!("{name} is started again"),
            Self::Unit { name, was: Was::Stopped } => format!("{name} is stopped again"),
            Self::App { name, version: Some(version) } => format!("the app {name} is at version {version} again"),
            Self::App { name, version: None } => format!("the app {name} is not in use again"),
            Self::AppService { name, kept: Kept::Enabled } => format!("the app {name} is a service again"),
            Self::AppService { name, kept: Kept::Disabled } => format!("the app {name} is no service again"),
            Self::Tag { name, tag, version: Some(version) } => format!("{tag} of {name} is at version {version} again"),
            Self::Tag { name, tag, version: None } => format!("{name} has no {tag} again"),
        }
    }
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
