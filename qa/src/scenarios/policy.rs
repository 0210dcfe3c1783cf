//! Who decides: another policy, other people.

use crate::host::probe_image;
use crate::scenario::{Failure, Scenario, Set, Stage, ensure};
use crate::steps::{Aios, attacks, bundles, install, services, table};
use crate::vm::Login;

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "policy-bundle",
        promise: "a signed policy is loaded once a person saw what agents gain; others, older and changed ones are refused",
        set: Set::Long,
        boots: 1,
        show: policy_bundle,
    },
    Scenario {
        name: "policy-emergency",
        promise: "a wrong code changes nothing, a plan comes first where a rule says so, an emergency lifts only what no rule permits",
        set: Set::Long,
        boots: 1,
        show: policy_emergency,
    },
    Scenario {
        name: "policy-kept",
        promise: "on a disk, a loaded policy, a new person and a changed pass phrase are there after a restart",
        set: Set::Long,
        boots: 3,
        show: policy_kept,
    },
    Scenario {
        name: "approval-attacks",
        promise: "an agent that swaps, floods, spoofs, borrows hands and asks again gets the one thing that a person saw, once",
        set: Set::Long,
        boots: 1,
        show: approval_attacks,
    },
    Scenario {
        name: "clock-attacks",
        promise: "a clock set a year forward ends no request early, and one set back a year revives none",
        set: Set::Long,
        boots: 1,
        show: clock_attacks,
    },
    Scenario {
        name: "decision-table",
        promise: "what a person asks at the console is answered as the table of decisions says, with the reason",
        set: Set::Long,
        boots: 1,
        show: decision_table,
    },
];

fn policy_bundle(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    let offered = bundles::Offered::bring(&mut aios, stage)?;
    bundles::refused(&mut aios, &offered)?;
    bundles::loaded(&mut aios, &offered.wider, 1001)?;
    bundles::older_is_refused(&mut aios, &offered)?;
    aios.power_off()
}

fn policy_emergency(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    let offered = bundles::Offered::bring(&mut aios, stage)?;
    bundles::loaded_with_its_code(&mut aios, &offered.sparse)?;
    bundles::an_emergency_lifts_what_nobody_thought_of(&mut aios)?;
    bundles::a_plan_comes_first(&mut aios)?;
    aios.power_off()
}

fn policy_kept(stage: &Stage<'_>) -> Result<(), Failure> {
    let disk = install::unattended(stage)?;
    let mut aios = install::start(stage, &disk, "disk")?;
    services::all_ready(&mut aios)?;
    let offered = bundles::Offered::bring(&mut aios, stage)?;
    bundles::loaded(&mut aios, &offered.wider, 1001)?;
    bundles::person_added(&mut aios, "grace", "amazing discovery")?;
    bundles::pass_phrase_changed(&mut aios, "another battery")?;
    let before = aios.json("policy show")?;
    aios.power_off()?;

    let mut aios = install::start_as(stage, &disk, "again", "grace", "amazing discovery")?;
    let after = aios.json("policy show")?;
    ensure!(after["epoch"] == before["epoch"], "another policy decides after the restart: {after:#}");
    ensure!(after["origin"] == "loaded", "the loaded policy does not decide: {after:#}");
    bundles::older_is_refused(&mut aios, &offered)?;
    bundles::changed_once(&mut aios)?;
    aios.power_off()
}

fn approval_attacks(stage: &Stage<'_>) -> Result<(), Failure> {
    let options = probe_image::with(stage.context, &stage.folder, &attacks::added(stage)?)?;
    let mut aios = Aios::boot(stage, "attacked", options, Login::Already)?;
    services::all_ready(&mut aios)?;
    attacks::by_an_agent(&mut aios)?;
    aios.power_off()
}

fn clock_attacks(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    attacks::with_the_clock(&mut aios, stage)?;
    aios.power_off()
}

fn decision_table(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    table::asked_at_the_console(&mut aios, stage)?;
    aios.power_off()
}
