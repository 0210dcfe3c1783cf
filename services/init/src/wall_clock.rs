//! The clock on the wall: it may be wrong, but it is never before the release was made or before it last was.
//!
//! A clock without a battery starts in 1970, where every signature and lease lies in the future. No decision of PID 1
//! goes by this clock.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_settime};

/// A file of the verified root: its time is the release's.
const RELEASE: &str = "/usr/lib/os-release";
/// Its time is when the clock was last known to be at least this late.
const SEEN: &str = "/aios/system/clock";

/// Moves the clock forward to the latest time that is known to have been; says so if it did.
pub(crate) fn not_before_what_was() -> Option<String> {
    let floor = floor(&[modified(Path::new(RELEASE)), modified(Path::new(SEEN))])?;
    let now = SystemTime::now();
    if now >= floor {
        return None;
    }
    let since = floor.duration_since(UNIX_EPOCH).ok()?;
    let to = Timespec { tv_sec: i64::try_from(since.as_secs()).ok()?, tv_nsec: 0 };
    let behind = floor.duration_since(now).unwrap_or_default();
    Some(match clock_settime(ClockId::Realtime, to) {
        Ok(()) => format!("the clock was {} behind what has been and was moved forward", days(behind)),
        Err(error) => format!("the clock is {} behind what has been and cannot be moved: {error}", days(behind)),
    })
}

/// Notes that it is at least as late as now. A machine without a disk has nowhere to note it.
pub(crate) fn note() -> std::io::Result<()> {
    File::options().write(true).create(true).truncate(false).open(SEEN)?.set_modified(SystemTime::now())
}

fn floor(known: &[Option<SystemTime>]) -> Option<SystemTime> {
    known.iter().flatten().max().copied()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

fn days(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..86_400 => format!("{seconds} s"),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_what_is_known_is_the_floor() {
        let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(floor(&[at(5), None, at(9)]), at(9));
        assert_eq!(floor(&[None, None]), None);
        assert_eq!(
            (days(Duration::from_secs(59)), days(Duration::from_secs(200_000))),
            ("59 s".into(), "2 days".into())
        );
    }
}
