//! Where a run stands, and what is next: the definition and the events of its journal put together, and nothing else.
//!
//! Steps run one at a time, in the definition's order. Each submission of a step has a number, and the step's number is
//! part of the action's idempotency key: whoever submits [`Next::Submit`] again after a crash finds the same action. So
//! the event that an action ended is the only thing that has to be journalled for it.
//!
//! | an action ended | the step |
//! |---|---|
//! | succeeded | has succeeded; in a repair, the next repair or another try |
//! | failed, rolled back, not taken | is tried again, then repaired, then has failed |
//! | denied, cancelled | has failed: nobody asks again for what was refused |
//! | void: nothing happened, because a service was away | is submitted again, as if for the first time |
//! | interrupted: nobody knows whether it had its effect | has failed: an effect is never risked twice |
//!
//! When the time of a step is over and its action still runs, the step has failed; nothing else begins before that
//! action has ended.

use std::collections::BTreeMap;

use aios_action::{Constraints, Request};
use aios_ids::{RunId, StepId};
use serde_json::Value;

use crate::definition::{Act, Condition, Definition, Step, Typed, Work};
use crate::event::{Answer, Ending, Event};
use crate::next::{Next, Outcome, Purpose, Submission};

/// So often at most a run submits something again that came to nothing.
const VOIDS_LIMIT: u32 = 100;

/// How a step ended.
#[derive(Debug, Clone, PartialEq)]
pub enum StepEnd {
    /// It did what it is for; with the parts of its output that somebody looks at.
    Succeeded(BTreeMap<String, Value>),
    /// It did not.
    Failed(String),
    /// It did not have to.
    Skipped(String),
}

/// An event does not answer what the run does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} does not fit: {expected}")]
pub struct Unexpected {
    expected: String,
    found: String,
}

/// Where a run stands.
#[derive(Debug, Clone)]
pub struct Progress<'d> {
    definition: &'d Definition,
    run: RunId,
    ends: Vec<StepEnd>,
    now: Now,
    spent_ms: u64,
    submitted: u32,
    voids: u32,
    over: Option<Outcome>,
}

/// Where the step stands that is not ended.
#[derive(Debug, Clone, Default)]
struct Now {
    /// What the run had taken when it began.
    began_ms: u64,
    /// What the run had taken when the submission that is next was decided.
    decided_ms: u64,
    /// Submissions so far.
    number: u32,
    /// Tries that failed since it began or was repaired last.
    failed: u32,
    /// Rounds of repair that are done.
    rounds: u32,
    /// The action of the round that is going on.
    repairing: Option<usize>,
    /// Why it failed last.
    why: String,
    time: Time,
}

/// Whether there is any left for a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Time {
    #[default]
    Left,
    Over,
}

impl<'d> Progress<'d> {
    /// The beginning of a run.
    pub fn begin(definition: &'d Definition, run: RunId) -> Self {
        let mut progress = Self {
            definition,
            run,
            ends: Vec::with_capacity(definition.steps.len()),
            now: Now::default(),
            spent_ms: 0,
            submitted: 0,
            voids: 0,
            over: None,
        };
        progress.pass_over();
        progress
    }

    /// Milliseconds that the run has taken, by its last event.
    pub fn spent_ms(&self) -> u64 {
        self.spent_ms
    }

    /// How many actions were submitted.
    pub fn submitted(&self) -> u32 {
        self.submitted
    }

    /// The steps that have ended, in the definition's order.
    pub fn ends(&self) -> &[StepEnd] {
        &self.ends
    }

    /// How many submissions of the step that goes on have ended.
    pub fn tries(&self) -> u32 {
        self.now.number
    }

    /// What is next. The same progress always says the same.
    pub fn next(&self) -> Next {
        if let Some(over) = &self.over {
            return Next::End(over.clone());
        }
        let step = &self.definition.steps[self.ends.len()];
        match &step.work {
            Work::Ask { question } => {
                Next::Ask { step: step.id.clone(), question: question.clone(), until_ms: self.until_ms() }
            }
            Work::Act(act) => Next::Submit(Box::new(self.submission(&step.id, act))),
        }
    }

    fn submission(&self, step: &StepId, act: &Act) -> Submission {
        let now = &self.now;
        let (typed, purpose) = match now.repairing {
            Some(action) => {
                let shown = u32::try_from(action).unwrap_or(u32::MAX).saturating_add(1);
                (&act.repair.actions[action], Purpose::Repair { round: now.rounds + 1, action: shown })
            }
            None => (&act.goal, Purpose::Try(now.failed)),
        };
        Submission {
            step: step.clone(),
            number: now.number,
            purpose,
            wait_ms: if now.time == Time::Left { self.wait_ms(act) } else { 0 },
            until_ms: (now.time == Time::Left).then(|| self.until_ms()),
            goal: act.goal.digest(),
            request: self.request(step, act, typed),
        }
    }

    fn request(&self, step: &StepId, act: &Act, typed: &Typed) -> Request {
        let (name, run, number) = (self.definition.name(), &self.run, self.now.number);
        let mut reason = format!("workflow {name}, step {step} ({run})");
        if !typed.reason.is_empty() {
            reason = format!("{reason}: {}", typed.reason);
        }
        Request {
            action_type: typed.action_type.clone(),
            parameters: typed.parameters.clone(),
            reason,
            idempotency_key: Some(format!("{run}/{step}/{number}")),
            constraints: self.constraints(act, typed),
        }
    }

    /// What the definition says, and no longer than the step has left: who asks the same again asks for the same.
    fn constraints(&self, act: &Act, typed: &Typed) -> Constraints {
        let begins_ms = self.now.decided_ms.saturating_add(self.wait_ms(act));
        let left_ms = u32::try_from(self.until_ms().saturating_sub(begins_ms)).unwrap_or(u32::MAX);
        let deadline_ms = typed.constraints.deadline_ms.map_or(left_ms, |own| own.min(left_ms));
        Constraints { deadline_ms: Some(deadline_ms), ..typed.constraints }
    }

    /// How long to wait before a try that is not the first.
    fn wait_ms(&self, act: &Act) -> u64 {
        if self.now.repairing.is_none() && self.now.failed > 0 { act.retry.wait_ms } else { 0 }
    }

    /// When the time of the step that goes on, or of the run, is over.
    fn until_ms(&self) -> u64 {
        let step = &self.definition.steps[self.ends.len()];
        self.now.began_ms.saturating_add(step.timeout_ms).min(self.definition.budget.time_ms)
    }

    /// Takes the next event in. An event that does not fit changes nothing.
    pub fn apply(&mut self, event: &Event) -> Result<(), Unexpected> {
        self.check(event)?;
        self.spent_ms = event.spent_ms();
        match event {
            Event::Cancelled { by, .. } => self.over = Some(Outcome::Cancelled { by: by.clone() }),
            Event::Answered { answer: Answer::Yes, .. } => self.end(StepEnd::Succeeded(BTreeMap::new())),
            Event::Answered { by, .. } => self.end(StepEnd::Failed(format!("{by} said no"))),
            Event::TimeOver { .. } => match self.act() {
                Some(_) => self.now.time = Time::Over,
                None => self.end(StepEnd::Failed("nobody answered in time".into())),
            },
            Event::Ended { end, output, .. } => self.ended(end, output),
        }
        self.pass_over();
        Ok(())
    }

    fn act(&self) -> Option<&'d Act> {
        match &self.definition.steps.get(self.ends.len())?.work {
            Work::Act(act) => Some(act),
            Work::Ask { .. } => None,
        }
    }

    fn check(&self, event: &Event) -> Result<(), Unexpected> {
        let next = self.next();
        let fits = match (event, &next) {
            (Event::Cancelled { .. }, Next::Submit(_) | Next::Ask { .. }) => true,
            (Event::Ended { step, number, .. }, Next::Submit(asked)) => *step == asked.step && *number == asked.number,
            (Event::Answered { step, .. }, Next::Ask { step: asked, .. }) => step == asked,
            (Event::TimeOver { step, spent_ms }, next) => {
                let until = match next {
                    Next::Submit(asked) => asked.until_ms,
                    Next::Ask { until_ms, .. } => Some(*until_ms),
                    Next::End(_) => None,
                };
                next.step() == Some(step) && until.is_some_and(|until| *spent_ms >= until)
            }
            _ => false,
        };
        match fits && event.spent_ms() >= self.spent_ms {
            true => Ok(()),
            false => Err(Unexpected { expected: next.words(), found: event.words() }),
        }
    }

    fn ended(&mut self, end: &Ending, output: &BTreeMap<String, Value>) {
        let Some(act) = self.act() else { return };
        self.now.number += 1;
        self.now.decided_ms = self.spent_ms;
        if let Ending::Void { text } = end {
            self.voids += 1;
            if self.now.time == Time::Over {
                self.end(StepEnd::Failed("its time was over".into()));
            } else if self.voids > VOIDS_LIMIT {
                self.end(StepEnd::Failed(format!("it came to nothing {VOIDS_LIMIT} times; the last time: {text}")));
            }
            return;
        }
        self.submitted += 1;
        if self.now.time == Time::Over {
            return self.end(StepEnd::Failed(format!("its time was over; its action then ended: {}", end.words())));
        }
        match (end, self.now.repairing) {
            (Ending::Succeeded, None) => self.end(StepEnd::Succeeded(output.clone())),
            (Ending::Succeeded, Some(action)) if action + 1 < act.repair.actions.len() => {
                self.now.repairing = Some(action + 1);
            }
            (Ending::Succeeded, Some(_)) => {
                self.now.repairing = None;
                self.now.rounds += 1;
                self.now.failed = 0;
            }
            (_, Some(_)) => {
                let why = format!("{}; and its repair ended: {}", self.now.why, end.words());
                self.end(StepEnd::Failed(why));
            }
            (Ending::Failed { .. } | Ending::RolledBack { .. } | Ending::NotTaken { .. }, None) => {
                self.now.why = end.words();
                self.failed(act);
            }
            (Ending::Denied { .. } | Ending::Cancelled | Ending::Interrupted | Ending::Void { .. }, None) => {
                self.end(StepEnd::Failed(end.words()));
            }
        }
    }

    /// A try failed: there is another, or a repair, or the step has failed.
    fn failed(&mut self, act: &Act) {
        self.now.failed += 1;
        // After a repair there is one try.
        let tries = if self.now.rounds == 0 { act.retry.times } else { 0 };
        if self.now.failed <= tries {
            return;
        }
        if self.now.rounds < act.repair.rounds {
            self.now.repairing = Some(0);
            return;
        }
        self.end(StepEnd::Failed(self.now.why.clone()));
    }

    fn end(&mut self, end: StepEnd) {
        self.ends.push(end);
        self.now = Now { began_ms: self.spent_ms, decided_ms: self.spent_ms, ..Now::default() };
    }

    /// Goes over steps that do not have to run, ends what has no time left, and ends the run behind the last step.
    fn pass_over(&mut self) {
        while self.over.is_none() {
            let Some(step) = self.definition.steps.get(self.ends.len()) else {
                self.over = Some(self.outcome());
                return;
            };
            if let Some(why) = self.reason_to_skip(step) {
                self.end(StepEnd::Skipped(why));
                continue;
            }
            if self.now.time == Time::Over {
                return;
            }
            let Work::Act(act) = &step.work else { return };
            if let Some(text) = self.spent_budget() {
                self.over = Some(Outcome::Failed { step: step.id.clone(), text });
                return;
            }
            if self.spent_ms.saturating_add(self.wait_ms(act)) < self.until_ms() {
                return;
            }
            let last = if self.now.why.is_empty() { String::new() } else { format!("; before: {}", self.now.why) };
            self.end(StepEnd::Failed(format!("its time was over{last}")));
        }
    }

    fn spent_budget(&self) -> Option<String> {
        let budget = &self.definition.budget;
        if self.submitted >= budget.actions {
            return Some(format!("the run's budget of {} actions is spent", budget.actions));
        }
        let over = self.spent_ms >= budget.time_ms;
        over.then(|| format!("the run's budget of {} s is spent", budget.time_ms / 1000))
    }

    fn reason_to_skip(&self, step: &Step) -> Option<String> {
        let id = |place: usize| &self.definition.steps[place].id;
        let missing = step.after.iter().find(|place| !matches!(self.ends[**place], StepEnd::Succeeded(_)));
        if let Some(place) = missing {
            return Some(format!("'{}' did not succeed", id(*place)));
        }
        step.when.iter().find(|condition| !self.holds(condition)).map(|condition| match condition {
            Condition::Succeeded(place) => format!("'{}' did not succeed", id(*place)),
            Condition::Failed(place) => format!("'{}' did not fail", id(*place)),
            Condition::Skipped(place) => format!("'{}' was not passed over", id(*place)),
            Condition::Output { step, pointer, equals } => format!("{pointer} of '{}' is not {equals}", id(*step)),
        })
    }

    fn holds(&self, condition: &Condition) -> bool {
        match (condition, &self.ends[condition.step()]) {
            (Condition::Succeeded(_), StepEnd::Succeeded(_))
            | (Condition::Failed(_), StepEnd::Failed(_))
            | (Condition::Skipped(_), StepEnd::Skipped(_)) => true,
            (Condition::Output { pointer, equals, .. }, StepEnd::Succeeded(output)) => {
                output.get(pointer).is_some_and(|value| value == equals)
            }
            _ => false,
        }
    }

    /// A failure is dealt with when a step that ran because of it succeeded.
    fn outcome(&self) -> Outcome {
        let dealt_with = |place: usize| {
            self.definition.steps.iter().zip(&self.ends).any(|(step, end)| {
                matches!(end, StepEnd::Succeeded(_)) && step.when.contains(&Condition::Failed(place))
            })
        };
        let failed = self.ends.iter().enumerate().find_map(|(place, end)| match end {
            StepEnd::Failed(text) if !dealt_with(place) => Some((place, text)),
            _ => None,
        });
        match failed {
            Some((place, text)) => {
                Outcome::Failed { step: self.definition.steps[place].id.clone(), text: text.clone() }
            }
            None => Outcome::Succeeded,
        }
    }
}
