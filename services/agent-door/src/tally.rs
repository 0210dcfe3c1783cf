//! What agents say that comes to no decision, counted: it is recorded when it begins, and then once an hour with a number.
//!
//! A decision records itself. What is no request, beyond the account of an hour, or said where there is no room for one more
//! conversation, is never decided, and a record of each would let an agent fill the log.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often the same is said of an agent.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Why something that an agent said was not decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// It is no request.
    NoRequest,
    /// The agent has used up something of its hour, or has actions enough that have not ended.
    BeyondAccount,
    /// The agent has conversations enough, or all have.
    NoRoom,
}

impl Cause {
    /// The word of the record.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::NoRequest => "NoRequest",
            Self::BeyondAccount => "BeyondAccount",
            Self::NoRoom => "NoRoom",
        }
    }
}

/// What began with something that was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// An hour: somebody has to say it.
    First,
    /// Nothing: it is said at the end of the hour.
    Another,
}

/// The counts of one agent.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<BTreeMap<Cause, u64>>);

impl Tally {
    /// Counts one.
    pub(crate) fn add(&self, cause: Cause) -> Counted {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.entry(cause) {
            Entry::Vacant(first) => {
                first.insert(1);
                Counted::First
            }
            Entry::Occupied(mut count) => {
                *count.get_mut() += 1;
                Counted::Another
            }
        }
    }

    /// Says the first one, and then how many there were, until there was none for an hour.
    pub(crate) async fn say<S: Future<Output = ()>>(&self, cause: Cause, hour: Duration, say: impl Fn(u64) -> S) {
        while let Some(count) = self.next(cause) {
            say(count).await;
            tokio::time::sleep(hour).await;
        }
    }

    /// What was not said yet. Without any, the next one is a first one.
    fn next(&self, cause: Cause) -> Option<u64> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get_mut(&cause).map(std::mem::take).filter(|count| *count > 0);
        if count.is_none() {
            counts.remove(&cause);
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_is_two_records_and_says_how_many() {
        let tally = Tally::default();
        assert_eq!(tally.add(Cause::NoRequest), Counted::First);
        let said = Mutex::new(Vec::new());
        let hour = Duration::from_millis(50);
        let say = tally.say(Cause::NoRequest, hour, |count| {
            said.lock().expect("a list").push(count);
            std::future::ready(())
        });
        let flood = async {
            tokio::time::sleep(hour / 5).await;
            assert!((0..1000).all(|_| tally.add(Cause::NoRequest) == Counted::Another));
        };
        tokio::join!(say, flood);
        assert_eq!(*said.lock().expect("a list"), [1, 1000]);
        assert_eq!(tally.add(Cause::NoRequest), Counted::First, "an hour has passed without one");
        assert_eq!(tally.add(Cause::BeyondAccount), Counted::First, "each cause has its own");
    }
}
