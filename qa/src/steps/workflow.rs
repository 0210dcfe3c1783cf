//! Workflows: what a run does, what ends it, and what it does not do a second time.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Aios, Status, list, text};
use crate::scenario::{Failure, ensure};
use crate::vm::BOOT;

const LIMIT: Duration = Duration::from_secs(180);

/// A step that puts a version of an object.
fn put(id: &str, object: &str, more: &Value) -> Value {
    let mut step = json!({"id": id, "action": "object.put", "parameters": {"name": object, "content": id}});
    if let (Some(step), Some(more)) = (step.as_object_mut(), more.as_object()) {
        step.extend(more.clone());
    }
    step
}

/// Keeps a definition as an object, as a person types it, and gives the word that commands take.
fn keep(aios: &mut Aios, name: &str, steps: &Value) -> Result<String, Failure> {
    let definition = json!({"name": name, "steps": steps}).to_string();
    aios.json(&format!("object put workflows/{name} '{definition}'"))?;
    Ok(format!("object:workflows/{name}"))
}

/// The words of every step's state, in the run's order.
fn states(view: &Value) -> Result<Vec<&str>, Failure> {
    list(&view["steps"])?.iter().map(|step| text(step, "state")).collect()
}

fn now(view: &Value) -> &str {
    view["now"]["now"].as_str().unwrap_or_default()
}

/// What the object store has of an object: nobody of those who carry out workflows is asked.
fn versions(aios: &mut Aios, object: &str) -> Result<usize, Failure> {
    Ok(list(&aios.json(&format!("object log {object}"))?)?.len())
}

/// What could not run is refused before anything happens, and the answer shows where it is wrong.
pub(crate) fn refused_at_load(aios: &mut Aios) -> Result<(), Failure> {
    let circle = json!([put("a", "flow/x", &json!({"after": ["b"]})), put("b", "flow/x", &json!({"after": ["a"]}))]);
    let file = keep(aios, "circle", &circle)?;
    let said = aios.machine.console.run(&format!("workflow check {file}"), LIMIT)?;
    ensure!(
        said.status == 2 && said.text.contains("a -> b -> a") && said.text.contains('^'),
        "a circle is not refused with its place: status {}\n{}",
        said.status,
        said.text
    );
    let said = aios.machine.console.run(&format!("workflow run {file}"), LIMIT)?;
    ensure!(said.status == 2, "a circle runs: {}", said.text);
    ensure!(list(&aios.json("workflow list")?)?.is_empty(), "a refused definition is a run");
    Ok(())
}

/// A run with a question, a step that is passed over and one that looks at what was measured; then its bytes again.
pub(crate) fn from_question_to_end(aios: &mut Aios) -> Result<(), Failure> {
    let steps = json!([
        put("one", "flow/log", &json!({})),
        {"id": "look", "ask": "good?", "after": ["one"]},
        put("two", "flow/log", &json!({"after": ["look"], "retry": {"times": 2}})),
        put("mend", "flow/log", &json!({"when": [{"step": "two", "is": "failed"}]})),
        {"id": "forbidden", "action": "service.restart", "parameters": {"name": "policy-kernel"}, "after": ["two"]},
        put("last", "flow/log", &json!({"when": [{"step": "forbidden", "is": "failed"}]})),
    ]);
    let file = keep(aios, "flow", &steps)?;
    let plan = aios.json(&format!("workflow plan {file}"))?;
    ensure!(text(&plan["steps"][4], "policy")?.starts_with("denied"), "the plan does not foresee a denial: {plan:#}");
    let view = aios.json_of(&format!("workflow run {file}"), Status::Waits)?;
    ensure!(now(&view) == "question", "it does not ask: {view:#}");
    let id = text(&view, "id")?.to_owned();
    aios.ends(&format!("workflow answer {id} two yes"), Status::Failed)?;
    aios.ok(&format!("workflow answer {id} look yes"))?;
    let view = aios.json(&format!("workflow watch {id}"))?;
    ensure!(
        states(&view)? == ["succeeded", "succeeded", "succeeded", "skipped", "failed", "succeeded"],
        "the steps ended otherwise: {view:#}"
    );
    ensure!(versions(aios, "flow/log")? == 3, "the object has another number of versions than steps succeeded");

    let one = aios.json(&format!("workflow replay {id}"))?;
    let two = aios.json(&format!("workflow replay {id}"))?;
    ensure!(one == two && one["ended"] == true, "deciding again gives something else: {one:#} {two:#}");
    let records = aios.json(&format!("evidence query --kind workflow --action {id}"))?;
    let said: Vec<_> = list(&records)?.iter().filter_map(|record| record["payload"]["what"].as_str()).collect();
    ensure!(said == ["begun", "answered", "ended"], "the records of the run are {said:?}");
    let trace = list(&records)?.last().map_or(&Value::Null, |record| &record["payload"]["trace"]);
    ensure!(*trace == one["trace_digest"], "the record of the end has another trace: {records:#}");
    let mut altered = steps.clone();
    altered[2]["parameters"]["content"] = json!("other");
    let file = keep(aios, "flow", &altered)?;
    let said = aios.ends(&format!("workflow replay {id} --definition {file}"), Status::Failed)?;
    ensure!(said.contains("diverges") && said.contains("step 'two'"), "an altered step is not named:\n{said}");
    Ok(())
}

/// A run that is cancelled while its action waits for a person leaves nothing that anybody could approve.
pub(crate) fn cancelled(aios: &mut Aios) -> Result<(), Failure> {
    let steps = json!([{"id": "reboot", "action": "node.reboot"}, put("after", "flow/cancelled", &json!({"after": ["reboot"]}))]);
    let file = keep(aios, "stop", &steps)?;
    let view = aios.json_of(&format!("workflow run {file}"), Status::Waits)?;
    ensure!(now(&view) == "approval", "it does not wait for approval: {view:#}");
    let (id, action) = (text(&view, "id")?.to_owned(), text(&view["now"], "action")?.to_owned());
    aios.ok(&format!("workflow cancel {id}"))?;
    let action = aios.json(&format!("action show {action}"))?;
    ensure!(action["state"]["state"] == "cancelled", "the action of a cancelled run stands: {action:#}");
    aios.ends(&format!("workflow resume {id}"), Status::Failed)?;
    // There is no such object.
    aios.ends("object log flow/cancelled", Status::Failed).map(drop)
}

/// A run over a restart in order and two losses of power. Each version of the object is one step that ran once.
pub(crate) fn over_restarts(aios: &mut Aios) -> Result<(), Failure> {
    let log = "trip/log";
    let steps = json!([
        put("first", log, &json!({})),
        {"id": "reboot", "action": "node.reboot", "after": ["first"], "reason": "a step of the trip"},
        put("second", log, &json!({"after": ["reboot"]})),
        {"id": "named", "action": "settings.set", "parameters": {"key": "motd", "value": "trip"}, "after": ["second"]},
        {"id": "rest", "ask": "still there?", "after": ["named"]},
        put("third", log, &json!({"after": ["rest"]})),
        put("fourth", log, &json!({"after": ["third"]})),
    ]);
    let file = keep(aios, "trip", &steps)?;
    let view = aios.json_of(&format!("workflow run {file}"), Status::Waits)?;
    ensure!(now(&view) == "approval", "it does not wait for approval: {view:#}");
    let id = text(&view, "id")?.to_owned();
    ensure!(versions(aios, log)? == 1, "the first step did not run once");
    let approval = text(&view["now"], "approval")?.to_owned();
    aios.begin_to_approve(&approval)?;
    aios.enter_again(BOOT)?;

    let view = aios.json(&format!("workflow show {id}"))?;
    ensure!(now(&view) == "suspended", "after a restart somebody still speaks for the run: {view:#}");
    let view = aios.json_of(&format!("workflow resume {id}"), Status::Waits)?;
    ensure!(now(&view) == "question", "it did not go on to its question: {view:#}");
    ensure!(states(&view)?[..4] == ["succeeded"; 4], "a step over the restart did not succeed: {view:#}");
    ensure!(versions(aios, log)? == 2, "a step ran twice or not at all");

    // Power fails while it waits.
    aios.machine.power_cut()?;
    aios.enter_again(BOOT)?;
    ensure!(aios.ok("settings get motd")?.trim() == "trip", "the setting did not outlive the power");
    let view = aios.json_of(&format!("workflow resume {id}"), Status::Waits)?;
    ensure!(now(&view) == "question", "the question is not asked again: {view:#}");

    // Power fails while it works.
    aios.ok(&format!("workflow answer {id} rest yes"))?;
    std::thread::sleep(Duration::from_millis(250));
    aios.machine.power_cut()?;
    aios.enter_again(BOOT)?;
    let before = versions(aios, log)?;
    let line = format!("--json workflow resume {id}");
    let status = aios.machine.console.run(&line, LIMIT)?.status;
    let view = aios.json(&format!("workflow show {id}"))?;
    let ended = states(&view)?;
    let after = versions(aios, log)?;
    // What ran when the power went is not run again, whether it had its effect or not; everything else ran once.
    let ran = ended[5..].iter().filter(|state| **state == "succeeded").count();
    ensure!(ended[..5] == ["succeeded"; 5], "the answer is gone: {view:#}");
    ensure!((2 + ran..=3 + ran).contains(&after), "{after} versions, and {ran} of two steps succeeded: {view:#}");
    match (status, ended[5..].contains(&"failed")) {
        (0, false) => ensure!(after == 4, "all succeeded, and there are {after} versions"),
        (1, true) => {
            ensure!(text(&view["now"], "text")?.contains("may have happened"), "nobody is told why: {view:#}");
            ensure!(after == before, "a step that was cut off ran again");
        }
        (4, _) => {
            let why = text(&view["now"], "now")?;
            return Err(Failure::broken(format!("it does not come to its end, {why}: {view:#}")));
        }
        (status, _) => return Err(Failure::broken(format!("resume ended with status {status}: {view:#}"))),
    }
    let replayed = aios.json(&format!("workflow replay {id}"))?;
    ensure!(replayed["ended"] == true, "the run cannot be decided again: {replayed:#}");
    aios.ok("evidence verify").map(drop)
}

/// A run whose runtime is killed again and again while actions run. Each step has an object of its own, so that its
/// versions count how often it ran.
pub(crate) fn while_its_runtime_is_killed(aios: &mut Aios) -> Result<(), Failure> {
    const STEPS: usize = 30;
    let steps: Vec<_> =
        (0..STEPS).map(|number| put(&format!("s{number}"), &format!("kill/{number}"), &json!({}))).collect();
    let file = keep(aios, "killed", &json!(steps))?;
    aios.json("action submit file.write path=begin content=now")?;
    let mut line = format!("workflow run {file}");
    let mut view = Value::Null;
    for _ in 0..40 {
        // The runtime may be killed under it: what came of it is looked at below.
        aios.machine.console.run(&line, LIMIT)?;
        let runs = at_last(aios, "workflow list")?;
        // It was killed before it kept the run.
        let Some(run) = runs.get(0) else { continue };
        let id = text(run, "id")?.to_owned();
        line = format!("workflow resume {id}");
        view = at_last(aios, &format!("workflow show {id}"))?;
        if now(&view) == "ended" {
            break;
        }
    }
    ensure!(now(&view) == "ended", "the run does not come to its end: {view:#}");
    let kills = aios.machine.console.said().matches("killer: the runtime was killed").count();
    ensure!(kills >= 2, "the runtime was killed {kills} times, which shows nothing");

    let objects = aios.json("object list")?;
    let versions = |number: usize| {
        let name = format!("kill/{number}");
        let newest = objects.as_array().and_then(|all| all.iter().find(|object| object["name"] == name.as_str()));
        newest.map_or(0, |object| object["version"].as_u64().unwrap_or_default())
    };
    let mut cut_off = 0;
    for (number, step) in list(&view["steps"])?.iter().enumerate() {
        let ran = versions(number);
        match text(step, "state")? {
            "succeeded" => ensure!(ran == 1, "{step} ran {ran} times"),
            "failed" if text(step, "text")?.contains("may have happened") && ran <= 1 => cut_off += 1,
            _ => return Err(Failure::broken(format!("{step} ran {ran} times"))),
        }
    }
    ensure!(cut_off <= kills, "{kills} kills cut {cut_off} steps off");
    println!("  {kills} kills, {cut_off} of {STEPS} steps cut off while they ran, none ran twice");
    let id = text(&view, "id")?.to_owned();
    aios.json(&format!("workflow replay {id}"))?;
    aios.ok("evidence verify").map(drop)
}

/// The answer of a command whose service may be killed under it, and beside whose answer somebody else may print.
fn at_last(aios: &mut Aios, line: &str) -> Result<Value, Failure> {
    for _ in 0..20 {
        let said = aios.machine.console.run(&format!("--json {line}"), LIMIT)?;
        if let (0, Some(answer)) = (said.status, super::first_json(&said.text)) {
            return Ok(answer);
        }
    }
    Err(Failure::broken(format!("'{line}' is not answered")))
}
