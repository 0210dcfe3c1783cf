//! One request, sealed: who asks for what, and the digest that approvals and records carry.

use aios_ids::{ActionId, Digest};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::app::Trial;
use crate::canonical::{self, StrictError};
use crate::catalogue::{self, ActionType};
use crate::constraints::{ConstraintError, Constraints};
use crate::parameter::{ParameterError, is_hostile};

/// What a caller sends. Who the caller is stands nowhere in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The action type's name.
    #[serde(rename = "type")]
    pub action_type: String,
    /// Its parameters.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// Why, in the caller's words; shown to people as words of the caller, never trusted.
    #[serde(default)]
    pub reason: String,
    /// The same key from the same subject means the same action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// What the action may use up at most, below what its type may.
    #[serde(default, skip_serializing_if = "Constraints::is_empty")]
    pub constraints: Constraints,
}

/// A request with its id and its subject, as policy decides it and evidence keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The form's version: [`Envelope::SCHEMA`].
    pub schema: String,
    /// The action.
    pub id: ActionId,
    /// Who asks, as the kernel attests; a copy for people, each service resolves it again.
    pub subject: String,
    /// The request.
    pub request: Request,
    /// What the file was that the request is about, when it was taken in: an approval is for this one too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// What came of trying the program that is handed in: an approval is for this report too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
}

/// What a file, or an app, was when an action on it was asked for. Of an app it is the digest of the manifest, which has the
/// program's in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Target {
    /// There was none.
    Absent,
    /// It had this content.
    Sha256(Digest),
    /// Something that the action cannot work on.
    Unreadable,
}

impl Target {
    /// The same for people.
    pub fn text(self) -> String {
        match self {
            Self::Absent => "nothing of that name".into(),
            Self::Sha256(digest) => format!("the content with the digest {digest}"),
            Self::Unreadable => "what could not be read".into(),
        }
    }
}

/// The request or envelope cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not JSON with one meaning.
    #[error("the request cannot be read")]
    Read(#[from] StrictError),
    /// JSON, but not this form.
    #[error("the request does not have the form of an action")]
    Form(#[source] serde_json::Error),
    /// A version that this system does not know.
    #[error("the envelope has schema '{0}'; this system knows {known}", known = Envelope::SCHEMA)]
    Schema(String),
    /// Not in the catalogue.
    #[error("there is no action type '{0}'; 'aios action types' lists them")]
    UnknownType(String),
    /// A wrong parameter.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// A wrong constraint.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// The reason or key is too long or has control characters.
    #[error("'{field}' must be at most {limit} bytes of text without control characters")]
    Text {
        /// Which.
        field: &'static str,
        /// Its limit.
        limit: usize,
    },
}

impl Request {
    /// An action with these parameters, and nothing said about it.
    pub fn new(action_type: impl Into<String>, parameters: Map<String, Value>) -> Self {
        Self {
            action_type: action_type.into(),
            parameters,
            reason: String::new(),
            idempotency_key: None,
            constraints: Constraints::default(),
        }
    }

    /// Reads a request and checks it against the catalogue.
    pub fn parse(text: &str) -> Result<(Self, &'static ActionType), EnvelopeError> {
        let request = Self::read(text)?;
        let entry = request.check()?;
        Ok((request, entry))
    }

    /// Reads what has the form of a request, whatever it asks for.
    pub fn read(text: &str) -> Result<Self, EnvelopeError> {
        serde_json::from_value(canonical::parse(text)?).map_err(EnvelopeError::Form)
    }

    /// The same with a type that can be written down and shown: short, and plain letters.
    #[must_use]
    pub fn with_plain_type(self) -> Self {
        Self { action_type: plain(&self.action_type), ..self }
    }

    /// Checks the request against the catalogue.
    pub fn check(&self) -> Result<&'static ActionType, EnvelopeError> {
        let entry =
            catalogue::find(&self.action_type).ok_or_else(|| EnvelopeError::UnknownType(plain(&self.action_type)))?;
        entry.check(&self.parameters)?;
        self.constraints.check()?;
        check_text("reason", &self.reason, 1024)?;
        check_text("idempotency_key", self.idempotency_key.as_deref().unwrap_or(""), 128)?;
        Ok(entry)
    }
}

/// What came from outside, safe to show.
fn plain(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_default).collect()
}

fn check_text(field: &'static str, text: &str, limit: usize) -> Result<(), EnvelopeError> {
    if text.len() > limit || is_hostile(text) { Err(EnvelopeError::Text { field, limit }) } else { Ok(()) }
}

impl Envelope {
    /// The version of the form.
    pub const SCHEMA: &'static str = "aios.action.v1";

    /// Seals a checked request.
    pub fn new(id: ActionId, subject: String, request: Request) -> Self {
        Self { schema: Self::SCHEMA.into(), id, subject, request, target: None, trial: None }
    }

    /// The same for the file as it is.
    #[must_use]
    pub fn of_target(self, target: Option<Target>) -> Self {
        Self { target, ..self }
    }

    /// The same with what came of the trial.
    #[must_use]
    pub fn after_trial(self, trial: Option<Trial>) -> Self {
        Self { trial, ..self }
    }

    /// Reads an envelope that another service sealed, and checks it again.
    pub fn parse(text: &str) -> Result<(Self, &'static ActionType), EnvelopeError> {
        let envelope: Self = serde_json::from_value(canonical::parse(text)?).map_err(EnvelopeError::Form)?;
        if envelope.schema != Self::SCHEMA {
            return Err(EnvelopeError::Schema(plain(&envelope.schema)));
        }
        let entry = envelope.request.check()?;
        Ok((envelope, entry))
    }

    /// The one text of this envelope (RFC 8785).
    pub fn canonical(&self) -> String {
        let value = serde_json::to_value(self).expect("an envelope has only text keys");
        canonical::write(&value)
    }

    /// SHA-256 of the canonical text.
    pub fn digest(&self) -> Digest {
        Digest::of(self.canonical().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn envelope() -> Envelope {
        let text = r#"{"type":"settings.set","parameters":{"key":"hostname","value":"box"},"reason":"a name"}"#;
        let (request, _) = Request::parse(text).expect("a good request");
        Envelope::new(ActionId::new(0, [0; 10]), "operator:live".into(), request)
    }

    #[test]
    fn a_type_that_is_none_is_short_and_plain_on_record() {
        let asked = |action_type: &str| Request::new(action_type, Map::new()).with_plain_type().action_type;
        assert_eq!(asked("service.restart"), "service.restart");
        assert_eq!(asked("\u{202e}x\n"), "\\u{202e}x\\n");
        assert_eq!(asked(&"x".repeat(60_000)).len(), 40);
        assert!(Request::read(r#"{"type":"shell.run"}"#).is_ok() && Request::parse(r#"{"type":"shell.run"}"#).is_err());
    }

    #[test]
    fn the_digest_is_fixed_by_the_content() {
        let envelope = envelope();
        assert_eq!(
            envelope.canonical(),
            concat!(
                r#"{"id":"act_00000000000000000000000000","request":{"parameters":{"key":"hostname","value":"box"},"#,
                r#""reason":"a name","type":"settings.set"},"schema":"aios.action.v1","subject":"operator:live"}"#
            )
        );
        let (read, entry) = Envelope::parse(&envelope.canonical()).expect("reads back");
        assert_eq!((read.digest(), entry.name), (envelope.digest(), "settings.set"));
    }

    #[test]
    fn every_part_changes_the_digest() {
        let original = envelope();
        let mut others = vec![original.clone(); 10];
        others[0].id = ActionId::new(1, [0; 10]);
        others[1].subject = "agent:live".into();
        others[2].request.parameters.insert("value".into(), json!("fox"));
        others[3].request.reason.push('!');
        others[4].request.idempotency_key = Some(String::new());
        others[5].target = Some(Target::Absent);
        others[6].target = Some(Target::Unreadable);
        others[7].target = Some(Target::Sha256(Digest::of(b"")));
        others[8].request.constraints.cpu_ms = Some(1);
        let trial = r#"{"manifest":"H","program":"H","size":1,"tests":["passed"],"declared":[],"reached":{},"witnessed":"all"}"#;
        others[9].trial = serde_json::from_str(&trial.replace('H', &"ab".repeat(32))).expect("a trial");
        for other in others {
            assert_ne!(other.digest(), original.digest(), "{other:?}");
        }
    }

    #[test]
    fn a_target_is_sealed_and_read_back() {
        for target in [Target::Absent, Target::Sha256(Digest::of(b"x")), Target::Unreadable] {
            let sealed = envelope().of_target(Some(target));
            let (read, _) = Envelope::parse(&sealed.canonical()).expect("reads back");
            assert_eq!((read.target, read.digest()), (Some(target), sealed.digest()));
        }
        let wrong = envelope().canonical().replace("\"subject\"", "\"target\":\"somewhere\",\"subject\"");
        assert!(Envelope::parse(&wrong).is_err());
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let error = |text| Request::parse(text).expect_err(text).to_string();
        assert_eq!(
            error(r#"{"type":"shell.run"}"#),
            "there is no action type 'shell.run'; 'aios action types' lists them"
        );
        assert!(error(r#"{"type":"node.reboot","constraints":{"memory":0}}"#).contains("'memory' is 0"));
        assert!(error(r#"{"type":"node.reboot","constraints":{"disk":1}}"#).contains("form"));
        assert!(error(r#"{"type":"node.reboot","reason":"a\u0007b"}"#).contains("'reason'"));
        assert!(error(r#"{"type":"node.reboot","subject":"operator:root"}"#).contains("form"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,300}") {
            let _ = Request::parse(&text);
            let _ = Envelope::parse(&text);
        }

        #[test]
        fn a_changed_byte_never_keeps_the_digest(place in 0usize..200, byte in any::<u8>()) {
            let original = envelope();
            let mut bytes = original.canonical().into_bytes();
            let place = place % bytes.len();
            prop_assume!(bytes[place] != byte);
            bytes[place] = byte;
            if let Ok(Ok((changed, _))) = String::from_utf8(bytes).map(|text| Envelope::parse(&text)) {
                prop_assert_ne!(changed.digest(), original.digest());
            }
        }
    }
}
