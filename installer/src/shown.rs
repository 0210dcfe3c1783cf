//! The recovery key on the consoles, until somebody says that it is written down.
//!
//! The key is shown once, and the machine ends after that. So it waits for a person who types the key's last letters, but
//! not for ever: nobody may sit there.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

/// The screen's first terminal and the first serial port.
const CONSOLES: [&str; 2] = ["/dev/tty1", "/dev/ttyS0"];
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(100);
/// No line that counts is longer.
const LINE: usize = 64;

/// Shows the key and waits.
pub fn until_written_down(key: &str) {
    let last = key.rsplit('-').next().unwrap_or(key);
    println!("the recovery key of the data, which opens it when the pass phrase is lost:");
    println!("    {key}");
    println!("write it down: it is shown this once. Then type its last {} letters here.", last.len());
    let open = |path: &&str| {
        let flags = (OFlags::NOCTTY | OFlags::NONBLOCK).bits().cast_signed();
        File::options().read(true).custom_flags(flags).open(path).ok()
    };
    let mut consoles: Vec<(File, Line)> =
        CONSOLES.iter().filter_map(|path| Some((open(path)?, Line::default()))).collect();
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        for (console, line) in &mut consoles {
            let mut bytes = [0; LINE];
            let length = console.read(&mut bytes).unwrap_or(0);
            for typed in line.take(&bytes[..length]) {
                if typed.eq_ignore_ascii_case(last) {
                    return;
                }
                println!("those are not its last {} letters", last.len());
            }
        }
        std::thread::sleep(PAUSE);
    }
    println!("nobody typed them within {} s; the machine goes on", PATIENCE.as_secs());
}

/// A line that is being typed.
#[derive(Debug, Default)]
struct Line(Vec<u8>);

impl Line {
    /// The lines that these bytes complete.
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => {
                    let line = String::from_utf8_lossy(&self.0).trim().to_owned();
                    self.0.clear();
                    lines.extend((!line.is_empty()).then_some(line));
                }
                _ if self.0.len() < LINE => self.0.push(*byte),
                _ => {}
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_whole_and_short() {
        let mut line = Line::default();
        assert!(line.take(b"ab").is_empty());
        assert_eq!(line.take(b"cde\r\n\nfgh\n"), ["abcde", "fgh"]);
        assert!(line.take(&[b'x'; 3 * LINE]).is_empty());
        assert_eq!(line.take(b"\n")[0].len(), LINE);
    }
}
