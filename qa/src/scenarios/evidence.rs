//! What the log promises when something goes wrong around it.

use crate::DiskOrder;
use crate::host::disk::{Disk, Partition};
use crate::scenario::{Failure, Scenario, Set, Stage};
use crate::steps::{Aios, agent, denials, evidence, install, recovery, services};
use crate::vm::{Login, Options};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "denials",
        promise: "what the kernel refuses an action, an agent or a service is a receipt that names what, where and whom",
        set: Set::Ci,
        boots: 1,
        show: receipts_of_refusals,
    },
    Scenario {
        name: "evidence-full",
        promise: "a full disk refuses new effects and says what to do; what is recorded stays readable and verifies",
        set: Set::Long,
        boots: 1,
        show: full_disk,
    },
    Scenario {
        name: "evidence-power-cut",
        promise: "who comes and leaves is recorded; power fails while records are written and none that was answered for is lost",
        set: Set::Long,
        boots: 4,
        show: power_cut,
    },
    Scenario {
        name: "evidence-restored",
        promise: "a data partition of an earlier day is noticed; all can be read and nothing is done until a person says so",
        set: Set::Long,
        boots: 5,
        show: data_put_back,
    },
];

/// The smallest disk that can be installed on.
const DISK: u64 = 2 << 30;

fn receipts_of_refusals(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    denials::of_the_probe(&mut aios)?;
    denials::of_an_action(&mut aios, stage)?;
    agent::behind_its_door(&mut aios)?;
    denials::of_an_agent(&mut aios)?;
    evidence::on_the_machine(&mut aios)?;
    evidence::elsewhere(&mut aios, stage)?;
    Ok(())
}

fn full_disk(stage: &Stage<'_>) -> Result<(), Failure> {
    // The state of a live system is a share of its memory, so it is soon full. It is not the smallest machine: the store
    // leaves a few MiB to others, and what the log keeps for what runs already has to be more for the log to be the one that
    // says no.
    let options = Options { iso: Some(stage.context.iso.clone()), memory: 1024, ..Options::default() };
    let mut aios = Aios::boot(stage, "live", options, Login::Already)?;
    services::all_ready(&mut aios)?;
    evidence::until_it_is_full(&mut aios, stage)
}

fn power_cut(stage: &Stage<'_>) -> Result<(), Failure> {
    let disk = installed(stage)?;
    let mut aios = install::start(stage, &disk, "disk")?;
    services::all_ready(&mut aios)?;
    evidence::comings_and_goings(&mut aios)?;
    for round in 1..=3 {
        evidence::cut_while_writing(&mut aios, round)?;
    }
    aios.power_off()
}

fn data_put_back(stage: &Stage<'_>) -> Result<(), Failure> {
    let disk = installed(stage)?;
    let backup = stage.folder.join("data.img");
    let mut aios = install::start(stage, &disk, "before")?;
    services::all_ready(&mut aios)?;
    aios.ok("object put days/first 1")?;
    aios.power_off()?;
    disk.save(Partition::Data, &backup)?;
    let mut aios = install::start(stage, &disk, "after")?;
    services::all_ready(&mut aios)?;
    aios.ok("object put days/second 2")?;
    aios.power_off()?;

    disk.put_back(Partition::Data, &backup)?;
    std::fs::remove_file(&backup).map_err(Failure::file("remove", &backup))?;
    let mut aios = install::start_on_old_data(stage, &disk)?;
    evidence::waits_for_a_person(&mut aios)?;
    aios.power_off()?;
    let records = recovery::accept_restored(stage, &disk)?;
    let mut aios = install::start(stage, &disk, "accepted")?;
    services::all_ready(&mut aios)?;
    evidence::was_restored(&mut aios, records)?;
    aios.ok("object get days/first")?;
    aios.power_off()
}

/// A disk as after an installation.
pub(super) fn installed(stage: &Stage<'_>) -> Result<Disk, Failure> {
    let answers = stage.folder.join("answers.toml");
    std::fs::write(&answers, install::answers()).map_err(Failure::file("write", &answers))?;
    let out = stage.folder.join(install::DISK);
    let order = DiskOrder { answers, format: "raw", bytes: DISK, out: out.clone() };
    (stage.context.make_disk)(&order).map_err(Failure::broken)?;
    Ok(Disk { path: out })
}
