//! Answers to questions, read from the files: nothing of the log is kept in memory for readers.

use std::path::Path;

use aios_wire::MESSAGE_LIMIT;
use aios_wire::logs::{Kept, Page, Question};

use crate::book::{BookError, places, read_part};

/// No answer has more lines.
const MOST_LINES: usize = 1000;
/// What an answer's lines may take, so that it stays a message.
const ROOM: usize = MESSAGE_LIMIT - (16 << 10);

/// A question cannot be answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SearchError {
    /// There are not so many boots on record.
    #[error("boot -{asked} is not on record; there are {known} before the running one")]
    NoSuchBoot {
        /// How many back.
        asked: u32,
        /// How many there are.
        known: usize,
    },
    /// The files.
    #[error("the log's files cannot be read")]
    Files(#[from] BookError),
}

/// The newest lines that match, oldest first, as many as fit into an answer.
pub(crate) fn search(folder: &Path, question: &Question) -> Result<Page, SearchError> {
    let all = places(folder)?;
    let mut boots: Vec<u64> = all.iter().map(|place| place.boot).collect();
    boots.dedup();
    let known = boots.len().saturating_sub(1);
    let back = usize::try_from(question.boots_back).unwrap_or(usize::MAX);
    let boot = known.checked_sub(back).and_then(|number| boots.get(number).copied());
    let boot = boot.ok_or(SearchError::NoSuchBoot { asked: question.boots_back, known })?;

    let mut page = Page::default();
    let mut room = ROOM;
    let most = question.last.unwrap_or(MOST_LINES).min(MOST_LINES);
    'parts: for place in all.iter().rev().filter(|place| place.boot == boot) {
        let content = read_part(folder, *place)?;
        page.boot_id = content.boot_id.unwrap_or(page.boot_id);
        page.unreadable += content.unreadable;
        for line in content.lines.into_iter().rev() {
            if question.after.is_some_and(|after| line.index <= after) {
                break 'parts;
            }
            if !matches(question, &line) {
                continue;
            }
            let left = room.checked_sub(size(&line));
            if page.lines.len() == most || left.is_none() {
                page.more = true;
                break 'parts;
            }
            room = left.unwrap_or(0);
            page.lines.push(line);
        }
    }
    page.lines.reverse();
    Ok(page)
}

fn matches(question: &Question, line: &Kept) -> bool {
    question.before.is_none_or(|before| line.index < before)
        && question.unit.as_ref().is_none_or(|unit| line.unit == *unit)
        && question.priority.is_none_or(|priority| line.priority <= priority)
        && question.since_ms.is_none_or(|since| line.wall_ms >= since)
}

/// What a line takes in an answer, at most: quotes double, and the fields have names.
fn size(line: &Kept) -> usize {
    2 * line.text.len() + line.unit.len() + 220
}

#[cfg(test)]
mod tests {
    use aios_wire::logs::Priority;

    use super::*;
    use crate::book::{Book, Clocks, Draft};

    const WALL: u64 = 1_795_257_000_000;

    fn lines(said: &[(&str, Priority, &str)]) -> Vec<Draft> {
        let draft = |(at, (unit, priority, text)): (usize, &(&str, Priority, &str))| {
            let nth = said[..=at].iter().filter(|(other, ..)| other == unit).count() as u64;
            let (number, unit, text) = (at as u64 + 1, (*unit).to_owned(), (*text).to_owned());
            Draft { number: Some(number), nth, at_ms: number, unit, priority: *priority, text }
        };
        said.iter().enumerate().map(draft).collect()
    }

    fn texts(folder: &Path, question: &Question) -> Vec<String> {
        search(folder, question).expect("answered").lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn a_question_narrows_by_unit_priority_time_and_boot() {
        let folder = tempfile::tempdir().expect("a folder");
        let clocks = |up_ms| Clocks { up_ms, wall_ms: WALL + up_ms };
        let mut book = Book::open(folder.path(), "one").expect("opened");
        book.append(lines(&[("a", Priority::Info, "old")]), clocks(5)).expect("kept");
        let mut book = Book::open(folder.path(), "two").expect("opened");
        let said = [
            ("a", Priority::Info, "a 1"),
            ("b", Priority::Err, "b 2"),
            ("a", Priority::Warning, "a 3"),
            ("kernel", Priority::Debug, "k 4"),
        ];
        book.append(lines(&said), clocks(9)).expect("kept");
        let ask = |question: Question| texts(folder.path(), &question);
        let default = Question::default;
        assert_eq!(ask(default()), ["a 1", "b 2", "a 3", "k 4"]);
        assert_eq!(ask(Question { unit: Some("a".into()), ..default() }), ["a 1", "a 3"]);
        assert_eq!(ask(Question { priority: Some(Priority::Warning), ..default() }), ["b 2", "a 3"]);
        assert_eq!(ask(Question { since_ms: Some(WALL + 3), ..default() }), ["a 3", "k 4"]);
        assert_eq!(ask(Question { last: Some(1), ..default() }), ["k 4"]);
        assert_eq!(ask(Question { after: Some(1), before: Some(4), ..default() }), ["b 2", "a 3"]);
        assert_eq!(ask(Question { boots_back: 1, ..default() }), ["old"]);
        let error = search(folder.path(), &Question { boots_back: 2, ..default() }).expect_err("no such boot");
        assert_eq!(error.to_string(), "boot -2 is not on record; there are 1 before the running one");
        assert_eq!(search(folder.path(), &default()).expect("answered").boot_id, "two");
    }

    #[test]
    fn pages_put_together_are_the_whole_and_each_is_a_message() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut book = Book::open(folder.path(), "one").expect("opened");
        let text = "\"quoted\" ".repeat(100);
        for number in 1..=1500 {
            let unit = "a".to_owned();
            let draft = Draft {
                number: Some(number),
                nth: number,
                at_ms: 0,
                unit,
                priority: Priority::Info,
                text: text.clone(),
            };
            book.append([draft], Clocks { up_ms: 0, wall_ms: 0 }).expect("kept");
        }
        let mut seen = Vec::new();
        let mut question = Question::default();
        loop {
            let page = search(folder.path(), &question).expect("answered");
            assert!(serde_json::to_string(&page).expect("an answer").len() <= MESSAGE_LIMIT);
            question.before = page.lines.first().map(|line| line.index);
            seen.splice(0..0, page.lines.iter().map(|line| line.index));
            if !page.more {
                break;
            }
        }
        let whole: Vec<u64> = (seen[0]..=1500).collect();
        assert_eq!(seen, whole);
        assert!(whole.len() > 500, "{} lines are kept", whole.len());
    }
}
