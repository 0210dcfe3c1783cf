//! The evidence log, on the machine and elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Aios, list, text};
use crate::Context;
use crate::host::iso::flip;
use crate::scenario::{Failure, Stage, ensure};

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
/// by both. Gives the export as a bundle in one file.
pub(crate) fn elsewhere(aios: &mut Aios, stage: &Stage<'_>) -> Result<PathBuf, Failure> {
    let bundle = stage.folder.join("export.jsonl");
    let export = stage.folder.join("evidence");
    fetch(aios, &bundle)?;
    unpack(&bundle, &export)?;
    Verifier::Ours.run(stage.context, &bundle, Expected::Good)?;
    for verifier in [Verifier::Ours, Verifier::Foreign] {
        verifier.run(stage.context, &export, Expected::Good)?;
    }
    let entries = export.join("tile/entries");
    let file = files(&entries)?.into_iter().max().ok_or_else(|| Failure::broken("the export has no entries"))?;
    let middle = fs::metadata(&file).map_err(Failure::file("look at", &file))?.len() / 2;
    flip(&file, middle)?;
    for verifier in [Verifier::Ours, Verifier::Foreign] {
        verifier.run(stage.context, &export, Expected::Damaged)?;
    }
    Ok(bundle)
}

/// Has the machine print its log as a bundle, one file a line.
fn fetch(aios: &mut Aios, bundle: &Path) -> Result<(), Failure> {
    let said = aios.machine.console.run("evidence export -", Duration::from_secs(120))?;
    ensure!(said.status == 0, "the export failed:\n{}", said.text);
    // The kernel shares the line; what it says is no file.
    let lines: String =
        said.text.lines().filter(|line| line.starts_with('{')).map(|line| format!("{line}\n")).collect();
    fs::write(bundle, lines).map_err(Failure::file("write", bundle))
}

fn unpack(bundle: &Path, folder: &Path) -> Result<(), Failure> {
    let lines = fs::read_to_string(bundle).map_err(Failure::file("read", bundle))?;
    for line in lines.lines() {
        let file: Value = serde_json::from_str(line)
            .map_err(|error| Failure::broken(format!("a line of the bundle is damaged: {error}")))?;
        let name = text(&file, "path")?;
        let bytes = STANDARD
            .decode(text(&file, "base64")?)
            .map_err(|error| Failure::broken(format!("{name} in the bundle is damaged: {error}")))?;
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(Failure::file("make", parent))?;
        fs::write(&path, bytes).map_err(Failure::file("write", &path))?;
    }
    Ok(())
}

/// The files in a folder and below.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Failure::file("list", folder))? {
        let path = entry.map_err(Failure::file("list", folder))?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Good,
    Damaged,
}

#[derive(Debug, Clone, Copy)]
enum Verifier {
    /// The image's own program.
    Ours,
    /// Python and the published formats.
    Foreign,
}

impl Verifier {
    fn run(self, context: &Context, export: &Path, expected: Expected) -> Result<(), Failure> {
        let mut command = match self {
            Self::Ours => {
                let mut command = Command::new(context.program("aios"));
                command.args(["evidence", "verify"]);
                command
            }
            Self::Foreign => {
                let mut command = Command::new("python3");
                command.arg(context.source("qa/verify-evidence.py"));
                command
            }
        };
        let output = command
            .arg(export)
            .output()
            .map_err(|error| Failure::broken(format!("cannot run the verifier {self:?}: {error}")))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success() == (expected == Expected::Good),
            "the verifier {self:?} ended with {} on a log that is {expected:?}:\n{said}",
            output.status
        );
        Ok(())
    }
}
