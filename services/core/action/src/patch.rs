//! Replacing one place of a text, named by what stands there. What is not exactly once in the text is refused, with the
//! place where a person should look.

/// The text cannot be patched; it is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// There is nothing to look for.
    #[error("the old text is empty; name what is to be replaced")]
    Empty,
    /// The old text does not stand there.
    #[error("the old text does not stand in the file; read the file again")]
    NotThere,
    /// Its beginning does.
    #[error(
        "the old text does not stand in the file: its first {lines} lines are those from line {from}, and line {differs} is another; read the file again"
    )]
    Differs {
        /// How many lines are the same.
        lines: usize,
        /// The line of the file where they begin, from 1.
        from: usize,
        /// The first line that is another.
        differs: usize,
    },
    /// It stands there more than once.
    #[error("the old text stands in the file at line {first} and at line {second}; give more of what is around it")]
    Twice {
        /// The first place's line, from 1.
        first: usize,
        /// The second one's.
        second: usize,
    },
}

/// `text` with `new` in the one place where `old` stands.
pub fn replace_once(text: &str, old: &str, new: &str) -> Result<String, PatchError> {
    if old.is_empty() {
        return Err(PatchError::Empty);
    }
    let Some(first) = text.find(old) else { return Err(nearest(text, old)) };
    // A second place may overlap the first: "aa" stands twice in "aaa".
    let after = first + text[first..].chars().next().map_or(1, char::len_utf8);
    if let Some(second) = text[after..].find(old) {
        return Err(PatchError::Twice { first: line_of(text, first), second: line_of(text, after + second) });
    }
    Ok([&text[..first], new, &text[first + old.len()..]].concat())
}

/// The line, from 1, in which a byte is.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
}

/// Where most of the first lines of `old` stand.
fn nearest(text: &str, old: &str) -> PatchError {
    let (lines, wanted): (Vec<&str>, Vec<&str>) = (text.lines().collect(), old.lines().collect());
    let same = |from: usize| lines[from..].iter().zip(&wanted).take_while(|(line, wanted)| line == wanted).count();
    // The first of equals: people read from the top.
    let best = (0..lines.len()).map(|from| (same(from), from)).max_by_key(|(same, from)| (*same, usize::MAX - from));
    match best {
        Some((same, from)) if same > 0 => PatchError::Differs { lines: same, from: from + 1, differs: from + same + 1 },
        _ => PatchError::NotThere,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, old: &str, new: &str, expected: Result<&str, PatchError>) {
        assert_eq!(replace_once(text, old, new), expected.map(str::to_owned), "{text:?} {old:?}");
    }

    #[test]
    fn what_stands_there_once_is_replaced_and_nothing_else() {
        check("one\ntwo\nthree\n", "two", "2", Ok("one\n2\nthree\n"));
        check("one\ntwo\n", "one\ntwo\n", "", Ok(""));
        check("grün\n", "ü", "u", Ok("grun\n"));
        check("text", "", "x", Err(PatchError::Empty));
        check("", "x", "y", Err(PatchError::NotThere));
        check("one\ntwo\n", "three", "x", Err(PatchError::NotThere));
        check("a\nb\na\n", "a", "x", Err(PatchError::Twice { first: 1, second: 3 }));
        check("aaa", "aa", "x", Err(PatchError::Twice { first: 1, second: 1 }));
        check("x\na\nb\nc\n", "a\nb\nd\n", "", Err(PatchError::Differs { lines: 2, from: 2, differs: 4 }));
    }

    proptest! {
        #[test]
        fn a_patch_and_its_reverse_give_the_text_back(text in "[ab\n]{0,20}", old in "[ab\n]{1,4}", new in "[xy]{1,4}") {
            if let Ok(patched) = replace_once(&text, &old, &new) {
                prop_assert_eq!(replace_once(&patched, &new, &old), Ok(text));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}", old in "\\PC{0,6}", new in "\\PC{0,6}") {
            let _ = replace_once(&text, &old, &new);
        }
    }
}
