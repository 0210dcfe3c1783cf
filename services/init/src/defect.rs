//! What is left of PID 1 after a defect in itself: it reaps, feeds the watchdog and answers a few words on the consoles.
//!
//! Supervision is over: nothing is started or restarted any more. A start on trial ends at once, so that the release
//! before it comes back. Any other machine goes on serving until a person restarts it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::time::Duration;

use aios_wire::init::Afterwards;

use crate::terminals::{self, say_everywhere};
use crate::{cgroups, efi, power, watchdog};

const PAUSE: Duration = Duration::from_millis(100);
/// A word is at most so long.
const LINE: usize = 64;
const HELP: &str = "words: status, reboot, poweroff, recovery";

/// Goes on for ever. `defect` is what happened.
pub(crate) fn live_on(defect: &str) -> ! {
    say_everywhere(&format!("init: defect: {defect}"));
    if efi::on_trial() {
        say_everywhere("init: this release is on trial and gives up");
        power::end(Afterwards::Reboot);
    }
    // Whoever reads a terminal beside this loop would take half of what is typed.
    cgroups::clear_terminals();
    say_everywhere(&format!("init: supervision has ended, services go on alone; {HELP}"));
    let terminals = terminals::find();
    serve(defect, terminals.iter().filter_map(|terminal| terminal.open_for(0).ok().map(Seat::new)).collect())
}

fn serve(defect: &str, mut seats: Vec<Seat>) -> ! {
    loop {
        power::reap();
        watchdog::feed();
        for seat in &mut seats {
            for word in seat.words() {
                match word.as_str() {
                    "reboot" => power::end(Afterwards::Reboot),
                    "poweroff" => power::end(Afterwards::PowerOff),
                    "recovery" => power::end(Afterwards::Recovery),
                    "status" => seat.say(&format!("defect: {defect}")),
                    _ => seat.say(HELP),
                }
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// A terminal that is read without waiting.
struct Seat {
    terminal: File,
    line: Vec<u8>,
}

impl Seat {
    fn new(terminal: OwnedFd) -> Self {
        // One that cannot be read without waiting would stop the loop; it is then not read at all.
        let _ = rustix::fs::fcntl_setfl(&terminal, rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NONBLOCK);
        Self { terminal: terminal.into(), line: Vec::new() }
    }

    /// The complete lines that were typed since the last look.
    fn words(&mut self) -> Vec<String> {
        let mut bytes = [0; LINE];
        let length = self.terminal.read(&mut bytes).unwrap_or(0);
        let mut words = Vec::new();
        for byte in &bytes[..length] {
            match byte {
                b'\n' | b'\r' => {
                    words.push(String::from_utf8_lossy(&self.line).trim().to_owned());
                    self.line.clear();
                }
                _ if self.line.len() < LINE => self.line.push(*byte),
                _ => {}
            }
        }
        words
    }

    fn say(&mut self, line: &str) {
        let _ = self.terminal.write_all(format!("{line}\r\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn words_are_read_whole_and_nobody_is_waited_for() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let mut seat = Seat::new(ours.into());
        assert!(seat.words().is_empty());
        theirs.write_all(b"rebo").expect("sent");
        assert!(seat.words().is_empty());
        theirs.write_all(b"ot\r\nsta").expect("sent");
        assert_eq!(seat.words(), ["reboot", ""]);
        theirs.write_all(&[b'x'; 3 * LINE]).expect("sent");
        theirs.write_all(b"\n").expect("sent");
        let word: Vec<String> = (0..4).flat_map(|_| seat.words()).collect();
        assert_eq!((word.len(), word[0].len()), (1, LINE));
        seat.say("defect");
        let mut said = [0; 8];
        theirs.read_exact(&mut said).expect("said");
        assert_eq!(&said, b"defect\r\n");
    }

    /// Process 1 of a pid namespace, with a defect. Started by the test below.
    #[test]
    #[ignore = "never ends; another test runs it"]
    fn process_one_with_a_defect() {
        assert_eq!(std::process::id(), 1, "not for this namespace");
        // Nobody's terminals: this is not their machine's PID 1.
        std::panic::set_hook(Box::new(|defect| serve(&defect.to_string(), Vec::new())));
        for _ in 0..50 {
            let orphan = std::process::Command::new("/bin/sh").args(["-c", "(sleep 1 &)"]).status();
            orphan.expect("it starts");
        }
        eprintln!("the defect comes now");
        panic!("a defect for a test");
    }

    /// In a namespace, where PID 1's place can be taken without a machine. Needs root.
    #[test]
    fn after_a_defect_process_one_lives_on_and_reaps() {
        use std::io::{BufRead as _, BufReader};
        use std::process::{Command, Stdio};
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: a pid namespace needs root");
            return;
        }
        let this = std::env::current_exe().expect("this program");
        let inner = ["--exact", "defect::tests::process_one_with_a_defect", "--ignored", "--nocapture"];
        let mut outer = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child"])
            .arg(this)
            .args(inner)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a namespace");
        let mut lines = BufReader::new(outer.stderr.take().expect("a pipe")).lines();
        let told = lines.by_ref().map_while(Result::ok).any(|line| line.contains("the defect comes now"));
        assert!(told, "it ended before its defect");
        let one = children(outer.id()).first().map(|(pid, _)| *pid).expect("it lives");
        let waiting = || children(one).len();
        let begin = std::time::Instant::now();
        while waiting() > 0 && begin.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(waiting(), 0, "its orphans are gone, and no zombies of them are left");
        assert_eq!(children(outer.id()).first().map(|(_, state)| *state), Some('S'), "it lives");
        outer.kill().expect("ended");
        outer.wait().expect("ended");
    }

    /// Children of a process with their states.
    fn children(of: u32) -> Vec<(u32, char)> {
        let stats = std::fs::read_dir("/proc").expect("there").flatten();
        let texts = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        texts
            .filter_map(|stat| {
                let (pid, rest) = stat.split_once(' ')?;
                let mut fields = rest.rsplit_once(") ")?.1.split(' ');
                let state = fields.next()?.chars().next()?;
                (fields.next()? == of.to_string()).then_some((pid.parse().ok()?, state))
            })
            .collect()
    }
}
