//! What a decision costs in the policy kernel's own code, beside the cedar-policy crate asked in the plain way and regorus.

use std::process::Command;

use super::figures::Figures;
use super::{Peer, Row};
use crate::scenario::{Failure, Stage};

/// How many rules a bundle has in each row.
const RULES: [usize; 4] = [10, 200, 1000, 5000];

pub(super) fn rows(stage: &Stage<'_>) -> Result<Vec<Row>, Failure> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--release", "-q", "-p", "policy-load"]);
    let figures = Figures::of("policy-load", cargo.current_dir(&stage.context.workspace))?;
    let figure = |name: &str| figures.get(name);
    let beside = |name: &'static str, value: f64| Some(Peer { name, value });
    let mut rows = Vec::new();
    for count in RULES {
        let [p50, p99, per_s] =
            ["p50-us", "p99-us", "per-s"].map(|what| move |who: &str| format!("{who}-{count}-{what}"));
        let (plain, rego) = (figure(&p50("plain"))?, figure(&p50("regorus"))?);
        let row = |name: &'static str, value, unit, peer, limit| Row { name, value, unit, peer, limit };
        let names = names(count);
        rows.push(row(
            names[0],
            figure(&p50("decide"))?,
            "us",
            beside("plain cedar-policy", plain),
            limit(count, 15.0),
        ));
        rows.push(row(names[1], figure(&p50("decide"))?, "us", beside("regorus", rego), None));
        let plain = figure(&p99("plain"))?;
        rows.push(row(
            names[2],
            figure(&p99("decide"))?,
            "us",
            beside("plain cedar-policy", plain),
            limit(count, 60.0),
        ));
        let plain = figure(&per_s("plain"))?;
        rows.push(row(names[3], figure(&per_s("decide"))?, "/s", beside("plain cedar-policy", plain), None));
    }
    rows.push(Row {
        name: "policy: opening a bundle of 1,000 rules",
        value: figure("load-1000-ms")?,
        unit: "ms",
        peer: None,
        limit: Some(1000.0),
    });
    rows.push(Row {
        name: "policy: memory of a process with 1,000 rules",
        value: memory_of_a_thousand(stage)?,
        unit: "MiB",
        peer: None,
        limit: Some(48.0),
    });
    rows.extend(over_the_socket(stage)?);
    Ok(rows)
}

/// In a process of its own, in MiB.
fn memory_of_a_thousand(stage: &Stage<'_>) -> Result<f64, Failure> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--release", "-q", "-p", "policy-load", "--", "memory", "1000"]);
    let figures = Figures::of("policy-load", cargo.current_dir(&stage.context.workspace))?;
    Ok(figures.get("resident-1000-kib")? / 1024.0)
}

/// The service's own code behind a socket, which hands each decision to a log behind another one.
fn over_the_socket(stage: &Stage<'_>) -> Result<[Row; 3], Failure> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--release", "-q", "-p", "policy-kernel", "--", "--ignored", "--nocapture", "over_the_socket"]);
    let figures = Figures::of("policy-kernel", cargo.current_dir(&stage.context.workspace))?;
    let figure = |name: &str| figures.get(name);
    let each = |name: &str| figure(name).map(|rate| 1e6 / rate);
    let row = |name, value, peer, value_of_peer, limit| Row {
        name,
        value,
        unit: "us",
        peer: Some(Peer { name: peer, value: value_of_peer }),
        limit,
    };
    let (echo, recorded) = (each("socket-echo-per-s")?, each("socket-recorded-echo-per-s")?);
    let decision = each("socket-decide-per-s")?;
    Ok([
        row(
            "policy: over the socket, with its record",
            figure("socket-decide-p50-us")?,
            "echo that hands a record on",
            figure("socket-recorded-echo-p50-us")?,
            Some(200.0),
        ),
        row("policy: the same, 16 callers", decision, "echo that hands a record on", recorded, Some(recorded / 0.7)),
        row("policy: the same beside an echo", decision, "echo that keeps nothing", echo, None),
    ])
}

/// The goals are for 200 rules.
fn limit(count: usize, limit: f64) -> Option<f64> {
    (count == 200).then_some(limit)
}

fn names(count: usize) -> [&'static str; 4] {
    match count {
        10 => [
            "policy: a decision, 10 rules",
            "policy: 10 rules, Rego beside",
            "policy: 10 rules, p99",
            "policy: 10 rules, one thread",
        ],
        200 => [
            "policy: a decision, 200 rules",
            "policy: 200 rules, Rego beside",
            "policy: 200 rules, p99",
            "policy: 200 rules, one thread",
        ],
        1000 => [
            "policy: a decision, 1,000 rules",
            "policy: 1,000 rules, Rego beside",
            "policy: 1,000 rules, p99",
            "policy: 1,000 rules, one thread",
        ],
        _ => [
            "policy: a decision, 5,000 rules",
            "policy: 5,000 rules, Rego beside",
            "policy: 5,000 rules, p99",
            "policy: 5,000 rules, one thread",
        ],
    }
}
