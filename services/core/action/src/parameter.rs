//! The parameters of an action: their kinds, how each is checked, and how a person types it.

use serde_json::{Map, Value, json};

use crate::canonical;

/// The one folder that `file.write` reaches.
pub const GRANTED_FOLDER: &str = "/aios/groups/home/files";

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
    /// A program in the store: a store path and a path below it.
    StoreProgram,
    /// `http://host[:port][/path]`.
    Url,
    /// A Nix public key, `name:base64`.
    PublicKey,
    /// Up to 32 words of at most 256 bytes.
    Words,
    /// A SHA-256 in hexadecimal.
    Digest,
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
            Self::StoreProgram => "a file below a store path: /nix/store/<32 characters>-<name>/bin/<program>".into(),
            Self::Url => "http://host[:port][/path] of at most 512 characters".into(),
            Self::PublicKey => "a Nix public key, name:base64".into(),
            Self::Words => "at most 32 words of at most 256 bytes each".into(),
            Self::Digest => "a SHA-256: 64 lower-case hexadecimal digits".into(),
        }
    }

    /// Whether `value` is of this kind.
    #[must_use]
    pub fn accepts(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Value, Value::String(text)) => text.len() <= 4096 && !has_control(text),
            (Self::Value, Value::Bool(_) | Value::Number(_)) => true,
            (Self::Words, Value::Array(words)) => {
                words.len() <= 32
                    && words.iter().all(|word| word.as_str().is_some_and(|w| w.len() <= 256 && !w.contains('\0')))
            }
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
            Self::StoreProgram => store_path_and_rest(text).is_some_and(|(_, rest)| {
                !rest.is_empty() && text.len() <= 512 && rest.split('/').all(is_plain_segment)
            }),
            Self::Url => {
                text.len() <= 512
                    && text.strip_prefix("http://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
                    && text.bytes().all(|b| b.is_ascii_graphic())
            }
            Self::PublicKey => {
                text.len() <= 256
                    && text.split_once(':').is_some_and(|(name, key)| !name.is_empty() && !key.is_empty())
                    && text.bytes().all(|b| b.is_ascii_graphic())
            }
            Self::Digest => text.parse::<aios_ids::Digest>().is_ok(),
            Self::Value | Self::Words => false,
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

fn has_control(text: &str) -> bool {
    text.chars()
        .any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(kind.accepts(&Value::from(*text)), "{kind:?} must accept {text:?}");
        }
        for text in bad {
            assert!(!kind.accepts(&Value::from(*text)), "{kind:?} must refuse {text:?}");
        }
    }

    #[test]
    fn each_kind_has_its_border() {
        check(Kind::RelativePath, &["a", "a/b.txt"], &["", "/a", "..", "a/../b", "a//b", "a/", "./a", "a\nb", "ä"]);
        check(Kind::SettingKey, &["hostname", "network.mode"], &["", ".", "a.", "A", "a b"]);
        check(
            Kind::Url,
            &["http://10.0.2.2:8080/x"],
            &["https://x", "http:///x", "http://", "file:///etc", "http://a b"],
        );
        let path = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-hello-1.0";
        check(
            Kind::StorePath,
            &[path],
            &["/nix/store/short-x", "/etc/passwd", &format!("{path}/bin"), &format!("{path}/")],
        );
        check(Kind::StoreProgram, &[&format!("{path}/bin/hello")], &[path, &format!("{path}/../x"), "/bin/sh"]);
        let digest = "ab".repeat(32);
        check(Kind::Digest, &[&digest], &["", "ab", &digest.to_uppercase(), &digest[1..], &format!("{digest}a")]);
        check(Kind::Value, &["text"], &["with\u{1b}escape", "bidi \u{202e} text"]);
    }

    #[test]
    fn a_word_becomes_the_value_a_person_means() {
        assert_eq!(Kind::Value.from_word("true"), Value::Bool(true));
        assert_eq!(Kind::Value.from_word("12"), Value::from(12));
        assert_eq!(Kind::Value.from_word("box"), Value::from("box"));
        assert_eq!(Kind::Words.from_word("a b"), json!(["a", "b"]));
        assert_eq!(Kind::Text(9).from_word("12"), Value::from("12"));
    }
}
