//! What a workflow adds to its actions: deciding and journalling, without the actions.

use std::collections::BTreeMap;
use std::process::Command;

use super::Row;
use crate::scenario::{Failure, Stage, ensure};

/// The promise: a step of a workflow with 1,000 of them adds at most a millisecond.
const STEP_US: f64 = 1000.0;

pub(super) fn rows(stage: &Stage<'_>) -> Result<Vec<Row>, Failure> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--release", "-q", "-p", "action-runtime", "--example", "workflow-figures"]);
    let ran = cargo
        .current_dir(&stage.context.workspace)
        .output()
        .map_err(|error| Failure::broken(format!("cannot start {cargo:?}: {error}")))?;
    let complaint = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "{cargo:?} ended with {}: {complaint}", ran.status);
    let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
    let figures: BTreeMap<&str, f64> = printed
        .lines()
        .filter_map(|line| line.split_once(' ').and_then(|(name, value)| Some((name, value.parse().ok()?))))
        .collect();
    let row = |name, figure: &str, unit, limit| {
        let value = figures.get(figure).copied();
        let value = value.ok_or_else(|| Failure::broken(format!("workflow-figures did not measure {figure}")))?;
        Ok::<_, Failure>(Row { name, value, unit, peer: None, limit })
    };
    Ok(vec![
        row("workflow of 1,000 steps: deciding a step", "decide-us", "us", None)?,
        row("workflow of 1,000 steps: a step, journalled", "journal-us", "us", Some(STEP_US))?,
        row("workflow of 1,000 steps: reading it", "load-1000-ms", "ms", None)?,
        row("workflow of 1,000 steps: deciding it again", "replay-1000-ms", "ms", None)?,
    ])
}
