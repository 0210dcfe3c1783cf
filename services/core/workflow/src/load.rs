//! Reading a definition: TOML or JSON of one form in, a checked [`Definition`] out, or what is wrong and where.
//!
//! Unknown keys are refused, so a misspelt limit is never silently absent. Whatever a run could meet later and can be
//! known now is refused now: types and parameters that the catalogue does not have, steps that are not there, circles,
//! and anything without a bound.

use std::collections::BTreeMap;

use aios_action::{EnvelopeError, Request};
use aios_ids::StepId;
use serde_json::Value;

use crate::definition::{Act, Budget, Condition, Definition, Repair, Retry, Step, Typed, Work};
use crate::order::{Circle, Edge, order};
use crate::place::{Format, Segment};
use crate::problem::{DefinitionError, Problem};
use crate::written::{Written, WrittenCondition, WrittenEnd, WrittenStep, WrittenTyped, read};

/// A definition is at most so many bytes long.
pub const FILE_LIMIT: usize = 512 * 1024;
/// And has at most so many steps.
pub(crate) const STEPS_LIMIT: usize = 1024;
/// A step waits for at most so many others.
pub(crate) const EDGES_LIMIT: usize = 32;
/// The most further tries.
pub(crate) const RETRY_LIMIT: u32 = 10;
/// The most rounds of repair.
pub(crate) const ROUNDS_LIMIT: u32 = 5;
/// The most actions in a round of repair.
pub(crate) const REPAIRS_LIMIT: usize = 8;
/// The longest time of a run or a step: a week.
pub(crate) const SECONDS_LIMIT: u64 = 7 * 24 * 3600;
/// The longest wait before a further try.
pub(crate) const WAIT_LIMIT: u64 = 3600;
/// What a run may take when nothing is said: a day.
pub(crate) const RUN_SECONDS: u64 = 24 * 3600;
/// What a step may take when nothing is said.
pub(crate) const STEP_SECONDS: u64 = 3600;
/// The longest text for people.
pub(crate) const TEXT_LIMIT: usize = 512;

/// What is wrong, and the way to it from the top of the file.
type Wrong = (Problem, Vec<Segment>);

impl Definition {
    /// Reads a definition, in TOML or, when it begins with a brace, in JSON.
    pub fn parse(text: &str) -> Result<Self, DefinitionError> {
        if text.len() > FILE_LIMIT {
            return Err(DefinitionError { problem: Box::new(Problem::Size(text.len())), place: None });
        }
        let format = Format::of(text);
        let written = read(format, text)?;
        check(written).map_err(|(problem, way)| {
            let place = (!way.is_empty()).then(|| format.find(text, &way)).flatten();
            DefinitionError { problem: Box::new(problem), place }
        })
    }
}

fn check(written: Written) -> Result<Definition, Wrong> {
    use Segment::{Item, Key};
    let count = written.steps.len();
    if !(1..=STEPS_LIMIT).contains(&count) {
        return Err((Problem::Steps(count), vec![Key("steps")]));
    }
    text("description", None, written.description.as_deref()).map_err(|wrong| (wrong, vec![Key("description")]))?;
    let mut places = BTreeMap::new();
    for (place, step) in written.steps.iter().enumerate() {
        if places.insert(step.id.clone(), place).is_some() {
            return Err((Problem::Duplicate(step.id.clone()), vec![Key("steps"), Item(place), Key("id")]));
        }
    }
    let mut edges = Vec::with_capacity(count);
    for (place, step) in written.steps.iter().enumerate() {
        edges.push(edges_of(step, &places).map_err(|(wrong, way)| (wrong, below(place, way)))?);
    }
    let order = order(&edges).map_err(|circle| told(circle, &written, &edges))?;
    let mut rank = vec![0; count];
    for (new, old) in order.iter().enumerate() {
        rank[*old] = new;
    }
    let mut steps = Vec::with_capacity(count);
    for place in order {
        let rank_of = |id: &StepId| rank[places[id]];
        let step = step(&written.steps[place], rank_of).map_err(|(wrong, way)| (wrong, below(place, way)))?;
        steps.push(step);
    }
    let budget = budget(&written, &steps)?;
    Ok(Definition { written, budget, steps })
}

fn below(place: usize, way: Vec<Segment>) -> Vec<Segment> {
    let mut whole = vec![Segment::Key("steps"), Segment::Item(place)];
    whole.extend(way);
    whole
}

fn edges_of(step: &WrittenStep, places: &BTreeMap<StepId, usize>) -> Result<Vec<(usize, Edge)>, Wrong> {
    use Segment::{Item, Key};
    for (key, number) in [("after", step.after.len()), ("when", step.when.len())] {
        if number > EDGES_LIMIT {
            return Err((value(step, key, format!("names {number} steps; at most {EDGES_LIMIT}")), vec![Key(key)]));
        }
    }
    let missing = |on: &StepId| Problem::Missing { step: step.id.clone(), on: on.clone() };
    let after = step.after.iter().enumerate().map(|(item, on)| {
        let place = places.get(on).ok_or_else(|| (missing(on), vec![Key("after"), Item(item)]))?;
        Ok((*place, Edge::Success))
    });
    let when = step.when.iter().enumerate().map(|(item, condition)| {
        let on = &condition.step;
        let place = places.get(on).ok_or_else(|| (missing(on), vec![Key("when"), Item(item), Key("step")]))?;
        Ok((*place, Edge::Condition))
    });
    after.chain(when).collect()
}

/// What a circle means: of successes alone, no step could begin; with a condition in it, that one looks ahead.
fn told(Circle(way): Circle, written: &Written, edges: &[Vec<(usize, Edge)>]) -> Wrong {
    use Segment::{Item, Key};
    let id = |place: usize| written.steps[place].id.clone();
    let ids = |way: &[(usize, Edge)]| way.iter().map(|(place, _)| id(*place)).collect::<Vec<_>>();
    let Some(begin) = way.iter().position(|(_, edge)| *edge == Edge::Condition) else {
        let first = way[0].0;
        return (Problem::Cycle(ids(&way)), vec![Key("steps"), Item(first), Key("after")]);
    };
    let mut way = way;
    way.rotate_left(begin);
    // In a circle of one, the step looks at itself.
    let (step, on) = (way[0].0, way.get(1).unwrap_or(&way[0]).0);
    let item = edges[step].iter().filter(|(_, edge)| *edge == Edge::Condition).position(|(other, _)| *other == on);
    let place = vec![Key("steps"), Item(step), Key("when"), Item(item.unwrap_or(0))];
    (Problem::Backward { step: id(step), on: id(on), way: ids(&way) }, place)
}

fn step(written: &WrittenStep, rank_of: impl Fn(&StepId) -> usize) -> Result<Step, Wrong> {
    use Segment::Key;
    let only_of_actions = [
        ("parameters", !written.parameters.is_empty()),
        ("reason", written.reason.is_some()),
        ("constraints", !written.constraints.is_empty()),
        ("retry", written.retry.is_some()),
        ("repair", written.repair.is_some()),
    ];
    let work = match (&written.action, &written.ask) {
        (Some(_), None) => Work::Act(act(written)?),
        (None, Some(question)) => {
            if let Some((key, _)) = only_of_actions.into_iter().find(|(_, given)| *given) {
                return Err((value(written, key, "is only for a step with an action".into()), vec![Key(key)]));
            }
            text("ask", Some(written), Some(question)).map_err(|wrong| (wrong, vec![Key("ask")]))?;
            Work::Ask { question: question.clone() }
        }
        (Some(_), Some(_)) => {
            return Err((value(written, "ask", "stands beside an action; make it a step".into()), vec![Key("ask")]));
        }
        (None, None) => return Err((value(written, "action", "is missing, and so is ask".into()), vec![])),
    };
    let timeout = written.timeout_s.unwrap_or(STEP_SECONDS);
    if !(1..=SECONDS_LIMIT).contains(&timeout) {
        return Err((value(written, "timeout-s", format!("is from 1 to {SECONDS_LIMIT}")), vec![Key("timeout-s")]));
    }
    let when = written.when.iter().enumerate().map(|(item, condition)| {
        self::condition(written, condition, &rank_of).map_err(|wrong| (wrong, vec![Key("when"), Segment::Item(item)]))
    });
    Ok(Step {
        id: written.id.clone(),
        work,
        after: written.after.iter().map(&rank_of).collect(),
        when: when.collect::<Result<_, Wrong>>()?,
        timeout_ms: timeout * 1000,
    })
}

fn act(written: &WrittenStep) -> Result<Act, Wrong> {
    use Segment::{Item, Key};
    let goal = WrittenTyped {
        action: written.action.clone().unwrap_or_default(),
        parameters: written.parameters.clone(),
        reason: written.reason.clone(),
        constraints: written.constraints,
    };
    let goal = typed(written, &goal)?;
    let unbounded = |key, most| Problem::Unbounded { step: written.id.clone(), key, most };
    let mut retry = Retry::default();
    if let Some(said) = &written.retry {
        let times = said.times.filter(|times| (1..=RETRY_LIMIT).contains(times));
        retry.times = times.ok_or_else(|| (unbounded("retry.times", RETRY_LIMIT), vec![Key("retry"), Key("times")]))?;
        let wait = said.wait_s.unwrap_or(1);
        if wait > WAIT_LIMIT {
            let why = format!("is at most {WAIT_LIMIT}");
            return Err((value(written, "retry.wait-s", why), vec![Key("retry"), Key("wait-s")]));
        }
        retry.wait_ms = wait * 1000;
    }
    let mut repair = Repair::default();
    if let Some(said) = &written.repair {
        let rounds = said.rounds.filter(|rounds| (1..=ROUNDS_LIMIT).contains(rounds));
        repair.rounds =
            rounds.ok_or_else(|| (unbounded("repair.rounds", ROUNDS_LIMIT), vec![Key("repair"), Key("rounds")]))?;
        if !(1..=REPAIRS_LIMIT).contains(&said.actions.len()) {
            let why = format!("has 1 to {REPAIRS_LIMIT} actions");
            return Err((value(written, "repair.actions", why), vec![Key("repair"), Key("actions")]));
        }
        for (item, action) in said.actions.iter().enumerate() {
            let typed = typed(written, action).map_err(|(wrong, way)| {
                let mut whole = vec![Key("repair"), Key("actions"), Item(item)];
                whole.extend(way);
                (wrong, whole)
            })?;
            repair.actions.push(typed);
        }
    }
    Ok(Act { goal, retry, repair })
}

/// Checks an action against the catalogue.
fn typed(step: &WrittenStep, written: &WrittenTyped) -> Result<Typed, Wrong> {
    use Segment::Key;
    text("reason", Some(step), written.reason.as_deref()).map_err(|wrong| (wrong, vec![Key("reason")]))?;
    let request = Request {
        action_type: written.action.clone(),
        parameters: written.parameters.clone(),
        reason: written.reason.clone().unwrap_or_default(),
        idempotency_key: None,
        constraints: written.constraints,
    };
    match request.check() {
        Ok(_) => Ok(Typed {
            action_type: request.action_type,
            parameters: request.parameters,
            reason: request.reason,
            constraints: request.constraints,
        }),
        Err(why) => {
            let key = match why {
                EnvelopeError::UnknownType(_) => "action",
                EnvelopeError::Constraint(_) => "constraints",
                _ => "parameters",
            };
            Err((Problem::Action { step: step.id.clone(), why }, vec![Key(key)]))
        }
    }
}

fn condition(
    step: &WrittenStep,
    written: &WrittenCondition,
    rank_of: impl Fn(&StepId) -> usize,
) -> Result<Condition, Problem> {
    let on = rank_of(&written.step);
    let wrong = |why: &str| value(step, "when", why.into());
    match (written.is, &written.output, &written.equals) {
        (Some(WrittenEnd::Succeeded), None, None) => Ok(Condition::Succeeded(on)),
        (Some(WrittenEnd::Failed), None, None) => Ok(Condition::Failed(on)),
        (Some(WrittenEnd::Skipped), None, None) => Ok(Condition::Skipped(on)),
        (None, Some(pointer), Some(equals)) => {
            if !pointer.starts_with('/') || pointer.len() > TEXT_LIMIT || pointer.contains(char::is_control) {
                return Err(wrong("has an output that is no JSON pointer, such as /measured/value"));
            }
            match equals {
                Value::String(text) if text.len() > TEXT_LIMIT => {
                    Err(wrong(&format!("compares with more than {TEXT_LIMIT} bytes")))
                }
                Value::String(_) | Value::Number(_) | Value::Bool(_) => {
                    Ok(Condition::Output { step: on, pointer: pointer.clone(), equals: equals.clone() })
                }
                _ => Err(wrong("compares with something that is no text, whole number, true or false")),
            }
        }
        _ => Err(wrong("has either 'is', or 'output' and 'equals'")),
    }
}

fn budget(written: &Written, steps: &[Step]) -> Result<Budget, Wrong> {
    use Segment::Key;
    let wrong = |key: &'static str, why: String| {
        let last = key.rsplit('.').next().unwrap_or(key);
        (Problem::Value { step: None, key, why }, vec![Key("budget"), Key(last)])
    };
    let said = written.budget.as_ref();
    let most: u32 = steps.iter().map(most_actions).sum();
    let actions = said.and_then(|said| said.actions).unwrap_or(most);
    if said.is_some() && actions == 0 {
        return Err(wrong("budget.actions", "is at least 1".into()));
    }
    let seconds = said.and_then(|said| said.seconds).unwrap_or(RUN_SECONDS);
    if !(1..=SECONDS_LIMIT).contains(&seconds) {
        return Err(wrong("budget.seconds", format!("is from 1 to {SECONDS_LIMIT}")));
    }
    Ok(Budget { actions, time_ms: seconds * 1000 })
}

/// The most actions that a step can take.
pub fn most_actions(step: &Step) -> u32 {
    match &step.work {
        Work::Act(act) => {
            let in_a_round = u32::try_from(act.repair.actions.len()).unwrap_or(u32::MAX).saturating_add(1);
            1 + act.retry.times + act.repair.rounds * in_a_round
        }
        Work::Ask { .. } => 0,
    }
}

fn value(step: &WrittenStep, key: &'static str, why: String) -> Problem {
    Problem::Value { step: Some(step.id.clone()), key, why }
}

/// Text that people are shown: short, and without anything that a terminal would obey.
fn text(key: &'static str, step: Option<&WrittenStep>, text: Option<&str>) -> Result<(), Problem> {
    let hostile =
        |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
    match text {
        Some(text) if text.is_empty() || text.len() > TEXT_LIMIT || text.contains(hostile) => Err(Problem::Value {
            step: step.map(|step| step.id.clone()),
            key,
            why: format!("is 1 to {TEXT_LIMIT} bytes of text without control characters"),
        }),
        _ => Ok(()),
    }
}
