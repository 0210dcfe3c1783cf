//! JSON in one form only (RFC 8785), and a reader that accepts nothing ambiguous.
//!
//! Numbers are whole and within 53 bits, so that their text form has no choices. Duplicate keys are refused: two readers
//! must never see two different values.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Texts longer than this are refused before they are read.
pub const SIZE_LIMIT: usize = 64 * 1024;

/// Values nested deeper than this are refused.
pub const DEPTH_LIMIT: usize = 8;

const LARGEST_WHOLE: u64 = (1 << 53) - 1;

/// The text is not JSON that has exactly one meaning.
#[derive(Debug, thiserror::Error)]
pub enum StrictError {
    /// Longer than [`SIZE_LIMIT`].
    #[error("the text is {0} bytes long; at most {SIZE_LIMIT} are read")]
    Size(usize),
    /// Nested deeper than [`DEPTH_LIMIT`].
    #[error("values are nested deeper than {DEPTH_LIMIT}")]
    Depth,
    /// Not JSON, or a key twice, or a number with a fraction.
    #[error("not JSON that can be read in only one way")]
    Syntax(#[source] serde_json::Error),
}

/// Reads a JSON text that leaves nothing open.
pub fn parse(text: &str) -> Result<Value, StrictError> {
    if text.len() > SIZE_LIMIT {
        return Err(StrictError::Size(text.len()));
    }
    let Strict(value) = serde_json::from_str(text).map_err(StrictError::Syntax)?;
    if depth(&value) > DEPTH_LIMIT { Err(StrictError::Depth) } else { Ok(value) }
}

/// The one canonical text of a value.
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            // RFC 8785 sorts by UTF-16 code units, which is not the order of UTF-8 bytes beyond the basic plane.
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| {
                if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
            });
            out.push('{');
            for (place, (key, item)) in sorted.into_iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write_text(key, out);
                out.push(':');
                write_value(item, out);
            }
            out.push('}');
        }
        Value::String(text) => write_text(text, out),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    // Whatever is escaped is one byte long, so the text between is copied as it is.
    let mut rest = 0;
    for (at, byte) in text.bytes().enumerate().filter(|(_, byte)| *byte < b' ' || matches!(byte, b'"' | b'\\')) {
        out.push_str(&text[rest..at]);
        rest = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x08 => out.push_str("\\b"),
            b'\t' => out.push_str("\\t"),
            b'\n' => out.push_str("\\n"),
            0x0c => out.push_str("\\f"),
            b'\r' => out.push_str("\\r"),
            control => out.push_str(&format!("\\u{control:04x}")),
        }
    }
    out.push_str(&text[rest..]);
    out.push('"');
}

/// A value read without ambiguity, as a part of another form; the text's size and depth are the other form's business.
pub struct Strict(pub Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value with whole numbers and no key twice")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        if value > LARGEST_WHOLE {
            return Err(E::custom(format!("{value} is beyond the whole numbers that every reader agrees on")));
        }
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() > LARGEST_WHOLE {
            return Err(E::custom(format!("{value} is beyond the whole numbers that every reader agrees on")));
        }
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Err(E::custom(format!("{value} is not a whole number")))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            let Strict(item) = fields.next_value()?;
            if object.insert(key.clone(), item).is_some() {
                return Err(de::Error::custom(format!("the key \"{}\" stands twice", key.escape_default())));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, canonical: &str) {
        assert_eq!(write(&parse(text).expect(text)), canonical, "{text}");
    }

    #[test]
    fn there_is_one_form() {
        check(r#" { "b" : 1, "a" : [ true, null ] } "#, r#"{"a":[true,null],"b":1}"#);
        check(r#"{"\u20ac":"\u000f\u000aA'\u0042\u0022\u005c\\\"/"}"#, "{\"€\":\"\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}");
        // The order of UTF-16 code units: a surrogate pair sorts before U+FB33.
        check("{\"\u{fb33}\":1,\"\u{1f600}\":2}", "{\"\u{1f600}\":2,\"\u{fb33}\":1}");
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"x":{"a":1,"\u0061":2}}"#,
            "1.5",
            "-0",
            "1e3",
            "9007199254740992",
            "-9007199254740992",
            "[[[[[[[[[1]]]]]]]]]",
            "{} {}",
            "\"\u{1}\"",
            "",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(matches!(parse(&" ".repeat(SIZE_LIMIT + 1)), Err(StrictError::Size(_))));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_read_is_stable(text in ".{0,200}") {
            if let Ok(value) = parse(&text) {
                let once = write(&value);
                prop_assert_eq!(write(&parse(&once).expect("canonical text reads back")), once);
            }
        }

        #[test]
        fn any_string_survives(text in any::<String>()) {
            let value = Value::String(text);
            prop_assert_eq!(parse(&write(&value)).expect("canonical text reads back"), value);
        }
    }
}
