//! Removing the bytes of records whose time is over. Only kinds that are not kept for ever, only after their days, never
//! to make room: hashes stay, so every proof holds, and a record in the log names what is gone.
//!
//! The record is durable and under the stored head before the first byte is removed, so a crash leaves records that are
//! named and still there, which is no harm.

use std::time::Duration;

use aios_daemon::error_chain;
use aios_evidence::{Filter, Kind, Retention, Runs, STANDARD_DAYS};
use serde_json::json;

use crate::boot::SELF;
use crate::index::{BLOCK, IndexError};
use crate::log::{AppendRefused, Draft, Log, Stamp};
use crate::read::QueryError;
use crate::writer::now;

const EVERY: Duration = Duration::from_secs(60 * 60);

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// So many runs of entries are named by one record at most: they must fit into it.
const MOST_RUNS: usize = 1000;

/// Nothing was removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PruneError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("the last removal cannot be read from the log")]
    Read(#[from] QueryError),
    #[error("the removal cannot be recorded")]
    Append(#[from] AppendRefused),
    #[error("the bytes cannot be removed")]
    Disk(#[from] std::io::Error),
}

/// Looks from time to time; the machine may run for years.
pub(crate) fn keep_pruning(log: &Log, boot: &str) {
    while log.closed().is_none() {
        std::thread::sleep(EVERY);
        if let Err(error) = prune(log, &now(boot)) {
            eprintln!("{}", error_chain(&error));
        }
    }
}

/// Removes what is older than its days at this time; says how many entries that were.
pub(crate) fn prune(log: &Log, stamp: &Stamp) -> Result<u64, PruneError> {
    let mut removed = 0;
    loop {
        match prune_some(log, stamp)? {
            0 => return Ok(removed),
            more => removed += more,
        }
    }
}

fn prune_some(log: &Log, stamp: &Stamp) -> Result<u64, PruneError> {
    let last = log.newest(Kind::Pruned)?;
    let begin = last.and_then(|record| record.payload.get("before")?.as_u64()).unwrap_or(0);
    let (over, before) = over(log, begin, stamp.wall)?;
    if over.count() == 0 {
        return Ok(0);
    }
    let ranges: Vec<_> = over.ranges().collect();
    let payload = json!({"ranges": ranges, "count": over.count(), "before": before}).to_string();
    let draft = Draft { kind: Kind::Pruned, action: String::new(), writer: SELF.to_owned(), payload };
    for answer in log.append(&[draft], stamp) {
        answer?;
    }
    log.store_checkpoint()?;
    for [first, last] in ranges {
        for place in log.derived.places(first, last - first + 1)? {
            log.segment.erase(place.offset, place.length.into())?;
        }
    }
    log.segment.sync()?;
    Ok(over.count())
}

/// The entries from `begin` on whose time is over, and up to which entry was looked. A block of the index counts when all
/// of it is old, by the time of its newest record, so a clock that was once wrong only makes it stay longer.
fn over(log: &Log, begin: u64, now: u64) -> Result<(Runs, u64), PruneError> {
    let mut over = Runs::default();
    let Some(index) = &log.index else { return Ok((over, begin)) };
    let (indexed, _) = index.reach()?;
    let oldest_kept = now.saturating_sub(STANDARD_DAYS * DAY_MS);
    let mut block = begin / BLOCK;
    // The newest block is still growing, and what no stored head promised yet must not be removed.
    while (block + 1) * BLOCK <= indexed.min(log.head_stored()) {
        if index.newest_in(block as u32)?.is_none_or(|newest| newest >= oldest_kept) {
            break;
        }
        let mut entries = Vec::new();
        for kind in Kind::ALL.iter().filter(|kind| kind.retention() == Retention::Standard) {
            entries.extend(index.in_block(&Filter { kind: Some(*kind), ..Filter::default() }, block as u32)?);
        }
        entries.sort_unstable();
        let mut with = over.clone();
        entries.into_iter().for_each(|entry| with.push(entry));
        if with.ranges().count() > MOST_RUNS && over.count() > 0 {
            break;
        }
        over = with;
        block += 1;
    }
    Ok((over, block * BLOCK))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::keeper::index_all;
    use crate::open::{Opened, open};

    const OLD: u64 = 1_770_000_000_000;

    fn stamp(wall: u64) -> Stamp {
        Stamp { boot: "b".into(), at_ms: 1, wall }
    }

    fn draft(kind: Kind, payload: serde_json::Value) -> Draft {
        Draft { kind, action: String::new(), writer: SELF.into(), payload: payload.to_string() }
    }

    /// So many events with a decision after each hundred.
    fn fill(log: &Log, count: u64, wall: u64) {
        let drafts: Vec<_> = (0..count)
            .map(|number| match number % 100 {
                99 => draft(Kind::Decision, json!({"verdict": "denied"})),
                _ => draft(Kind::UnitEvent, json!({"number": number, "what": "ready", "detail": "x".repeat(200)})),
            })
            .collect();
        for answer in log.append(&drafts, &stamp(wall)) {
            answer.expect("written");
        }
        log.store_checkpoint().expect("stored");
        index_all(log);
    }

    fn reopened(folder: &Path) -> Log {
        let (log, opened, _) = open(folder, || Ok([7; 96])).expect("readable");
        assert_eq!(opened, Opened::Ready { cut: 0 });
        log
    }

    #[test]
    fn what_is_old_and_not_kept_for_ever_goes_and_every_proof_holds() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = reopened(folder.path());
        let keys = json!({"key": log.key().ed25519_line(), "key_ml_dsa": log.key().ml_dsa_line()});
        log.append(&[draft(Kind::Boot, keys)], &stamp(OLD)).pop().expect("one").expect("written");
        fill(&log, 2 * BLOCK, OLD);
        let later = OLD + (STANDARD_DAYS + 1) * DAY_MS;
        fill(&log, BLOCK, later);

        assert_eq!(prune(&log, &stamp(OLD + STANDARD_DAYS * DAY_MS)).expect("nothing to do"), 0, "a day too early");
        let gone = prune(&log, &stamp(later)).expect("removed");
        assert!(gone > 2 * BLOCK - 100 && gone < 2 * BLOCK, "{gone}");
        assert_eq!(prune(&log, &stamp(later)).expect("nothing more"), 0);
        let segment = std::fs::read(folder.path().join("segment")).expect("readable");
        let left = String::from_utf8_lossy(&segment).matches("unit-event").count() as u64;
        let decisions = 2 * BLOCK / 100 + BLOCK / 100;
        assert_eq!(left + gone, 3 * BLOCK - decisions, "the bytes are gone from the disk");

        let log = reopened(folder.path());
        assert_eq!(log.verify().expect("sound").pruned, gone);
        assert!(matches!(log.record_line(5), Err(QueryError::Pruned { index: 5 })));
        log.prove(5).expect("its proof holds");
        log.record_line(100).expect("a decision is kept for ever");
        index_all(&log);
        let found = log.query(&Filter { kind: Some(Kind::Decision), limit: Some(1000), ..Filter::default() });
        assert_eq!(found.expect("answered").len() as u64, decisions);
    }
}
