//! A line that is being written: text, cursor, the lines before it. Pure: it neither reads nor draws.

use crate::keys::Key;

/// How many lines are remembered; they are gone with the session.
const REMEMBERED: usize = 500;

/// The longest line, in characters.
const LONGEST: usize = 4096;

/// What a key asks of whoever draws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The line is as it was.
    Nothing,
    /// This was added at its end; the rest is as it was.
    Added(char),
    /// Draw it anew.
    Changed,
    /// Draw it anew on an empty screen.
    ClearScreen,
    /// Somebody wants to know how the word before the cursor goes on.
    Complete,
    /// It is finished.
    Finished(String),
    /// It is given up.
    GivenUp,
    /// There will be no more lines.
    EndOfInput,
}

/// The line and the ones before it.
#[derive(Debug, Default)]
pub(crate) struct Editor {
    text: Vec<char>,
    cursor: usize,
    earlier: Vec<Vec<char>>,
    /// Where in `earlier` we are, and what was being written before we went there.
    visiting: Option<(usize, Vec<char>)>,
    cut: Vec<char>,
}

impl Editor {
    /// The text before the cursor.
    pub(crate) fn before_cursor(&self) -> String {
        self.text[..self.cursor].iter().collect()
    }

    /// The characters and the place of the cursor among them.
    pub(crate) fn line(&self) -> (&[char], usize) {
        (&self.text, self.cursor)
    }

    /// Adds text at the cursor, as far as there is room.
    pub(crate) fn insert(&mut self, text: &str) {
        for character in text.chars().take(LONGEST - self.text.len()) {
            self.text.insert(self.cursor, character);
            self.cursor += 1;
        }
    }

    pub(crate) fn press(&mut self, key: Key) -> Step {
        match key {
            Key::Character(_) if self.text.len() >= LONGEST => Step::Nothing,
            Key::Character(character) => {
                self.text.insert(self.cursor, character);
                self.cursor += 1;
                if self.cursor == self.text.len() { Step::Added(character) } else { Step::Changed }
            }
            Key::Enter => Step::Finished(self.finish()),
            Key::Tab => Step::Complete,
            Key::Cancel => {
                self.clear();
                Step::GivenUp
            }
            Key::EndOrDelete if self.text.is_empty() => Step::EndOfInput,
            Key::EndOrDelete | Key::Delete => self.remove(self.cursor, self.cursor + 1),
            Key::Backspace => self.remove(self.cursor.saturating_sub(1), self.cursor),
            Key::Left => self.go(self.cursor.saturating_sub(1)),
            Key::Right => self.go(self.cursor + 1),
            Key::WordLeft => self.go(self.word_start()),
            Key::WordRight => self.go(self.word_end()),
            Key::Home => self.go(0),
            Key::End => self.go(self.text.len()),
            Key::CutToEnd => self.cut(self.cursor, self.text.len()),
            Key::CutToStart => self.cut(0, self.cursor),
            Key::CutWord => self.cut(self.word_start(), self.cursor),
            Key::Paste => {
                let cut: String = self.cut.iter().collect();
                self.insert(&cut);
                Step::Changed
            }
            Key::Earlier => self.visit(self.visiting.as_ref().map_or(self.earlier.len(), |(at, _)| *at).checked_sub(1)),
            Key::Later => self.visit(self.visiting.as_ref().map(|(at, _)| at + 1)),
            Key::ClearScreen => Step::ClearScreen,
        }
    }

    fn finish(&mut self) -> String {
        let line: String = self.text.iter().collect();
        if !line.trim().is_empty() && self.earlier.last() != Some(&self.text) {
            self.earlier.push(self.text.clone());
            if self.earlier.len() > REMEMBERED {
                self.earlier.remove(0);
            }
        }
        self.clear();
        line
    }

    fn clear(&mut self) {
        self.text.clear();
        self.cursor = 0;
        self.visiting = None;
    }

    fn go(&mut self, to: usize) -> Step {
        let to = to.min(self.text.len());
        if to == self.cursor {
            return Step::Nothing;
        }
        self.cursor = to;
        Step::Changed
    }

    fn remove(&mut self, from: usize, to: usize) -> Step {
        let to = to.min(self.text.len());
        if from >= to {
            return Step::Nothing;
        }
        self.text.drain(from..to);
        self.cursor = from;
        Step::Changed
    }

    /// Removes, and keeps what was removed for [`Key::Paste`].
    fn cut(&mut self, from: usize, to: usize) -> Step {
        if from < to {
            self.cut = self.text[from..to].to_vec();
        }
        self.remove(from, to)
    }

    /// Goes to the line of this number; behind the last is what was being written.
    fn visit(&mut self, number: Option<usize>) -> Step {
        let Some(number) = number else { return Step::Nothing };
        let (_, writing) = self.visiting.take().unwrap_or_else(|| (number, self.text.clone()));
        match self.earlier.get(number) {
            Some(line) => {
                self.text.clone_from(line);
                self.visiting = Some((number, writing));
            }
            None => self.text = writing,
        }
        self.cursor = self.text.len();
        Step::Changed
    }

    fn word_start(&self) -> usize {
        let before = &self.text[..self.cursor];
        let end = before.iter().rposition(|character| !character.is_whitespace()).map_or(0, |last| last + 1);
        before[..end].iter().rposition(|character| character.is_whitespace()).map_or(0, |space| space + 1)
    }

    fn word_end(&self) -> usize {
        let after = &self.text[self.cursor..];
        let start = after.iter().position(|character| !character.is_whitespace()).unwrap_or(after.len());
        let length = after[start..].iter().position(|character| character.is_whitespace());
        self.cursor + length.map_or(after.len(), |length| start + length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Key; 17] = [
        Key::Backspace,
        Key::Delete,
        Key::EndOrDelete,
        Key::Left,
        Key::Right,
        Key::WordLeft,
        Key::WordRight,
        Key::Home,
        Key::End,
        Key::Earlier,
        Key::Later,
        Key::CutToEnd,
        Key::CutToStart,
        Key::CutWord,
        Key::Paste,
        Key::Cancel,
        Key::Enter,
    ];

    fn typed(editor: &mut Editor, text: &str) {
        for character in text.chars() {
            editor.press(Key::Character(character));
        }
    }

    fn text(editor: &Editor) -> String {
        editor.line().0.iter().collect()
    }

    #[test]
    fn a_word_in_the_middle_is_replaced() {
        let mut editor = Editor::default();
        typed(&mut editor, "service restart netwrk --json");
        editor.press(Key::WordLeft);
        editor.press(Key::Left);
        editor.press(Key::CutWord);
        typed(&mut editor, "network");
        assert_eq!(editor.press(Key::Enter), Step::Finished("service restart network --json".into()));
    }

    #[test]
    fn what_was_cut_comes_back() {
        let mut editor = Editor::default();
        typed(&mut editor, "one two");
        editor.press(Key::CutWord);
        editor.press(Key::Home);
        editor.press(Key::Paste);
        assert_eq!(text(&editor), "twoone ");
    }

    #[test]
    fn earlier_lines_are_visited_and_what_was_being_written_waits() {
        let mut editor = Editor::default();
        for line in ["status", "status", " ", "boot"] {
            typed(&mut editor, line);
            editor.press(Key::Enter);
        }
        typed(&mut editor, "evid");
        let mut seen = Vec::new();
        for key in [Key::Earlier, Key::Earlier, Key::Earlier, Key::Later, Key::Later, Key::Later] {
            editor.press(key);
            seen.push(text(&editor));
        }
        assert_eq!(seen, ["boot", "status", "status", "boot", "evid", "evid"], "a line said twice is kept once");
    }

    #[test]
    fn only_an_empty_line_ends_the_input() {
        let mut editor = Editor::default();
        typed(&mut editor, "ab");
        editor.press(Key::Home);
        assert_eq!(editor.press(Key::EndOrDelete), Step::Changed);
        editor.press(Key::EndOrDelete);
        assert_eq!(editor.press(Key::EndOrDelete), Step::EndOfInput);
    }

    proptest! {
        #[test]
        fn the_cursor_never_leaves_the_line(
            keys in prop::collection::vec(
                prop_oneof![any::<char>().prop_map(Key::Character), prop::sample::select(&ALL[..])], 0..80)
        ) {
            let mut editor = Editor::default();
            for key in keys {
                editor.press(key);
                let (text, cursor) = editor.line();
                prop_assert!(cursor <= text.len() && text.len() <= LONGEST);
            }
        }
    }
}
