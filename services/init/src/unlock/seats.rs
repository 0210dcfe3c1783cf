//! Where people may sit: all terminals at once, read without waiting, and the power button.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::time::Duration;

use aios_luks::PASS_PHRASE_LIMIT;
use rustix::fs::OFlags;
use rustix::termios::{LocalModes, OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr};
use zeroize::{Zeroize as _, Zeroizing};

use crate::buttons::{self, Button};
use crate::clock::now_ms;
use crate::{terminals, watchdog};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// Whoever connects to a serial line late is asked again.
const ASK_AGAIN_MS: u64 = 300_000;

/// Whether the terminal shows what is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Typing {
    Shown,
    Hidden,
}

/// What a person did.
pub(super) enum Came {
    /// A line without its end. One that is longer than any pass phrase is cut one byte behind the limit.
    Line(Zeroizing<Vec<u8>>),
    PowerButton,
}

/// All of them.
pub(super) struct Seats {
    seats: Vec<Seat>,
    buttons: Vec<Button>,
}

impl Seats {
    /// Opens the machine's terminals and its power button.
    pub(super) fn open() -> Self {
        let terminals = terminals::find();
        let terminals = terminals.iter().filter_map(|terminal| terminal.open_for(0).ok()).collect();
        Self { buttons: buttons::find(), ..Self::at(terminals) }
    }

    /// These terminals and no button.
    pub(super) fn at(terminals: Vec<OwnedFd>) -> Self {
        Self { seats: terminals.into_iter().map(Seat::new).collect(), buttons: Vec::new() }
    }

    /// Asks on every terminal and waits for the first line on any, however long it takes. What was typed before does not
    /// count.
    pub(super) fn ask(&mut self, question: &str, typing: Typing) -> Came {
        for seat in &mut self.seats {
            seat.make_ready(typing);
        }
        loop {
            self.print(question);
            let until = now_ms() + ASK_AGAIN_MS;
            while now_ms() < until {
                watchdog::feed();
                if self.buttons.iter_mut().any(|button| button.presses() > 0) {
                    return Came::PowerButton;
                }
                if let Some(line) = self.seats.iter_mut().find_map(Seat::line) {
                    self.print("\r\n");
                    return Came::Line(line);
                }
                std::thread::sleep(PAUSE);
            }
            self.print("\r\n");
        }
    }

    /// A line on every terminal.
    pub(super) fn say(&mut self, line: &str) {
        self.print(&format!("{line}\r\n"));
    }

    /// Waits, and feeds the watchdog.
    pub(super) fn pause(&self, ms: u64) {
        let until = now_ms() + ms;
        while now_ms() < until {
            watchdog::feed();
            std::thread::sleep(PAUSE);
        }
    }

    fn print(&mut self, text: &str) {
        for seat in &mut self.seats {
            // One that does not take it at once goes without: it must not keep the others from it.
            let _ = seat.terminal.write_all(text.as_bytes());
        }
    }
}

/// One terminal.
struct Seat {
    terminal: File,
    /// Of a line that is not complete; never moved, because that would leave a copy behind.
    typed: Zeroizing<Vec<u8>>,
}

impl Seat {
    fn new(terminal: OwnedFd) -> Self {
        // One that cannot be read without waiting would keep the others waiting; then it is not read at all.
        let _ = rustix::fs::fcntl_setfl(&terminal, OFlags::RDWR | OFlags::NONBLOCK);
        Self { terminal: terminal.into(), typed: Zeroizing::new(Vec::with_capacity(PASS_PHRASE_LIMIT + 1)) }
    }

    fn make_ready(&mut self, typing: Typing) {
        self.typed.zeroize();
        // What is no terminal shows nothing either.
        let Ok(mut state) = tcgetattr(&self.terminal) else { return };
        state.local_modes.set(LocalModes::ECHO, typing == Typing::Shown);
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &state);
        let _ = tcflush(&self.terminal, QueueSelector::IFlush);
    }

    /// The line that was completed since the last look.
    fn line(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new([0; 64]);
        loop {
            let length = self.terminal.read(bytes.as_mut_slice()).ok().filter(|length| *length > 0)?;
            for byte in &bytes[..length] {
                match byte {
                    b'\n' => {
                        let mut line = Zeroizing::new(Vec::with_capacity(PASS_PHRASE_LIMIT + 1));
                        line.extend_from_slice(&self.typed);
                        self.typed.zeroize();
                        if line.last() == Some(&b'\r') {
                            line.pop();
                        }
                        return Some(line);
                    }
                    _ if self.typed.len() <= PASS_PHRASE_LIMIT => self.typed.push(*byte),
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_line_may_come_in_pieces_and_is_never_longer_than_a_pass_phrase() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let mut seat = Seat::new(ours.into());
        assert!(seat.line().is_none());
        theirs.write_all(b"pass phr").expect("sent");
        assert!(seat.line().is_none());
        theirs.write_all(b"ase\r\n").expect("sent");
        assert_eq!(*seat.line().expect("a line"), b"pass phrase");
        theirs.write_all(&[b'x'; 3 * PASS_PHRASE_LIMIT]).expect("sent");
        assert!(seat.line().is_none());
        theirs.write_all(b"\n").expect("sent");
        assert_eq!(seat.line().expect("a line").len(), PASS_PHRASE_LIMIT + 1);
        theirs.write_all(b"gone").expect("sent");
        assert!(seat.line().is_none());
        seat.make_ready(Typing::Hidden);
        theirs.write_all(b"here\n").expect("sent");
        assert_eq!(*seat.line().expect("a line"), b"here");
    }
}
