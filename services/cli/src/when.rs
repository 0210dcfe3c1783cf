//! Times as people write them: in UTC, as the log has them, or as how long ago.

use aios_action::moment::{days_of, is_leap};

const DAY_S: u64 = 86_400;
/// Later than this is a slip of the fingers.
const LAST_YEAR: u64 = 9999;

/// Milliseconds since 1970 for `2026-11-21`, `2026-11-21T10:30`, `2026-11-21T10:30:05Z`, or `90s`, `15m`, `2h`, `3d` before
/// `now_ms`.
pub(crate) fn parse(text: &str, now_ms: u64) -> Option<u64> {
    if let Some((digits, unit)) = text.split_at_checked(text.len().checked_sub(1)?)
        && let Some(seconds) = [("s", 1), ("m", 60), ("h", 3600), ("d", DAY_S)].iter().find(|(name, _)| *name == unit)
        && !digits.contains('-')
    {
        let ago = number(digits)?.checked_mul(seconds.1)?.checked_mul(1000)?;
        return Some(now_ms.saturating_sub(ago));
    }
    let (date, clock) = text.strip_suffix('Z').unwrap_or(text).split_once('T').unwrap_or((text, "00:00"));
    let mut date = date.split('-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut clock = clock.split(':').map(number);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next().unwrap_or(Some(0))?);
    let sound = (1970..=LAST_YEAR).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !sound || date.next().is_some() || clock.next().is_some() {
        return None;
    }
    let days =
        (1970..year).map(days_of_year).sum::<u64>() + (1..month).map(|m| days_of(year, m)).sum::<u64>() + day - 1;
    Some((days * DAY_S + hour * 3600 + minute * 60 + second) * 1000)
}

/// `2026-11-21T10:30:05Z`.
pub(crate) fn format(wall_ms: u64) -> String {
    let seconds = wall_ms / 1000;
    let (mut days, second) = (seconds / DAY_S, seconds % DAY_S);
    let mut year = 1970;
    while year <= LAST_YEAR && days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    if year > LAST_YEAR {
        return "after-9999".to_owned();
    }
    let mut month = 1;
    while days >= days_of(year, month) {
        days -= days_of(year, month);
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

/// Digits and nothing else, so that no sign or space passes.
fn number(digits: &str) -> Option<u64> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

fn days_of_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_each_of_its_forms() {
        let now = 1_795_257_005_000;
        assert_eq!(parse("2026-11-21T10:30:05Z", now), Some(now));
        assert_eq!(parse("2026-11-21T10:30", now), Some(now - 5000));
        assert_eq!(parse("2026-11-21", now), Some(1_795_219_200_000));
        assert_eq!(parse("2h", now), Some(now - 7_200_000));
        assert_eq!(parse("99999999999999999s", now), None);
        for wrong in
            ["", "h", "2w", "-2h", "2026-02-29", "2026-1-1T1", "2026-01-01T24:00", "2026-11-21T10:30:05:1", "1e3s"]
        {
            assert_eq!(parse(wrong, now), None, "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_time_that_was_written_is_read_back(seconds in 0_u64..253_402_300_800) {
            proptest::prop_assert_eq!(parse(&format(seconds * 1000), 0), Some(seconds * 1000));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,30}", now: u64) {
            let _ = parse(&text, now);
            let _ = format(now);
        }
    }
}
