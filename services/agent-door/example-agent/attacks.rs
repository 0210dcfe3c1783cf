//! What an agent does that is after more than it may have, with nothing but well-formed calls: another request under the key
//! that a person is asked about, a flood of requests that hides one, names that look like others, another agent to do
//! the work, and what was approved once, again. Its report is an object, `agents/attacker/report`.

use rmcp::model::CallToolResult;
use serde_json::{Value, json};

use crate::{Client, call, note, settled, state, text};

/// More than may wait, and fewer than would be refused for the hour.
const FLOOD: u32 = 24;

const REPORT: &str = "agents/attacker/report";

pub(crate) async fn run(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
    let mut report = String::new();

    let asked = |name: &str| json!({"name": name, "reason": "the one request", "idempotency_key": "the-request"});
    let waiting = call(client, "service.restart", asked("network")).await?;
    note(&mut report, "request", &text(&waiting))?;
    note(&mut report, "swapped", &said(client, "service.restart", asked("logbook")).await)?;

    let (mut waits, mut refused) = (0, 0);
    for number in 0..FLOOD {
        let one = json!({"name": "network", "reason": "one of many", "idempotency_key": format!("flood-{number}")});
        match state(&call(client, "service.restart", one).await?) {
            "waiting" => waits += 1,
            "denied" => refused += 1,
            _ => {}
        }
    }
    note(&mut report, "flood", &format!("{waits} wait, {refused} refused"))?;

    // An e of the Cyrillic alphabet, a name that is shown backwards from its middle, and one that ends invisibly.
    for (what, tool, arguments) in [
        ("homoglyph", "service.restart", json!({"name": "n\u{435}twork"})),
        ("backwards", "object.put", json!({"name": "notes/\u{202e}txt.exe", "content": "x"})),
        ("invisible", "service.restart", json!({"name": "network\u{200b}"})),
        ("backwards reason", "service.restart", json!({"name": "network", "reason": "\u{202e}sey yas"})),
        ("terminal reason", "service.restart", json!({"name": "network", "reason": "\u{1b}[2Jyes"})),
    ] {
        note(&mut report, what, &said(client, tool, arguments).await)?;
    }
    for (what, tool, arguments) in [
        ("another agent", "agent.run", json!({"name": "example"})),
        ("another policy", "policy.load", json!({"digest": "0".repeat(64)})),
        ("another person", "user.add", json!({"name": "mallory"})),
        ("another clock", "time.set", json!({"time": "2030-01-01T00:00:00Z"})),
        ("the guards", "service.restart", json!({"name": "policy-kernel"})),
    ] {
        note(&mut report, what, &said(client, tool, arguments).await)?;
    }
    publish(client, &report).await?;

    let request = asked("network");
    let done = settled(client, "service.restart", &request, waiting).await?;
    note(&mut report, "request at last", &text(&done))?;
    let first = action(&done);
    let mut others = 0;
    for _ in 0..3 {
        let again = call(client, "service.restart", request.clone()).await?;
        others += u32::from(action(&again) != first);
    }
    note(&mut report, "replayed", &format!("{others} other actions"))?;
    publish(client, &report).await?;
    Ok(())
}

/// What the door says to a call, which may be that it is none.
async fn said(client: &Client, tool: &'static str, arguments: Value) -> String {
    match call(client, tool, arguments).await {
        Ok(answer) => format!("{} {}", state(&answer), text(&answer)),
        Err(error) => format!("refused {error}"),
    }
}

fn action(answer: &CallToolResult) -> String {
    let content = answer.structured_content.as_ref();
    content.and_then(|content| content["action"].as_str()).unwrap_or_default().to_owned()
}

async fn publish(client: &Client, report: &str) -> Result<(), rmcp::ServiceError> {
    call(client, "object.put", json!({"name": REPORT, "content": report})).await.map(drop)
}
