//! From the ISO to a disk that starts alone.

use std::time::Duration;

use super::{Aios, Entry, OPERATOR, PASS_PHRASE};
use crate::host::disk::Disk;
use crate::host::fat::Fat;
use crate::scenario::{Failure, Stage, ensure};
use crate::vm::{BOOT, Echo, Login, Machine, Options, SecureBoot};

/// The least that the layout takes, and some room for data.
const SIZE: u64 = 3 << 30;

/// The disk that is installed to, in the scenario's folder.
pub(crate) const DISK: &str = "installed.raw";

/// The installed machine's name.
const HOSTNAME: &str = "spine";

/// How long the copying and reading back take under translation.
const INSTALLATION: Duration = Duration::from_secs(900);

/// Installs without a person: an answer file decides. Gives the disk.
pub(crate) fn unattended(stage: &Stage<'_>) -> Result<Disk, Failure> {
    let (disk, mut machine) = begin(stage, &answers())?;
    machine.wait_for_power_off(BOOT)?;
    let files = disk.esp()?.files()?;
    ensure!(
        files.iter().any(|path| path.starts_with("EFI/Linux/aios_")),
        "the installed disk has no kernel image on its ESP: {files:?}"
    );
    Ok(disk)
}

/// Starts the installer with these answers and waits until it has installed.
pub(super) fn begin(stage: &Stage<'_>, answers: &str) -> Result<(Disk, Machine), Failure> {
    let disk = Disk::create(&stage.folder.join(DISK), SIZE)?;
    let answers_disk = stage.folder.join("answers.img");
    Fat::create(&answers_disk, 4 << 20, "AIOS-ANSWER")?.write("answers.toml", answers.as_bytes())?;
    let options = Options {
        iso: Some(stage.context.iso.clone()),
        disk: vec![disk.path.clone(), answers_disk],
        secure_boot: SecureBoot::On,
        enrolled_vars: Some(stage.context.enrolled_vars.clone()),
        timeout: 3600,
        ..Options::default()
    };
    let mut machine = Machine::start(options, &stage.log("install"), Echo::Hidden)?;
    Entry::Install.choose(&mut machine)?;
    machine.console.wait_for("is installed on", BOOT + INSTALLATION)?;
    Ok((disk, machine))
}

/// Installs from the ISO to a disk of this hardware. The answers come from the machine's host, so that no second disk of
/// the same kind is there.
pub(crate) fn on_hardware(stage: &Stage<'_>, hardware: &Options) -> Result<Disk, Failure> {
    let disk = Disk::create(&stage.folder.join(DISK), SIZE)?;
    let options = Options {
        iso: Some(stage.context.iso.clone()),
        disk: vec![disk.path.clone()],
        firmware_config: vec![("opt/aios/answers".into(), answers())],
        timeout: 3600,
        ..hardware.clone()
    };
    let mut machine = Machine::start(options, &stage.log("install"), Echo::Hidden)?;
    Entry::Install.choose(&mut machine)?;
    machine.console.wait_for("is installed on", BOOT + INSTALLATION)?;
    machine.wait_for_power_off(BOOT)?;
    Ok(disk)
}

/// Starts the disk alone, with enforced signatures, and logs in.
pub(crate) fn start(stage: &Stage<'_>, disk: &Disk, name: &str) -> Result<Aios, Failure> {
    let mut aios =
        start_on(stage, disk, name, Options { secure_boot: SecureBoot::On, timeout: 1500, ..Options::default() })?;
    let status = aios.json("status")?;
    ensure!(status["system"]["secure_boot"] == true, "signatures are not enforced: {status:#}");
    Ok(aios)
}

/// Starts the disk alone, with enforced signatures, and logs in as this person.
pub(crate) fn start_as(
    stage: &Stage<'_>,
    disk: &Disk,
    name: &str,
    operator: &str,
    pass_phrase: &str,
) -> Result<Aios, Failure> {
    let options =
        Options { disk: vec![disk.path.clone()], secure_boot: SecureBoot::On, timeout: 1500, ..Options::default() };
    Aios::boot(stage, name, options, Login::As { name: operator.into(), pass_phrase: pass_phrase.into() })
}

/// Starts the disk alone on this hardware and logs in.
pub(crate) fn start_on(stage: &Stage<'_>, disk: &Disk, name: &str, hardware: Options) -> Result<Aios, Failure> {
    let options = Options { disk: vec![disk.path.clone()], ..hardware };
    let login = Login::As { name: OPERATOR.into(), pass_phrase: PASS_PHRASE.into() };
    let mut aios = Aios::boot(stage, name, options, login)?;
    let status = aios.json("status")?;
    ensure!(status["system"]["origin"]["from"] == "disk", "it did not start from the disk: {status:#}");
    ensure!(status["hostname"] == HOSTNAME, "the answers' host name is not in force: {status:#}");
    Ok(aios)
}

/// Starts the disk, whose data partition is of an earlier day: the console says so, and nothing gets ready. A person can log
/// in to look.
pub(crate) fn start_on_old_data(stage: &Stage<'_>, disk: &Disk) -> Result<Aios, Failure> {
    let options = Options {
        disk: vec![disk.path.clone()],
        secure_boot: SecureBoot::On,
        enrolled_vars: Some(stage.context.enrolled_vars.clone()),
        timeout: 1500,
        ..Options::default()
    };
    let login = Login::As { name: OPERATOR.into(), pass_phrase: PASS_PHRASE.into() };
    Aios::boot_damaged(stage, "old-data", options, login)
}

pub(crate) fn answers() -> String {
    format!(
        "disk = \"only-empty\"\nhostname = \"{HOSTNAME}\"\noperator = \"{OPERATOR}\"\npass_phrase = \"{PASS_PHRASE}\"\nafter = \"poweroff\"\n"
    )
}
