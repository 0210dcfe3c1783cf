//! Whether bytes are a JSON value in the one form of RFC 8785 (as `aios_action::canonical` writes it), told in one pass and
//! without building the value. A log of a million records is checked with this.

use std::cmp::Ordering;

const LARGEST_WHOLE: u64 = (1 << 53) - 1;

/// Where the canonical value that begins at `at` ends; absent when there is none or it nests deeper than `depth`.
pub(crate) fn value_end(text: &str, at: usize, depth: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    match bytes.get(at)? {
        b'"' => string_end(bytes, at),
        b'{' => object_end(text, at, depth.checked_sub(1)?),
        b'[' => array_end(text, at, depth.checked_sub(1)?),
        b't' => word_end(bytes, at, b"true"),
        b'f' => word_end(bytes, at, b"false"),
        b'n' => word_end(bytes, at, b"null"),
        _ => number_end(bytes, at),
    }
}

/// Where the canonical object that begins at `at` ends.
pub(crate) fn object_end(text: &str, at: usize, depth: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = word_end(bytes, at, b"{")?;
    if bytes.get(at) == Some(&b'}') {
        return Some(at + 1);
    }
    let mut last: Option<&str> = None;
    loop {
        let end = string_end(bytes, at)?;
        let key = &text[at + 1..end - 1];
        if last.is_some_and(|last| key_order(last, key) != Ordering::Less) {
            return None;
        }
        last = Some(key);
        at = value_end(text, word_end(bytes, end, b":")?, depth)?;
        match bytes.get(at)? {
            b',' => at += 1,
            b'}' => return Some(at + 1),
            _ => return None,
        }
    }
}

fn array_end(text: &str, at: usize, depth: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = at + 1;
    if bytes.get(at) == Some(&b']') {
        return Some(at + 1);
    }
    loop {
        at = value_end(text, at, depth)?;
        match bytes.get(at)? {
            b',' => at += 1,
            b']' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// Where the canonical string that begins at `at` ends, behind its quotation mark.
pub(crate) fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = word_end(bytes, at, b"\"")?;
    loop {
        match *bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += escape_length(&bytes[at + 1..])? + 1,
            control if control < b' ' => return None,
            _ => at += 1,
        }
    }
}

/// The length of the escape behind a backslash, if it is one that the form uses.
fn escape_length(rest: &[u8]) -> Option<usize> {
    match rest.first()? {
        b'"' | b'\\' | b'b' | b't' | b'n' | b'f' | b'r' => Some(1),
        b'u' => {
            let [b'0', b'0', high @ (b'0' | b'1'), low] = rest.get(1..5)? else { return None };
            // These have an escape of one letter.
            let short = *high == b'0' && matches!(low, b'8' | b'9' | b'a' | b'c' | b'd');
            (matches!(low, b'0'..=b'9' | b'a'..=b'f') && !short).then_some(5)
        }
        _ => None,
    }
}

fn word_end(bytes: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    bytes.get(at..)?.starts_with(word).then_some(at + word.len())
}

/// The whole number without a sign that begins at `at`, and where it ends.
pub(crate) fn whole(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let rest = bytes.get(at..)?;
    let length = rest.iter().take(17).take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 || (rest[0] == b'0' && length > 1) {
        return None;
    }
    let value = rest[..length].iter().fold(0, |value: u64, digit| value * 10 + u64::from(digit - b'0'));
    (value <= LARGEST_WHOLE).then_some((value, at + length))
}

fn number_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'-') {
        return whole(bytes, at).map(|(_, end)| end);
    }
    let (value, end) = whole(bytes, at + 1)?;
    (value != 0).then_some(end)
}

/// The order of RFC 8785: by UTF-16 code units of the keys.
fn key_order(a: &str, b: &str) -> Ordering {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii() && byte != b'\\');
    if plain(a) && plain(b) {
        return a.cmp(b);
    }
    plain_text(a).encode_utf16().cmp(plain_text(b).encode_utf16())
}

/// The text that the inside of a canonical string stands for.
pub(crate) fn plain_text(inside: &str) -> String {
    if !inside.contains('\\') {
        return inside.to_owned();
    }
    serde_json::from_str(&format!("\"{inside}\"")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use aios_action::canonical::{self, DEPTH_LIMIT};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn is_canonical(text: &str) -> bool {
        value_end(text, 0, DEPTH_LIMIT) == Some(text.len())
    }

    fn oracle(text: &str) -> bool {
        canonical::parse(text).is_ok_and(|value| canonical::write(&value) == text)
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (-(1i64 << 53) + 1..1i64 << 53).prop_map(Value::from),
            "[\\x00-\\x20\"\\\\a\u{e9}\u{fb33}\u{1f600}]{0,6}".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map("[\\x00-\\x20\"\\\\a\u{e9}\u{fb33}\u{1f600}]{0,3}", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            " ",
            "{",
            "[1",
            "\"",
            "-0",
            "01",
            "1.0",
            "1e3",
            "9007199254740992",
            "{\"b\":1,\"a\":2}",
            "{\"a\":1,\"a\":1}",
            "{\"a\": 1}",
            "[1,]",
            "\"\\u0041\"",
            "\"\\u000a\"",
            "\"\\u001F\"",
            "\"\\/\"",
            "[[[[[[[[[1]]]]]]]]]",
            "nul",
        ] {
            assert!(!is_canonical(text), "{text}");
            assert!(!oracle(text), "{text}");
        }
        assert!(is_canonical("{\"\u{1f600}\":1,\"\u{fb33}\":2}") && is_canonical("[[[[[[[[1]]]]]]]]"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_is_written_canonically_is_accepted(value in json()) {
            let text = canonical::write(&value);
            prop_assert_eq!(is_canonical(&text), oracle(&text), "{}", text);
        }

        #[test]
        fn a_changed_byte_is_judged_as_the_reader_judges_it(value in json(), at in any::<prop::sample::Index>(), with in "[ -~]") {
            let text = canonical::write(&value);
            let mut characters: Vec<char> = text.chars().collect();
            let place = at.index(characters.len());
            characters[place] = with.chars().next().expect("one");
            let changed: String = characters.into_iter().collect();
            prop_assert_eq!(is_canonical(&changed), oracle(&changed), "{}", changed);
        }

        #[test]
        fn any_text_is_judged_as_the_reader_judges_it(text in "[\\[\\]{}\",:0-9a\\\\u-]{0,12}") {
            prop_assert_eq!(is_canonical(&text), oracle(&text), "{}", text);
        }
    }
}
