//! How a word goes on. `aios` knows its own words; the console adds those that it understands itself.

use std::process::{Command, Stdio};

use crate::line;
use crate::session::{OWN_WORDS, PROGRAM};

/// What is done about a word.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Nothing begins like this.
    None,
    /// All candidates go on with this.
    Continue(String),
    /// They differ from here on.
    Several,
}

/// The word before the cursor and what begins like it; nothing for a line whose quotes are open.
pub(crate) fn candidates(before_cursor: &str) -> Option<(String, Vec<String>)> {
    let mut words = line::words(before_cursor).ok()?;
    if before_cursor.is_empty() || before_cursor.ends_with(char::is_whitespace) {
        words.push(String::new());
    }
    let word = words.last()?.clone();
    let asked = words.strip_prefix(&["aios".to_owned()]).filter(|rest| !rest.is_empty()).unwrap_or(&words);
    let answer =
        Command::new(PROGRAM).args(["complete", "--"]).args(asked).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let answer = answer.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut found: Vec<String> = answer.lines().map(str::to_owned).collect();
    if words.len() == 1 {
        found.extend(OWN_WORDS.map(str::to_owned));
    }
    found.retain(|candidate| candidate.starts_with(&word));
    found.sort();
    found.dedup();
    Some((word, found))
}

/// How far the candidates go on together.
pub(crate) fn choose(word: &str, candidates: &[String]) -> Choice {
    let Some((first, rest)) = candidates.split_first() else { return Choice::None };
    let shared = rest.iter().fold(first.as_str(), |shared, candidate| {
        let same = shared.char_indices().zip(candidate.chars()).find(|((_, one), other)| one != other);
        let end = same.map_or(shared.len().min(candidate.len()), |((at, _), _)| at);
        &shared[..end]
    });
    let more = shared.get(word.len()..).unwrap_or_default();
    match (rest.is_empty(), more.is_empty()) {
        // A value follows its `=` without a space.
        (true, _) if !first.ends_with('=') => Choice::Continue(format!("{more} ")),
        (true, true) => Choice::None,
        (_, false) => Choice::Continue(more.to_owned()),
        (false, true) => Choice::Several,
    }
}

/// The candidates side by side.
pub(crate) fn columns(candidates: &[String], width: usize) -> String {
    let cell = candidates.iter().map(|candidate| candidate.chars().count()).max().unwrap_or(0) + 2;
    let in_a_row = (width / cell).max(1);
    let rows = candidates.chunks(in_a_row).map(|row| {
        let row: String = row.iter().map(|candidate| format!("{candidate:cell$}")).collect();
        format!("{}\n", row.trim_end())
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, candidates: &[&str], expected: Choice) {
        let candidates: Vec<String> = candidates.iter().map(|candidate| (*candidate).to_owned()).collect();
        assert_eq!(choose(word, &candidates), expected, "{word} among {candidates:?}");
    }

    #[test]
    fn a_word_goes_on_as_far_as_it_is_certain() {
        check("sta", &["status"], Choice::Continue("tus ".into()));
        check("s", &["service", "settings"], Choice::Continue("e".into()));
        check("se", &["service", "settings"], Choice::Several);
        check("x", &[], Choice::None);
        check("na", &["name="], Choice::Continue("me=".into()));
        check("name=", &["name="], Choice::None);
        check("status", &["status"], Choice::Continue(" ".into()));
    }

    #[test]
    fn candidates_stand_in_columns() {
        let candidates = ["list", "show", "restart"].map(str::to_owned);
        assert_eq!(columns(&candidates, 20), "list     show\nrestart\n");
        assert_eq!(columns(&candidates, 3), "list\nshow\nrestart\n");
    }
}
