//! What a workflow adds to its actions: deciding and journalling, without the actions.

use std::process::Command;

use super::figures::Figures;
use super::{Peer, Row};
use crate::scenario::{Failure, Stage};

/// The promise: a step of a workflow with 1,000 of them adds at most a millisecond.
const STEP_US: f64 = 1000.0;

pub(super) fn rows(stage: &Stage<'_>) -> Result<Vec<Row>, Failure> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--release", "-q", "-p", "action-runtime", "--example", "workflow-figures"]);
    let figures = Figures::of("workflow-figures", cargo.current_dir(&stage.context.workspace))?;
    let figure = |name: &str| figures.get(name);
    let row = |name, figure, unit, limit| Row { name, value: figure, unit, peer: None, limit };
    let sync = Peer { name: "a synced write of 512 bytes", value: figure("sync-us")? };
    Ok(vec![
        row("workflow of 1,000 steps: deciding a step", figure("decide-us")?, "us", Some(STEP_US)),
        Row { peer: Some(sync), ..row("workflow of 1,000 steps: a durable step", figure("journal-us")?, "us", None) },
        row("workflow of 1,000 steps: reading it", figure("load-1000-ms")?, "ms", None),
        row("workflow of 1,000 steps: deciding it again", figure("replay-1000-ms")?, "ms", None),
    ])
}
