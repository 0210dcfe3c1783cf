//! How the machine comes to its end: who asked, what becomes of a second request, what a unit's failure costs.

use aios_ids::UnitName;
use aios_units::unit::WhenSpent;
use aios_units::{Event, What};
use aios_wire::init::Afterwards;

use super::Supervisor;
use crate::clock::now_ms;
use crate::terminals::say_everywhere;
use crate::{efi, power};

/// Units that do not end within this time of a shutdown are left behind.
const LIMIT_MS: u64 = 60_000;
/// The same after somebody asked again.
const HURRIED_LIMIT_MS: u64 = 5_000;
/// So many requests …
const IMPATIENT: usize = 7;
/// … within this time end the machine at once.
const IMPATIENT_WITHIN_MS: u64 = 2_000;

/// An end that has begun.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) then: Afterwards,
    pub(super) deadline: u64,
    /// When it was asked for, the first time included; never more than matter.
    asked: Vec<u64>,
}

/// What one more request for the end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Hurry,
    AtOnce,
}

impl Ending {
    fn new(then: Afterwards, now_ms: u64) -> Self {
        Self { then, deadline: now_ms + LIMIT_MS, asked: vec![now_ms] }
    }

    fn again(&mut self, now_ms: u64) -> Again {
        self.asked.retain(|at| at + IMPATIENT_WITHIN_MS > now_ms);
        self.asked.push(now_ms);
        self.deadline = self.deadline.min(now_ms + HURRIED_LIMIT_MS);
        if self.asked.len() >= IMPATIENT { Again::AtOnce } else { Again::Hurry }
    }
}

impl Supervisor {
    /// Ends everything in order, then the machine. What comes after is what was asked for first.
    pub(super) fn shut_down(&mut self, then: Afterwards, by: &str) {
        let now = now_ms();
        let again = match &mut self.shutdown {
            None => {
                self.shutdown = Some(Ending::new(then, now));
                self.record(None, What::Shutdown, format!("{then:?}, asked by {by}"));
                self.happened(Event::Shutdown);
                return;
            }
            Some(ending) => (ending.again(now), ending.then),
        };
        match again {
            (Again::AtOnce, then) => power::end(then),
            (Again::Hurry, _) => {
                self.record(
                    None,
                    What::Shutdown,
                    format!("asked again by {by}: units are killed instead of waited for"),
                );
                self.happened(Event::Hurry);
            }
        }
    }

    /// A machine whose units do not end ends without them.
    pub(super) fn end_in_time(&self) {
        if let Some(ending) = &self.shutdown
            && ending.deadline <= now_ms()
        {
            say_everywhere("init: some units do not end; the machine ends without them");
            power::end(ending.then);
        }
    }

    /// What a unit's file says of the moment when its restarts are spent.
    pub(super) fn spent(&mut self, name: &UnitName, outcome: WhenSpent) {
        // A release that was ready once is not judged by what happens later.
        let on_trial = self.system.boot_ms.system.is_none() && efi::on_trial();
        let (what, then) = match outcome {
            WhenSpent::Ignore => ("nothing follows", None),
            WhenSpent::FailTrialBoot if on_trial => ("the release on trial gives up", Some(Afterwards::Reboot)),
            WhenSpent::Degrade | WhenSpent::FailTrialBoot => ("the machine is degraded", None),
            WhenSpent::Recovery => ("the machine starts its recovery image", Some(Afterwards::Recovery)),
        };
        self.record(Some(name), What::Spent, format!("its restarts are spent: {what}"));
        if let Some(then) = then.filter(|_| self.shutdown.is_none()) {
            say_everywhere(&format!("init: {name} does not run: {what}"));
            self.shutdown = Some(Ending::new(then, now_ms()));
            self.events.push_back(Event::Shutdown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_again_shortens_and_seven_times_at_once_ends() {
        let mut ending = Ending::new(Afterwards::Reboot, 1_000);
        assert_eq!(ending.deadline, 61_000);
        assert_eq!(ending.again(10_000), Again::Hurry);
        assert_eq!(ending.deadline, 15_000);
        let slow: Vec<Again> = (2..20).map(|n| ending.again(10_000 + n * 1_000)).collect();
        assert!(slow.iter().all(|again| *again == Again::Hurry), "{slow:?}");
        assert_eq!(ending.deadline, 15_000, "asking never gives more time");
        let fast: Vec<Again> = (0..7).map(|n| ending.again(50_000 + n * 100)).collect();
        assert_eq!(fast.last(), Some(&Again::AtOnce));
        assert_eq!(fast[..6], [Again::Hurry; 6]);
    }
}
