//! What a confined launch costs on this machine itself, which translates nothing: the launcher's own code with the layers
//! that any kernel for builds has. Landlock is left out, and so are the cgroup's limits; the rest is as in an action.

use std::process::Command;

use super::figures::Figures;
use super::{Peer, Row};
use crate::host::guest::BUSYBOX;
use crate::scenario::{Failure, Stage};

const ROUNDS: &str = "1000";

/// 300 in a second.
const EACH_US: f64 = 1e6 / 300.0;

pub(super) fn rows(stage: &Stage<'_>) -> Result<Vec<Row>, Failure> {
    let figures = |arguments: &[&str]| {
        let mut cargo = Command::new("cargo");
        cargo.args(["run", "--release", "-q", "-p", "launcher", "--example", "launch-figures", "--"]);
        Figures::of("launch-figures", cargo.args(arguments).current_dir(&stage.context.workspace))
    };
    let ours = figures(&["here", ROUNDS, BUSYBOX, "true"])?;
    let bwrap = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", BUSYBOX, "true"];
    let bwrap = figures(&[&[ROUNDS, "--peer"], &bwrap[..]].concat())?.get("peer-p50-us")?;
    let row = |name, value, limit| Row { name, value, unit: "us", peer: None, limit };
    Ok(vec![
        Row {
            peer: Some(Peer { name: "bwrap --unshare-all", value: bwrap }),
            ..row("here, without Landlock and limits: true", ours.get("launch-p50-us")?, None)
        },
        row("here, four at a time, each", 1e6 / ours.get("launches-per-second")?, Some(EACH_US)),
    ])
}
