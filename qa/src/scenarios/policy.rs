//! Who decides: another policy, other people.

use std::time::Duration;

use crate::host::probe_image;
use crate::scenario::{Failure, Scenario, Set, Stage, ensure};
use crate::steps::{Aios, attacks, bundles, hostile, install, keys, services, table};
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
        name: "approval-signed",
        promise: "a signature that ssh-keygen made elsewhere approves one request, once, until its key is taken away",
        set: Set::Long,
        boots: 2,
        show: approval_signed,
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
    Scenario {
        name: "decisions-agent",
        promise: "what an agent asks at its door is answered as the table of decisions says, and each answer is on record",
        set: Set::Long,
        boots: 1,
        show: decisions_of_agents,
    },
    Scenario {
        name: "hostile-agent",
        promise: "an agent that tries everything at random has no effect, is on record with all of it, and is in nobody's way",
        set: Set::Long,
        boots: 1,
        show: hostile_agent,
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

fn approval_signed(stage: &Stage<'_>) -> Result<(), Failure> {
    let disk = install::unattended(stage)?;
    let mut aios = install::start(stage, &disk, "disk")?;
    services::all_ready(&mut aios)?;
    let key = keys::Key::make(&stage.folder)?;
    keys::added(&mut aios, &key)?;
    keys::for_something_else(&mut aios, &key)?;
    keys::approves_its_own_removal(&mut aios, &key)?;
    keys::removed_is_nobodys(&mut aios, &key)?;
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

fn decisions_of_agents(stage: &Stage<'_>) -> Result<(), Failure> {
    let expected = table::of_agents(stage)?;
    let questions: Vec<_> = expected.iter().map(|(request, _, _)| request.as_str()).collect();
    let added = hostile::that_asks(stage, &questions.join("\n"))?;
    let options = probe_image::with(stage.context, &stage.folder, &added)?;
    let mut aios = Aios::boot(stage, "asked", options, Login::Already)?;
    services::all_ready(&mut aios)?;
    hostile::asks(&mut aios, &expected)?;
    aios.power_off()
}

/// What a hostile agent begins its choices with; another number tries in another order.
const SEED: u64 = 1;

fn hostile_agent(stage: &Stage<'_>) -> Result<(), Failure> {
    let time = stage.context.extent.choose(Duration::from_secs(60), Duration::from_secs(3600));
    let options = probe_image::with(stage.context, &stage.folder, &hostile::that_tries(stage, time, SEED)?)?;
    let mut aios = Aios::boot(stage, "hostile", options, Login::Already)?;
    services::all_ready(&mut aios)?;
    hostile::tries_everything(&mut aios, time)?;
    aios.power_off()
}
