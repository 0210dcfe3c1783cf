//! How the machine comes to its end: who asked, what becomes of a second request, what a unit's failure costs.

use aios_ids::UnitName;
use aios_units::unit::WhenSpent;
use aios_units::{Event, What};
use aios_wire::init::Afterwards;

use super::Supervisor;
use crate::cgroups::{self, Frozen, Left};
use crate::clock::now_ms;
use crate::terminals::say_everywhere;
use crate::{efi, power};

/// Units that do not end within this time of a shutdown are left behind.
const LIMIT_MS: u64 = 60_000;
/// The same after somebody asked again.
const HURRIED_LIMIT_MS: u64 = 5_000;
/// Actions that run have so long to come to their end, before any service is told to stop.
const ACTIONS_MS: u64 = 5_000;
/// From the end of the last action until the first service is told to stop: its result is written meanwhile.
const RESULTS_MS: u64 = 500;
/// How often to look whether actions have ended.
const LOOK_EVERY_MS: u64 = 50;
/// So many requests …
const IMPATIENT: usize = 7;
/// … within this time end the machine at once.
const IMPATIENT_WITHIN_MS: u64 = 2_000;

/// An end that has begun.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) then: Afterwards,
    deadline: u64,
    stage: Stage,
    pace: Pace,
    /// When it was asked for, the first time included; never more than matter.
    asked: Vec<u64>,
}

/// Whether somebody asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Orderly,
    Hurried,
}

/// How far an end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Actions come to their end; at this time they are killed.
    Actions { until: u64 },
    /// The result of the last action is written; at this time units are told to stop.
    Results { until: u64 },
    /// Units stop in order.
    Units,
}

/// What an end asks to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    KillActions,
    StopUnits,
}

/// What one more request for the end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Hurry,
    AtOnce,
}

impl Ending {
    /// Frozen actions cannot come to an end, so nobody waits for them.
    fn new(then: Afterwards, frozen: Frozen, now_ms: u64) -> Self {
        let patience = match frozen {
            Frozen::No => ACTIONS_MS,
            Frozen::Yes => 0,
        };
        let stage = Stage::Actions { until: now_ms + patience };
        Self { then, deadline: now_ms + LIMIT_MS, stage, pace: Pace::Orderly, asked: vec![now_ms] }
    }

    fn again(&mut self, now_ms: u64) -> Again {
        self.asked.retain(|at| at + IMPATIENT_WITHIN_MS > now_ms);
        self.asked.push(now_ms);
        self.deadline = self.deadline.min(now_ms + HURRIED_LIMIT_MS);
        self.pace = Pace::Hurried;
        if let Stage::Actions { until } | Stage::Results { until } = &mut self.stage {
            *until = now_ms;
        }
        if self.asked.len() >= IMPATIENT { Again::AtOnce } else { Again::Hurry }
    }

    /// The next step towards the units, given whether actions run; `begun` is the first look of all.
    fn step(&mut self, actions: Left, begun: Begun, now_ms: u64) -> Due {
        match (self.stage, actions) {
            (Stage::Units, _) => Due::Nothing,
            (Stage::Actions { .. }, Left::Nothing) if begun == Begun::JustNow => self.begin_units(),
            (Stage::Actions { .. }, Left::Nothing) => self.begin_results(now_ms),
            (Stage::Actions { until }, Left::Something) if until <= now_ms => {
                self.begin_results(now_ms);
                Due::KillActions
            }
            (Stage::Results { until }, _) if until <= now_ms => self.begin_units(),
            (Stage::Actions { .. } | Stage::Results { .. }, _) => Due::Nothing,
        }
    }

    fn begin_results(&mut self, now_ms: u64) -> Due {
        self.stage = Stage::Results { until: now_ms + RESULTS_MS };
        Due::Nothing
    }

    fn begin_units(&mut self) -> Due {
        self.stage = Stage::Units;
        Due::StopUnits
    }

    /// When to look again.
    pub(super) fn next_look(&self, now_ms: u64) -> u64 {
        match self.stage {
            Stage::Actions { .. } | Stage::Results { .. } => self.deadline.min(now_ms + LOOK_EVERY_MS),
            Stage::Units => self.deadline,
        }
    }
}

/// Whether an end has just begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    JustNow,
    Before,
}

impl Supervisor {
    /// Ends everything in order, then the machine. What comes after is what was asked for first.
    pub(super) fn shut_down(&mut self, then: Afterwards, by: &str) {
        let now = now_ms();
        let again = match &mut self.shutdown {
            None => {
                self.record(None, What::Shutdown, format!("{then:?}, asked by {by}"));
                self.begin_end(then);
                self.happened(Event::Tick);
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

    fn begin_end(&mut self, then: Afterwards) {
        let frozen = if self.graph.frozen().is_some() { Frozen::Yes } else { Frozen::No };
        self.shutdown = Some(Ending::new(then, frozen, now_ms()));
        self.go_on_ending(Begun::JustNow);
    }

    /// Actions first, then units; a machine whose units do not end ends without them.
    pub(super) fn end_in_time(&mut self) {
        self.go_on_ending(Begun::Before);
        if !self.events.is_empty() {
            self.happened(Event::Tick);
        }
        if let Some(ending) = &self.shutdown
            && ending.deadline <= now_ms()
        {
            say_everywhere("init: some units do not end; the machine ends without them");
            power::end(ending.then);
        }
    }

    fn go_on_ending(&mut self, begun: Begun) {
        let Some(ending) = &mut self.shutdown else { return };
        let pace = ending.pace;
        match ending.step(cgroups::actions(), begun, now_ms()) {
            Due::Nothing => {}
            Due::KillActions => {
                let killed = cgroups::kill_actions();
                let what = match killed {
                    Ok(()) => "actions did not come to their end and were killed".to_owned(),
                    Err(error) => format!("actions do not come to their end and cannot be killed: {error}"),
                };
                self.record(None, What::Shutdown, what);
            }
            // Pushed, not carried out: an end may begin in the middle of another event.
            Due::StopUnits => {
                self.events.push_back(Event::Shutdown);
                if pace == Pace::Hurried {
                    self.events.push_back(Event::Hurry);
                }
            }
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
            self.begin_end(then);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(frozen: Frozen) -> Ending {
        Ending::new(Afterwards::PowerOff, frozen, 1_000)
    }

    #[test]
    fn without_actions_units_stop_at_once() {
        let mut ending = ending(Frozen::No);
        assert_eq!(ending.step(Left::Nothing, Begun::JustNow, 1_000), Due::StopUnits);
        assert_eq!(ending.step(Left::Something, Begun::Before, 99_000), Due::Nothing, "told once");
        assert_eq!(ending.next_look(99_000), 61_000);
    }

    #[test]
    fn actions_have_their_time_and_their_results_too() {
        let mut ending = ending(Frozen::No);
        assert_eq!(ending.step(Left::Something, Begun::JustNow, 1_000), Due::Nothing);
        assert_eq!(ending.step(Left::Something, Begun::Before, 5_999), Due::Nothing);
        let mut killed = Ending { asked: Vec::new(), ..ending };
        assert_eq!(killed.step(Left::Something, Begun::Before, 6_000), Due::KillActions);
        assert_eq!(killed.step(Left::Something, Begun::Before, 6_499), Due::Nothing);
        assert_eq!(killed.step(Left::Something, Begun::Before, 6_500), Due::StopUnits, "what cannot be killed is left");

        let mut over = self::ending(Frozen::No);
        assert_eq!(over.step(Left::Something, Begun::JustNow, 1_000), Due::Nothing);
        assert_eq!(over.step(Left::Nothing, Begun::Before, 2_000), Due::Nothing, "its result is being written");
        assert_eq!(over.next_look(2_000), 2_050);
        assert_eq!(over.step(Left::Nothing, Begun::Before, 2_500), Due::StopUnits);
    }

    #[test]
    fn nobody_waits_for_frozen_actions_nor_after_a_second_request() {
        let mut frozen = ending(Frozen::Yes);
        assert_eq!(frozen.step(Left::Something, Begun::JustNow, 1_000), Due::KillActions);
        let mut hurried = ending(Frozen::No);
        assert_eq!(hurried.step(Left::Something, Begun::JustNow, 1_000), Due::Nothing);
        assert_eq!(hurried.again(2_000), Again::Hurry);
        assert_eq!(hurried.step(Left::Something, Begun::Before, 2_000), Due::KillActions);
        assert_eq!(hurried.again(2_100), Again::Hurry);
        assert_eq!(hurried.step(Left::Something, Begun::Before, 2_100), Due::StopUnits);
    }

    #[test]
    fn asking_again_shortens_and_seven_times_at_once_ends() {
        let mut ending = Ending::new(Afterwards::Reboot, Frozen::No, 1_000);
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
