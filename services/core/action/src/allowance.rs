//! What one subject may use up in an hour, over all its actions.
//!
//! Pure: the clock comes in as minutes that never go back. Use is kept by the minute, so an hour is between 59 and 60
//! minutes long, and what is kept does not grow with the number of actions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How much of each thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Use {
    /// Actions that were taken in.
    pub actions: u64,
    /// Milliseconds that programs ran.
    pub time_ms: u64,
    /// Milliseconds of processor time.
    pub cpu_ms: u64,
    /// Bytes that programs printed.
    pub output: u64,
    /// Bytes of content that were put into files and objects.
    pub written: u64,
    /// Bytes that other machines were sent and answered.
    pub network: u64,
}

/// What an agent may use up in an hour. An agent that works all the time gets along with a tenth of it.
pub const AGENT: Use =
    Use { actions: 600, time_ms: 3_600_000, cpu_ms: 600_000, output: 64 << 20, written: 64 << 20, network: 64 << 20 };

/// What everybody else may: a person's script that runs wild is stopped, a person is not.
pub const ANYBODY: Use = Use {
    actions: 20_000,
    time_ms: 36_000_000,
    cpu_ms: 7_200_000,
    output: 4 << 30,
    written: 4 << 30,
    network: 4 << 30,
};

/// The subject has used something up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{subject} has used up its {what} of this hour ({limit}); the next minutes give it back bit by bit")]
pub struct UsedUp {
    subject: String,
    what: &'static str,
    limit: u64,
}

const MINUTES: u64 = 60;

/// What everybody used in the last hour.
#[derive(Debug, Clone, Default)]
pub struct Ledger(BTreeMap<String, BTreeMap<u64, Use>>);

impl Ledger {
    /// Takes one action of `subject` in, unless something is used up.
    pub fn take(&mut self, subject: &str, minute: u64) -> Result<(), UsedUp> {
        let limit = if subject.starts_with("agent:") { AGENT } else { ANYBODY };
        let used = self.used(subject, minute);
        for (what, used, limit) in [
            ("actions", used.actions, limit.actions),
            ("milliseconds of running", used.time_ms, limit.time_ms),
            ("milliseconds of processor time", used.cpu_ms, limit.cpu_ms),
            ("bytes of output", used.output, limit.output),
            ("bytes of files and objects", used.written, limit.written),
            ("bytes over the network", used.network, limit.network),
        ] {
            if used >= limit {
                return Err(UsedUp { subject: subject.to_owned(), what, limit });
            }
        }
        self.charge_in(subject, Use::ACTION, minute);
        Ok(())
    }

    /// Notes what an action of `subject` used in a minute. It is never refused: it has happened.
    pub fn charge_in(&mut self, subject: &str, used: Use, minute: u64) {
        let minutes = self.0.entry(subject.to_owned()).or_default();
        minutes.entry(minute).or_default().add(used);
    }

    /// The first minute that counts in this one.
    pub fn oldest_minute(minute: u64) -> u64 {
        minute.saturating_sub(MINUTES - 1)
    }

    /// What `subject` used in the hour that ends with a minute; what is older is forgotten.
    pub fn used(&mut self, subject: &str, minute: u64) -> Use {
        let first = Self::oldest_minute(minute);
        for minutes in self.0.values_mut() {
            minutes.retain(|minute, _| *minute >= first);
        }
        self.0.retain(|_, minutes| !minutes.is_empty());
        let mut sum = Use::default();
        for used in self.0.get(subject).into_iter().flat_map(BTreeMap::values) {
            sum.add(*used);
        }
        sum
    }
}

impl Use {
    /// One action that was taken in.
    pub const ACTION: Self = Self { actions: 1, time_ms: 0, cpu_ms: 0, output: 0, written: 0, network: 0 };

    /// Adds what was used besides.
    pub fn add(&mut self, other: Self) {
        self.actions = self.actions.saturating_add(other.actions);
        self.time_ms = self.time_ms.saturating_add(other.time_ms);
        self.cpu_ms = self.cpu_ms.saturating_add(other.cpu_ms);
        self.output = self.output.saturating_add(other.output);
        self.written = self.written.saturating_add(other.written);
        self.network = self.network.saturating_add(other.network);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_count_comes_back_after_an_hour_and_not_before() {
        let mut ledger = Ledger::default();
        for _ in 0..AGENT.actions {
            ledger.take("agent:a", 0).expect("within the hour's number");
        }
        let refused = ledger.take("agent:a", 59).expect_err("used up");
        assert_eq!(
            refused.to_string(),
            "agent:a has used up its actions of this hour (600); the next minutes give it back bit by bit"
        );
        assert!(ledger.take("agent:b", 59).is_ok(), "another agent's number is its own");
        assert!(ledger.take("operator:a", 59).is_ok());
        assert!(ledger.take("agent:a", 60).is_ok());
    }

    #[test]
    fn each_thing_is_counted() {
        for (used, word) in [
            (Use { time_ms: AGENT.time_ms, ..Use::default() }, "running"),
            (Use { cpu_ms: AGENT.cpu_ms, ..Use::default() }, "processor"),
            (Use { output: u64::MAX, ..Use::default() }, "output"),
            (Use { written: AGENT.written, ..Use::default() }, "objects"),
            (Use { network: AGENT.network, ..Use::default() }, "network"),
        ] {
            let mut ledger = Ledger::default();
            ledger.charge_in("agent:a", used, 0);
            let refused = ledger.take("agent:a", 1).expect_err("used up").to_string();
            assert!(refused.contains(word), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_an_hours_number_in_59_minutes(steps in prop::collection::vec(0_u64..30, 1..2000)) {
            let (mut ledger, mut now, mut taken) = (Ledger::default(), 0, Vec::new());
            for step in steps {
                now += u64::from(step == 0);
                if ledger.take("agent:a", now).is_ok() {
                    taken.push(now);
                }
                let since = now.saturating_sub(59);
                prop_assert!(taken.iter().filter(|at| **at >= since).count() as u64 <= AGENT.actions);
            }
        }
    }
}
