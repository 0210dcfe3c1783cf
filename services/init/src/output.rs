//! What units print: one pipe for both streams of each, read into [`Lines`].
//!
//! Reading never waits, and every pipe is emptied in each turn of the loop, so that a unit waits for room no longer than
//! a turn takes. What a unit says beyond its allowance is read all the same and only counted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aios_ids::UnitName;
use aios_wire::logs::{INIT, Line, Priority};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::lines::{Count, LINE_LIMIT, Lines, PAGE, take_room};

/// Read in one go, as much as a pipe holds; more waits for the next turn, so that no unit can hold the loop up.
const TURN: usize = 64 << 10;

/// The output of all units, and what PID 1 itself has to say.
#[derive(Debug)]
pub(crate) struct Outputs {
    units: BTreeMap<UnitName, Output>,
    own: Lines,
    count: Count,
    buffer: Vec<u8>,
}

/// The reading end of a unit's pipe and what came out of it.
#[derive(Debug)]
pub(crate) struct Output {
    pipe: Option<File>,
    partial: Vec<u8>,
    /// Bytes of the present line behind `partial`.
    cut: usize,
    lines: Lines,
}

impl Outputs {
    pub(crate) fn new() -> Self {
        Self { units: BTreeMap::new(), own: Lines::of(INIT), count: Count::default(), buffer: vec![0; TURN] }
    }

    /// The output of a unit that is about to start.
    pub(crate) fn of(&mut self, unit: &UnitName) -> &mut Output {
        self.units.entry(unit.clone()).or_insert_with(|| Output::of(unit.as_str()))
    }

    /// What to wait for, while the other ends are open.
    pub(crate) fn fds(&self) -> impl Iterator<Item = (&UnitName, BorrowedFd<'_>)> {
        self.units.iter().filter_map(|(unit, output)| Some((unit, output.pipe.as_ref()?.as_fd())))
    }

    /// When a loss has to be told.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.units.values().filter_map(|output| output.lines.deadline()).min()
    }

    /// Takes what is there from the pipes of these units.
    pub(crate) fn read(&mut self, units: &[UnitName], now_ms: u64) {
        for output in self.units.values_mut() {
            output.lines.settle(now_ms, &mut self.count);
        }
        for unit in units {
            if let Some(output) = self.units.get_mut(unit) {
                output.read(&mut self.buffer, now_ms, &mut self.count);
            }
        }
    }

    /// PID 1 says something.
    pub(crate) fn say(&mut self, priority: Priority, text: String, now_ms: u64) {
        self.own.keep(priority, text, now_ms, &mut self.count);
    }

    /// The number of the newest line of all.
    pub(crate) fn newest(&self) -> u64 {
        self.count.newest()
    }

    /// The lines of all units after the one with this number, in order, as many as fit into an answer.
    pub(crate) fn after(&self, number: u64) -> Vec<Line> {
        let mut lines: Vec<&Line> = self.all().flat_map(|lines| lines.after(number)).collect();
        lines.sort_unstable_by_key(|line| line.number);
        let mut room = PAGE;
        lines.into_iter().take_while(|line| take_room(&mut room, line)).cloned().collect()
    }

    /// The newest lines of one unit, as many as fit into an answer; none: it has not printed anything.
    pub(crate) fn of_unit(&self, name: &str) -> Option<Vec<String>> {
        if name == INIT {
            return Some(self.own.page());
        }
        let output = self.units.iter().find(|(unit, _)| unit.as_str() == name);
        output.map(|(_, output)| output.lines.page())
    }

    /// The last lines of a unit since its present start, at most `count`; reads what is still in its pipe.
    pub(crate) fn last(&mut self, unit: &UnitName, count: usize, now_ms: u64) -> Vec<String> {
        let Some(output) = self.units.get_mut(unit) else { return Vec::new() };
        output.read(&mut self.buffer, now_ms, &mut self.count);
        output.lines.last(count).map(str::to_owned).collect()
    }

    /// The lines of a unit since the last call.
    pub(crate) fn take_new(&mut self, unit: &UnitName) -> Vec<String> {
        self.units.get_mut(unit).map_or_else(Vec::new, |output| output.lines.take_new().map(str::to_owned).collect())
    }

    /// Forgets the lines of units that there are no more.
    pub(crate) fn keep_only(&mut self, is_there: impl Fn(&UnitName) -> bool) {
        self.units.retain(|unit, output| output.pipe.is_some() || is_there(unit));
    }

    fn all(&self) -> impl Iterator<Item = &Lines> {
        self.units.values().map(|output| &output.lines).chain(std::iter::once(&self.own))
    }
}

impl Output {
    fn of(unit: &str) -> Self {
        Self { pipe: None, partial: Vec::new(), cut: 0, lines: Lines::of(unit) }
    }

    /// A new pipe for the next start; returns the unit's end. Lines of earlier starts stay.
    pub(crate) fn open(&mut self) -> std::io::Result<OwnedFd> {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        // Only our end: a program that finds its standard error not ready ends with a panic.
        let flags = rustix::fs::fcntl_getfl(&ours)?;
        rustix::fs::fcntl_setfl(&ours, flags | rustix::fs::OFlags::NONBLOCK)?;
        self.pipe = Some(ours.into());
        self.partial.clear();
        self.cut = 0;
        self.lines.begin();
        Ok(theirs)
    }

    fn read(&mut self, buffer: &mut [u8], now_ms: u64, count: &mut Count) {
        self.lines.settle(now_ms, count);
        let Some(pipe) = &mut self.pipe else { return };
        match pipe.read(buffer) {
            Ok(0) => self.end(now_ms, count),
            Ok(length) => self.take(&buffer[..length], now_ms, count),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.end(now_ms, count),
        }
    }

    /// The other end is closed; what it said last may lack its line's end.
    fn end(&mut self, now_ms: u64, count: &mut Count) {
        self.pipe = None;
        if !self.partial.is_empty() {
            self.line(now_ms, count);
        }
    }

    fn take(&mut self, mut bytes: &[u8], now_ms: u64, count: &mut Count) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.part(&bytes[..end]);
            self.line(now_ms, count);
            bytes = &bytes[end + 1..];
        }
        self.part(bytes);
    }

    fn part(&mut self, bytes: &[u8]) {
        let fits = bytes.len().min(LINE_LIMIT - self.partial.len());
        self.partial.extend_from_slice(&bytes[..fits]);
        self.cut += bytes.len() - fits;
    }

    fn line(&mut self, now_ms: u64, count: &mut Count) {
        self.lines.take(&self.partial, self.cut, now_ms, count);
        self.partial.clear();
        self.cut = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::time::{Duration, Instant};

    fn unit(name: &str) -> UnitName {
        name.parse().expect("a name")
    }

    #[test]
    fn lines_are_kept_harmless_and_bounded_and_the_last_words_count() {
        let (mut outputs, name) = (Outputs::new(), unit("network"));
        let mut theirs = File::from(outputs.of(&name).open().expect("a pipe"));
        let here = std::slice::from_ref(&name);
        outputs.read(here, 0);
        assert!(outputs.last(&name, 5, 0).is_empty());
        theirs.write_all(b"one\n\x1b[31mtwo\n<3>thr").expect("room");
        outputs.read(here, 1);
        assert_eq!(outputs.last(&name, 5, 1), ["one", "\u{fffd}[31mtwo"]);
        theirs.write_all(b"ee\n").expect("room");
        theirs.write_all(&vec![b'x'; 3 * LINE_LIMIT]).expect("room");
        theirs.write_all(b"\nlast words").expect("room");
        drop(theirs);
        outputs.read(here, 2);
        outputs.read(here, 3);
        let lines = outputs.after(2);
        assert_eq!((lines[0].text.as_str(), lines[0].priority), ("three", Priority::Err));
        assert_eq!(lines[1].text, format!("{} … {} bytes more", "x".repeat(LINE_LIMIT), 2 * LINE_LIMIT));
        assert_eq!((lines[2].text.as_str(), lines[2].at_ms), ("last words", 3));
        assert_eq!(outputs.fds().count(), 0, "the pipe is closed");
    }

    #[test]
    fn lines_of_all_units_come_in_the_order_in_which_they_were_read() {
        let (mut outputs, a, b) = (Outputs::new(), unit("a"), unit("b"));
        let mut to_a = File::from(outputs.of(&a).open().expect("a pipe"));
        let mut to_b = File::from(outputs.of(&b).open().expect("a pipe"));
        to_b.write_all(b"first\n").expect("room");
        let both = [a.clone(), b.clone()];
        outputs.read(&both, 1);
        outputs.say(Priority::Warning, "b exited".into(), 2);
        to_a.write_all(b"second\n").expect("room");
        outputs.read(&both, 3);
        let seen: Vec<_> = outputs.after(0).into_iter().map(|line| (line.number, line.unit, line.text)).collect();
        let line = |number, unit: &str, text: &str| (number, unit.to_owned(), text.to_owned());
        assert_eq!(seen, [line(1, "b", "first"), line(2, "init", "b exited"), line(3, "a", "second")]);
        assert_eq!((outputs.after(2).len(), outputs.newest()), (1, 3));
        assert_eq!(outputs.of_unit("init"), Some(vec!["b exited".to_owned()]));
        assert_eq!(outputs.of_unit("c"), None);
    }

    #[test]
    fn a_flood_is_read_to_its_end_and_takes_no_more_memory() {
        const FLOOD: usize = 8 << 20;
        let (mut outputs, name) = (Outputs::new(), unit("flood"));
        let mut theirs = File::from(outputs.of(&name).open().expect("a pipe"));
        let writer = std::thread::spawn(move || {
            let block = b"a line of a flood that nobody wants to read\n".repeat(1000);
            let mut written = 0;
            while written < FLOOD {
                theirs.write_all(&block).expect("it is read");
                written += block.len();
            }
        });
        let begin = Instant::now();
        while outputs.fds().count() > 0 {
            assert!(begin.elapsed() < Duration::from_secs(60), "the writer waits for room");
            outputs.read(std::slice::from_ref(&name), begin.elapsed().as_millis() as u64 / 1_000_000);
        }
        writer.join().expect("it wrote all");
        let kept: usize = outputs.all().flat_map(|lines| lines.after(0)).map(|line| line.text.len()).sum();
        assert!(kept <= 128 << 10, "{kept} bytes are kept");
        let deadline = outputs.next_deadline().expect("a loss to tell");
        outputs.read(&[], deadline);
        assert!(outputs.after(0).is_empty() || outputs.newest() > 0);
        assert!(outputs.last(&name, 1, deadline)[0].contains("are lost"));
    }
}
