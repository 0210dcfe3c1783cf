//! The clock by what time servers say. Their words are not signed, so they are believed only within the life of a release.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_settime};

/// A file of the verified root: its time is the release's.
const RELEASE: &str = "/usr/lib/os-release";

/// No release is in use for longer.
const LIFE: Duration = Duration::from_secs(30 * 365 * 86_400);

/// Sets the clock; the error says why not.
pub(crate) fn follow(unix_ms: u64) -> Result<(), String> {
    let release = std::fs::metadata(RELEASE).and_then(|file| file.modified()).unwrap_or(UNIX_EPOCH);
    let to = acceptable(unix_ms, release)?;
    clock_settime(ClockId::Realtime, to).map_err(|error| format!("the kernel does not set the clock: {error}"))
}

fn acceptable(unix_ms: u64, release: SystemTime) -> Result<Timespec, String> {
    let said = Duration::from_millis(unix_ms);
    let made = release.duration_since(UNIX_EPOCH).unwrap_or_default();
    if said < made {
        return Err("this release was made later than that; the time servers are wrong, or the release is".into());
    }
    if said > made + LIFE {
        return Err("this release was made more than thirty years before that; the time servers are wrong".into());
    }
    let tv_sec = i64::try_from(said.as_secs()).map_err(|error| error.to_string())?;
    Ok(Timespec { tv_sec, tv_nsec: said.subsec_nanos().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_in_the_life_of_a_release_are_believed() {
        let made = 1_800_000_000;
        let at = |seconds: u64| acceptable(seconds * 1000 + 250, UNIX_EPOCH + Duration::from_secs(made));
        let set = at(made).expect("now");
        assert_eq!((set.tv_sec, set.tv_nsec), (1_800_000_000, 250_000_000));
        assert!(at(made + 86_400 * 365).is_ok());
        for wrong in [0, made - 1, made + LIFE.as_secs(), 4_102_444_800, u64::MAX / 2000] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }
}
