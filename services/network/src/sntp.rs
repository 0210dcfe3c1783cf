//! Asking a server for the time (RFC 5905 as a client that keeps nothing, section 14).
//!
//! Pure: bytes and times in, a sample out. The question carries a random number in place of this machine's time, so that an
//! answer can be told from a guess and nobody learns what this clock shows. Answers are not signed: whoever is on the way
//! can lie, which is why only servers that the operator or the network's own DHCP names are asked.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Questions and answers without extensions.
pub const MESSAGE: usize = 48;

/// Seconds from the year 1900 to 1970.
const TO_UNIX: u64 = 2_208_988_800;

/// Version 4, from a client.
const CLIENT: u8 = 4 << 3 | 3;
const SERVER_MODE: u8 = 4;

/// A server this far from a good clock, by its own words, is not followed.
const LARGEST_DISTANCE: Duration = Duration::from_secs(3);

/// More than this under way, and the answer says little.
const LARGEST_DELAY: Duration = Duration::from_secs(2);

/// Servers that differ by more are not both right.
const AGREEMENT_MS: i64 = 1_000;

/// By how much this machine's clock is behind a server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// In milliseconds; negative when this clock is ahead.
    pub offset_ms: i64,
    /// How long the answer was under way, in milliseconds.
    pub delay_ms: u64,
}

/// An answer that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SntpError {
    /// To somebody else, or no answer at all.
    #[error("it is no answer to this question")]
    Other,
    /// The server says that it has no good time.
    #[error("the server says that its own clock is not set")]
    NotSet,
    /// The server wants to be left alone.
    #[error("the server refuses")]
    Refused,
    /// It took so long that it says nothing.
    #[error("it was under way for too long")]
    Late,
}

/// The bytes of a question.
#[must_use]
pub fn question(random: u64) -> [u8; MESSAGE] {
    let mut bytes = [0; MESSAGE];
    bytes[0] = CLIENT;
    bytes[40..48].copy_from_slice(&random.to_be_bytes());
    bytes
}

/// Reads the answer to the question with this random number. `sent` is when it was asked by this machine's clock, `waited`
/// how long it took.
pub fn read(bytes: &[u8], random: u64, sent: SystemTime, waited: Duration) -> Result<Sample, SntpError> {
    let header: &[u8; MESSAGE] = bytes.first_chunk().ok_or(SntpError::Other)?;
    let number = |at: usize| u64::from_be_bytes(header[at..at + 8].try_into().expect("eight bytes of forty-eight"));
    if header[0] & 7 != SERVER_MODE || number(24) != random {
        return Err(SntpError::Other);
    }
    let (alarm, stratum) = (header[0] >> 6 == 3, header[1]);
    match (stratum, alarm) {
        (0, _) => return Err(SntpError::Refused),
        (1..=15, false) => {}
        _ => return Err(SntpError::NotSet),
    }
    let distance = short(&header[4..8]) / 2 + short(&header[8..12]);
    let (heard, said) = (number(32), number(40));
    if distance > LARGEST_DISTANCE || heard == 0 || said == 0 {
        return Err(SntpError::NotSet);
    }
    let (heard, said) = (unix(heard), unix(said));
    let delay = waited.saturating_sub(said.saturating_sub(heard));
    if waited > LARGEST_DELAY || said < heard {
        return Err(SntpError::Late);
    }
    // The server's time when this machine heard it, less this machine's.
    let own = sent.duration_since(UNIX_EPOCH).unwrap_or_default() + waited;
    let theirs = said + delay / 2;
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Ok(Sample { offset_ms: millis(theirs) - millis(own), delay_ms: delay.as_millis() as u64 })
}

/// Why samples give no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// There is none.
    #[error("none of them gives a time")]
    Nobody,
    /// No more than half of them are near each other.
    #[error("they differ by more than a second and no majority agrees")]
    NoMajority,
}

/// The sample to follow: of the largest group that agrees, which must be more than half, the one that was fastest.
pub fn agree<T: Clone>(samples: &[(T, Sample)]) -> Result<(T, Sample), Disagreement> {
    let near = |to: &Sample| {
        samples.iter().filter(|(_, one)| one.offset_ms.abs_diff(to.offset_ms) <= AGREEMENT_MS as u64).count()
    };
    let largest = samples.iter().map(|(_, sample)| near(sample)).max().ok_or(Disagreement::Nobody)?;
    if largest * 2 <= samples.len() {
        return Err(Disagreement::NoMajority);
    }
    let group = samples.iter().filter(|(_, sample)| near(sample) == largest);
    group.min_by_key(|(_, sample)| sample.delay_ms).cloned().ok_or(Disagreement::Nobody)
}

/// Seconds and 65536ths.
fn short(bytes: &[u8]) -> Duration {
    let value = bytes.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    Duration::from_nanos((value * 1_000_000_000) >> 16)
}

/// Since 1970. The numbers begin anew in 2036: those of the first half of the range are from then on.
fn unix(stamp: u64) -> Duration {
    let (seconds, fraction) = (stamp >> 32, stamp & 0xffff_ffff);
    let seconds = if seconds & 0x8000_0000 == 0 { seconds + (1 << 32) } else { seconds };
    Duration::from_secs(seconds.saturating_sub(TO_UNIX)) + Duration::from_nanos((fraction * 1_000_000_000) >> 32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn stamp(unix: Duration) -> u64 {
        let fraction = u64::from(unix.subsec_nanos()) * (1 << 32) / 1_000_000_000;
        (((unix.as_secs() + TO_UNIX) & 0xffff_ffff) << 32) | fraction
    }

    fn answer(random: u64, heard: Duration, said: Duration) -> [u8; MESSAGE] {
        let mut bytes = [0; MESSAGE];
        (bytes[0], bytes[1]) = (4 << 3 | 4, 2);
        bytes[24..32].copy_from_slice(&random.to_be_bytes());
        bytes[32..40].copy_from_slice(&stamp(heard).to_be_bytes());
        bytes[40..48].copy_from_slice(&stamp(said).to_be_bytes());
        bytes
    }

    fn sample(clock: Duration, bytes: &[u8]) -> Result<Sample, SntpError> {
        read(bytes, 7, UNIX_EPOCH + clock, Duration::from_millis(40))
    }

    #[test]
    fn a_clock_learns_how_far_it_is_off() {
        // 20 ms there, 0 in the server, 20 ms back.
        let heard = NOW + Duration::from_millis(20);
        for (clock, offset) in
            [(NOW, 0), (NOW - Duration::from_secs(60), 60_000), (NOW + Duration::from_secs(60), -60_000)]
        {
            let found = sample(clock, &answer(7, heard, heard)).expect("a sample");
            assert!((found.offset_ms - offset).abs() <= 1 && found.delay_ms == 40, "{found:?}");
        }
        let found = sample(Duration::ZERO, &answer(7, heard, heard)).expect("also in 1970");
        assert!((found.offset_ms - 1_800_000_000_000).abs() <= 1);
        let later = Duration::from_secs(2_300_000_000);
        let found = sample(later, &answer(7, later, later)).expect("also after 2036");
        assert!(found.offset_ms.abs() <= 20, "{found:?}");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let good = answer(7, NOW, NOW);
        let with = |at: usize, byte: u8| {
            let mut bytes = good;
            bytes[at] = byte;
            sample(NOW, &bytes)
        };
        assert_eq!(with(31, 8), Err(SntpError::Other), "another question's");
        assert_eq!(with(0, 4 << 3 | 3), Err(SntpError::Other), "a question");
        assert_eq!(with(0, 3 << 6 | 4 << 3 | 4), Err(SntpError::NotSet));
        assert_eq!(with(1, 0), Err(SntpError::Refused));
        assert_eq!(with(1, 16), Err(SntpError::NotSet));
        assert_eq!(with(9, 9), Err(SntpError::NotSet), "nine seconds from a good clock");
        assert_eq!(sample(NOW, &good[..47]), Err(SntpError::Other));
        let late = read(&good, 7, UNIX_EPOCH + NOW, Duration::from_secs(3));
        assert_eq!(late, Err(SntpError::Late));
    }

    #[test]
    fn a_majority_is_followed() {
        let of = |offset_ms, delay_ms| Sample { offset_ms, delay_ms };
        assert_eq!(agree::<u8>(&[]), Err(Disagreement::Nobody));
        assert_eq!(agree(&[('a', of(5, 9))]), Ok(('a', of(5, 9))));
        assert_eq!(agree(&[('a', of(5, 9)), ('b', of(9_000, 1))]), Err(Disagreement::NoMajority));
        let three = [('a', of(5, 9)), ('b', of(9_000, 1)), ('c', of(6, 3))];
        assert_eq!(agree(&three), Ok(('c', of(6, 3))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60), random in any::<u64>()) {
            let _ = read(&bytes, random, UNIX_EPOCH, Duration::ZERO);
        }

        #[test]
        fn any_times_are_read_or_refused(heard in any::<u64>(), said in any::<u64>(), clock in any::<u32>()) {
            let mut bytes = answer(7, NOW, NOW);
            bytes[32..40].copy_from_slice(&heard.to_be_bytes());
            bytes[40..48].copy_from_slice(&said.to_be_bytes());
            let _ = sample(Duration::from_secs(clock.into()), &bytes);
        }
    }
}
