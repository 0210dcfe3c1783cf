//! The ISO and what the firmware makes of it.

use std::path::Path;
use std::time::Duration;

use crate::host::iso::IsoCopy;
use crate::scenario::{Failure, Stage, ensure};
use crate::steps::{Aios, services};
use crate::vm::{BOOT, Echo, Login, Machine, Medium, Options, SecureBoot};

pub(super) fn cd(stage: &Stage<'_>) -> Result<(), Failure> {
    let options = Options { memory: 256, ..live(stage) };
    let mut aios = Aios::boot(stage, "cd", options, Login::Already)?;
    services::all_ready(&mut aios)?;
    let status = aios.json("status")?;
    ensure!(status["system"]["secure_boot"] == false, "nobody enforces signatures, and yet: {status:#}");
    ensure!(status["system"]["origin"]["from"] == "live", "{status:#}");
    let used = status["memory_used_mib"].as_u64().unwrap_or(u64::MAX);
    ensure!(used <= 128, "{used} MiB are used with all services ready; at most 128 are promised");
    screen_is_used(&mut aios.machine, &stage.folder.join("screen.ppm"))?;
    aios.power_off()
}

pub(super) fn usb(stage: &Stage<'_>) -> Result<(), Failure> {
    let options = Options { iso_as: Medium::Usb, ..live(stage) };
    let mut aios = Aios::boot(stage, "usb", options, Login::Already)?;
    aios.ok("status")?;
    Ok(())
}

pub(super) fn secure_boot(stage: &Stage<'_>) -> Result<(), Failure> {
    let options = Options { secure_boot: SecureBoot::On, ..live(stage) };
    let mut aios = Aios::boot(stage, "secure-boot", options, Login::Already)?;
    let status = aios.json("status")?;
    ensure!(status["system"]["secure_boot"] == true, "the firmware enforces signatures, and yet: {status:#}");
    Ok(())
}

pub(super) fn unsigned(stage: &Stage<'_>) -> Result<(), Failure> {
    let copy = IsoCopy::make(&stage.context.iso, &stage.folder.join("unsigned.iso"))?;
    copy.strip_signatures(&stage.folder)?;
    let options = Options { iso: Some(copy.path.clone()), secure_boot: SecureBoot::On, ..live(stage) };
    let mut machine = start(stage, "unsigned", options)?;
    machine.console.wait_for_any(&["Security Violation", "Access Denied", "Security violation"], BOOT)?;
    never_runs(&mut machine)
}

pub(super) fn live(stage: &Stage<'_>) -> Options {
    Options {
        iso: Some(stage.context.iso.clone()),
        enrolled_vars: Some(stage.context.enrolled_vars.clone()),
        timeout: 3600,
        ..Options::default()
    }
}

pub(super) fn start(stage: &Stage<'_>, name: &str, options: Options) -> Result<Machine, Failure> {
    Ok(Machine::start(options, &stage.log(name), Echo::Hidden)?)
}

/// Listens for longer than a good image takes to its console.
pub(super) fn never_runs(machine: &mut Machine) -> Result<(), Failure> {
    machine.console.listen(Duration::from_secs(15))?;
    let said = machine.console.said();
    ensure!(!said.contains("aios: console ready"), "it runs although it must not");
    ensure!(machine.console.prompt(Duration::ZERO).is_err(), "it gives a prompt although it must not");
    Ok(())
}

/// The console is on the screen as well: there is something light on it.
pub(super) fn screen_is_used(machine: &mut Machine, picture: &Path) -> Result<(), Failure> {
    machine.screenshot(picture)?;
    let pixels = std::fs::read(picture).map_err(Failure::file("read", picture))?;
    // A header of a few bytes does not matter against thousands of pixels of text.
    let light = pixels.iter().filter(|value| **value > 0x80).count();
    ensure!(light > 1000, "the screen is dark: {}", picture.display());
    Ok(())
}
