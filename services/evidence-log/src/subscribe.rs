//! Waiting for the next records. A reader brings its place in the log with each call and nothing is kept for it between
//! two calls: so it loses nothing, however slow it is, and one that never comes back costs nothing.

use std::sync::Arc;
use std::time::Duration;

use aios_evidence::Filter;
use tokio::time::{Instant, timeout_at};

use crate::log::Log;
use crate::read::QueryError;

/// The records after `after` that a filter asks for, as soon as there is one; none when `patience` ends before.
pub(crate) async fn next_records(
    log: &Arc<Log>,
    mut filter: Filter,
    mut after: u64,
    patience: Duration,
) -> Result<Vec<String>, QueryError> {
    let mut grown = log.subscribe();
    let until = Instant::now() + patience;
    loop {
        let size = grown.borrow_and_update().edge.size();
        filter.after = Some(after);
        let (asked, asking) = (filter.clone(), Arc::clone(log));
        let lines = tokio::task::spawn_blocking(move || asking.query(&asked)).await;
        let lines = lines.map_err(|source| QueryError::Read { index: after, source: source.into() })??;
        if !lines.is_empty() || !matches!(timeout_at(until, grown.changed()).await, Ok(Ok(()))) {
            return Ok(lines);
        }
        // What was looked through need not be looked through again.
        after = after.max(size.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use aios_evidence::{Kind, Record};

    use super::*;
    use crate::log::{Draft, Stamp};
    use crate::open::open;

    const RECORDS: u64 = 400;

    fn write(log: &Log, number: u64) {
        let kind = if number.is_multiple_of(4) { Kind::Decision } else { Kind::Login };
        let draft = Draft { kind, action: String::new(), writer: "service:x".into(), payload: "{}".into() };
        let stamp = Stamp { boot: "b".into(), at_ms: number, wall: 1_790_000_000_000 };
        log.append(&[draft], &stamp).pop().expect("one").expect("written");
    }

    /// Reads from the cursor until all are seen, at its own pace.
    async fn follow(log: &Arc<Log>, filter: Filter, last: u64, pace: Duration) -> Vec<u64> {
        let (mut seen, mut after) = (Vec::new(), 0);
        while seen.last() != Some(&last) {
            for line in next_records(log, filter.clone(), after, Duration::from_secs(20)).await.expect("answered") {
                seen.push(Record::decode(line.as_bytes()).expect("a record").index);
            }
            after = seen.last().copied().unwrap_or(after);
            tokio::time::sleep(pace).await;
        }
        seen
    }

    #[test]
    fn a_quick_and_a_slow_reader_miss_nothing_and_one_that_never_reads_is_not_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (log, ..) = open(folder.path(), || Ok([7; 96])).expect("a new log");
        let log = Arc::new(log);
        write(&log, 0);
        let writer = {
            let log = Arc::clone(&log);
            std::thread::spawn(move || (1..=RECORDS).for_each(|number| write(&log, number)))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let never = next_records(&log, Filter::default(), 0, Duration::from_secs(60));
            let quick = follow(&log, Filter::default(), RECORDS, Duration::ZERO);
            let some = Filter { kind: Some(Kind::Decision), limit: Some(3), ..Filter::default() };
            let slow = follow(&log, some, RECORDS, Duration::from_millis(1));
            let (quick, slow) = tokio::join!(quick, slow);
            drop(never);
            assert_eq!(quick, (1..=RECORDS).collect::<Vec<_>>());
            assert_eq!(slow, (1..=RECORDS).filter(|number| number.is_multiple_of(4)).collect::<Vec<_>>());
            let none = next_records(&log, Filter::default(), RECORDS, Duration::from_millis(50)).await;
            assert!(none.expect("answered").is_empty(), "patience ends");
        });
        writer.join().expect("it wrote");
    }
}
