//! One line from a person: the terminal passes on each key, and the line is drawn here as it changes. Where there is no
//! terminal, lines are taken as they come.

use std::collections::VecDeque;
use std::io::{self, BufRead, IsTerminal, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use unicode_width::UnicodeWidthChar;

use crate::editor::{Editor, Step};
use crate::keys::{Decoder, Key};
use crate::{complete, marks};

const PROMPT: &str = "aios> ";

/// A serial line does not know how wide the terminal at its other end is.
const USUAL_WIDTH: usize = 80;

/// Rings once: nothing goes on from here.
const BELL: &str = "\x07";

/// What came of asking for a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Line(String),
    /// Ctrl-C.
    GivenUp,
    /// The terminal closed, or Ctrl-D on an empty line.
    End,
    /// Nothing was typed for too long.
    Expired,
}

/// Asks for lines, and remembers them for the person.
#[derive(Debug, Default)]
pub(crate) struct Prompt {
    editor: Editor,
    decoder: Decoder,
    /// Typed ahead.
    keys: VecDeque<Key>,
    /// How long it waits for a key; for ever without.
    patience: Option<Duration>,
}

impl Prompt {
    pub(crate) fn new(patience: Option<Duration>) -> Self {
        Self { patience, ..Self::default() }
    }

    pub(crate) fn ask(&mut self) -> io::Result<Asked> {
        if !io::stdin().is_terminal() {
            marks::prompt(PROMPT)?;
            let mut text = String::new();
            return Ok(if io::stdin().lock().read_line(&mut text)? == 0 { Asked::End } else { Asked::Line(text) });
        }
        // Before the prompt: a key that is typed on seeing it is this editor's, not the terminal's.
        let _raw = Raw::begin()?;
        marks::prompt(PROMPT)?;
        loop {
            let Some(key) = self.keys.pop_front() else {
                match typed(&io::stdin(), self.patience) {
                    Ok(Typed::Something) => {}
                    Ok(Typed::Nothing) => {
                        show("\n")?;
                        return Ok(Asked::Expired);
                    }
                    Err(Errno::INTR) => continue,
                    Err(error) => return Err(error.into()),
                }
                let mut bytes = [0; 256];
                match rustix::io::read(io::stdin(), &mut bytes) {
                    Ok(0) => return Ok(Asked::End),
                    Ok(count) => self.keys.extend(self.decoder.keys(&bytes[..count])),
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
                continue;
            };
            match self.editor.press(key) {
                Step::Nothing => show(BELL)?,
                Step::Added(character) => self.added(character)?,
                Step::Changed => self.draw()?,
                Step::ClearScreen => {
                    show("\x1b[H\x1b[2J")?;
                    marks::prompt(PROMPT)?;
                    self.draw()?;
                }
                Step::Complete => self.complete()?,
                Step::Finished(line) => {
                    show("\n")?;
                    return Ok(Asked::Line(line));
                }
                Step::GivenUp => {
                    show("^C\n")?;
                    return Ok(Asked::GivenUp);
                }
                Step::EndOfInput => {
                    show("\n")?;
                    return Ok(Asked::End);
                }
            }
        }
    }

    /// Shows one more character at the end, which is what nearly every key does.
    fn added(&mut self, character: char) -> io::Result<()> {
        let (text, cursor) = self.editor.line();
        if visible(text, cursor, room()).0.start > 0 {
            return self.draw();
        }
        show(character.encode_utf8(&mut [0; 4]))
    }

    fn draw(&self) -> io::Result<()> {
        let (text, cursor) = self.editor.line();
        let (part, column) = visible(text, cursor, room());
        let part: String = text[part].iter().collect();
        show(&format!("\r\x1b[{}C\x1b[K{part}\r\x1b[{}C", PROMPT.len(), PROMPT.len() + column))
    }

    fn complete(&mut self) -> io::Result<()> {
        let Some((word, candidates)) = complete::candidates(&self.editor.before_cursor()) else { return show(BELL) };
        match complete::choose(&word, &candidates) {
            complete::Choice::None => show(BELL),
            complete::Choice::Continue(more) => {
                self.editor.insert(&more);
                self.draw()
            }
            complete::Choice::Several => {
                show(&format!("\n{}", complete::columns(&candidates, room() + PROMPT.len())))?;
                marks::prompt(PROMPT)?;
                self.draw()
            }
        }
    }
}

/// Whether somebody is there.
#[derive(Debug, PartialEq, Eq)]
enum Typed {
    Something,
    Nothing,
}

/// Waits until something can be read, or the other end is gone, which is read as the end.
fn typed(from: &impl AsFd, patience: Option<Duration>) -> Result<Typed, Errno> {
    // A time that is too long for the kernel is for ever.
    let limit = patience.and_then(|patience| Timespec::try_from(patience).ok());
    match poll(&mut [PollFd::new(from, PollFlags::IN)], limit.as_ref())? {
        0 => Ok(Typed::Nothing),
        _ => Ok(Typed::Something),
    }
}

/// Which characters are shown in a row of `room` columns, and in which of its columns the cursor is. It looks at no more than
/// are shown, so a key costs the same however long the line has become.
fn visible(text: &[char], cursor: usize, room: usize) -> (Range<usize>, usize) {
    let (mut start, mut column) = (cursor, 0);
    while start > 0 && column + width(text[start - 1]) < room {
        start -= 1;
        column += width(text[start]);
    }
    let (mut end, mut shown) = (cursor, column);
    while end < text.len() && shown + width(text[end]) < room {
        shown += width(text[end]);
        end += 1;
    }
    (start..end, column)
}

fn width(character: char) -> usize {
    character.width().unwrap_or(0)
}

/// The columns behind the prompt.
fn room() -> usize {
    let columns = tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    let columns = if columns == 0 { USUAL_WIDTH } else { columns };
    columns.saturating_sub(PROMPT.len()).max(8)
}

fn show(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// While this lives, the terminal passes on every key at once and shows none; programs never see it so.
struct Raw(Termios);

impl Raw {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut modes = before.clone();
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
        modes.input_modes -= InputModes::IXON | InputModes::ICRNL | InputModes::INLCR;
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        // Now, and nothing is thrown away: somebody may have typed ahead.
        tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone; then there is nothing to put right.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, cursor: usize, room: usize) -> (String, usize) {
        let text: Vec<char> = text.chars().collect();
        let (part, column) = visible(&text, cursor, room);
        (text[part].iter().collect(), column)
    }

    #[test]
    fn a_long_line_moves_under_the_cursor() {
        assert_eq!(shown("status", 6, 20), ("status".into(), 6));
        assert_eq!(shown("0123456789", 10, 8), ("3456789".into(), 7));
        assert_eq!(shown("0123456789", 2, 8), ("0123456".into(), 2));
    }

    #[test]
    fn what_is_pasted_costs_its_length_and_not_its_square() {
        let text = vec!['x'; 100_000];
        // Looking at the whole line for each of these would take hours.
        let starts = (0..text.len()).map(|cursor| visible(&text, cursor, 74).0.start);
        assert!(starts.enumerate().all(|(cursor, start)| start == cursor.saturating_sub(73)));
    }

    #[test]
    fn a_session_ends_when_nobody_types() {
        let (keys, mut keyboard) = io::pipe().expect("a pipe");
        let patience = Some(Duration::from_millis(20));
        assert_eq!(typed(&keys, patience), Ok(Typed::Nothing));
        keyboard.write_all(b"s").expect("typed");
        assert_eq!(typed(&keys, patience), Ok(Typed::Something));
        assert_eq!(typed(&keys, None), Ok(Typed::Something));
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(shown("日本", 1, 20), ("日本".into(), 2));
        assert_eq!(shown("日本日本", 4, 6).1, 4);
    }
}
