//! What an action and a record cost, by the log's own times.

use super::{Row, live, median};
use crate::scenario::{Failure, Stage, ensure};
use crate::steps::{at_ms, text};

/// How often each thing is measured.
const ROUNDS: usize = 15;

/// Actions that change nothing: the setting has the value already. Their records say when each step was durable.
pub(super) fn rows(stage: &Stage<'_>) -> Result<Vec<Row>, Failure> {
    let mut aios = live(stage, "work")?;
    let hostname = aios.ok("settings get hostname")?;
    let (mut outcomes, mut appends) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let view = aios.json(&format!("settings set hostname {}", hostname.trim()))?;
        ensure!(view["state"]["state"] == "succeeded", "the action ended as {view:#}");
        let records = aios.json(&format!("evidence query --action {}", text(&view, "id")?))?;
        outcomes.push(at_ms(&records, "outcome")? - at_ms(&records, "decision")?);
        // Between the two the runtime only hears of the one and asks for the other.
        appends.push(at_ms(&records, "result")? - at_ms(&records, "outcome")?);
    }
    let row = |name, values| {
        let value = median(values).expect("there was at least one round");
        Row { name, value, unit: "ms", peer: None, limit: None }
    };
    Ok(vec![
        row("decision to measured outcome, no effect", outcomes),
        row("one durable record (outcome to result)", appends),
    ])
}
