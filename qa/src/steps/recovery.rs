//! Recovery: when nothing of the installed system is left, and when its data were put back.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Entry;
use crate::host::disk::{Disk, Partition};
use crate::host::fat::Fat;
use crate::host::iso::flip;
use crate::scenario::{Failure, Stage, ensure};
use crate::vm::{BOOT, Echo, Machine, Options, SecureBoot};

pub(super) const COMMAND: Duration = Duration::from_secs(180);

/// The label by which recovery finds evidence.
const EXPORT: &str = "AIOS-EXPORT";

/// Words that no file and no dependency of recovery may have in its name.
const FOREIGN: [&str; 8] = ["agent", "model", "llm", "mcp", "cedar", "action-runtime", "policy-kernel", "launcher"];

/// Destroys what the disk starts from and what it holds, starts recovery from the ISO, and uses it.
pub(crate) fn with_everything_destroyed(stage: &Stage<'_>, disk: &Disk, bundle: &Path) -> Result<(), Failure> {
    for partition in [Partition::BootState, Partition::RootA, Partition::RootB, Partition::Data] {
        disk.destroy(partition)?;
    }
    let good = stage.folder.join("export.img");
    let damaged = stage.folder.join("damaged.img");
    Fat::create(&good, 8 << 20, EXPORT)?.put(bundle, "export.jsonl")?;
    let flipped = stage.folder.join("damaged.jsonl");
    std::fs::copy(bundle, &flipped).map_err(Failure::file("copy", bundle))?;
    flip(&flipped, std::fs::metadata(&flipped).map_err(Failure::file("look at", &flipped))?.len() / 2)?;
    Fat::create(&damaged, 8 << 20, "DAMAGED")?.put(&flipped, "export.jsonl")?;

    let mut machine = enter(stage, "recovery", vec![disk.path.clone(), good, damaged])?;
    ran(&mut machine, "status")?;
    let verified = ran(&mut machine, "verify")?;
    ensure!(verified.contains("records"), "recovery says of a good export:\n{verified}");
    let output = machine.console.run("verify /dev/vdc", COMMAND)?;
    ensure!(output.status != 0, "recovery takes a damaged export for good:\n{}", output.text);
    let shell = ran(&mut machine, "shell echo $((6 * 7))")?;
    ensure!(shell.trim() == "42", "the shell says {shell}");
    let files = ran(&mut machine, "shell /bin/busybox find / -xdev -type f")?;
    ensure!(files.contains("/init"), "the list of recovery's files is not one:\n{files}");
    without_foreign_code("a file", files.lines())?;
    machine.console.prompt(COMMAND)?;
    machine.console.type_line("poweroff")?;
    machine.wait_for_power_off(BOOT)?;
    without_foreign_code("a dependency", dependencies(stage)?.lines())
}

/// Has a person let the log on the disk's data partition go on. Says how many records it has.
pub(crate) fn accept_restored(stage: &Stage<'_>, disk: &Disk) -> Result<u64, Failure> {
    let mut machine = enter(stage, "accept", vec![disk.path.clone()])?;
    let shown = ran(&mut machine, "accept-restored")?;
    ensure!(shown.contains("of an earlier day"), "recovery does not say what is wrong:\n{shown}");
    let records = shown.lines().find_map(|line| line.trim().strip_prefix("accept-restored "));
    let records: u64 = records
        .and_then(|records| records.parse().ok())
        .ok_or_else(|| Failure::broken(format!("recovery does not say what to type:\n{shown}")))?;
    let output = machine.console.run(&format!("accept-restored {}", records + 1), COMMAND)?;
    ensure!(output.status != 0, "another number of records is taken for a person's word:\n{}", output.text);
    ran(&mut machine, &format!("accept-restored {records}"))?;
    machine.console.prompt(COMMAND)?;
    machine.console.type_line("poweroff")?;
    machine.wait_for_power_off(BOOT)?;
    Ok(records)
}

/// Recovery from the ISO, at its prompt, with these disks.
pub(super) fn enter(stage: &Stage<'_>, name: &str, disk: Vec<PathBuf>) -> Result<Machine, Failure> {
    let options = Options {
        iso: Some(stage.context.iso.clone()),
        disk,
        secure_boot: SecureBoot::On,
        enrolled_vars: Some(stage.context.enrolled_vars.clone()),
        no_net: true,
        timeout: 3600,
        ..Options::default()
    };
    let mut machine = Machine::start(options, &stage.log(name), Echo::Hidden)?;
    Entry::Recovery.choose(&mut machine)?;
    machine.console.forget_marks();
    machine.console.prompt(BOOT)?;
    Ok(machine)
}

/// Every crate that recovery is linked from.
fn dependencies(stage: &Stage<'_>) -> Result<String, Failure> {
    let output = Command::new("cargo")
        .args(["tree", "--offline", "--locked", "-p", "recovery", "-e", "normal", "--prefix", "none"])
        .current_dir(&stage.context.workspace)
        .output()
        .map_err(|error| Failure::broken(format!("cannot list recovery's dependencies: {error}")))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cannot list recovery's dependencies: {said}");
    // A name and a version; the path of a member of the workspace says nothing about what is in it.
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(listed.lines().filter_map(|line| line.split(' ').next()).map(|name| format!("{name}\n")).collect())
}

fn without_foreign_code<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    for name in names {
        let foreign = FOREIGN.iter().find(|word| name.contains(*word));
        ensure!(foreign.is_none(), "recovery has {what} that it must not have: {name}");
    }
    Ok(())
}

pub(super) fn ran(machine: &mut Machine, line: &str) -> Result<String, Failure> {
    let output = machine.console.run(line, COMMAND)?;
    ensure!(output.status == 0, "in recovery '{line}' ended with status {}:\n{}", output.status, output.text);
    Ok(output.text)
}
