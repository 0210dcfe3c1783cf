//! What is read, what is refused, and the place that a refusal names.

use aios_workflow::{Definition, FILE_LIMIT, Work, most_actions, schema};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Uses every key there is.
const WHOLE: &str = r#"
name = "renew"
description = "a page that is written again"
budget = { actions = 20, seconds = 600 }

[[steps]]
id = "write"
action = "file.write"
parameters = { path = "page", content = "new" }
reason = "the old one is a year old"
constraints = { time_ms = 2000, memory = 1000000 }
timeout-s = 60
retry = { times = 2, wait-s = 5 }
repair = { rounds = 1, actions = [{ action = "settings.set", parameters = { key = "hostname", value = "box" } }] }

[[steps]]
id = "look"
ask = "does the page look right?"
after = ["write"]

[[steps]]
id = "keep"
action = "object.put"
parameters = { name = "page", content = "new" }
after = ["look"]
when = [{ step = "write", output = "/measured/sha256", equals = "ab" }]

[[steps]]
id = "undo"
action = "file.write"
parameters = { path = "page", content = "old" }
when = [{ step = "look", is = "failed" }]
"#;

fn order(text: &str) -> Vec<String> {
    let definition = Definition::parse(text).unwrap_or_else(|error| panic!("{error}"));
    definition.steps.iter().map(|step| step.id.to_string()).collect()
}

fn refused(text: &str, says: &str, place: Option<(usize, &str)>) {
    let error = Definition::parse(text).expect_err(says);
    let said = error.problem.to_string();
    assert!(said.contains(says), "'{says}' is not in: {said}");
    let Some((line, begins)) = place else { return };
    let found = error.place.as_ref().unwrap_or_else(|| panic!("no place: {said}"));
    let rest: String = text.lines().nth(found.line - 1).unwrap_or("").chars().skip(found.column - 1).collect();
    assert_eq!(found.line, line, "{error}");
    assert!(rest.starts_with(begins), "{error}");
    assert!(error.to_string().contains('^'), "{error}");
}

/// Three steps, of which the second has these lines.
fn with(lines: &str) -> String {
    format!(
        "name = 'x'\n[[steps]]\nid = 'a'\nask = 'a?'\n[[steps]]\nid = 'b'\n{lines}\n[[steps]]\nid = 'c'\nask = 'c?'\nafter = ['b']\n"
    )
}

#[test]
fn every_key_is_read_and_both_formats_are_one_definition() {
    let toml = Definition::parse(WHOLE).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(order(WHOLE), ["write", "look", "keep", "undo"]);
    assert_eq!((toml.budget.actions, toml.budget.time_ms), (20, 600_000));
    let json = Definition::parse(&toml.canonical()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((json.digest(), &json), (toml.digest(), &toml));
    // One try, two more, then a round of one repair and another try.
    assert_eq!(most_actions(&toml.steps[0]), 5);
    assert!(matches!(&toml.steps[1].work, Work::Ask { question } if question.contains("right")));
    assert_eq!(toml.asked_of(0).collect::<Vec<_>>(), ["/measured/sha256"]);
}

#[test]
fn steps_run_after_what_they_wait_for_and_otherwise_as_written() {
    let step = |id: &str, after: &[&str]| json!({"id": id, "ask": "?", "after": after});
    let text = |steps: Value| json!({"name": "x", "steps": steps}).to_string();
    assert_eq!(
        order(&text(json!([step("z", &["m"]), step("b", &[]), step("m", &[]), step("a", &[])]))),
        ["b", "m", "z", "a"]
    );
}

#[test]
fn what_cannot_run_is_refused_with_its_place() {
    refused(&with("ask = 'b?'\nid-2 = 1"), "unknown field `id-2`", Some((8, "id-2")));
    refused("{\"name\": \"x\",\n \"stepz\": []}", "unknown field `stepz`", Some((2, "")));
    refused(
        &with("ask = 'b?'\nafter = ['a', 'nowhere']"),
        "'nowhere', and there is no such step",
        Some((8, "'nowhere'")),
    );
    refused(&with("ask = 'b?'\nwhen = [{step = 'nowhere', is = 'failed'}]"), "no such step", Some((8, "'nowhere'")));
    refused(&with("ask = 'b?'\nafter = ['c']"), "none could begin: b -> c -> b", Some((8, "['c']")));
    refused(&with("ask = 'b?'\nafter = ['b']"), "none could begin: b -> b", Some((8, "['b']")));
    refused(&with("ask = 'b?'\nwhen = [{step = 'c', is = 'failed'}]"), "never goes back", Some((8, "{step")));
    refused(&with("action = 'shell.run'"), "no action type 'shell.run'", Some((7, "'shell.run'")));
    refused(&with("action = 'object.put'"), "needs the parameter 'name'", Some((5, "[[steps]]")));
    refused(&with("action = 'node.reboot'\nparameters = {force = true}"), "no parameter 'force'", Some((8, "{force")));
    refused(&with("action = 'node.reboot'\nretry = {wait-s = 1}"), "without a bound", Some((8, "{wait-s")));
    refused(&with("action = 'node.reboot'\nretry = {times = 0}"), "retry.times from 1 to 10", Some((8, "0}")));
    refused(&with("action = 'node.reboot'\nretry = {times = 4000000000}"), "without a bound", Some((8, "4000000000")));
    refused(&with("action = 'node.reboot'\nretry = {times = -1}"), "-1", Some((8, "")));
    refused(
        &with("action = 'node.reboot'\nrepair = {actions = [{action = 'node.reboot'}]}"),
        "without a bound",
        Some((8, "{")),
    );
    refused(&with("action = 'node.reboot'\nrepair = {rounds = 1, actions = []}"), "1 to 8 actions", Some((8, "[]")));
    refused(
        &with("action = 'node.reboot'\nrepair = {rounds = 1, actions = [{action = 'x.y'}]}"),
        "'x.y'",
        Some((8, "'x.y'")),
    );
    refused(&with("action = 'node.reboot'\nconstraints = {memory = 0}"), "'memory' is 0", Some((8, "{memory")));
    refused(&with("action = 'node.reboot'\nconstraints = {disk = 1}"), "unknown field `disk`", Some((8, "disk")));
    refused(&with("ask = 'b?'\nretry = {times = 1}"), "only for a step with an action", Some((8, "{times")));
    refused(&with("ask = 'b?'\naction = 'node.reboot'"), "make it a step", Some((7, "'b?'")));
    refused(&with("timeout-s = 5"), "is missing, and so is ask", Some((5, "[[steps]]")));
    refused(&with("ask = 'b?'\ntimeout-s = 0"), "from 1 to 604800", Some((8, "0")));
    refused(&with("ask = 'b?'\nwhen = [{step = 'a'}]"), "either 'is', or 'output' and 'equals'", Some((8, "{step")));
    refused(
        &with("ask = 'b?'\nwhen = [{step = 'a', output = 'x', equals = 1}]"),
        "no JSON pointer",
        Some((8, "{step")),
    );
    refused(&with("ask = 'b?'\nwhen = [{step = 'a', output = '/x', equals = 1.5}]"), "whole number", Some((8, "")));
    refused(&with("ask = \"b\\u001b?\""), "control characters", Some((7, "\"b")));
    refused(
        &with("ask = 'b?'").replace("'c'", "'a'").replace("['b']", "[]"),
        "two steps are called 'a'",
        Some((9, "'a'")),
    );
    refused("name = 'x'\nsteps = []", "has 0 steps", Some((2, "[]")));
    refused("name = 'X'\nsteps = []", "workflow's name", Some((1, "'X'")));
    refused("budget = {actions = 0}\nname = 'x'\n[[steps]]\nid = 'a'\nask = 'a?'", "at least 1", Some((1, "0}")));
    refused(&" ".repeat(FILE_LIMIT + 1), "bytes", None);
    let twice =
        r#"{"name":"x","steps":[{"id":"a","action":"object.put","parameters":{"name":"a","name":"b","content":""}}]}"#;
    refused(twice, "stands twice", Some((1, "")));
    let many: Vec<_> = (0..1025).map(|number| json!({"id": format!("s{number}"), "ask": "?"})).collect();
    refused(&json!({"name": "x", "steps": many}).to_string(), "has 1025 steps", None);
}

/// The published schema has the keys that the reader takes, at every level.
#[test]
fn the_schema_has_the_reader_s_keys() {
    let read: Value = toml::from_str(WHOLE).expect("it is TOML");
    fn keys(value: &Value, schema: &Value, path: &str) {
        match value {
            Value::Object(fields) => {
                let Some(known) = schema["properties"].as_object() else { return };
                for (key, value) in fields {
                    assert!(known.contains_key(key), "{path}.{key} is not in the schema");
                    keys(value, &known[key], &format!("{path}.{key}"));
                }
            }
            Value::Array(items) => items.iter().for_each(|item| keys(item, &schema["items"], path)),
            _ => {}
        }
    }
    keys(&read, &schema(), "");
    let step = schema()["properties"]["steps"]["items"]["properties"].as_object().cloned().expect("properties");
    let used: std::collections::BTreeSet<_> = read["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .flat_map(|step| step.as_object().expect("a step").keys())
        .collect();
    assert!(step.keys().all(|key| used.contains(key)), "the example does not use every key of {step:?}");
}

#[test]
fn the_page_has_the_schema() {
    let page = include_str!("../../../../docs/formats/workflow.schema.json");
    let written: Value = serde_json::from_str(page).expect("it is JSON");
    assert_eq!(written, schema(), "write what 'aios workflow schema' prints to docs/formats/workflow.schema.json");
}

/// The example that people copy runs, and a mistake in it is told as the page says.
#[test]
fn the_page_is_true() {
    let page = include_str!("../../../../docs/workflows.md");
    let indented = |from: &str| -> String {
        let begin = page.find(from).unwrap_or_else(|| panic!("the page has no '{from}'"));
        let lines = page[begin..].lines().take_while(|line| line.is_empty() || line.starts_with("    "));
        lines.map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect()
    };
    let example = indented("    name = \"renew\"");
    assert_eq!(order(&example), ["write", "look", "keep", "back"]);
    let wrong = example.replace("after = [\"look\"]", "after = [\"lock\"]");
    let error = Definition::parse(&wrong).expect_err("there is no such step").to_string();
    assert_eq!(format!("renew.toml: {error}"), indented("    renew.toml: step").trim_end());
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,300}") {
        let _ = Definition::parse(&text).map_err(|error| error.to_string());
    }

    /// One changed byte is read as something or refused with words, and never stops the reader.
    #[test]
    fn a_damaged_definition_is_read_or_refused(place in 0usize..WHOLE.len(), byte in any::<u8>(), json in any::<bool>()) {
        let text = if json { Definition::parse(WHOLE).expect("good").canonical() } else { WHOLE.to_owned() };
        let mut bytes = text.into_bytes();
        let place = place % bytes.len();
        bytes[place] = byte;
        if let Ok(text) = String::from_utf8(bytes) {
            match Definition::parse(&text) {
                Ok(definition) => prop_assert_eq!(
                    Definition::parse(&definition.canonical()).expect("it was good").digest(), definition.digest()),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
