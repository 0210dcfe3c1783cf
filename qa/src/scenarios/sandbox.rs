//! What the sandbox of actions promises: nothing gets out, nothing outlives its budget, nothing is left.

use crate::host::figures::Launching;
use crate::host::probe_image;
use crate::scenario::{Failure, Scenario, Set, Stage, ensure};
use crate::steps::{Aios, READY, actions, budgets, cuts, install, services};
use crate::vm::{BOOT, Echo, Login, Machine};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "sandbox",
        promise: "with every layer, a thousand confined programs leave nothing, nothing gets out of any tier, and what writes on is ended",
        set: Set::Ci,
        boots: 1,
        show: a_thousand,
    },
    Scenario {
        name: "missing-layer",
        promise: "without Landlock or a limit that cgroups set nothing starts, and the machine says what its kernel lacks",
        set: Set::Ci,
        boots: 2,
        show: missing_layer,
    },
    Scenario {
        name: "action-budgets",
        promise: "an action that wants more than its budget is ended with all its processes and says which it was",
        set: Set::Long,
        boots: 1,
        show: used_up,
    },
    Scenario {
        name: "action-leaks",
        promise: "two hundred actions of both tiers leave no cgroup, mount or descriptor behind",
        set: Set::Long,
        boots: 1,
        show: many,
    },
    Scenario {
        name: "action-power-cut",
        promise: "power that fails in an action of each kind leaves the old state or the new one, and the machine says which",
        set: Set::Long,
        boots: 6,
        show: power_cut,
    },
];

/// Half of the programs run one after the other, half together.
const ROUNDS: u32 = 500;
/// A hundred thousand in all.
const MANY_ROUNDS: u32 = 50_000;

/// A tenth of a second's writing beyond the limit of one MiB is far below that on any disk that is emulated.
const DISK_FULL: f64 = 128e6;

/// Actions that leave nothing.
const ACTIONS: usize = 200;
const MANY_ACTIONS: usize = 100_000;

fn a_thousand(stage: &Stage<'_>) -> Result<(), Failure> {
    let rounds = stage.context.extent.choose(ROUNDS, MANY_ROUNDS);
    let mut launching = Launching::start(stage, &stage.context.kernel, &[])?;
    let written = launching.writes()?;
    for files in ["keep", "sync"] {
        let (within, beyond) = (written.get(&format!("{files}-within"))?, written.get(&format!("{files}-beyond"))?);
        println!("  {files}: {within} bytes written within the limit, {beyond} by one that was ended for more");
        if beyond > DISK_FULL {
            return Err(Failure::broken(format!("{beyond} bytes got onto the disk before anybody noticed")));
        }
    }
    let figures = launching.ours(rounds)?;
    for tier in ["T1-none", "T3-none", "T3-folder"] {
        let (tries, contained) = (figures.get(&format!("tries-{tier}"))?, figures.get(&format!("contained-{tier}"))?);
        println!("  {tier}: {contained} of {tries} tries contained");
        ensure!(tries >= 60.0 && tries == contained, "{tier} contains {contained} of {tries} tries");
    }
    for what in ["cgroups", "processes", "descriptors", "mounts"] {
        let left = figures.get(&format!("left-{what}"))?;
        ensure!(left == 0.0, "{left} {what} are left of {} programs", 2 * rounds);
    }
    Ok(())
}

/// The command line is sealed, so a machine without firmware starts with another one.
fn missing_layer(stage: &Stage<'_>) -> Result<(), Failure> {
    for (name, words, lacks) in [
        (
            "landlock",
            "lsm=lockdown,yama",
            "programs cannot be confined: this kernel has no Landlock; version 9 is needed",
        ),
        ("pids", "cgroup_disable=pids", "this kernel cannot limit what programs use: without pids"),
    ] {
        let options = probe_image::with_line(stage.context, &stage.folder, words)?;
        let mut machine = Machine::start(options, &stage.log(name), Echo::Hidden)?;
        machine.console.wait_for(&format!("cannot start this system: {lacks}"), BOOT)?;
        machine.console.wait_for("start the kernel of this release", BOOT)?;
        machine.wait_for_reset(BOOT)?;
        let said = machine.console.said();
        ensure!(!said.contains(READY), "it started without {name}:\n{said}");
    }
    Ok(())
}

fn used_up(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    actions::nothing_escapes(&mut aios)?;
    let program = budgets::program(&mut aios, stage)?;
    budgets::each_ends_its_program(&mut aios, &program)?;
    budgets::a_deadline_comes_first(&mut aios, &program)?;
    budgets::a_crowd_ends_with_its_action(&mut aios, &program)
}

fn many(stage: &Stage<'_>) -> Result<(), Failure> {
    let options = probe_image::with(stage.context, &stage.folder, &budgets::added(stage.context)?)?;
    let mut aios = Aios::boot(stage, "held", options, Login::Already)?;
    services::all_ready(&mut aios)?;
    let program = budgets::program(&mut aios, stage)?;
    budgets::a_crowd_ends_with_its_action(&mut aios, &program)?;
    let many = stage.context.extent.choose(ACTIONS, MANY_ACTIONS);
    budgets::many_leave_nothing(&mut aios, &program, many)
}

/// Cuts for each kind.
const CUTS: u32 = 1;
const MANY_CUTS: u32 = 20;

fn power_cut(stage: &Stage<'_>) -> Result<(), Failure> {
    let disk = super::evidence::installed(stage)?;
    let mut aios = install::start(stage, &disk, "disk")?;
    services::all_ready(&mut aios)?;
    cuts::in_each_adapter(&mut aios, stage.context.extent.choose(CUTS, MANY_CUTS))?;
    aios.power_off()
}
