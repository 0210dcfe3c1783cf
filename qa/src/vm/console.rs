//! A machine's serial console: reads what it says, types lines, knows when a command ends and how.
//!
//! The console marks prompts, outputs and ends (see [`super::marks`]), so [`Console::run`] needs no guessing. Without
//! marks (firmware, loader, recovery's prompts) there is [`Console::wait_for`]. Everything is kept in a log file.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::VmError;
use super::marks::{Mark, Piece, Splitter, plain};

/// How much of the console an error message shows.
const TAIL: usize = 1800;

/// What a command on the console gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit status.
    pub status: u8,
    /// What it wrote, without control sequences.
    pub text: String,
}

/// The console of one machine.
#[derive(Debug)]
pub struct Console {
    input: ChildStdin,
    bytes: Receiver<Vec<u8>>,
    splitter: Splitter,
    /// Everything the machine said, as people read it.
    said: Vec<u8>,
    /// Where [`Console::wait_for`] goes on looking.
    looked: usize,
    marks: Vec<(Mark, usize)>,
    /// When the machine as a whole has run long enough.
    end: Instant,
    echo: Echo,
}

/// Whether what the machine says is also shown on this terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// As it comes.
    Shown,
    /// Only in the log.
    Hidden,
}

impl Console {
    /// Takes over a console; `log` receives every byte.
    pub fn new(pipes: (ChildStdin, ChildStdout), log: &Path, end: Instant, echo: Echo) -> Result<Self, VmError> {
        let (input, mut output) = pipes;
        let mut log = File::options().create(true).append(true).open(log).map_err(VmError::file("write", log))?;
        let (sender, bytes) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 16384];
            // The pipe ends with the machine; nobody waits for this thread.
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                // A full disk under the log must not end the test; the bytes still arrive below.
                let _ = log.write_all(&buffer[..length]);
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        let splitter = Splitter::default();
        Ok(Self { input, bytes, splitter, said: Vec::new(), looked: 0, marks: Vec::new(), end, echo })
    }

    /// Types a line at the next prompt and waits for the command's end.
    pub fn run(&mut self, line: &str, limit: Duration) -> Result<Output, VmError> {
        self.start(line, limit)?;
        self.finish(line, limit)
    }

    /// Types a line at the next prompt and returns once the command runs.
    pub fn start(&mut self, line: &str, limit: Duration) -> Result<(), VmError> {
        self.prompt(limit)?;
        self.marks.clear();
        self.type_line(line)?;
        let what = format!("'{line}' to start");
        self.until(&what, limit, |console| console.has_mark(Mark::Output))?;
        Ok(())
    }

    /// Waits for the end of the command that was started.
    pub fn finish(&mut self, line: &str, limit: Duration) -> Result<Output, VmError> {
        let begin = self.has_mark(Mark::Output).unwrap_or(self.said.len());
        let what = format!("the end of '{line}'");
        let (status, end) = self.until(&what, limit, Self::ended)?;
        self.looked = self.looked.max(end);
        Ok(Output { status, text: plain(&self.said[begin..end]) })
    }

    /// Waits until the console reads input.
    pub fn prompt(&mut self, limit: Duration) -> Result<(), VmError> {
        self.until("a prompt", limit, |console| console.has_mark(Mark::Input))?;
        Ok(())
    }

    /// Waits for a text that has not been waited for before.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<(), VmError> {
        self.wait_for_any(&[text], limit)?;
        Ok(())
    }

    /// Waits for the first of several texts and says which came.
    pub fn wait_for_any(&mut self, texts: &[&str], limit: Duration) -> Result<usize, VmError> {
        let what = texts.iter().map(|text| format!("'{text}'")).collect::<Vec<_>>().join(" or ");
        self.until(&what, limit, |console| {
            let found = texts.iter().enumerate().filter_map(|(which, text)| {
                let at = find(&console.said[console.looked..], text.as_bytes())?;
                Some((at + text.len(), which))
            });
            let (length, which) = found.min()?;
            console.looked += length;
            Some(which)
        })
    }

    /// Where in what was said the console is now, for [`Console::wait_for_from`].
    #[must_use]
    pub fn position(&self) -> usize {
        self.said.len()
    }

    /// Waits for a text that may have come since `position`.
    pub fn wait_for_from(&mut self, position: usize, text: &str, limit: Duration) -> Result<(), VmError> {
        let what = format!("'{text}'");
        self.until(&what, limit, |console| find(&console.said[position..], text.as_bytes()))?;
        Ok(())
    }

    /// Answers the prompts of a login.
    pub fn log_in(&mut self, name: &str, pass_phrase: &str, limit: Duration) -> Result<(), VmError> {
        self.wait_for("login: ", limit)?;
        self.forget_marks();
        self.type_line(name)?;
        self.wait_for("pass phrase: ", limit)?;
        self.forget_marks();
        self.type_line(pass_phrase)?;
        self.prompt(limit)
    }

    /// Types a line, whoever reads it.
    pub fn type_line(&mut self, line: &str) -> Result<(), VmError> {
        self.type_bytes(line.as_bytes())?;
        self.type_bytes(b"\r")
    }

    /// Types bytes, such as a key's sequence.
    pub fn type_bytes(&mut self, bytes: &[u8]) -> Result<(), VmError> {
        let written = self.input.write_all(bytes).and_then(|()| self.input.flush());
        written.map_err(|_| VmError::Ended { what: "room for input".into(), tail: self.tail() })
    }

    /// Forgets prompts that were seen: the machine starts again, or another program reads now.
    pub fn forget_marks(&mut self) {
        self.marks.clear();
    }

    /// Reads until the machine ends.
    pub fn wait_for_end(&mut self, limit: Duration) -> Result<(), VmError> {
        match self.until("the machine's end", limit, |_| None::<()>) {
            Err(VmError::Ended { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Everything that the machine has said so far.
    #[must_use]
    pub fn said(&self) -> String {
        plain(&self.said)
    }

    /// Up to where texts were waited for.
    #[must_use]
    pub fn looked(&self) -> usize {
        self.looked
    }

    /// What was said between two places.
    #[must_use]
    pub fn said_between(&self, begin: usize, end: usize) -> String {
        plain(&self.said[begin..end])
    }

    /// Keeps reading for this long, for what must not come.
    pub fn listen(&mut self, limit: Duration) -> Result<(), VmError> {
        match self.until("nothing", limit, |_| None::<()>) {
            Err(VmError::Late { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn has_mark(&self, wanted: Mark) -> Option<usize> {
        self.marks.iter().rev().find(|(mark, _)| *mark == wanted).map(|(_, at)| *at)
    }

    fn ended(&mut self) -> Option<(u8, usize)> {
        self.marks.iter().find_map(|(mark, at)| match mark {
            Mark::Ended(status) => Some((*status, *at)),
            _ => None,
        })
    }

    fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut done: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T, VmError> {
        let begin = Instant::now();
        let end = self.end.min(begin + limit);
        loop {
            if let Some(value) = done(self) {
                return Ok(value);
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.bytes.recv_timeout(left) {
                // A machine that never stops talking is late as well.
                Ok(bytes) if !left.is_zero() => self.take(&bytes),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {
                    let seconds = begin.elapsed().as_secs();
                    return Err(VmError::Late { what: what.to_owned(), seconds, tail: self.tail() });
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(VmError::Ended { what: what.to_owned(), tail: self.tail() });
                }
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        for piece in self.splitter.feed(bytes) {
            match piece {
                Piece::Text(text) => {
                    if self.echo == Echo::Shown {
                        // A closed terminal must not end the machine in the middle of a write.
                        let _ = std::io::stdout().write_all(&text).and_then(|()| std::io::stdout().flush());
                    }
                    self.said.extend_from_slice(&text);
                }
                Piece::Mark(mark) => self.marks.push((mark, self.said.len())),
            }
        }
    }

    fn tail(&self) -> String {
        let text = plain(&self.said);
        let skip = text.len().saturating_sub(TAIL);
        let begin = (skip..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        text[begin..].trim().lines().map(|line| format!("  | {line}\n")).collect()
    }
}

fn find(within: &[u8], wanted: &[u8]) -> Option<usize> {
    if wanted.is_empty() {
        return Some(0);
    }
    within.windows(wanted.len()).position(|window| window == wanted)
}
