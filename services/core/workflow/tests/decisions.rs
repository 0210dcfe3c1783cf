//! What comes next after what: each rule of a run, one by one.

use std::collections::BTreeMap;

use aios_ids::RunId;
use aios_workflow::{Answer, Definition, Ending, Event, Next, Outcome, Progress, Purpose, StepEnd};
use serde_json::{Value, json};

fn run() -> RunId {
    RunId::new(0, [0; 10])
}

fn definition(steps: Value) -> Definition {
    let text = json!({"name": "x", "steps": steps}).to_string();
    Definition::parse(&text).unwrap_or_else(|error| panic!("{error}"))
}

fn put(id: &str, more: Value) -> Value {
    let mut step = json!({"id": id, "action": "object.put", "parameters": {"name": id, "content": id}});
    step.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    step
}

fn failed(text: &str) -> Ending {
    Ending::Failed { text: text.into() }
}

/// Answers what is next with an ending, `later` milliseconds later.
fn ends(progress: &mut Progress<'_>, end: Ending, later: u64) {
    let Next::Submit(asked) = progress.next() else { panic!("nothing is submitted: {:?}", progress.next()) };
    let event = Event::Ended {
        step: asked.step,
        number: asked.number,
        action: None,
        end,
        output: BTreeMap::new(),
        spent_ms: progress.spent_ms() + later,
    };
    progress.apply(&event).expect("it answers");
}

/// The step that is next, with its submission's number.
fn next(progress: &Progress<'_>) -> String {
    match progress.next() {
        Next::Submit(asked) => format!("{} {} {:?}", asked.step, asked.number, asked.purpose),
        Next::Ask { step, .. } => format!("{step} asks"),
        Next::End(outcome) => match outcome {
            Outcome::Succeeded => "succeeded".into(),
            Outcome::Failed { step, .. } => format!("failed at {step}"),
            Outcome::Cancelled { .. } => "cancelled".into(),
        },
    }
}

/// Each ending, and what is next after it.
fn check(steps: Value, way: &[(Ending, &str)]) {
    let definition = definition(steps);
    let mut progress = Progress::begin(&definition, run());
    for (end, expected) in way {
        ends(&mut progress, end.clone(), 1);
        assert_eq!(next(&progress), *expected, "after {end:?}");
    }
}

#[test]
fn a_failure_passes_over_what_needed_the_success_and_runs_what_deals_with_it() {
    let steps = json!([
        put("a", json!({})),
        put("b", json!({"after": ["a"]})),
        put("c", json!({"after": ["b"]})),
        put("mend", json!({"when": [{"step": "a", "is": "failed"}]})),
        put("last", json!({"when": [{"step": "c", "is": "skipped"}]})),
    ]);
    check(
        steps.clone(),
        &[(failed("no"), "mend 0 Try(0)"), (Ending::Succeeded, "last 0 Try(0)"), (Ending::Succeeded, "succeeded")],
    );
    // A failure that nobody dealt with is the run's.
    check(
        steps.clone(),
        &[(failed("no"), "mend 0 Try(0)"), (failed("no"), "last 0 Try(0)"), (Ending::Succeeded, "failed at a")],
    );
    check(
        steps,
        &[(Ending::Succeeded, "b 0 Try(0)"), (Ending::Succeeded, "c 0 Try(0)"), (Ending::Succeeded, "succeeded")],
    );
}

#[test]
fn trying_again_and_repairing_have_their_bounds() {
    let steps = json!([put(
        "a",
        json!({
            "retry": {"times": 1, "wait-s": 0},
            "repair": {"rounds": 2, "actions": [
                {"action": "object.put", "parameters": {"name": "r1", "content": ""}},
                {"action": "object.put", "parameters": {"name": "r2", "content": ""}},
            ]},
        })
    )]);
    check(
        steps.clone(),
        &[
            (failed("1"), "a 1 Try(1)"),
            (failed("2"), "a 2 Repair { round: 1, action: 1 }"),
            (Ending::Succeeded, "a 3 Repair { round: 1, action: 2 }"),
            (Ending::Succeeded, "a 4 Try(0)"),
            (failed("3"), "a 5 Repair { round: 2, action: 1 }"),
            (Ending::Succeeded, "a 6 Repair { round: 2, action: 2 }"),
            (Ending::Succeeded, "a 7 Try(0)"),
            (failed("4"), "failed at a"),
        ],
    );
    // A repair that fails mends nothing.
    check(
        steps,
        &[
            (failed("1"), "a 1 Try(1)"),
            (failed("2"), "a 2 Repair { round: 1, action: 1 }"),
            (failed("3"), "failed at a"),
        ],
    );
}

#[test]
fn what_was_refused_or_may_have_happened_is_not_asked_for_again() {
    for end in [Ending::Denied { reason: "NoMatchingPermit".into() }, Ending::Cancelled, Ending::Interrupted] {
        check(json!([put("a", json!({"retry": {"times": 5}}))]), &[(end, "failed at a")]);
    }
    let away = Ending::Void { text: "away".into() };
    check(json!([put("a", json!({}))]), &[(away.clone(), "a 1 Try(0)"), (Ending::Succeeded, "succeeded")]);
    // Not even that goes on for ever.
    let definition = definition(json!([put("a", json!({}))]));
    let mut progress = Progress::begin(&definition, run());
    let voids = (0..1000).take_while(|_| {
        matches!(progress.next(), Next::Submit(_)).then(|| ends(&mut progress, away.clone(), 0)).is_some()
    });
    assert_eq!(voids.count(), 101);
    assert_eq!(next(&progress), "failed at a");
}

#[test]
fn the_goal_is_the_same_whatever_is_repaired_and_every_submission_has_a_key_of_its_own() {
    let definition = definition(json!([put(
        "a",
        json!({
            "retry": {"times": 2},
            "repair": {"rounds": 1, "actions": [{"action": "object.put", "parameters": {"name": "r", "content": ""}}]},
        })
    )]));
    let mut progress = Progress::begin(&definition, run());
    let (mut goals, mut keys) = (Vec::new(), Vec::new());
    while let Next::Submit(asked) = progress.next() {
        goals.push(asked.goal);
        keys.push(asked.key().to_owned());
        let end = if matches!(asked.purpose, Purpose::Try(_)) { failed("no") } else { Ending::Succeeded };
        ends(&mut progress, end, 0);
    }
    assert_eq!(keys.len(), 5);
    goals.dedup();
    assert_eq!(goals.len(), 1);
    assert_eq!(keys[4], format!("{}/a/4", run()));
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 5);
}

#[test]
fn a_condition_looks_at_what_was_measured_and_at_nothing_else() {
    let steps = json!([
        put("a", json!({})),
        put("b", json!({"when": [{"step": "a", "output": "/measured/size", "equals": 3}]})),
    ]);
    for (found, expected) in [(Some(json!(3)), "b 0 Try(0)"), (Some(json!("3")), "succeeded"), (None, "succeeded")] {
        let definition = definition(steps.clone());
        let mut progress = Progress::begin(&definition, run());
        let output = found.map(|found| ("/measured/size".to_owned(), found)).into_iter().collect();
        let step = "a".parse().expect("an id");
        let event = Event::Ended { step, number: 0, action: None, end: Ending::Succeeded, output, spent_ms: 0 };
        progress.apply(&event).expect("it answers");
        assert_eq!(next(&progress), expected);
    }
}

#[test]
fn a_question_is_answered_once_and_by_its_own_step() {
    let definition = definition(json!([{"id": "look", "ask": "good?"}, put("b", json!({"after": ["look"]}))]));
    let answer = |step: &str, answer| Event::Answered {
        step: step.parse().expect("an id"),
        by: "operator:ada".into(),
        answer,
        spent_ms: 5,
    };
    let mut progress = Progress::begin(&definition, run());
    assert_eq!(next(&progress), "look asks");
    assert!(progress.apply(&answer("b", Answer::Yes)).is_err());
    progress.apply(&answer("look", Answer::Yes)).expect("it answers");
    assert_eq!(next(&progress), "b 0 Try(0)");
    assert!(progress.apply(&answer("look", Answer::No)).is_err());

    let mut progress = Progress::begin(&definition, run());
    progress.apply(&answer("look", Answer::No)).expect("it answers");
    assert_eq!(next(&progress), "failed at look");
    assert!(matches!(&progress.ends()[0], StepEnd::Failed(text) if text == "operator:ada said no"));
}

#[test]
fn nothing_begins_after_its_time_and_nothing_beside_what_still_runs() {
    let time_over = |spent_ms| Event::TimeOver { step: "a".parse().expect("an id"), spent_ms };
    let definition = definition(json!([
        put("a", json!({"timeout-s": 10, "retry": {"times": 5, "wait-s": 4}})),
        put("b", json!({"when": [{"step": "a", "is": "failed"}]})),
    ]));
    let mut progress = Progress::begin(&definition, run());
    assert!(progress.apply(&time_over(9_999)).is_err(), "not yet");
    progress.apply(&time_over(10_000)).expect("it is");
    let Next::Submit(late) = progress.next() else { panic!("its action is waited for") };
    assert_eq!((late.step.as_str(), late.number, late.until_ms), ("a", 0, None));
    // A late success is none: nobody may count on it any more.
    ends(&mut progress, Ending::Succeeded, 1);
    assert_eq!(next(&progress), "b 0 Try(0)");

    // A try that would begin when the time is over does not begin.
    let mut progress = Progress::begin(&definition, run());
    ends(&mut progress, failed("1"), 5_999);
    assert_eq!(next(&progress), "a 1 Try(1)");
    ends(&mut progress, failed("2"), 1);
    assert_eq!(next(&progress), "b 0 Try(0)");
    assert!(matches!(&progress.ends()[0], StepEnd::Failed(text) if text.contains("time was over; before: failed: 2")));
}

/// Whoever asks again, after a crash or when the time is over, asks for exactly the same: the key is good for nothing else.
#[test]
fn an_action_may_take_what_its_step_has_left() {
    let definition = definition(json!([
        put("a", json!({"timeout-s": 10, "constraints": {"memory": 5}, "retry": {"times": 5, "wait-s": 4}})),
        put("b", json!({"timeout-s": 10, "constraints": {"deadline_ms": 7}, "when": [{"step": "a", "is": "failed"}]})),
    ]));
    let request = |progress: &Progress<'_>| {
        let Next::Submit(asked) = progress.next() else { panic!("it submits") };
        asked.request
    };
    let mut progress = Progress::begin(&definition, run());
    assert_eq!(
        (request(&progress).constraints.deadline_ms, request(&progress).constraints.memory),
        (Some(10_000), Some(5))
    );
    ends(&mut progress, failed("1"), 2_000);
    let before = request(&progress);
    assert_eq!(before.constraints.deadline_ms, Some(4_000), "eight are left, and it waits for four");
    let step = "a".parse().expect("an id");
    progress.apply(&Event::TimeOver { step, spent_ms: 10_500 }).expect("it is over");
    assert_eq!(request(&progress), before);
    ends(&mut progress, failed("2"), 0);
    assert_eq!(request(&progress).constraints.deadline_ms, Some(7), "the definition's own is shorter");
}

#[test]
fn a_spent_budget_ends_the_run() {
    let text = |budget: Value| {
        let steps = json!([put("a", json!({})), put("b", json!({})), put("c", json!({}))]);
        Definition::parse(&json!({"name": "x", "budget": budget, "steps": steps}).to_string()).expect("good")
    };
    let (actions, seconds) = (text(json!({"actions": 2})), text(json!({"seconds": 3})));
    for definition in [&actions, &seconds] {
        let mut progress = Progress::begin(definition, run());
        ends(&mut progress, Ending::Succeeded, 1_500);
        ends(&mut progress, Ending::Succeeded, 1_500);
        assert_eq!(next(&progress), "failed at c");
    }
    // What came to nothing is no action.
    let mut progress = Progress::begin(&actions, run());
    ends(&mut progress, Ending::Void { text: String::new() }, 0);
    ends(&mut progress, Ending::Succeeded, 0);
    assert_eq!((next(&progress).as_str(), progress.submitted()), ("b 0 Try(0)", 1));
}

#[test]
fn a_cancelled_run_takes_nothing_more() {
    let definition = definition(json!([put("a", json!({}))]));
    let cancelled = Event::Cancelled { by: "operator:ada".into(), spent_ms: 0 };
    let mut progress = Progress::begin(&definition, run());
    progress.apply(&cancelled).expect("it runs");
    assert_eq!(next(&progress), "cancelled");
    assert!(progress.apply(&cancelled).is_err());
}
