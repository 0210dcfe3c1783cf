//! The evidence log, on the machine and elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Aios, list};
use crate::Context;
use crate::scenario::{Failure, Stage, ensure};

/// What a bundle that is printed on the console begins with.
const BUNDLE: &str = "aios-evidence-bundle";

/// The log is there, in order, provable, and verifies on the machine.
pub(crate) fn on_the_machine(aios: &mut Aios) -> Result<(), Failure> {
    let tail = aios.json("evidence tail -n 10")?;
    let indexes: Vec<_> = list(&tail)?.iter().filter_map(|record| record["index"].as_u64()).collect();
    ensure!(indexes.len() == 10 && indexes.windows(2).all(|pair| pair[0] + 1 == pair[1]), "not a tail: {indexes:?}");
    let events = aios.json("evidence query --kind unit-event")?;
    ensure!(!list(&events)?.is_empty(), "PID 1's events are not in the log");
    let checkpoint = aios.ok("evidence checkpoint")?;
    ensure!(checkpoint.contains("\u{2014} "), "the checkpoint has no signature:\n{checkpoint}");
    let proof = aios.ok(&format!("evidence prove {}", indexes[0]))?;
    ensure!(proof.contains("c2sp.org/tlog-proof"), "this is no proof:\n{proof}");
    aios.ok("evidence verify")?;
    Ok(())
}

/// An export verifies on this machine, with our program and with one that shares no code with it; a flipped byte is found
/// by both.
pub(crate) fn elsewhere(aios: &mut Aios, stage: &Stage<'_>) -> Result<PathBuf, Failure> {
    let said = aios.machine.console.run("evidence export -", Duration::from_secs(120))?;
    ensure!(said.status == 0, "the export failed:\n{}", said.text);
    let begin = said.text.find(BUNDLE).or_else(|| said.text.find('{'));
    let begin = begin.ok_or_else(|| Failure::broken(format!("the export is no bundle:\n{}", head(&said.text))))?;
    let bundle = stage.folder.join("evidence.bundle");
    fs::write(&bundle, &said.text[begin..]).map_err(Failure::file("write", &bundle))?;
    verify(stage.context, &bundle, Expected::Good)?;

    let mut bytes = fs::read(&bundle).map_err(Failure::file("read", &bundle))?;
    let at = find(&bytes, b"\"kind\"").unwrap_or(bytes.len() / 2) + 2;
    bytes[at] ^= 1;
    let flipped = stage.folder.join("flipped.bundle");
    fs::write(&flipped, bytes).map_err(Failure::file("write", &flipped))?;
    verify(stage.context, &flipped, Expected::Damaged)?;
    Ok(bundle)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Good,
    Damaged,
}

fn verify(context: &Context, export: &Path, expected: Expected) -> Result<(), Failure> {
    let mut ours = Command::new(context.program("aios"));
    ours.args(["evidence", "verify"]).arg(export);
    let mut foreign = Command::new("python3");
    foreign.arg(context.source("qa/verify-evidence.py")).arg(export);
    for mut verifier in [ours, foreign] {
        let output = verifier.output().map_err(|error| Failure::broken(format!("cannot run {verifier:?}: {error}")))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success() == (expected == Expected::Good),
            "{verifier:?} ended with {} on a log that is {expected:?}:\n{said}",
            output.status
        );
    }
    Ok(())
}

fn find(within: &[u8], wanted: &[u8]) -> Option<usize> {
    within.windows(wanted.len()).position(|window| window == wanted)
}

fn head(text: &str) -> String {
    text.chars().take(400).collect()
}
