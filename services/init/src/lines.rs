//! The lines of one unit in memory, and how many it may say.
//!
//! A unit that says more than its allowance loses the rest, and only its own; when the window is over one line says how
//! much that was. Lines that nobody took in time make room for newer ones, and the jump in [`Line::nth`] tells.

use std::collections::VecDeque;

use aios_wire::logs::{Line, Priority};

/// Longer lines are cut.
pub(crate) const LINE_LIMIT: usize = 8192;
/// So many lines are kept …
const KEPT_LINES: usize = 1000;
/// … of so many bytes together.
const KEPT_BYTES: usize = 128 << 10;
/// A unit may say [`KEPT_LINES`] and [`KEPT_BYTES`] in so long: whoever reads in time misses nothing of that.
const WINDOW_MS: u64 = 5_000;

/// Numbers the lines of all units in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Count(u64);

impl Count {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    /// The number of the newest line.
    pub(crate) fn newest(&self) -> u64 {
        self.0
    }
}

/// What one unit said.
#[derive(Debug)]
pub(crate) struct Lines {
    unit: String,
    lines: VecDeque<Line>,
    bytes: usize,
    nth: u64,
    window: Window,
    /// How many of the last lines are from the present start.
    fresh: usize,
    /// How many of the last lines have not been taken by [`Self::take_new`].
    untaken: usize,
}

/// What was said since a moment.
#[derive(Debug, Default)]
struct Window {
    begin_ms: u64,
    lines: usize,
    bytes: usize,
    lost_lines: u64,
    lost_bytes: u64,
}

impl Lines {
    pub(crate) fn of(unit: &str) -> Self {
        Self {
            unit: unit.to_owned(),
            lines: VecDeque::new(),
            bytes: 0,
            nth: 0,
            window: Window::default(),
            fresh: 0,
            untaken: 0,
        }
    }

    /// The unit is started again.
    pub(crate) fn begin(&mut self) {
        self.fresh = 0;
    }

    /// Takes a line as the unit wrote it, without its end. Of `cut` more bytes only the number is known.
    pub(crate) fn take(&mut self, raw: &[u8], cut: usize, now_ms: u64, count: &mut Count) {
        self.settle(now_ms, count);
        if self.window.lost_lines > 0 || self.window.lines >= KEPT_LINES || self.window.bytes >= KEPT_BYTES {
            self.window.lost_lines += 1;
            self.window.lost_bytes += (raw.len() + cut) as u64;
            return;
        }
        self.window.lines += 1;
        self.window.bytes += raw.len();
        let (priority, raw) = priority_of(raw);
        let mut text = harmless(raw);
        if cut > 0 {
            text.push_str(&format!(" … {cut} bytes more"));
        }
        self.keep(priority, text, now_ms, count);
    }

    /// Says how much was lost, once the window in which it was is over.
    pub(crate) fn settle(&mut self, now_ms: u64, count: &mut Count) {
        if now_ms.saturating_sub(self.window.begin_ms) < WINDOW_MS {
            return;
        }
        let over = std::mem::take(&mut self.window);
        self.window.begin_ms = now_ms;
        if over.lost_lines > 0 {
            let (lines, bytes) = (over.lost_lines, over.lost_bytes);
            let text = format!("{lines} lines of {bytes} bytes were too many for {} s and are lost", WINDOW_MS / 1000);
            self.keep(Priority::Warning, text, now_ms, count);
        }
    }

    /// When [`Self::settle`] has something to say.
    pub(crate) fn deadline(&self) -> Option<u64> {
        (self.window.lost_lines > 0).then_some(self.window.begin_ms + WINDOW_MS)
    }

    /// Adds a line that is in order.
    pub(crate) fn keep(&mut self, priority: Priority, text: String, at_ms: u64, count: &mut Count) {
        self.nth += 1;
        self.bytes += text.len();
        self.lines.push_back(Line {
            number: count.next(),
            nth: self.nth,
            at_ms,
            unit: self.unit.clone(),
            priority,
            text,
        });
        while self.lines.len() > KEPT_LINES || self.bytes > KEPT_BYTES {
            let Some(gone) = self.lines.pop_front() else { break };
            self.bytes -= gone.text.len();
        }
        self.fresh = (self.fresh + 1).min(self.lines.len());
        self.untaken = (self.untaken + 1).min(self.lines.len());
    }

    /// The last lines since the present start, at most `count`.
    pub(crate) fn last(&self, count: usize) -> impl Iterator<Item = &str> {
        self.newest(count.min(self.fresh)).map(|line| line.text.as_str())
    }

    /// The lines since the last call.
    pub(crate) fn take_new(&mut self) -> impl Iterator<Item = &str> {
        let count = std::mem::take(&mut self.untaken);
        self.newest(count).map(|line| line.text.as_str())
    }

    /// The lines after the one with this number.
    pub(crate) fn after(&self, number: u64) -> impl Iterator<Item = &Line> {
        self.lines.range(self.lines.partition_point(|line| line.number <= number)..)
    }

    /// The newest lines that fit into an answer, oldest first.
    pub(crate) fn page(&self) -> Vec<String> {
        let mut room = PAGE;
        let fits = self.lines.iter().rev().take_while(|line| take_room(&mut room, line)).count();
        self.newest(fits).map(|line| line.text.clone()).collect()
    }

    fn newest(&self, count: usize) -> impl Iterator<Item = &Line> {
        self.lines.range(self.lines.len().saturating_sub(count)..)
    }
}

/// What an answer may hold, so that it stays a message.
pub(crate) const PAGE: usize = aios_wire::MESSAGE_LIMIT - (16 << 10);

/// Whether a line still fits into an answer; takes its room from it.
pub(crate) fn take_room(room: &mut usize, line: &Line) -> bool {
    // Quotes and backslashes take two bytes; the rest is the line's other fields.
    let left = room.checked_sub(2 * line.text.len() + line.unit.len() + 160);
    *room = left.unwrap_or(0);
    left.is_some()
}

/// A line may begin with `<N>`, as for syslog; a facility in it does not matter.
fn priority_of(raw: &[u8]) -> (Priority, &[u8]) {
    let plain = (Priority::Info, raw);
    let Some(rest) = raw.strip_prefix(b"<") else { return plain };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).take(4).count();
    let number = std::str::from_utf8(&rest[..digits]).ok().and_then(|digits| digits.parse::<u32>().ok());
    match (number.filter(|number| *number < 1000), rest.get(digits)) {
        (Some(number), Some(b'>')) => match Priority::from_number(number & 7) {
            Some(priority) => (priority, &rest[digits + 1..]),
            None => plain,
        },
        _ => plain,
    }
}

/// A unit's words are shown on consoles: they must not be able to act on a terminal.
fn harmless(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &Lines) -> Vec<&str> {
        lines.after(0).map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn a_priority_is_read_from_the_line_and_nothing_else_is_taken_for_one() {
        for (raw, priority, text) in [
            ("<3>cannot read", Priority::Err, "cannot read"),
            ("<30>with a facility", Priority::Info, "with a facility"),
            ("<7>", Priority::Debug, ""),
            ("<>no", Priority::Info, "<>no"),
            ("<3 no", Priority::Info, "<3 no"),
            ("<x>no", Priority::Info, "<x>no"),
            ("<12345>no", Priority::Info, "<12345>no"),
            ("plain", Priority::Info, "plain"),
        ] {
            assert_eq!(priority_of(raw.as_bytes()), (priority, text.as_bytes()), "{raw}");
        }
    }

    #[test]
    fn a_flood_loses_its_own_rest_and_says_how_much() {
        let (mut lines, mut quiet, mut count) = (Lines::of("flood"), Lines::of("quiet"), Count::default());
        quiet.take(b"before", 0, 10_000, &mut count);
        for _ in 0..5 * KEPT_LINES {
            lines.take(b"x", 0, 10_000, &mut count);
        }
        quiet.take(b"after", 0, 10_001, &mut count);
        assert_eq!(texts(&quiet), ["before", "after"]);
        assert_eq!(lines.after(0).count(), KEPT_LINES);
        let deadline = lines.deadline().expect("something is lost");
        lines.settle(deadline - 1, &mut count);
        assert_eq!(lines.after(0).last().map(|line| line.nth), Some(KEPT_LINES as u64));
        lines.settle(deadline, &mut count);
        let last = lines.after(0).last().expect("a line");
        assert_eq!(last.text, format!("{0} lines of {0} bytes were too many for 5 s and are lost", 4 * KEPT_LINES));
        assert_eq!((last.priority, lines.deadline()), (Priority::Warning, None));
        lines.take(b"calm", 0, deadline + 1, &mut count);
        assert_eq!(texts(&lines).last(), Some(&"calm"));
    }

    #[test]
    fn what_nobody_takes_makes_room_and_the_jump_is_seen() {
        let (mut lines, mut count) = (Lines::of("a"), Count::default());
        for second in 0..3 {
            for _ in 0..KEPT_LINES {
                lines.take(b"x", 0, (second + 1) * WINDOW_MS, &mut count);
            }
        }
        let first = lines.after(0).next().expect("a line");
        assert_eq!(first.nth, 2 * KEPT_LINES as u64 + 1, "two thirds are gone");
        for second in 10..12 {
            lines.take(&vec![b'y'; KEPT_BYTES], 0, second * WINDOW_MS, &mut count);
        }
        assert_eq!(lines.after(0).count(), 1, "bytes count as well");
    }

    proptest::proptest! {
        #[test]
        fn no_line_acts_on_a_terminal_or_breaks_an_answer(
            raw in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..3000), 1..40),
        ) {
            let (mut lines, mut count) = (Lines::of("a"), Count::default());
            for line in &raw {
                lines.take(line, 3, 0, &mut count);
            }
            let mut room = PAGE;
            let page: Vec<Line> = lines.after(0).take_while(|line| take_room(&mut room, line)).cloned().collect();
            proptest::prop_assert!(page.iter().all(|line| !line.text.chars().any(|c| c.is_control() && c != '\t')));
            let answer = serde_json::to_string(&aios_wire::init::Reply::Lines { lines: page }).expect("an answer");
            proptest::prop_assert!(answer.len() < aios_wire::MESSAGE_LIMIT);
        }
    }
}
