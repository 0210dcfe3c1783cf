//! An installed disk: made, updated, recovered.

use crate::scenario::{Failure, Stage, ensure};
use crate::steps::{actions, app_service, encryption, evidence, install, recovery, services, update};

pub(super) fn install(stage: &Stage<'_>) -> Result<(), Failure> {
    let disk = install::unattended(stage)?;
    let mut aios = install::start(stage, &disk, "disk")?;
    services::all_ready(&mut aios)?;
    actions::file(&mut aios, "hello.txt", "hello")?;
    aios.power_off()?;
    let found = disk.data_file("/groups/home/files/hello.txt")?;
    ensure!(found == b"hello", "the disk holds {:?}", String::from_utf8_lossy(&found));
    Ok(())
}

pub(super) fn encrypted(stage: &Stage<'_>) -> Result<(), Failure> {
    let installed = encryption::install(stage)?;
    let mut aios = encryption::start_after_a_wrong_pass_phrase(stage, &installed)?;
    services::all_ready(&mut aios)?;
    encryption::write_a_secret(&mut aios)?;
    aios.power_off()?;
    encryption::nothing_to_be_read(&installed)?;
    let mut aios = encryption::start_by_recovery_key(stage, &installed)?;
    services::all_ready(&mut aios)?;
    encryption::the_secret_is_there(&mut aios)?;
    aios.power_off()?;
    encryption::recovery_asks_too(stage, &installed)
}

pub(super) fn app_service(stage: &Stage<'_>) -> Result<(), Failure> {
    let disk = install::unattended(stage)?;
    let mut aios = install::start(stage, &disk, "disk")?;
    services::all_ready(&mut aios)?;
    app_service::enabled(&mut aios)?;
    aios.power_off()?;
    let mut aios = install::start(stage, &disk, "again")?;
    services::all_ready(&mut aios)?;
    app_service::back_after_a_boot(&mut aios)?;
    aios.power_off()
}

pub(super) fn update(stage: &Stage<'_>) -> Result<(), Failure> {
    let disk = install::unattended(stage)?;
    let mut aios = install::start(stage, &disk, "disk")?;
    services::all_ready(&mut aios)?;
    update::to_a_good_release(&mut aios, stage)?;
    update::back_from_a_bad_release(&mut aios, stage)?;
    aios.power_off()?;
    update::on_the_disk(&disk)
}

pub(super) fn recovery(stage: &Stage<'_>) -> Result<(), Failure> {
    let disk = install::unattended(stage)?;
    let mut aios = install::start(stage, &disk, "disk")?;
    let bundle = evidence::elsewhere(&mut aios, stage)?;
    aios.power_off()?;
    recovery::with_everything_destroyed(stage, &disk, &bundle)
}
