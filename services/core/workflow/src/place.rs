//! Where in a file something stands, found again when it turned out to be wrong.

use std::fmt;

use toml::de::{DeTable, DeValue};

/// A line of a file and a column in it, both from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
    text: String,
}

/// The most of a line that is shown.
const SHOWN: usize = 160;

impl Place {
    /// The place of the byte at `offset`.
    pub(crate) fn at(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let begin = before.rfind('\n').map_or(0, |end| end + 1);
        let column = before[begin..].chars().count() + 1;
        Self { line, column, text: text[begin..].lines().next().unwrap_or_default().to_owned() }
    }

    /// The place of a line and column that a parser counted.
    pub(crate) fn counted(text: &str, line: usize, column: usize) -> Self {
        let shown = text.lines().nth(line.saturating_sub(1)).unwrap_or_default().to_owned();
        Self { line, column: column.max(1), text: shown }
    }
}

impl fmt::Display for Place {
    /// The line with a caret below; of a long line the part around the place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.column.saturating_sub(SHOWN / 2);
        let harmless = |character: char| if character.is_control() { ' ' } else { character };
        let shown: String = self.text.chars().skip(from).take(SHOWN).map(harmless).collect();
        writeln!(f, "  line {}, column {}", self.line, self.column)?;
        writeln!(f, "    | {}", shown.trim_end())?;
        write!(f, "    | {:>1$}", "^", self.column - from)
    }
}

/// One step of the way to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Segment {
    Key(&'static str),
    Item(usize),
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Toml,
    Json,
}

impl Format {
    /// No TOML file begins with a brace, and every JSON object does.
    pub(crate) fn of(text: &str) -> Self {
        if text.trim_start().starts_with('{') { Self::Json } else { Self::Toml }
    }

    /// Where the value at the end of `way` stands, or the last one on the way that is there. The text was read before.
    pub(crate) fn find(self, text: &str, way: &[Segment]) -> Option<Place> {
        let offset = match self {
            Self::Toml => in_toml(text, way)?,
            Self::Json => in_json(text, way)?,
        };
        Some(Place::at(text, offset))
    }
}

fn in_toml(text: &str, way: &[Segment]) -> Option<usize> {
    let whole = DeTable::parse(text).ok()?;
    let (first, rest) = way.split_first()?;
    let Segment::Key(key) = first else { return None };
    let mut value = whole.get_ref().get(*key)?;
    for segment in rest {
        let inside = match (segment, value.get_ref()) {
            (Segment::Key(key), DeValue::Table(table)) => table.get(*key),
            (Segment::Item(item), DeValue::Array(items)) => items.get(*item),
            _ => None,
        };
        match inside {
            Some(inside) => value = inside,
            None => break,
        }
    }
    Some(value.span().start)
}

fn in_json(text: &str, way: &[Segment]) -> Option<usize> {
    let mut at = blank(text, 0);
    for segment in way {
        let found = match segment {
            Segment::Key(key) => member(text, at, key),
            Segment::Item(item) => element(text, at, *item),
        };
        match found {
            Some(found) => at = found,
            None => break,
        }
    }
    Some(at)
}

fn byte(text: &str, at: usize) -> Option<u8> {
    text.as_bytes().get(at).copied()
}

fn blank(text: &str, at: usize) -> usize {
    let rest = text.as_bytes().get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Where the value of `key` begins in the object at `at`.
fn member(text: &str, at: usize, key: &str) -> Option<usize> {
    let mut at = blank(text, at + 1);
    while byte(text, at)? == b'"' {
        let end = value_end(text, at)?;
        let colon = blank(text, end);
        let value = blank(text, colon + 1);
        if text.as_bytes().get(at + 1..end - 1)? == key.as_bytes() {
            return Some(value);
        }
        at = next(text, value_end(text, value)?);
    }
    None
}

/// Where the item of this number begins in the array at `at`.
fn element(text: &str, at: usize, item: usize) -> Option<usize> {
    (byte(text, at)? == b'[').then_some(())?;
    let mut at = blank(text, at + 1);
    for _ in 0..item {
        at = next(text, value_end(text, at)?);
    }
    (byte(text, at)? != b']').then_some(at)
}

/// Passes over a comma, if one follows.
fn next(text: &str, end: usize) -> usize {
    let at = blank(text, end);
    if byte(text, at) == Some(b',') { blank(text, at + 1) } else { at }
}

/// Where the value that begins at `at` ends.
fn value_end(text: &str, at: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let string_end = |at: usize| {
        let mut end = at + 1;
        while *bytes.get(end)? != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        Some(end + 1)
    };
    match *bytes.get(at)? {
        b'"' => string_end(at),
        b'{' | b'[' => {
            let (mut depth, mut end) = (0_usize, at);
            loop {
                match *bytes.get(end)? {
                    b'"' => {
                        end = string_end(end)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                end += 1;
                if depth == 0 {
                    return Some(end);
                }
            }
        }
        _ => Some(at + bytes[at..].iter().take_while(|byte| !b",]} \t\r\n".contains(byte)).count()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WAY: [Segment; 3] = [Segment::Key("steps"), Segment::Item(1), Segment::Key("id")];

    fn check(text: &str, way: &[Segment], expected: &str) {
        let place = Format::of(text).find(text, way).expect("a place");
        let line = text.lines().nth(place.line - 1).expect("a line");
        let rest: String = line.chars().skip(place.column - 1).collect();
        assert!(rest.starts_with(expected), "{rest}");
    }

    #[test]
    fn a_value_is_found_again_in_both_formats() {
        let json =
            "{\"name\": \"a\\\"{\",\n \"steps\": [ {\"after\": [\"x\", {}], \"id\": \"one\"},\n  {\"id\": \"two\"} ]}";
        check(json, &WAY, "\"two\"");
        check(json, &[Segment::Key("steps"), Segment::Item(0), Segment::Key("after"), Segment::Item(1)], "{}");
        let toml = "name = 'a'\n[[steps]]\nid = 'one'\n\n[[steps]]\nask = 'ä'\nid = 'two'\n";
        check(toml, &WAY, "'two'");
    }

    #[test]
    fn what_is_not_there_is_shown_where_it_should_be() {
        check("{\"steps\": [{\"id\": 1}, {\"ask\": 2}]}", &WAY, "{\"ask\"");
        check("[[steps]]\nid = 'one'\n[[steps]]\nask = 'x'\n", &WAY, "[[steps]]");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{{\"a\": \"{}\", \"b\": 1}}", "x".repeat(1000));
        let shown = Format::Json.find(&text, &[Segment::Key("b")]).expect("a place").to_string();
        let (line, caret) = shown.split_once('\n').and_then(|(_, rest)| rest.split_once('\n')).expect("three lines");
        assert!(line.len() < 200);
        assert_eq!(line.chars().nth(caret.chars().count() - 1), Some('1'));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_finder_panic(text in ".{0,200}", json in "[\\[\\]{}\",:\\\\a1 ä\n]{0,80}") {
            for text in [text, json] {
                for format in [Format::Toml, Format::Json] {
                    if let Some(place) = format.find(&text, &WAY) {
                        let _ = place.to_string();
                    }
                }
            }
        }
    }
}
