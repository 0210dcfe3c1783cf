//! How long people wait for a build: a clean clone with nothing cached to the ISO, and then, warm, one changed line of
//! PID 1 to a booted system. It works on a clone of its own with a cache and keys of its own, takes half an hour, and is
//! measured only when it is named.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::Row;
use crate::scenario::{Failure, Stage, ensure};

/// The line of PID 1 that is changed.
const FILE: &str = "services/init/src/main.rs";
const BEFORE: &str = "init is PID 1 and nothing else";
const AFTER: &str = "init is PID 1, and nothing else";

pub(super) fn rows(stage: &Stage<'_>) -> Result<Vec<Row>, Failure> {
    let clone = stage.folder.join("clone");
    let mut git = Command::new("git");
    git.args(["clone", "--quiet"]).arg(&stage.context.workspace).arg(&clone);
    timed(git, &stage.log("clone"))?;
    let cargo = |words: &[&str]| {
        let mut cargo = Command::new("cargo");
        cargo.arg("xtask").args(words).current_dir(&clone);
        // What the build that measures was started with is not what a person starts with.
        for name in ["CARGO_TARGET_DIR", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_MANIFEST_DIR"] {
            cargo.env_remove(name);
        }
        cargo.env("AIOS_CACHE", stage.folder.join("cache")).env("AIOS_KEYS", stage.folder.join("keys"));
        cargo
    };
    let whole = timed(cargo(&["iso"]), &stage.log("whole"))?;
    let file = clone.join(FILE);
    let text = fs::read_to_string(&file).map_err(Failure::file("read", &file))?;
    ensure!(text.contains(BEFORE), "{FILE} has no line with '{BEFORE}' to change");
    fs::write(&file, text.replacen(BEFORE, AFTER, 1)).map_err(Failure::file("write", &file))?;
    let script = stage.folder.join("status.script");
    fs::write(&script, "status\n").map_err(Failure::file("write", &script))?;
    let words = ["vm", "--timeout", "300", "--script", &script.to_string_lossy()];
    let warm = timed(cargo(&words), &stage.log("warm"))?;
    for folder in ["clone", "cache", "keys"] {
        let folder = stage.folder.join(folder);
        fs::remove_dir_all(&folder).map_err(Failure::file("remove", &folder))?;
    }
    let row = |name, value, limit| Row { name, value, unit: "s", peer: None, limit: Some(limit) };
    Ok(vec![
        row("clean clone to ISO, nothing cached", whole, 30.0 * 60.0),
        row("one line of PID 1 changed to a booted system", warm, 60.0),
    ])
}

/// Runs a command to its good end; its output goes to `log`.
fn timed(mut command: Command, log: &Path) -> Result<f64, Failure> {
    let file = fs::File::create(log).map_err(Failure::file("write", log))?;
    let errors = file.try_clone().map_err(Failure::file("write", log))?;
    let name = command.get_program().to_string_lossy().into_owned();
    let start = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(file).stderr(errors).status();
    let status = status.map_err(|error| Failure::broken(format!("cannot start {name}: {error}")))?;
    ensure!(status.success(), "{name} failed ({status}); its output is in {}", log.display());
    Ok(start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_is_changed_is_there_once() {
        let text = include_str!("../../../services/init/src/main.rs");
        assert_eq!(text.matches(BEFORE).count(), 1);
        assert!(!text.contains(AFTER));
    }

    #[test]
    fn a_command_that_fails_is_no_measurement() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        assert!(timed(Command::new("true"), &log).is_ok_and(|seconds| seconds < 60.0));
        let error = timed(Command::new("false"), &log).expect_err("it fails").to_string();
        assert!(error.contains("false failed"), "{error}");
    }
}
