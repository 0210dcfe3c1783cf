//! What the services promise about themselves: their logs, their times, and how they are confined.

use crate::host::probe_image;
use crate::scenario::{Failure, Scenario, Set, Stage};
use crate::steps::{Aios, confinement, install, logs, services};
use crate::vm::Login;

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "confinement",
        promise: "every process is confined as its unit says, scores at most 2.0, and nothing gets out of any profile; no call is listed in vain",
        set: Set::Ci,
        boots: 1,
        show: confined,
    },
    Scenario {
        name: "on-call",
        promise: "the agents' door is no process until an agent knocks, and none again when it has gone",
        set: Set::Long,
        boots: 1,
        show: on_call,
    },
    Scenario {
        name: "log-flood",
        promise: "a flood costs a service its own lines and a full disk costs nobody any: the loss is counted and shown",
        set: Set::Long,
        boots: 1,
        show: flood,
    },
    Scenario {
        name: "log-power-cut",
        promise: "after a loss of power the boot before is readable to its last second; the next one knows how it ended",
        set: Set::Long,
        boots: 4,
        show: power_cut,
    },
];

fn confined(stage: &Stage<'_>) -> Result<(), Failure> {
    let shipped = confinement::shipped(stage.context)?;
    confinement::none_is_unused(stage.context, &shipped)?;
    let added = confinement::added(stage.context, &shipped)?;
    let options = probe_image::with(stage.context, &stage.folder, &added)?;
    let mut aios = Aios::boot(stage, "confined", options, Login::Already)?;
    services::all_ready(&mut aios)?;
    services::list_is_quick(&mut aios)?;
    confinement::report(&mut aios, stage, &shipped)?;
    confinement::nothing_escapes(&mut aios, &shipped)?;
    logs::boot_times(&mut aios)
}

fn on_call(stage: &Stage<'_>) -> Result<(), Failure> {
    let options = probe_image::with(stage.context, &stage.folder, &[])?;
    let mut aios = Aios::boot(stage, "on-call", options, Login::Already)?;
    services::all_ready(&mut aios)?;
    services::the_door_comes_and_goes(&mut aios)?;
    aios.power_off()
}

fn flood(stage: &Stage<'_>) -> Result<(), Failure> {
    let options = probe_image::with(stage.context, &stage.folder, &logs::flood(stage.context)?)?;
    let mut aios = Aios::boot(stage, "flood", options, Login::Already)?;
    logs::after_a_flood(&mut aios)?;
    logs::on_a_full_disk(&mut aios)?;
    aios.power_off()
}

fn power_cut(stage: &Stage<'_>) -> Result<(), Failure> {
    let disk = super::evidence::installed(stage)?;
    let mut aios = install::start(stage, &disk, "disk")?;
    services::all_ready(&mut aios)?;
    for round in 1..=2 {
        logs::across_a_power_cut(&mut aios, round)?;
    }
    logs::across_an_end_in_order(&mut aios)?;
    aios.power_off()
}
