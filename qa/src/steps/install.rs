//! From the ISO to a disk that starts alone.

use std::time::Duration;

use super::{Aios, Entry, OPERATOR, PASS_PHRASE};
use crate::host::disk::Disk;
use crate::host::fat::Fat;
use crate::scenario::{Failure, Stage, ensure};
use crate::vm::{BOOT, Echo, Login, Machine, Options, SecureBoot};

/// The least that the layout takes, and some room for data.
const SIZE: u64 = 3 << 30;

/// How long the copying and reading back take under translation.
const INSTALLATION: Duration = Duration::from_secs(240);

/// Installs without a person: an answer file decides. Gives the disk.
pub(crate) fn unattended(stage: &Stage<'_>) -> Result<Disk, Failure> {
    let disk = Disk::create(&stage.folder.join("installed.raw"), SIZE)?;
    let answers = stage.folder.join("answers.img");
    let text = format!(
        "disk = \"only-empty\"\nhostname = \"spine\"\noperator = \"{OPERATOR}\"\npass_phrase = \"{PASS_PHRASE}\"\nafter = \"poweroff\"\n"
    );
    Fat::create(&answers, 4 << 20, "AIOS-ANSWER")?.write("answers.toml", text.as_bytes())?;
    let options = Options {
        iso: Some(stage.context.iso.clone()),
        disk: vec![disk.path.clone(), answers],
        secure_boot: SecureBoot::On,
        enrolled_vars: Some(stage.context.enrolled_vars.clone()),
        timeout: 600,
        ..Options::default()
    };
    let mut machine = Machine::start(options, &stage.log("install"), Echo::Hidden)?;
    Entry::Install.choose(&mut machine)?;
    machine.console.wait_for("is installed on", BOOT + INSTALLATION)?;
    machine.wait_for_power_off(BOOT)?;
    let files = disk.esp()?.files()?;
    ensure!(
        files.iter().any(|path| path.starts_with("EFI/Linux/aios_")),
        "the installed disk has no kernel image on its ESP: {files:?}"
    );
    Ok(disk)
}

/// Starts the disk alone, with enforced signatures, and logs in.
pub(crate) fn start(stage: &Stage<'_>, disk: &Disk, name: &str) -> Result<Aios, Failure> {
    let options =
        Options { disk: vec![disk.path.clone()], secure_boot: SecureBoot::On, timeout: 1500, ..Options::default() };
    let login = Login::As { name: OPERATOR.into(), pass_phrase: PASS_PHRASE.into() };
    let mut aios = Aios::boot(stage, name, options, login)?;
    let status = aios.json("status")?;
    ensure!(status["system"]["origin"]["from"] == "disk", "it did not start from the disk: {status:#}");
    ensure!(status["system"]["secure_boot"] == true, "signatures are not enforced: {status:#}");
    ensure!(status["hostname"] == "spine", "the answers' host name is not in force: {status:#}");
    Ok(aios)
}
