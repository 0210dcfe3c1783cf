//! Measures what a workflow of 1,000 steps adds to its actions, for `cargo xtask bench workflow`: prints a line `name
//! value` for each figure. The actions themselves take no time here; everything between them is the real code, with the
//! journal on this machine's disk.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::time::Instant;

use action_runtime::runs::Runs;
use aios_ids::RunId;
use aios_workflow::{Chain, Definition, Ending, Event, Next, Progress, Row, Run, replay};
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

const STEPS: u32 = 1000;

fn main() -> Outcome<()> {
    let text = definition();
    let begin = Instant::now();
    let definition = Definition::parse(&text)?;
    figure("load-1000-ms", begin.elapsed().as_secs_f64() * 1e3);

    let run = RunId::new(0, [0; 10]);
    let begin = Instant::now();
    let rows = drive(&definition, &run, |_, _| Ok(()))?;
    figure("decide-us", begin.elapsed().as_secs_f64() * 1e6 / f64::from(STEPS));

    let folder = tempfile::tempdir()?;
    let runs = Runs::open(&folder.path().join("runs"))?;
    runs.insert(&Run {
        id: run.clone(),
        name: definition.name().clone(),
        definition: definition.canonical(),
        digest: definition.digest(),
        subject: "operator:ada".into(),
        evidence: 0,
        closed: None,
        rows: Vec::new(),
    })?;
    let begin = Instant::now();
    drive(&definition, &run, |known, row| Ok(runs.append(&run, known, row)?))?;
    figure("journal-us", begin.elapsed().as_secs_f64() * 1e6 / f64::from(STEPS));

    // What the disk alone takes for as many writes.
    let mut file = File::create(folder.path().join("peer"))?;
    let begin = Instant::now();
    for _ in 0..STEPS {
        file.write_all(&[0; 512])?;
        file.sync_data()?;
    }
    figure("sync-us", begin.elapsed().as_secs_f64() * 1e6 / f64::from(STEPS));

    let begin = Instant::now();
    black_box(replay(&definition, &run, &rows)?);
    figure("replay-1000-ms", begin.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn figure(name: &str, value: f64) {
    println!("{name} {value:.3}");
}

/// Each step waits for the one before, and every tenth is tried again and repaired if it must be.
fn definition() -> String {
    let step = |number: u32| {
        let mut step = json!({
            "id": format!("step-{number}"),
            "action": "object.put",
            "parameters": {"name": format!("load/{number}"), "content": "x".repeat(64)},
        });
        if let Some(before) = number.checked_sub(1) {
            step["after"] = json!([format!("step-{before}")]);
        }
        if number.is_multiple_of(10) {
            step["retry"] = json!({"times": 2});
            step["repair"] = json!({"rounds": 1, "actions": [{"action": "node.reboot"}]});
        }
        step
    };
    json!({"name": "load", "steps": (0..STEPS).map(step).collect::<Vec<_>>()}).to_string()
}

fn drive(definition: &Definition, run: &RunId, mut write: impl FnMut(usize, &Row) -> Outcome<()>) -> Outcome<Vec<Row>> {
    let (mut progress, mut chain, mut rows) = (Progress::begin(definition, run.clone()), Chain::begin(run), Vec::new());
    while let Next::Submit(asked) = progress.next() {
        let request = serde_json::to_string(&asked.request)?;
        black_box(&request);
        let event = Event::Ended {
            step: asked.step.clone(),
            number: asked.number,
            action: None,
            end: Ending::Succeeded,
            output: BTreeMap::new(),
            spent_ms: progress.spent_ms() + 1,
        };
        chain = chain.with_event(&Next::Submit(asked), &event);
        progress.apply(&event)?;
        let row = Row { event, chain };
        write(rows.len(), &row)?;
        rows.push(row);
    }
    Ok(rows)
}
