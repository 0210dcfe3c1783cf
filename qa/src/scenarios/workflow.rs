//! Workflows on whole machines.

use crate::scenario::{Failure, Scenario, Set, Stage};
use crate::steps::{Aios, install, services, workflow};
use crate::vm::Login;

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "workflow",
        promise: "a workflow asks, passes over, deals with a failure, is refused with its place, and is decided again alike",
        set: Set::Long,
        boots: 1,
        show: live,
    },
    Scenario {
        name: "workflow-reboot",
        promise: "a workflow goes on over a restart and two losses of power, and no step runs twice",
        set: Set::Long,
        boots: 4,
        show: reboot,
    },
    Scenario {
        name: "workflow-killed",
        promise: "a workflow whose runtime is killed while actions run comes to its end, and no step runs twice",
        set: Set::Long,
        boots: 1,
        show: killed,
    },
];

fn live(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    workflow::refused_at_load(&mut aios)?;
    workflow::from_question_to_end(&mut aios)?;
    workflow::cancelled(&mut aios)?;
    aios.power_off()
}

fn reboot(stage: &Stage<'_>) -> Result<(), Failure> {
    let disk = super::evidence::installed(stage)?;
    let mut aios = install::start(stage, &disk, "disk")?;
    services::all_ready(&mut aios)?;
    workflow::over_restarts(&mut aios)?;
    aios.power_off()
}

fn killed(stage: &Stage<'_>) -> Result<(), Failure> {
    let lines = "output = \"consoles\"\nrequires = [\"action-runtime\"]\nrestart = { policy = \"never\" }";
    let options = super::init::image(stage, &[("killer", lines, "killer.sh")])?;
    let mut aios = Aios::boot(stage, "killed", options, Login::Already)?;
    services::all_ready(&mut aios)?;
    workflow::while_its_runtime_is_killed(&mut aios)
}
