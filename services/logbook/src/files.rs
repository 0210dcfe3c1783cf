//! What the log's files are called, what stands in them, and which may go. Pure: no file is touched here.
//!
//! A file is `BOOT-PART.log`: the boots of this machine counted from 1, and the parts of a boot. Its first line says which
//! boot it is; each other line is one [`Kept`] as JSON. A line that is none, such as the last one before power failed,
//! is passed over and counted.

use aios_wire::logs::Kept;
use serde::{Deserialize, Serialize};

/// A part holds so much.
pub(crate) const PART: u64 = 256 << 10;
/// All parts together hold at most so much …
const MOST: u64 = 16 << 20;
/// … or this share of the file system, where that is less …
const SHARE: u64 = 50;
/// … and never less than this: two parts of the running boot and two of those before.
const LEAST_PARTS: u64 = 4;

/// The place of a file among the others; the order is that of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) boot: u64,
    pub(crate) part: u64,
}

impl Place {
    pub(crate) fn name(self) -> String {
        format!("{:08}-{:06}.log", self.boot, self.part)
    }

    /// The place of a file with this name; none: it is no file of the log.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let (boot, part) = name.strip_suffix(".log")?.split_once('-')?;
        let number = |digits: &str, width: usize| {
            let plain = digits.len() == width && digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| digits.parse::<u64>().ok()).flatten()
        };
        Some(Self { boot: number(boot, 8)?, part: number(part, 6)? })
    }
}

/// A file's first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    /// The kernel's id of the boot.
    pub(crate) boot_id: String,
}

/// A value as a line of a file.
pub(crate) fn line<T: Serialize>(value: &T) -> Vec<u8> {
    // Types of ours: their keys are texts, so that this cannot fail.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// Absent: the file's beginning is damaged.
    pub(crate) boot_id: Option<String>,
    pub(crate) lines: Vec<Kept>,
    /// How many lines are none.
    pub(crate) unreadable: u64,
}

/// Reads a file, whatever is in it.
pub(crate) fn read(bytes: &[u8]) -> Content {
    let mut content = Content::default();
    // Room that was reserved and not written reads as zeros.
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    for (number, line) in bytes[..end].split(|byte| *byte == b'\n').enumerate() {
        match number {
            _ if line.is_empty() => {}
            0 => match serde_json::from_slice::<Head>(line) {
                Ok(head) => content.boot_id = Some(head.boot_id),
                Err(_) => content.unreadable += 1,
            },
            _ => match serde_json::from_slice::<Kept>(line) {
                Ok(kept) => content.lines.push(kept),
                Err(_) => content.unreadable += 1,
            },
        }
    }
    content
}

/// How many parts there may be on a file system of this size.
pub(crate) fn parts_allowed(file_system: u64) -> usize {
    let bytes = MOST.min(file_system / SHARE);
    usize::try_from((bytes / PART).max(LEAST_PARTS)).unwrap_or(usize::MAX)
}

/// Which files go, so that at most `allowed` stay and one more fits. The running boot has half of them, and the oldest of
/// the others go first: however much the running boot says, the one before stays readable. `places` are in order.
pub(crate) fn to_remove(places: &[Place], running: u64, allowed: usize) -> Vec<Place> {
    let (present, earlier): (Vec<Place>, Vec<Place>) = places.iter().partition(|place| place.boot == running);
    let half = allowed / 2;
    let over = |places: &[Place], room: usize| places[..places.len().saturating_sub(room)].to_vec();
    let mut gone = over(&earlier, allowed - half);
    // A new part is about to be begun.
    gone.extend(over(&present, half.saturating_sub(1)));
    gone
}

/// Which file goes first when the file system has no room left: the oldest, but never the end of the boot before, and
/// never the last of the running one. `places` are in order.
pub(crate) fn least_wanted(places: &[Place], running: u64) -> Option<Place> {
    let mut earlier = places.iter().filter(|place| place.boot != running);
    let mut present = places.iter().filter(|place| place.boot == running);
    let oldest = earlier.next().filter(|_| earlier.next().is_some());
    oldest.or_else(|| present.next().filter(|_| present.next().is_some())).copied()
}

#[cfg(test)]
mod tests {
    use aios_wire::logs::Priority;
    use proptest::prelude::*;

    use super::*;

    fn kept(index: u64, text: &str) -> Kept {
        Kept {
            index,
            number: Some(index),
            nth: 1,
            at_ms: 2,
            wall_ms: 3,
            unit: "network".into(),
            priority: Priority::Info,
            text: text.into(),
            lost: 0,
        }
    }

    #[test]
    fn a_torn_last_line_costs_only_itself() {
        let mut bytes = line(&Head { boot_id: "b".into() });
        bytes.extend(line(&kept(1, "one")));
        let whole = bytes.len();
        bytes.extend(line(&kept(2, "two")));
        for cut in whole + 1..bytes.len() - 1 {
            let content = read(&bytes[..cut]);
            assert_eq!((content.lines.len(), content.unreadable), (1, 1), "cut at {cut}");
        }
        let mut reserved = bytes.clone();
        reserved.resize(4096, 0);
        assert_eq!(read(&reserved), read(&bytes));
        assert_eq!(read(&bytes).lines, [kept(1, "one"), kept(2, "two")]);
    }

    #[test]
    fn a_name_is_a_place_and_nothing_else_is() {
        let place = Place { boot: 12, part: 3 };
        assert_eq!(place.name(), "00000012-000003.log");
        assert_eq!(Place::of(&place.name()), Some(place));
        for wrong in ["12-3.log", "00000012-000003", "boots.json", "+0000012-000003.log", ".tmp-00000012-000003.log"] {
            assert_eq!(Place::of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_flood_of_the_running_boot_leaves_the_one_before() {
        assert_eq!(parts_allowed(64 << 20), 5);
        assert_eq!(parts_allowed(1 << 20), 4);
        assert_eq!(parts_allowed(1 << 40), 64);
        let before = [Place { boot: 1, part: 1 }, Place { boot: 2, part: 1 }];
        let now: Vec<_> = (1..=9).map(|part| Place { boot: 3, part }).collect();
        let all: Vec<_> = before.iter().chain(&now).copied().collect();
        let gone = to_remove(&all, 3, 4);
        assert_eq!(gone, now[..8]);
        assert_eq!(least_wanted(&all, 3), Some(before[0]));
        assert_eq!(least_wanted(&all[1..], 3), Some(now[0]), "the end of the boot before stays");
        assert_eq!(least_wanted(&all[10..], 3), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let content = read(&bytes);
            prop_assert!(content.lines.len() as u64 + content.unreadable <= 600);
        }

        #[test]
        fn what_stays_fits_and_holds_the_newest_of_the_boot_before(
            sizes in prop::collection::vec(1u64..40, 1..8),
            allowed in 4usize..64,
        ) {
            let running = sizes.len() as u64;
            let places: Vec<Place> = sizes
                .iter()
                .enumerate()
                .flat_map(|(boot, parts)| (1..=*parts).map(move |part| Place { boot: boot as u64 + 1, part }))
                .collect();
            let gone = to_remove(&places, running, allowed);
            let stay: Vec<_> = places.iter().filter(|place| !gone.contains(place)).collect();
            prop_assert!(stay.len() < allowed);
            if running > 1 {
                let newest = Place { boot: running - 1, part: sizes[sizes.len() - 2] };
                prop_assert!(stay.contains(&&newest), "the end of the boot before is gone");
            }
        }
    }
}
