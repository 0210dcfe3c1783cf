//! The console on a real terminal: what is typed, edited and given up is what runs.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

const PATIENCE: Duration = Duration::from_secs(30);

/// A person at a terminal in which the console runs.
struct Person {
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
    console: Child,
}

impl Person {
    fn sits_down() -> Self {
        let own = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&own).expect("ours");
        unlockpt(&own).expect("unlocked");
        let name = ptsname(&own, Vec::new()).expect("its name");
        let terminal =
            File::options().read(true).write(true).open(name.to_str().expect("a path")).expect("its other end");
        let other = || terminal.try_clone().expect("a second descriptor");
        let console = Command::new(env!("CARGO_BIN_EXE_console"))
            .stdin(other())
            .stdout(other())
            .stderr(other())
            .spawn()
            .expect("the console starts");
        let keyboard = File::from(own);
        let mut output = keyboard.try_clone().expect("a second descriptor");
        let (said, screen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            // A terminal whose other end is closed is an error and not an end.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                if said.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut person = Self { keyboard, screen, seen: String::new(), console };
        person.waits_for("aios> ");
        person
    }

    fn types(&mut self, keys: &str) -> &mut Self {
        self.keyboard.write_all(keys.as_bytes()).expect("typed");
        self
    }

    /// Waits until the screen has shown this, and returns what came before it.
    fn waits_for(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let left = until.saturating_duration_since(Instant::now());
            let bytes = self.screen.recv_timeout(left).unwrap_or_else(|_| panic!("no '{text}' in {:?}", self.seen));
            self.seen += &String::from_utf8_lossy(&bytes);
        }
    }

    /// The console says which character of the line opens a quote: so the line that it has is known.
    fn sees_an_open_quote_at(&mut self, place: usize) {
        self.waits_for(&format!("the quote ' at character {place} is not closed"));
        self.waits_for("\x1b]133;D;2\x1b\\");
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.console.kill();
        let _ = self.console.wait();
    }
}

#[test]
fn a_line_is_edited_before_it_runs() {
    let mut person = Person::sits_down();
    person.types("status '\r").sees_an_open_quote_at(8);
    person.types("abc '").types("\x01\x1b[3~\x1b[3~\x05 x\r").sees_an_open_quote_at(3);
    person.types("one two 'three\x17\x17'\r").sees_an_open_quote_at(5);
}

#[test]
fn the_line_before_comes_back() {
    let mut person = Person::sits_down();
    person.types("ab '\r").sees_an_open_quote_at(4);
    person.types("\x1b[A\x01x\r").sees_an_open_quote_at(5);
}

#[test]
fn ctrl_c_gives_up_the_line_and_nothing_runs() {
    let mut person = Person::sits_down();
    person.types("poweroff\x03");
    let shown = person.waits_for("^C");
    assert!(shown.contains("poweroff"), "{shown:?}");
    let after = person.waits_for("aios> ");
    assert!(!after.contains("133;C"), "no command began: {after:?}");
    person.types("exit\r").waits_for("\x1b]133;D;0\x1b\\");
    assert!(person.console.wait().expect("it ends").success());
}

#[test]
fn what_is_typed_ahead_is_not_lost() {
    let mut person = Person::sits_down();
    person.types("a '\rbb '\rccc '\r");
    for place in [3, 4, 5] {
        person.sees_an_open_quote_at(place);
    }
}

#[test]
fn ctrl_d_ends_an_empty_line_only() {
    let mut person = Person::sits_down();
    person.types("a '\x04\r").sees_an_open_quote_at(3);
    person.waits_for("aios> ");
    person.types("\x04");
    assert!(person.console.wait().expect("it ends").success());
}
