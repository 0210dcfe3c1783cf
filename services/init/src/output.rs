//! What a service prints: one pipe for both of its streams, the last lines kept.
//!
//! Reading never waits, and what is printed faster than it is read makes the service wait, not PID 1.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};

const LINES: usize = 200;
const LINE_LIMIT: usize = 1000;
/// Read in one go; more waits for the next turn of the loop, so that no service can hold it up.
const TURN: usize = 16 * 1024;

/// The reading end and what came out of it.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pipe: Option<File>,
    partial: Vec<u8>,
    lines: VecDeque<String>,
    /// How many of the last lines are from the present start.
    fresh: usize,
    /// How many of the last lines have not been taken by [`Self::take_new`].
    untaken: usize,
}

impl Output {
    /// A new pipe for the next start; returns the service's end. Lines of earlier starts stay.
    pub(crate) fn open(&mut self) -> std::io::Result<OwnedFd> {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        // Only our end: the service's own writes should wait for room.
        let flags = rustix::fs::fcntl_getfl(&ours)?;
        rustix::fs::fcntl_setfl(&ours, flags | rustix::fs::OFlags::NONBLOCK)?;
        self.pipe = Some(ours.into());
        self.partial.clear();
        self.fresh = 0;
        Ok(theirs)
    }

    /// What to wait for, while the other end is open.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Takes what is there.
    pub(crate) fn read(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut bytes = vec![0; TURN];
        match pipe.read(&mut bytes) {
            Ok(0) => self.pipe = None,
            Ok(length) => self.take(&bytes[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.pipe = None,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.line(),
                _ if self.partial.len() < LINE_LIMIT => self.partial.push(*byte),
                _ => {}
            }
        }
    }

    fn line(&mut self) {
        let text = String::from_utf8_lossy(&self.partial);
        // A service's words are shown on consoles: they must not be able to act on a terminal.
        let text = text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
        self.partial.clear();
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(text);
        self.fresh = (self.fresh + 1).min(LINES);
        self.untaken = (self.untaken + 1).min(LINES);
    }

    /// The last lines since the present start, at most `count`.
    pub(crate) fn last(&self, count: usize) -> impl Iterator<Item = &str> {
        self.newest(count.min(self.fresh))
    }

    /// All lines that are kept, of earlier starts too.
    pub(crate) fn all(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }

    /// The lines since the last call.
    pub(crate) fn take_new(&mut self) -> impl Iterator<Item = &str> {
        let count = std::mem::take(&mut self.untaken);
        self.newest(count)
    }

    fn newest(&self, count: usize) -> impl Iterator<Item = &str> {
        self.lines.iter().skip(self.lines.len().saturating_sub(count)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn lines_are_kept_harmless_and_bounded() {
        let mut output = Output::default();
        let theirs = output.open().expect("a pipe");
        let mut theirs = File::from(theirs);
        output.read();
        assert_eq!(output.last(5).count(), 0);
        theirs.write_all(b"one\n\x1b[31mtwo\nthr").expect("room");
        output.read();
        assert_eq!(output.last(5).collect::<Vec<_>>(), ["one", "\u{fffd}[31mtwo"]);
        theirs.write_all(b"ee\n").expect("room");
        theirs.write_all(&vec![b'x'; 3 * LINE_LIMIT]).expect("room");
        theirs.write_all(b"\n").expect("room");
        drop(theirs);
        output.read();
        assert_eq!(output.last(2).next(), Some("three"));
        assert_eq!(output.last(1).map(str::len).next(), Some(LINE_LIMIT));
        output.read();
        assert!(output.fd().is_none());
    }
}
