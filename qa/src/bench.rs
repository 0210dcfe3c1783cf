//! `cargo xtask bench`: what the system costs, measured inside a machine beside its peers, in one run.
//!
//! Every number is taken on this host, so only ratios and sizes are promises; absolute times under translation are ten
//! times those of hardware. A peer that cannot be measured is a failed measurement, not a blank.

mod actions;
mod boot;
mod build;
mod evidence;
mod figures;
mod host;
mod init;
mod journald;
mod kernel;
mod others;
mod policy;
mod work;
mod workflow;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Context;
use crate::host::iso::IsoCopy;
use crate::scenario::{Failure, Stage};
use crate::steps::{Aios, services};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Table {
    /// The release.
    pub version: String,
    /// In the order of measuring.
    pub rows: Vec<Row>,
}

/// One measurement.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What was measured.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it is measured against.
    pub peer: Option<Peer>,
    /// The most it may be, in the row's unit.
    pub limit: Option<f64>,
}

/// What a measurement stands beside.
#[derive(Debug, Serialize)]
pub struct Peer {
    /// What it is.
    pub name: &'static str,
    /// Its value in the row's unit.
    pub value: f64,
}

impl Row {
    /// Whether the promise holds; rows without one only inform.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.limit.is_none_or(|limit| self.value <= limit)
    }
}

impl Table {
    /// Whether every promise holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.rows.iter().all(Row::holds)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:44} {:>12} {:>12}  peer", "measurement", "value", "at most")?;
        for row in &self.rows {
            let value = format!("{:.1} {}", row.value, row.unit);
            let limit = row.limit.map_or_else(|| "-".to_owned(), |limit| format!("{limit:.1} {}", row.unit));
            let peer = row.peer.as_ref().map(|peer| format!("{}: {:.1} {}", peer.name, peer.value, row.unit));
            let broken = if row.holds() { "" } else { "  BROKEN" };
            writeln!(f, "{:44} {value:>12} {limit:>12}  {}{broken}", row.name, peer.unwrap_or_default())?;
        }
        Ok(())
    }
}

/// The groups of measurements, by name.
pub const GROUPS: [&str; 11] =
    ["size", "boot", "init", "work", "actions", "evidence", "policy", "workflow", "build", "kernel", "host"];

/// Measured only when they are named: one takes half an hour, the other needs root and a cgroup v2 that may be written.
const NAMED: [&str; 2] = ["build", "host"];

/// Measures the named groups, or all, and writes `bench.json`.
pub fn run(context: &Context, names: &[String]) -> Result<Table, Failure> {
    if let Some(unknown) = names.iter().find(|name| !GROUPS.contains(&name.as_str())) {
        return Err(Failure::broken(format!("there is no measurement '{unknown}'; there are {}", GROUPS.join(", "))));
    }
    let wanted = |name: &str| (names.is_empty() && !NAMED.contains(&name)) || names.iter().any(|wanted| wanted == name);
    let stage = Stage::fresh(context, context.output.join("bench"))?;
    let mut rows = Vec::new();
    if wanted("size") {
        rows.extend(iso_size(&stage)?);
    }
    if wanted("boot") {
        rows.extend(boot::rows(&stage)?);
    }
    if wanted("init") {
        rows.extend(init::rows(&stage, context.extent)?);
    }
    if wanted("work") {
        rows.extend(work::rows(&stage)?);
    }
    if wanted("kernel") {
        rows.extend(kernel::rows(&stage)?);
    }
    if wanted("actions") {
        rows.extend(actions::rows(&stage)?);
    }
    if wanted("evidence") {
        rows.extend(evidence::rows(&stage)?);
    }
    if wanted("policy") {
        rows.extend(policy::rows(&stage)?);
    }
    if wanted("workflow") {
        rows.extend(workflow::rows(&stage)?);
    }
    if wanted("build") {
        rows.extend(build::rows(&stage)?);
    }
    if wanted("host") {
        rows.extend(host::rows(&stage)?);
    }
    let table = Table { version: context.version.clone(), rows };
    let file: PathBuf = context.output.join("bench.json");
    let json = serde_json::to_string_pretty(&table).expect("a table has only text keys");
    fs::write(&file, json + "\n").map_err(Failure::file("write", &file))?;
    Ok(table)
}

/// The live system, ready. One machine runs at a time, so that none slows another down.
fn live(stage: &Stage<'_>, name: &str) -> Result<Aios, Failure> {
    let mut aios = Aios::live(stage, name)?;
    services::all_ready(&mut aios)?;
    Ok(aios)
}

fn iso_size(stage: &Stage<'_>) -> Result<[Row; 2], Failure> {
    let iso = IsoCopy { path: stage.context.iso.clone() };
    let recovery = iso.extract("aios/recovery.efi", &stage.folder)?;
    let size = |path: &Path| fs::metadata(path).map(|data| data.len()).map_err(Failure::file("look at", path));
    let (all, recovery) = (size(&iso.path)?, size(&recovery)?);
    let row = |name, bytes: u64, limit| {
        let value = bytes as f64 / f64::from(1 << 20);
        Row { name, value, unit: "MiB", peer: None, limit: Some(limit) }
    };
    Ok([row("ISO", all, 96.0), row("ISO without the recovery image", all.saturating_sub(recovery), 48.0)])
}

/// The middle of several measurements.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_holds_when_every_limit_does() {
        let row = |value, limit| Row { name: "x", value, unit: "ms", peer: None, limit };
        let table = |rows| Table { version: "1".into(), rows };
        assert!(table(vec![row(3.0, None), row(1.0, Some(1.0))]).holds());
        assert!(!table(vec![row(3.0, None), row(1.1, Some(1.0))]).holds());
        assert!(table(vec![row(1.1, Some(1.0))]).to_string().contains("BROKEN"));
    }

    #[test]
    fn the_median_ignores_one_outlier() {
        assert_eq!(median(vec![900.0, 2.0, 1.0]), Some(2.0));
        assert_eq!(median(vec![]), None);
    }
}
