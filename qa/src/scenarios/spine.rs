//! One machine's life, from the ISO through every part of the system to recovery.

use crate::scenario::{Failure, Stage, ensure};
use crate::steps::{Aios, actions, agent, evidence, install, policy, recovery, services, store, update};

pub(super) fn spine(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    services::restart(&mut aios, "network")?;
    services::the_core_stays(&mut aios)?;
    policy::permitted(&mut aios)?;
    policy::refused(&mut aios)?;
    policy::rejected_by_a_person(&mut aios)?;
    policy::cancelled(&mut aios)?;
    actions::nothing_escapes(&mut aios)?;
    store::from_a_foreign_cache(&mut aios, stage)?;
    agent::behind_its_door(&mut aios)?;
    evidence::on_the_machine(&mut aios)?;
    aios.power_off()?;

    let disk = install::unattended(stage)?;
    let mut aios = install::start(stage, &disk, "disk")?;
    services::all_ready(&mut aios)?;
    actions::object(&mut aios)?;
    actions::file(&mut aios, "hello.txt", "hello")?;
    actions::reboot(&mut aios)?;
    ensure!(aios.ok("object get notes/versions")?.trim() == "second", "an object did not outlive a restart");
    update::to_a_good_release(&mut aios, stage)?;
    update::back_from_a_bad_release(&mut aios, stage)?;
    actions::setting(&mut aios, "renamed")?;
    let export = evidence::elsewhere(&mut aios, stage)?;
    aios.power_off()?;
    update::on_the_disk(&disk)?;
    let written = disk.data_file("/groups/home/files/hello.txt")?;
    ensure!(written == b"hello", "seen from outside, the file holds {:?}", String::from_utf8_lossy(&written));

    recovery::with_everything_destroyed(stage, &disk, &export)
}
