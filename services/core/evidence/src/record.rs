//! One record: a line of canonical JSON with its fields in a fixed order, so that the bytes that are hashed have one form.
//!
//! The payload belongs to its writer, within its kind's schema. What a record says is what its writer claimed; that it was
//! this writer is what the log adds.

use std::fmt::Write as _;

use aios_action::canonical;
use aios_ids::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::form::{object_end, plain_text, string_end, whole};
use crate::kind::Kind;

/// The largest record in bytes. Bundles could say twice as much; what needs more belongs into an object.
pub const RECORD_LIMIT: usize = 32 * 1024;

/// How deep a payload may nest: one level less than the record around it.
const PAYLOAD_DEPTH: usize = canonical::DEPTH_LIMIT - 1;

/// What the machine's clock was worth when a record was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// It is earlier than this release, so nobody has set it.
    Unset,
    /// It is earlier than the record before.
    Behind,
    /// Nobody confirmed it.
    Local,
}

impl Clock {
    const ALL: [Self; 3] = [Self::Unset, Self::Behind, Self::Local];

    fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Behind => "behind",
            Self::Local => "local",
        }
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
    /// Who wrote it, as the kernel and PID 1 attest.
    pub writer: String,
    /// Whom it is about, as its writer had it from the kernel.
    pub subject: String,
    /// The action it belongs to, or nothing.
    pub action: String,
    /// The digest of that action's envelope.
    #[serde(with = "blank")]
    pub digest: Option<Digest>,
    /// The policy that was in force, or `none`.
    pub epoch: String,
    /// The boot it was written in.
    pub boot: String,
    /// Milliseconds since the kernel started.
    pub at_ms: u64,
    /// Milliseconds since 1970 by the machine's clock.
    pub wall: u64,
    /// What that clock was worth.
    pub clock: Clock,
    /// The rest, in the writer's own terms.
    pub payload: Map<String, Value>,
}

/// A digest that may be absent, as text that may be empty.
mod blank {
    use aios_ids::Digest;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(digest: &Option<Digest>, to: S) -> Result<S::Ok, S::Error> {
        match digest {
            Some(digest) => to.collect_str(digest),
            None => to.serialize_str(""),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Digest>, D::Error> {
        let text = String::deserialize(from)?;
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(D::Error::custom) }
    }
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
    #[error("the payload cannot be read")]
    Json(#[from] canonical::StrictError),
    /// The payload is something other than an object.
    #[error("the payload must be a JSON object")]
    Payload,
    /// Not a record of this version in its one form.
    #[error("the record is not in the form of this version: {0} is wrong")]
    Form(&'static str),
}

/// A record's parts without its place: with texts as they are when it is written, [`Spelled`] when it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a, Text = &'a str> {
    /// What it is about.
    pub kind: Kind,
    /// Who wrote it.
    pub writer: Text,
    /// Whom it is about.
    pub subject: Text,
    /// The action, or nothing.
    pub action: Text,
    /// The digest of its envelope.
    pub digest: Option<Digest>,
    /// The policy in force, or `none`.
    pub epoch: Text,
    /// The boot.
    pub boot: Text,
    /// Milliseconds since the kernel started.
    pub at_ms: u64,
    /// Milliseconds since 1970.
    pub wall: u64,
    /// What that is worth.
    pub clock: Clock,
    /// The payload's canonical text.
    pub payload: &'a str,
}

/// A text as it stands in a record, between its quotation marks. A text has one spelling, so equal ones are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spelled<'a>(&'a str);

impl<'a> Spelled<'a> {
    /// The bytes between the quotation marks.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The text that is spelled.
    pub fn plain(self) -> String {
        plain_text(self.0)
    }
}

/// A text as it stands in a record, between its quotation marks.
pub fn spelled(text: &str) -> String {
    let mut spelled = String::with_capacity(text.len());
    spell(text, &mut spelled);
    spelled
}

fn spell(text: &str, to: &mut String) {
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        to.push_str(text);
    } else {
        let quoted = canonical::write(&Value::String(text.to_owned()));
        to.push_str(&quoted[1..quoted.len() - 1]);
    }
}

impl Parts<'_> {
    /// The one text of the record at `index`, without a newline at its end; an error when it could not be read back.
    pub fn line(&self, index: u64) -> Result<String, RecordError> {
        let line = self.text(index);
        Line::parse(line.as_bytes())?;
        Ok(line)
    }

    /// The same for parts of which a line was read back before: another place and time change nothing about that.
    pub fn text(&self, index: u64) -> String {
        let texts = [self.writer, self.subject, self.action, self.epoch, self.boot];
        let length = self.payload.len() + texts.iter().map(|text| text.len()).sum::<usize>();
        let mut line = String::with_capacity(length + FIELDS);
        let number = |line: &mut String, name: &str, value: u64| {
            line.push_str(name);
            // Writing to a text cannot fail.
            let _ = write!(line, "{value}");
        };
        let text = |line: &mut String, name: &str, text: &str| {
            line.push_str(name);
            line.push('"');
            spell(text, line);
            line.push('"');
        };
        number(&mut line, "{\"index\":", index);
        text(&mut line, ",\"kind\":", self.kind.as_str());
        text(&mut line, ",\"writer\":", self.writer);
        text(&mut line, ",\"subject\":", self.subject);
        text(&mut line, ",\"action\":", self.action);
        line.push_str(",\"digest\":\"");
        if let Some(digest) = self.digest {
            let _ = write!(line, "{digest}");
        }
        text(&mut line, "\",\"epoch\":", self.epoch);
        text(&mut line, ",\"boot\":", self.boot);
        number(&mut line, ",\"at_ms\":", self.at_ms);
        number(&mut line, ",\"wall\":", self.wall);
        text(&mut line, ",\"clock\":", self.clock.as_str());
        line.push_str(",\"payload\":");
        line.push_str(self.payload);
        line.push('}');
        line
    }
}

/// What the names of the fields, a digest and the numbers take at most.
const FIELDS: usize = 320;

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
        let payload = canonical::write(&Value::Object(self.payload.clone()));
        let parts: Parts<'_> = Parts {
            kind: self.kind,
            writer: &self.writer,
            subject: &self.subject,
            action: &self.action,
            digest: self.digest,
            epoch: &self.epoch,
            boot: &self.boot,
            at_ms: self.at_ms,
            wall: self.wall,
            clock: self.clock,
            payload: &payload,
        };
        parts.line(self.index)
    }

    /// Reads exactly what [`Record::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let Line { index, parts } = Line::parse(bytes)?;
        let payload = serde_json::from_str(parts.payload).map_err(|_| RecordError::Form("payload"))?;
        Ok(Self {
            index,
            kind: parts.kind,
            writer: parts.writer.plain(),
            subject: parts.subject.plain(),
            action: parts.action.plain(),
            digest: parts.digest,
            epoch: parts.epoch.plain(),
            boot: parts.boot.plain(),
            at_ms: parts.at_ms,
            wall: parts.wall,
            clock: parts.clock,
            payload,
        })
    }

    /// How it ended, in one word, for kinds that have an end: `allowed`, `denied`, `held`, `not-held`, `failed` and so on.
    pub fn outcome(&self) -> Option<&str> {
        match self.kind {
            Kind::Decision => {
                let decision = self.payload.get("decision").and_then(|decision| decision.get("verdict"));
                let verdict = decision.and_then(|verdict| verdict.get("verdict"));
                verdict.or_else(|| self.payload.get("verdict")).and_then(Value::as_str)
            }
            Kind::Outcome => match self.payload.get("held") {
                Some(Value::Bool(true)) => Some("held"),
                _ => Some("not-held"),
            },
            Kind::Result => self.payload.get("result").and_then(|result| result.get("state")).and_then(Value::as_str),
            Kind::Login => self.payload.get("result").and_then(Value::as_str),
            Kind::Workflow => self.payload.get("outcome").and_then(|end| end.get("outcome")).and_then(Value::as_str),
            Kind::Probe => match self.payload.get("contained") {
                Some(Value::Bool(true)) => Some("contained"),
                _ => Some("not-contained"),
            },
            _ => None,
        }
    }
}

/// A record's line, checked to the last byte and not copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its place in the log.
    pub index: u64,
    /// The rest.
    pub parts: Parts<'a, Spelled<'a>>,
}

impl<'a> Line<'a> {
    /// Reads a line of exactly this version's form.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        if bytes.len() > RECORD_LIMIT {
            return Err(RecordError::Size(bytes.len()));
        }
        let text = str::from_utf8(bytes).map_err(|_| RecordError::Utf8)?;
        let mut reader = Reader { text, at: 0 };
        let index = reader.number("{\"index\":", "index")?;
        let kind = reader.text(",\"kind\":", "kind")?.as_str().parse()?;
        let writer = reader.text(",\"writer\":", "writer")?;
        let subject = reader.text(",\"subject\":", "subject")?;
        let action = reader.text(",\"action\":", "action")?;
        let digest = match reader.text(",\"digest\":", "digest")?.as_str() {
            "" => None,
            hex => Some(hex.parse().map_err(|_| RecordError::Form("digest"))?),
        };
        let epoch = reader.text(",\"epoch\":", "epoch")?;
        let boot = reader.text(",\"boot\":", "boot")?;
        let at_ms = reader.number(",\"at_ms\":", "at_ms")?;
        let wall = reader.number(",\"wall\":", "wall")?;
        let clock = reader.text(",\"clock\":", "clock")?.as_str();
        let clock = Clock::ALL.into_iter().find(|known| known.as_str() == clock).ok_or(RecordError::Form("clock"))?;
        let payload = reader.object(",\"payload\":", "payload")?;
        if &text[reader.at..] != "}" {
            return Err(RecordError::Form("what follows the payload"));
        }
        let parts = Parts { kind, writer, subject, action, digest, epoch, boot, at_ms, wall, clock, payload };
        Ok(Self { index, parts })
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn step(&mut self, before: &str, what: &'static str) -> Result<(), RecordError> {
        if !self.text.as_bytes()[self.at..].starts_with(before.as_bytes()) {
            return Err(RecordError::Form(what));
        }
        self.at += before.len();
        Ok(())
    }

    fn number(&mut self, before: &str, what: &'static str) -> Result<u64, RecordError> {
        self.step(before, what)?;
        let (value, end) = whole(self.text.as_bytes(), self.at).ok_or(RecordError::Form(what))?;
        self.at = end;
        Ok(value)
    }

    fn text(&mut self, before: &str, what: &'static str) -> Result<Spelled<'a>, RecordError> {
        self.step(before, what)?;
        let end = string_end(self.text.as_bytes(), self.at).ok_or(RecordError::Form(what))?;
        let inside = &self.text[self.at + 1..end - 1];
        self.at = end;
        Ok(Spelled(inside))
    }

    fn object(&mut self, before: &str, what: &'static str) -> Result<&'a str, RecordError> {
        self.step(before, what)?;
        let end = object_end(self.text, self.at, PAYLOAD_DEPTH - 1).ok_or(RecordError::Form(what))?;
        let object = &self.text[self.at..end];
        self.at = end;
        Ok(object)
    }
}
