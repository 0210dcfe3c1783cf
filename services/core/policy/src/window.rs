//! Times of day: the part of a day in which a permit counts.
//!
//! Times are UTC. The zone of a machine is a setting, and whoever may change a setting must not move the hours in which
//! something is permitted.

use std::fmt;

/// Before the first second of 2026 nothing of this system was made: a clock that says so was never set.
const FIRST_MS: u64 = 1_767_225_600_000;

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

/// A moment of a day, in milliseconds since its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOfDay(u64);

/// From one moment up to another, which may be on the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    from: TimeOfDay,
    to: TimeOfDay,
}

impl TimeOfDay {
    /// What the clock says, in milliseconds since 1970; nothing when it was never set.
    #[must_use]
    pub fn of_clock(wall_ms: u64) -> Option<Self> {
        (wall_ms >= FIRST_MS).then_some(Self(wall_ms % DAY_MS))
    }

    /// Reads `HH:MM`, in exactly this form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (hours, minutes) = text.split_once(':')?;
        let number = |digits: &str, end: u64| -> Option<u64> {
            let plain = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|number| plain && *number < end)
        };
        Some(Self((number(hours, 24)? * 60 + number(minutes, 60)?) * MINUTE_MS))
    }
}

impl Window {
    /// Reads `08:00-18:00`. A window of no length or of a whole day says nothing and is refused.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let window = Self { from: TimeOfDay::parse(from)?, to: TimeOfDay::parse(to)? };
        (window.from != window.to).then_some(window)
    }

    /// For how many more milliseconds it is open at this time; nothing when it is closed.
    pub(crate) fn left_ms(self, at: TimeOfDay) -> Option<u64> {
        let after = |time: TimeOfDay| (time.0 + DAY_MS - self.from.0) % DAY_MS;
        (after(at) < after(self.to)).then(|| after(self.to) - after(at))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / MINUTE_MS / 60, self.0 / MINUTE_MS % 60)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} to {} UTC", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> TimeOfDay {
        TimeOfDay::parse(text).expect(text)
    }

    #[test]
    fn a_window_is_open_from_its_first_minute_up_to_its_last() {
        let left = |window: &str, time| Window::parse(window).expect(window).left_ms(at(time)).map(|ms| ms / MINUTE_MS);
        for (window, time, expected) in [
            ("08:00-18:00", "07:59", None),
            ("08:00-18:00", "08:00", Some(600)),
            ("08:00-18:00", "17:59", Some(1)),
            ("08:00-18:00", "18:00", None),
            ("22:00-06:00", "21:59", None),
            ("22:00-06:00", "22:00", Some(480)),
            ("22:00-06:00", "00:00", Some(360)),
            ("22:00-06:00", "05:59", Some(1)),
            ("22:00-06:00", "06:00", None),
            ("00:00-23:59", "23:59", None),
        ] {
            assert_eq!(left(window, time), expected, "{window} at {time}");
        }
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in [
            "",
            "-",
            "08:00",
            "08:00-",
            "8:00-18:00",
            "08:00-24:00",
            "08:60-18:00",
            "08:00-18:00 ",
            "08:00–18:00",
            "08:00-08:00",
            "+8:00-18:00",
            "08:00-18:00-19:00",
            "٠٨:00-18:00",
        ] {
            assert_eq!(Window::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_clock_that_was_never_set_tells_no_time() {
        assert_eq!(TimeOfDay::of_clock(0), None);
        assert_eq!(TimeOfDay::of_clock(FIRST_MS - 1), None);
        assert_eq!(TimeOfDay::of_clock(FIRST_MS), Some(at("00:00")));
        assert_eq!(TimeOfDay::of_clock(1_800_000_000_000), Some(at("08:00")));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic_and_what_is_read_is_told_again(text in ".{0,20}", from in 0u64..1440, to in 0u64..1440) {
            let _ = Window::parse(&text);
            prop_assume!(from != to);
            let window = Window { from: TimeOfDay(from * MINUTE_MS), to: TimeOfDay(to * MINUTE_MS) };
            prop_assert_eq!(Window::parse(&format!("{}-{}", window.from, window.to)), Some(window));
            // Of the minutes of a day it is open in exactly as many as lie between its ends.
            let open = (0..1440).filter(|minute| window.left_ms(TimeOfDay(minute * MINUTE_MS)).is_some()).count() as u64;
            prop_assert_eq!(open, (to + 1440 - from) % 1440);
        }
    }
}
