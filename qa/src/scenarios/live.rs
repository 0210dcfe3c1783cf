//! One part of the system each, on the live ISO.

use super::init;
use crate::host::probe_image;
use crate::scenario::{Failure, Stage};
use crate::steps::{Aios, action_types, actions, agent, app_agent, apps, evidence, freeze, policy, services, store};
use crate::vm::Login;

pub(super) fn services(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    services::restart(&mut aios, "network")?;
    services::the_core_stays(&mut aios)?;
    aios.power_off()
}

pub(super) fn fail_closed(stage: &Stage<'_>) -> Result<(), Failure> {
    let options = probe_image::options(stage.context, &stage.folder)?;
    let mut aios = Aios::boot(stage, "probe", options, Login::Already)?;
    freeze::without_its_witnesses(&mut aios, stage)
}

pub(super) fn evidence(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    evidence::on_the_machine(&mut aios)?;
    evidence::elsewhere(&mut aios, stage)?;
    Ok(())
}

pub(super) fn policy(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    policy::permitted(&mut aios)?;
    policy::refused(&mut aios)?;
    policy::rejected_by_a_person(&mut aios)?;
    policy::cancelled(&mut aios)
}

pub(super) fn actions(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    services::restart(&mut aios, "network")?;
    actions::setting(&mut aios, "renamed")?;
    actions::object(&mut aios)?;
    actions::file(&mut aios, "hello.txt", "hello")?;
    actions::reboot(&mut aios)
}

/// Somebody with more rights than any program of the system makes an outcome wrong.
pub(super) fn undone(stage: &Stage<'_>) -> Result<(), Failure> {
    let unit = "output = \"consoles\"\nrequires = [\"action-runtime\"]";
    let options = init::image(stage, &[("spoiler", unit, "spoil.sh")])?;
    let mut aios = Aios::boot(stage, "spoiled", options, Login::Already)?;
    actions::undone(&mut aios)?;
    aios.power_off()
}

pub(super) fn action_types(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    action_types::each(aios, stage)
}

pub(super) fn app_agent(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    app_agent::proposes(&mut aios)?;
    aios.power_off()
}

pub(super) fn apps(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    apps::from_a_request_to_a_run(&mut aios)?;
    apps::a_liar_is_shown(&mut aios)?;
    apps::a_swapped_program_stays_out(&mut aios)?;
    agent::behind_its_door(&mut aios)?;
    apps::of_an_agent(&mut aios)?;
    aios.power_off()
}

pub(super) fn escape_probe(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    actions::nothing_escapes(&mut aios)
}

pub(super) fn store(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    store::from_a_foreign_cache(&mut aios, stage)
}

pub(super) fn agent(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    agent::behind_its_door(&mut aios)
}
