//! A machine that dies before any of its writes, and goes on afterwards: no effect happens twice, and the run comes to
//! the same end. The one exception is told and tested: an action that was running is not run again, whatever it had done.

use std::collections::BTreeMap;

use aios_ids::RunId;
use aios_workflow::{
    Answer, Definition, Ending, Event, Next, Outcome, Purpose, Row, StepEnd, Submission, replay, resume,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// An action in the runtime's journal, by the states that its life cycle has.
#[derive(Debug, Clone, PartialEq)]
enum Action {
    Proposed,
    Allowed,
    Running,
    Verifying,
    Ended(Ending),
}

/// What survives a crash, and the effects, which are the world's.
#[derive(Debug, Clone, Default)]
struct Machine {
    actions: BTreeMap<String, Action>,
    rows: Vec<Row>,
    /// Which submissions had an effect, by key, with the step and the purpose for which it was.
    effects: BTreeMap<String, (String, String, u32)>,
    writes: usize,
    /// The machine dies instead of the write with this number.
    dies_at: Vec<usize>,
}

struct Died;

impl Machine {
    fn write(&mut self) -> Result<(), Died> {
        let now = self.writes;
        self.writes += 1;
        if self.dies_at.contains(&now) { Err(Died) } else { Ok(()) }
    }

    fn set(&mut self, key: &str, action: Action) -> Result<(), Died> {
        self.write()?;
        self.actions.insert(key.to_owned(), action);
        Ok(())
    }

    /// What the runtime does at its start about what it finds.
    fn settle(&mut self) -> Result<(), Died> {
        let found: Vec<_> = self.actions.iter().map(|(key, action)| (key.clone(), action.clone())).collect();
        for (key, action) in found {
            match action {
                Action::Proposed | Action::Allowed => {
                    self.set(&key, Action::Ended(Ending::Void { text: "ended".into() }))?;
                }
                Action::Running => self.set(&key, Action::Ended(Ending::Interrupted))?,
                Action::Verifying | Action::Ended(_) => {}
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, asked: &Submission, script: &Script, already: u32) -> Result<Ending, Died> {
        let key = asked.key().to_owned();
        if !self.actions.contains_key(&key) {
            self.set(&key, Action::Proposed)?;
        }
        let end = script.ending(asked, already);
        loop {
            match self.actions[&key].clone() {
                Action::Proposed if matches!(end, Ending::Denied { .. }) => {
                    self.set(&key, Action::Ended(end.clone()))?
                }
                Action::Proposed => self.set(&key, Action::Allowed)?,
                Action::Allowed => self.set(&key, Action::Running)?,
                Action::Running => {
                    let effect = self.effects.entry(key.clone()).or_default();
                    *effect = (asked.step.to_string(), format!("{:?}", asked.purpose), effect.2 + 1);
                    self.set(&key, Action::Verifying)?;
                }
                Action::Verifying => self.set(&key, Action::Ended(end.clone()))?,
                Action::Ended(end) => return Ok(end),
            }
        }
    }

    /// One life, from its start to the run's end or its own.
    fn live(&mut self, definition: &Definition, script: &Script) -> Result<Outcome, Died> {
        self.settle()?;
        loop {
            let (progress, chain) = resume(definition, &run(), &self.rows).expect("the journal is what was written");
            let spent_ms = progress.spent_ms() + 1;
            let next = progress.next();
            let event = match &next {
                Next::End(outcome) => return Ok(outcome.clone()),
                Next::Ask { step, .. } => {
                    let answer = if script.0[0].is_multiple_of(3) { Answer::No } else { Answer::Yes };
                    Event::Answered { step: step.clone(), by: "operator:ada".into(), answer, spent_ms }
                }
                Next::Submit(asked) => {
                    let already = self.rows.iter().filter(|row| counts(&row.event, asked)).count();
                    let end = self.carry_out(asked, script, u32::try_from(already).expect("few"))?;
                    let (step, number) = (asked.step.clone(), asked.number);
                    Event::Ended { step, number, action: None, end, output: BTreeMap::new(), spent_ms }
                }
            };
            self.write()?;
            self.rows.push(Row { chain: chain.with_event(&next, &event), event });
        }
    }

    /// As many lives as it takes.
    fn live_on(&mut self, definition: &Definition, script: &Script) -> Outcome {
        loop {
            if let Ok(outcome) = self.live(definition, script) {
                return outcome;
            }
        }
    }

    fn effects_of_all(&self) -> Vec<(&str, &str)> {
        let mut all: Vec<_> =
            self.effects.values().map(|(step, purpose, _)| (step.as_str(), purpose.as_str())).collect();
        all.sort_unstable();
        all
    }

    fn was_interrupted(&self) -> bool {
        self.rows.iter().any(|row| matches!(&row.event, Event::Ended { end: Ending::Interrupted, .. }))
    }
}

/// Whether an event is an earlier submission of the same step that came to something.
fn counts(event: &Event, asked: &Submission) -> bool {
    matches!(event, Event::Ended { step, end, .. } if *step == asked.step && !matches!(end, Ending::Void { .. }))
}

/// How the world answers: by the step and how many submissions of it came to something before, so that what came to
/// nothing changes no answer.
#[derive(Debug, Clone)]
struct Script(Vec<u8>);

impl Script {
    fn ending(&self, asked: &Submission, already: u32) -> Ending {
        let letter = usize::from(asked.step.as_str().as_bytes()[0]);
        let place = (letter * 31 + usize::try_from(already).expect("few") * 7) % self.0.len();
        match self.0[place] % 8 {
            0 | 1 => Ending::Failed { text: "as it happens".into() },
            2 => Ending::RolledBack { text: "as it happens".into() },
            3 if matches!(asked.purpose, Purpose::Try(_)) => Ending::Denied { reason: "NoMatchingPermit".into() },
            _ => Ending::Succeeded,
        }
    }
}

fn run() -> RunId {
    RunId::new(0, [0; 10])
}

/// Small workflows of every shape: what each step waits for, its retries and repairs, and questions.
fn definitions() -> impl Strategy<Value = Definition> {
    let step = (any::<u8>(), any::<u8>(), 0u32..3, 0u32..3, 0u8..6);
    prop::collection::vec(step, 1..6).prop_map(|parts| {
        let id = |place: usize| char::from(b'a' + u8::try_from(place).expect("few")).to_string();
        let steps = parts.iter().enumerate().map(|(place, (after, when, times, rounds, kind))| {
            let earlier = |bits: u8| (0..place).filter(move |other| bits & (1 << other) != 0 && bits & 0x40 != 0);
            let ends = ["succeeded", "failed", "skipped"];
            let when: Vec<_> = earlier(*when)
                .take(1)
                .map(|other| json!({"step": id(other), "is": ends[usize::from(*when) % 3]}))
                .collect();
            let after: Vec<_> = earlier(*after).map(id).collect();
            if *kind == 0 {
                return json!({"id": id(place), "ask": "go on?", "after": after, "when": when});
            }
            let mut step = json!({"id": id(place), "action": "object.put", "after": after, "when": when,
                "parameters": {"name": id(place), "content": ""}});
            if *times > 0 {
                step["retry"] = json!({"times": times, "wait-s": 0});
            }
            if *rounds > 0 {
                let repair = json!({"action": "object.put", "parameters": {"name": "repair", "content": ""}});
                step["repair"] = json!({"rounds": rounds, "actions": [repair.clone(), repair]});
            }
            step
        });
        let steps: Vec<Value> = steps.collect();
        Definition::parse(&json!({"name": "x", "steps": steps}).to_string()).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// What must hold of a run that was cut off, beside the same run that was not.
fn judge(definition: &Definition, whole: (&Machine, &Outcome), cut: (&Machine, &Outcome)) -> Result<(), String> {
    let (machine, outcome) = cut;
    if let Some((key, effect)) = machine.effects.iter().find(|(_, effect)| effect.2 > 1) {
        return Err(format!("{key} had its effect {} times", effect.2));
    }
    let one = replay(definition, &run(), &machine.rows).map_err(|found| found.to_string())?;
    let two = replay(definition, &run(), &machine.rows).map_err(|found| found.to_string())?;
    if one.text != two.text {
        return Err("the same run has two traces".into());
    }
    if !machine.was_interrupted() {
        let same = (whole.0.effects_of_all(), whole.1) == (machine.effects_of_all(), outcome);
        return if same { Ok(()) } else { Err(format!("{:?} and {outcome:?}", whole.1)) };
    }
    // Nothing more is done for the step that was cut off in the middle.
    let (progress, _) = resume(definition, &run(), &machine.rows).map_err(|found| found.to_string())?;
    for (place, row) in machine.rows.iter().enumerate() {
        let Event::Ended { step, end: Ending::Interrupted, .. } = &row.event else { continue };
        let end = &progress.ends()[definition.place_of(step).ok_or("a step of another workflow")?];
        if !matches!(end, StepEnd::Failed(_)) {
            return Err(format!("{step} was interrupted and is {end:?}"));
        }
        if machine.rows[place + 1..].iter().any(|row| row.event.step() == Some(step)) {
            return Err(format!("{step} was interrupted and went on"));
        }
    }
    Ok(())
}

fn whole_run(definition: &Definition, script: &Script) -> (Machine, Outcome) {
    let mut whole = Machine::default();
    let outcome = whole.live_on(definition, script);
    (whole, outcome)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn dying_before_any_write_repeats_nothing_and_changes_nothing(
        definition in definitions(),
        script in prop::collection::vec(any::<u8>(), 1..12).prop_map(Script),
    ) {
        let (whole, outcome) = whole_run(&definition, &script);
        for dies_at in 0..whole.writes {
            let mut cut = Machine { dies_at: vec![dies_at], ..Machine::default() };
            let end = cut.live_on(&definition, &script);
            let verdict = judge(&definition, (&whole, &outcome), (&cut, &end));
            prop_assert!(verdict.is_ok(), "dead before write {}: {:?}", dies_at, verdict);
        }
    }

    #[test]
    fn dying_again_and_again_repeats_nothing(
        definition in definitions(),
        script in prop::collection::vec(any::<u8>(), 1..12).prop_map(Script),
        dies_at in prop::collection::vec(0usize..120, 1..12),
    ) {
        let (whole, outcome) = whole_run(&definition, &script);
        let mut cut = Machine { dies_at, ..Machine::default() };
        let end = cut.live_on(&definition, &script);
        let verdict = judge(&definition, (&whole, &outcome), (&cut, &end));
        prop_assert!(verdict.is_ok(), "{:?}", verdict);
    }
}

/// The model's machine does die where it says, and an action that ran is what the exception is about.
#[test]
fn a_step_that_was_cut_off_while_it_ran_has_failed() {
    let step =
        json!({"id": "a", "action": "object.put", "parameters": {"name": "a", "content": ""}, "retry": {"times": 3}});
    let definition = Definition::parse(&json!({"name": "x", "steps": [step]}).to_string()).expect("good");
    let script = Script(vec![7]);
    // Proposed, allowed, running; then it dies before it could write that the effect was done.
    let mut cut = Machine { dies_at: vec![3], ..Machine::default() };
    let outcome = cut.live_on(&definition, &script);
    assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    assert_eq!(cut.effects.values().map(|effect| effect.2).collect::<Vec<_>>(), [1]);
    // One write earlier nothing had happened, and it is done.
    let mut cut = Machine { dies_at: vec![2], ..Machine::default() };
    assert_eq!(cut.live_on(&definition, &script), Outcome::Succeeded);
    assert_eq!(cut.effects.len(), 1);
}
