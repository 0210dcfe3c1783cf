//! A line of text as words. Quotes keep spaces together; there are no variables, no globs and no pipes.

/// The line cannot be split.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineError {
    /// A quote without its end.
    #[error("the quote {0} at character {1} is not closed; add {0} at the end of the word")]
    OpenQuote(char, usize),
    /// A backslash at the end.
    #[error("the line ends with a backslash; write \\\\ for the character itself")]
    OpenEscape,
}

/// Splits a line into words: `'…'` is taken as it is, `"…"` and bare words know `\`.
pub(crate) fn words(line: &str) -> Result<Vec<String>, LineError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars().enumerate();
    while let Some((place, character)) = characters.next() {
        match character {
            space if space.is_whitespace() => words.extend(word.take()),
            '\'' | '"' => {
                let into = word.get_or_insert_default();
                loop {
                    match characters.next().ok_or(LineError::OpenQuote(character, place + 1))?.1 {
                        end if end == character => break,
                        '\\' if character == '"' => {
                            into.push(characters.next().ok_or(LineError::OpenEscape)?.1);
                        }
                        other => into.push(other),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(characters.next().ok_or(LineError::OpenEscape)?.1),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(line: &str, expected: &[&str]) {
        assert_eq!(words(line).expect(line), expected, "{line}");
    }

    #[test]
    fn words_are_split_as_people_expect() {
        check("", &[]);
        check("  status  --json ", &["status", "--json"]);
        check(r#"submit key="two words" 'a "b" \c' d\ e """#, &["submit", "key=two words", r#"a "b" \c"#, "d e", ""]);
        check("$HOME * | ;", &["$HOME", "*", "|", ";"]);
    }

    #[test]
    fn what_is_left_open_is_named() {
        assert_eq!(words("a 'b"), Err(LineError::OpenQuote('\'', 3)));
        assert_eq!(words("a\\"), Err(LineError::OpenEscape));
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(given in prop::collection::vec("[^\\\\\"]{0,10}", 0..6)) {
            let line = given.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(words(&line).expect("quoted"), given);
        }

        #[test]
        fn no_line_makes_it_panic(line in ".{0,80}") {
            let _ = words(&line);
        }
    }
}
