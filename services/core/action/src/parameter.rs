//! The parameters of an action: their kinds, how each is checked, and how a person types it.

use serde_json::{Map, Value, json};

use crate::app::{Manifest, app_name};
use crate::canonical;
use crate::moment;

/// The one folder that actions on files reach.
pub const GRANTED_FOLDER: &str = "/aios/groups/home/files";

/// The kinds of public key that people may have: what stands first in the line of one.
pub const KEY_ALGORITHMS: [&str; 4] =
    ["ssh-ed25519", "sk-ssh-ed25519@openssh.com", "ecdsa-sha2-nistp256", "sk-ecdsa-sha2-nistp256@openssh.com"];

/// The longest line of such a key, with what stands beside it.
const KEY_LINE: usize = 1024;

/// One action stores at most so many objects.
const CONTENTS: usize = 16;

/// One parameter of an action type.
#[derive(Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its key.
    pub name: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// What it is, for people.
    pub summary: &'static str,
    /// Whether it may be left out.
    pub presence: Presence,
}

/// Whether a parameter may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It must be there.
    Required,
    /// It may be left out.
    Optional,
}

/// What a parameter may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The name of a unit, an agent or an operator.
    Name,
    /// A dotted name of a setting, such as `network.mode`.
    SettingKey,
    /// A JSON value: the setting's own schema decides.
    Value,
    /// The name of an object: segments of letters, digits, `.`, `_`, `-` between slashes.
    ObjectName,
    /// A path below the granted folder, without `.` and `..`.
    RelativePath,
    /// Text of at most this many bytes.
    Text(usize),
    /// `/nix/store/<hash>-<name>` without anything after it.
    StorePath,
    /// A program in the store, a store path and a path below it; or `app:` and the name of an app.
    Program,
    /// The manifest of an app, as JSON text.
    AppManifest,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `http://host[:port][/path]`.
    Url,
    /// `http://` or `https://`, a host, and what is asked of it.
    WebUrl,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A Nix public key, `name:base64`.
    PublicKey,
    /// A person's public key, a line as OpenSSH writes it. Whether it is one, the policy kernel says.
    PersonKey,
    /// The SHA-256 of such a key, as `ssh-keygen -l` writes it.
    KeyFingerprint,
    /// Up to 32 words of at most 256 bytes.
    Words,
    /// A SHA-256 in hexadecimal.
    Digest,
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// A word that stands for a version of an object.
    Tag,
    /// A numeric address or the name of a host.
    Host,
    /// A time in UTC, to the second.
    Moment,
    /// Up to 16 objects with their contents, at most this many bytes of content in all.
    Contents(usize),
}

/// A parameter is missing, unknown or not what its type says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// A required one is not there.
    #[error("{action} needs the parameter '{name}': {summary}")]
    Missing {
        /// The action type.
        action: &'static str,
        /// The parameter.
        name: &'static str,
        /// What it is.
        summary: &'static str,
    },
    /// One that the type does not have.
    #[error("{action} has no parameter '{name}'; it has: {known}")]
    Unknown {
        /// The action type.
        action: &'static str,
        /// As it was given.
        name: String,
        /// The parameters it has.
        known: String,
    },
    /// The manifest of an app that is none, or is another one's.
    #[error("the app of {action} cannot be taken: {why}")]
    App {
        /// The action type.
        action: &'static str,
        /// What is wrong, with its place.
        why: String,
    },
    /// The value is not of the parameter's kind.
    #[error("'{name}' of {action} must be {form}")]
    Form {
        /// The action type.
        action: &'static str,
        /// The parameter.
        name: &'static str,
        /// What would be right.
        form: String,
    },
}

impl Kind {
    /// What a right value looks like, in words.
    pub fn form(self) -> String {
        match self {
            Self::Name => "1 to 15 lower-case letters, digits and dashes, beginning with a letter".into(),
            Self::SettingKey => "lower-case words joined by dots, such as network.mode".into(),
            Self::Value => "text, a whole number, true or false".into(),
            Self::ObjectName => "up to 8 segments of letters, digits, '.', '_' and '-' joined by '/'".into(),
            Self::RelativePath => {
                format!("a path below {GRANTED_FOLDER}, without '.' and '..' and not beginning with '/'")
            }
            Self::Text(limit) => format!("text of at most {limit} bytes"),
            Self::StorePath => "/nix/store/<32 characters>-<name>".into(),
            Self::Program => {
                "a file below a store path, /nix/store/<32 characters>-<name>/bin/<program>, or app:<name>".into()
            }
            Self::AppManifest => "the manifest of an app as JSON text; docs/apps.md has its form".into(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Url => "http://host[:port][/path] of at most 512 characters".into(),
            Self::WebUrl => "http:// or https://, a host and what is asked of it, of at most 2048 characters".into(),
            Self::OneOf(words) => format!("one of {}", words.join(", ")),
            Self::PublicKey => "a Nix public key, name:base64".into(),
            Self::PersonKey => format!(
                "one line of at most {KEY_LINE} printable ASCII characters, as OpenSSH writes a public key, beginning with {}",
                KEY_ALGORITHMS.join(" or ")
            ),
            Self::KeyFingerprint => "SHA256: and 43 characters of base64, as ssh-keygen -l writes it".into(),
            Self::Words => "at most 32 words of at most 256 bytes each".into(),
            Self::Digest => "a SHA-256: 64 lower-case hexadecimal digits".into(),
            Self::Number(least, most) => format!("a whole number from {least} to {most}"),
            Self::Tag => "1 to 64 letters, digits, '.', '_' and '-', beginning with a letter".into(),
            Self::Host => {
                "a numeric address, or a name of letters, digits, '-' and '.' of at most 253 characters".into()
            }
            Self::Moment => "a time in UTC, such as 2026-11-21T10:30:00Z".into(),
            Self::Contents(limit) => format!(
                "1 to {CONTENTS} objects as [{{\"name\": …, \"content\": …}}], none twice, of at most {limit} bytes of text in all"
            ),
        }
    }

    /// Whether `value` is of this kind.
    #[must_use]
    pub fn accepts(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Value, Value::String(text)) => text.len() <= 4096 && !is_hostile(text),
            (Self::Value, Value::Bool(_) | Value::Number(_)) => true,
            (Self::Words, Value::Array(words)) => {
                words.len() <= 32
                    && words.iter().all(|word| word.as_str().is_some_and(|w| w.len() <= 256 && !w.contains('\0')))
            }
            (Self::Number(least, most), Value::Number(number)) => {
                number.as_u64().is_some_and(|number| (least..=most).contains(&number))
            }
            (Self::Contents(limit), Value::Array(_)) => contents(value).is_some_and(|contents| {
                let once = |place: usize| contents[..place].iter().all(|(name, _)| *name != contents[place].0);
                (1..=CONTENTS).contains(&contents.len())
                    && (0..contents.len()).all(once)
                    && contents
                        .iter()
                        .all(|(name, text)| Self::ObjectName.accepts_text(name) && Self::Text(limit).accepts_text(text))
                    && contents.iter().map(|(_, text)| text.len()).sum::<usize>() <= limit
            }),
            (_, Value::String(text)) => self.accepts_text(text),
            _ => false,
        }
    }

    fn accepts_text(self, text: &str) -> bool {
        match self {
            Self::Name => text.parse::<aios_ids::UnitName>().is_ok(),
            Self::SettingKey => {
                text.len() <= 64
                    && text.split('.').all(|word| {
                        !word.is_empty()
                            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
                    })
            }
            Self::ObjectName | Self::RelativePath => {
                text.len() <= 256 && text.split('/').count() <= 8 && text.split('/').all(is_plain_segment)
            }
            Self::Text(limit) => text.len() <= limit && !text.contains('\0'),
            Self::StorePath => store_path_and_rest(text).is_some_and(|(_, rest)| rest.is_empty()),
            Self::Program => {
                let in_store = |(_, rest): (&str, &str)| {
                    !rest.is_empty() && text.len() <= 512 && rest.split('/').all(is_plain_segment)
                };
                store_path_and_rest(text).is_some_and(in_store) || app_name(text).is_some()
            }
            Self::AppManifest => Manifest::parse(text).is_ok(),
            Self::Choice(words) => words.contains(&text),
            Self::Url => {
                text.len() <= 512
                    && text.strip_prefix("http://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
                    && text.bytes().all(|b| b.is_ascii_graphic())
            }
            Self::WebUrl => text.parse::<aios_fetch::Url>().is_ok(),
            Self::OneOf(words) => words.contains(&text),
            Self::PublicKey => {
                text.len() <= 256
                    && text.split_once(':').is_some_and(|(name, key)| !name.is_empty() && !key.is_empty())
                    && text.bytes().all(|b| b.is_ascii_graphic())
            }
            Self::PersonKey => {
                text.len() <= KEY_LINE
                    && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
                    && text
                        .split_once(' ')
                        .is_some_and(|(kind, rest)| KEY_ALGORITHMS.contains(&kind) && !rest.is_empty())
            }
            Self::KeyFingerprint => text.strip_prefix("SHA256:").is_some_and(|hash| {
                hash.len() == 43 && hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
            }),
            Self::Digest => text.parse::<aios_ids::Digest>().is_ok(),
            Self::Tag => {
                text.len() <= 64
                    && is_plain_segment(text)
                    && text.starts_with(|first: char| first.is_ascii_alphabetic())
            }
            Self::Host => is_host(text),
            Self::Moment => moment::parse(text).is_some(),
            Self::Value | Self::Words | Self::Number(..) | Self::Contents(_) => false,
        }
    }

    /// The value that a word on the command line means.
    pub fn from_word(self, word: &str) -> Value {
        match self {
            Self::Value => match canonical::parse(word) {
                Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
                _ => Value::String(word.to_owned()),
            },
            Self::Words => word.split_whitespace().collect(),
            // What cannot be read stays text, which the check then refuses by its name.
            Self::Number(..) | Self::Contents(_) => canonical::parse(word).unwrap_or_else(|_| word.into()),
            _ => Value::String(word.to_owned()),
        }
    }

    /// The kind as JSON Schema.
    pub fn json_schema(self, summary: &str) -> Value {
        let description = format!("{summary}: {}", self.form());
        match self {
            Self::Value => json!({"type": ["string", "integer", "boolean"], "description": description}),
            Self::Words => {
                json!({"type": "array", "items": {"type": "string"}, "maxItems": 32, "description": description})
            }
            Self::Number(least, most) => {
                json!({"type": "integer", "minimum": least, "maximum": most, "description": description})
            }
            Self::Choice(words) => json!({"type": "string", "enum": words, "description": description}),
            Self::Contents(_) => {
                let text = json!({"type": "string"});
                let object = json!({
                    "type": "object",
                    "properties": {"name": text, "content": text},
                    "required": ["name", "content"],
                    "additionalProperties": false,
                });
                json!({
                    "type": "array", "items": object, "minItems": 1, "maxItems": CONTENTS, "description": description,
                })
            }
            Self::OneOf(words) => json!({"type": "string", "enum": words, "description": description}),
            _ => json!({"type": "string", "description": description}),
        }
    }
}

/// Checks `given` against the parameters of the type `action`.
pub(crate) fn check(
    action: &'static str,
    parameters: &'static [Parameter],
    given: &Map<String, Value>,
) -> Result<(), ParameterError> {
    if let Some(name) = given.keys().find(|key| parameters.iter().all(|p| p.name != key.as_str())) {
        let known: Vec<_> = parameters.iter().map(|p| p.name).collect();
        return Err(ParameterError::Unknown {
            action,
            name: name.chars().take(40).flat_map(char::escape_default).collect(),
            known: if known.is_empty() { "none".into() } else { known.join(", ") },
        });
    }
    for parameter in parameters {
        match given.get(parameter.name) {
            Some(Value::String(manifest)) if parameter.kind == Kind::AppManifest => {
                check_manifest(manifest, given).map_err(|why| ParameterError::App { action, why })?;
            }
            Some(value) if parameter.kind.accepts(value) => {}
            Some(_) => return Err(ParameterError::Form { action, name: parameter.name, form: parameter.kind.form() }),
            None if parameter.presence == Presence::Optional => {}
            None => {
                return Err(ParameterError::Missing { action, name: parameter.name, summary: parameter.summary });
            }
        }
    }
    Ok(())
}

/// A manifest is told what is wrong with it, and is the one of the app that the action names.
fn check_manifest(manifest: &str, given: &Map<String, Value>) -> Result<(), String> {
    let manifest = Manifest::parse(manifest).map_err(|error| {
        let source = std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}"));
        format!("{error}{source}")
    })?;
    match given.get("name") {
        Some(Value::String(name)) if name != manifest.name.as_str() => {
            Err(format!("its manifest is the one of '{}'", manifest.name))
        }
        _ => Ok(()),
    }
}

/// The bytes that `object.put` stores, from its parameters.
pub fn object_content(parameters: &Map<String, Value>) -> Result<Vec<u8>, base64::DecodeError> {
    use base64::Engine as _;
    let text = |name: &str| parameters.get(name).and_then(Value::as_str).unwrap_or_default();
    match text("encoding") {
        "base64" => base64::engine::general_purpose::STANDARD.decode(text("content")),
        _ => Ok(text("content").as_bytes().to_vec()),
    }
}

/// The names and contents of a value that [`Kind::Contents`] accepts; nothing of another form.
pub fn contents(value: &Value) -> Option<Vec<(&str, &str)>> {
    fn one(object: &Value) -> Option<(&str, &str)> {
        let fields = object.as_object().filter(|fields| fields.len() == 2)?;
        Some((fields.get("name")?.as_str()?, fields.get("content")?.as_str()?))
    }
    value.as_array()?.iter().map(one).collect()
}

fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.parse::<std::net::IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(label))
}

/// Splits `/nix/store/<hash>-<name>/<rest>`; `rest` is empty for the path itself.
pub fn store_path_and_rest(text: &str) -> Option<(&str, &str)> {
    const PREFIX: &str = "/nix/store/";
    let inside = text.strip_prefix(PREFIX)?;
    let (base, rest) = inside.split_once('/').unwrap_or((inside, ""));
    if inside.ends_with('/') {
        return None;
    }
    let (hash, name) = base.split_once('-')?;
    let good_hash = hash.len() == 32 && hash.bytes().all(|b| b"0123456789abcdfghijklmnpqrsvwxyz".contains(&b));
    let good_name = !name.is_empty()
        && name.len() <= 211
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._?=".contains(&b));
    (good_hash && good_name).then(|| (&text[..PREFIX.len() + base.len()], rest))
}

fn is_plain_segment(segment: &str) -> bool {
    !segment.is_empty()
        && segment != "."
        && segment != ".."
        && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b))
}

/// Whether text could change what people see around it.
pub(crate) fn is_hostile(text: &str) -> bool {
    text.chars()
        .any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c))
}

#[cfg(test)]
mod tests;
