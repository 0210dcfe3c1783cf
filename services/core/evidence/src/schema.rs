//! What a payload may hold in the clear. A value that the schema of its kind does not foresee is not refused, because
//! evidence must not be lost, and not written either: a keyed commitment takes its place.

use std::fmt::Write as _;

use aios_action::{Kind as ParameterKind, canonical, find};
use aios_ids::Digest;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::kind::Kind;

/// One field of a kind's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its key.
    pub name: &'static str,
    /// What may stand in it.
    pub form: Form,
}

/// What may stand in a field. `null` may stand everywhere: it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text.
    Text,
    /// A whole number.
    Whole,
    /// True or false.
    Flag,
    /// Whatever its writer, which knows what it holds, puts there.
    Json,
    /// A process as the kernel and PID 1 attest it.
    Peer,
    /// The same, and the record is about it.
    Subject,
    /// The digest of the action's envelope.
    Digest,
    /// The policy in force.
    Epoch,
    /// An object that has `subject`, `digest` and `epoch` inside.
    Inner,
    /// The parameters of the action type in the field `type`: the catalogue says which of them are contents.
    Parameters,
}

/// Makes commitments: equal values give equal ones on one machine, and without the key nothing can be guessed.
pub struct CommitmentKey([u8; 32]);

impl CommitmentKey {
    /// The key of these random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What stands in the log in place of `value`.
    fn withheld(&self, value: &Value) -> Value {
        let mut hex = String::with_capacity(64);
        for byte in hmac_sha256(&self.0, canonical::write(value).as_bytes()) {
            let _ = write!(hex, "{byte:02x}");
        }
        json!({ "withheld": hex })
    }
}

/// RFC 2104 with a key that is no longer than a block.
fn hmac_sha256(key: &[u8; 32], text: &[u8]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

/// A payload that may be written, and what it says of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleared {
    /// The payload.
    pub payload: Map<String, Value>,
    /// Whom the record is about, when the payload says so.
    pub subject: Option<String>,
    /// The digest of the action's envelope.
    pub digest: Option<Digest>,
    /// The policy in force.
    pub epoch: Option<String>,
}

/// A payload's one text.
pub fn canonical_text(payload: Map<String, Value>) -> String {
    canonical::write(&Value::Object(payload))
}

/// Keeps of a writer's payload what the schema allows and replaces the rest by commitments.
pub fn clear(kind: Kind, payload: Map<String, Value>, key: &CommitmentKey) -> Cleared {
    let action_type = payload.get("type").and_then(Value::as_str).map(str::to_owned);
    let mut cleared = Cleared { payload: Map::new(), subject: None, digest: None, epoch: None };
    for (name, value) in payload {
        let form = kind.fields().iter().find(|field| field.name == name).map(|field| field.form);
        let kept = match form {
            _ if value.is_null() => value,
            Some(Form::Parameters) => parameters(action_type.as_deref(), value, key),
            Some(form) if form.accepts(&value) => {
                cleared.note(form, &value);
                value
            }
            _ => key.withheld(&value),
        };
        cleared.payload.insert(name, kept);
    }
    cleared
}

impl Form {
    fn accepts(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Whole => value.is_u64(),
            Self::Flag => value.is_boolean(),
            Self::Json => true,
            Self::Peer | Self::Subject => peer(value).is_some(),
            Self::Digest => digest(value).is_some(),
            Self::Epoch => value.as_str().is_some_and(|epoch| !epoch.is_empty() && epoch.len() <= 100),
            Self::Inner | Self::Parameters => value.is_object(),
        }
    }
}

impl Cleared {
    fn note(&mut self, form: Form, value: &Value) {
        match form {
            Form::Subject => self.subject = peer(value),
            Form::Digest => self.digest = digest(value),
            Form::Epoch => self.epoch = value.as_str().map(str::to_owned),
            Form::Inner => {
                for (name, form) in [("subject", Form::Subject), ("digest", Form::Digest), ("epoch", Form::Epoch)] {
                    if let Some(inner) = value.get(name).filter(|inner| form.accepts(inner)) {
                        self.note(form, inner);
                    }
                }
            }
            _ => {}
        }
    }
}

/// What a process is told by; anything else beside it would be somebody's mistake.
const PEER: [&str; 4] = ["kind", "name", "strength", "uid"];

/// A process as text: `agent:example`.
fn peer(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains(':').then(|| text.clone()),
        Value::Object(fields) if fields.keys().all(|key| PEER.contains(&key.as_str())) => {
            let field = |name| fields.get(name).and_then(Value::as_str);
            Some(format!("{}:{}", field("kind")?, field("name")?))
        }
        _ => None,
    }
}

fn digest(value: &Value) -> Option<Digest> {
    value.as_str().and_then(|text| text.parse().ok())
}

/// Parameters that name and choose are kept, contents are not, nor is what the catalogue does not know.
fn parameters(action_type: Option<&str>, given: Value, key: &CommitmentKey) -> Value {
    let Value::Object(given) = given else { return key.withheld(&given) };
    let known = action_type.and_then(find).map_or(&[][..], |action| action.parameters);
    let kept = given.into_iter().map(|(name, value)| {
        let kind = known.iter().find(|parameter| parameter.name == name).map(|parameter| parameter.kind);
        let clear = match kind {
            None => false,
            Some(ParameterKind::Text(_) | ParameterKind::AppManifest) => is_summary(&value),
            Some(ParameterKind::Contents(_)) => is_list_of_summaries(&value),
            Some(kind) => kind.accepts(&value),
        };
        let kept = if clear { value } else { key.withheld(&value) };
        (name, kept)
    });
    Value::Object(kept.collect())
}

/// What the runtime makes of a content: its digest and size.
fn is_summary(value: &Value) -> bool {
    let Value::Object(fields) = value else { return false };
    fields.len() == 2
        && fields.get("sha256").is_some_and(|sha256| digest(sha256).is_some())
        && fields.get("size").is_some_and(Value::is_u64)
}

/// The same of several: each with the name of its object.
fn is_list_of_summaries(value: &Value) -> bool {
    let is_named = |object: &Value| {
        object.as_object().is_some_and(|fields| fields.len() == 2)
            && object.get("name").is_some_and(|name| ParameterKind::ObjectName.accepts(name))
            && object.get("content").is_some_and(is_summary)
    };
    value.as_array().is_some_and(|objects| objects.iter().all(is_named))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleared(kind: Kind, payload: Value) -> Cleared {
        let Value::Object(payload) = payload else { panic!("payloads are objects") };
        clear(kind, payload, &CommitmentKey::new([7; 32]))
    }

    #[test]
    fn commitments_are_those_of_rfc_4231() {
        // Its second case; a key shorter than a block is filled up with zeroes.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let mac = hmac_sha256(&key, b"what do ya want for nothing?");
        assert_eq!(mac[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
    }

    #[test]
    fn the_record_takes_subject_digest_and_epoch_from_its_payload() {
        let digest = "ab".repeat(32);
        let given = json!({"type": "settings.set", "subject": {"kind": "agent", "name": "x"}, "digest": digest, "epoch": "1-a"});
        let found = cleared(Kind::Intent, given.clone());
        assert_eq!(Value::Object(found.payload.clone()), given);
        assert_eq!((found.subject.as_deref(), found.epoch.as_deref()), (Some("agent:x"), Some("1-a")));
        assert_eq!(found.digest.map(|digest| digest.to_string()), Some(digest.clone()));

        let inner = json!({"decision": {"subject": {"kind": "operator", "name": "ada", "strength": "presence"}, "digest": digest}});
        assert_eq!(cleared(Kind::Decision, inner).subject.as_deref(), Some("operator:ada"));
    }

    #[test]
    fn what_the_schema_does_not_foresee_is_withheld_and_comparable() {
        let one = cleared(Kind::Login, json!({"operator": "ada", "pass_phrase": "s3cret", "result": ["s3cret"]}));
        let text = Value::Object(one.payload.clone()).to_string();
        assert!(!text.contains("s3cret") && text.contains("ada"), "{text}");
        let other = cleared(Kind::Login, json!({"pass_phrase": "s3cret"}));
        assert_eq!(one.payload["pass_phrase"], other.payload["pass_phrase"]);
        let stranger = clear(Kind::Login, one.payload.clone(), &CommitmentKey::new([8; 32]));
        assert_ne!(stranger.payload["pass_phrase"], one.payload["pass_phrase"]);
    }

    #[test]
    fn contents_of_actions_are_withheld_by_their_type() {
        let parameters = json!({"path": "notes", "content": "s3cret", "extra": "s3cret"});
        let found = cleared(Kind::Intent, json!({"type": "file.write", "parameters": parameters}));
        let text = Value::Object(found.payload).to_string();
        assert!(!text.contains("s3cret") && text.contains("notes"), "{text}");
        let summary = json!({"path": "notes", "content": {"sha256": "ab".repeat(32), "size": 6}});
        let found = cleared(Kind::Intent, json!({"type": "file.write", "parameters": summary}));
        assert_eq!(found.payload["parameters"], summary);
        for (wrong, action_type) in [
            (json!({"path": "notes", "old": "s3cret", "new": "s3cret"}), "file.patch"),
            (json!({"objects": [{"name": "a", "content": "s3cret"}]}), "object.transaction"),
        ] {
            let found = cleared(Kind::Intent, json!({"type": action_type, "parameters": wrong}));
            assert!(!Value::Object(found.payload).to_string().contains("s3cret"), "{action_type}");
        }
        let summary = json!({"objects": [{"name": "a", "content": {"sha256": "ab".repeat(32), "size": 6}}]});
        let found = cleared(Kind::Intent, json!({"type": "object.transaction", "parameters": summary}));
        assert_eq!(found.payload["parameters"], summary);
        let found = cleared(Kind::Intent, json!({"type": "no.such", "parameters": {"path": "s3cret"}}));
        assert!(!Value::Object(found.payload).to_string().contains("s3cret"));
    }
}
