//! Units that are added while PID 1 runs, asked for over its socket.
//!
//! Whether an app runs in its sandbox is shown on a machine: the build machine's kernel may lack a layer. Here it cannot be
//! started at all.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::test_machine::{PATIENCE, TestMachine};

const UNIT: &str = r#"
kind = "app"
program = "/proc/self/exe-that-is-not-there"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
user = "3000"

[restart]
backoff-ms = 5
policy = "on-failure"
budget = 3

[sandbox]
own = ["mount", "pid", "ipc", "uts", "cgroup"]
calls = ["action"]
"#;

fn asked(machine: &TestMachine, question: &Value) -> Value {
    serde_json::from_str(&machine.ask_as_victim(&question.to_string())).expect("JSON")
}

fn add(machine: &TestMachine, name: &str, text: &str) -> Value {
    asked(machine, &json!({"verb": "unit-add", "name": name, "text": text}))
}

fn app(machine: &TestMachine) -> Option<Value> {
    let all = asked(machine, &json!({"verb": "services"}));
    all["services"].as_array().expect("a list").iter().find(|unit| unit["role"] == "app").cloned()
}

#[test]
fn a_unit_comes_is_tried_within_its_budget_and_goes() {
    let Some(machine) = TestMachine::start() else { return };
    machine.settles("", "at first");
    assert_eq!(app(&machine), None);
    let wrong = add(&machine, "clock", &UNIT.replace("user", "usr"));
    let reason = wrong["reason"].as_str().expect("refused");
    assert!(reason.contains("line 5") && reason.contains('^') && reason.contains("usr"), "{reason}");
    let wide = add(&machine, "clock", &UNIT.replace("calls", "network = \"host\"\ncalls"));
    assert!(wide["reason"].as_str().is_some_and(|reason| reason.contains("no network")), "{wide}");
    let taken = add(&machine, "victim", UNIT);
    assert!(taken["reason"].as_str().is_some_and(|reason| reason.contains("belongs to the system")), "{taken}");
    assert_eq!(app(&machine), None, "what was refused is not there");

    // More than once, as the program of an app is read anew at each start.
    for _ in 0..2 {
        assert_eq!(add(&machine, "clock", UNIT)["reply"], "done");
        let begin = Instant::now();
        let failed = loop {
            let unit = app(&machine).expect("it was added");
            if unit["state"] == "failed" {
                break unit;
            }
            assert!(begin.elapsed() < PATIENCE, "it does not come to its end: {unit}");
            thread::sleep(Duration::from_millis(20));
        };
        assert_eq!((&failed["name"], &failed["starts"]), (&json!("clock"), &json!(3)), "{failed}");
        assert!(failed["note"].as_str().is_some_and(|note| note.contains("not started again")), "{failed}");
        assert_eq!(asked(&machine, &json!({"verb": "unit-remove", "name": "clock"}))["reply"], "done");
        assert_eq!(app(&machine), None, "it is gone");
    }
    let agent = UNIT
        .replace("\"app\"", "\"agent\"")
        .replace("3000", "2500")
        .replace("[\"action\"]", "[\"service\"]\nconnect = [\"/run/aios/agent-door\"]");
    let wide = add(&machine, "asker", &agent.replace("agent-door", "init"));
    assert!(wide["reason"].as_str().is_some_and(|reason| reason.contains("/run/aios/agent-door")), "{wide}");
    let taken = add(&machine, "victim", &agent);
    assert!(taken["reason"].as_str().is_some_and(|reason| reason.contains("belongs to the system")), "{taken}");
    assert_eq!(add(&machine, "asker", &agent)["reply"], "done");
    let all = asked(&machine, &json!({"verb": "services"}));
    let role = all["services"].as_array().and_then(|all| all.iter().find(|unit| unit["name"] == "asker"));
    assert_eq!(role.map(|unit| &unit["role"]), Some(&json!("app-agent")), "{all}");
    assert_eq!(asked(&machine, &json!({"verb": "unit-remove", "name": "asker"}))["reply"], "done");
    let ours = asked(&machine, &json!({"verb": "unit-remove", "name": "victim"}));
    assert!(ours["reason"].as_str().is_some_and(|reason| reason.contains("ships with the system")), "{ours}");
}
