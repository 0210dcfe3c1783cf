//! What a decision costs in the policy kernel's own code, beside the cedar-policy crate asked in the plain way.

use std::collections::BTreeMap;
use std::process::Command;

use super::{Peer, Row};
use crate::scenario::{Failure, Stage, ensure};

pub(super) fn rows(stage: &Stage<'_>) -> Result<Vec<Row>, Failure> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--release", "-q", "-p", "aios-policy", "--example", "policy-figures"]);
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
    let figure = |name: &str| {
        figures.get(name).copied().ok_or_else(|| Failure::broken(format!("policy-figures did not measure {name}")))
    };
    let row = |name, ours: &str, plain: &str, limit| {
        let peer = Some(Peer { name: "plain cedar-policy", value: figure(plain)? });
        Ok::<_, Failure>(Row { name, value: figure(ours)?, unit: "us", peer, limit })
    };
    Ok(vec![
        row("policy: a decision, 10 rules", "decide-10-p50-us", "plain-10-p50-us", None)?,
        row("policy: a decision, 100 rules", "decide-100-p50-us", "plain-100-p50-us", None)?,
        row("policy: a decision, 500 rules", "decide-500-p50-us", "plain-500-p50-us", None)?,
        row("policy: 100 rules, p99", "decide-100-p99-us", "plain-100-p99-us", Some(60.0))?,
        row("policy: 500 rules, p99", "decide-500-p99-us", "plain-500-p99-us", None)?,
        Row {
            name: "policy: opening a bundle of 500 rules",
            value: figure("load-500-ms")?,
            unit: "ms",
            peer: None,
            limit: Some(1000.0),
        },
    ])
}
