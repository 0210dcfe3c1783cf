//! Units of apps, which a person enables while the machine runs: the floor that none of them is above or below.
//!
//! Their text comes from a service that made it from what somebody else wrote, so nothing in it may widen what an app
//! gets: a user of its own, no capability, every namespace, no network, no socket, no folder, the system calls of an action,
//! and a program that is checked against its digest at each start. No unit is tied to another by it. An app that is an agent
//! gets the door of agents and the system calls to knock there, and none of the rights that other apps may declare.

use std::ops::RangeInclusive;

use crate::profile::{AGENT_DOOR, Network, Own, Paths, View};
use crate::unit::{Kind, OutputTo, Readiness, Start, Unit, WhenSpent};

/// Numbers that no other program runs under.
const USERS: RangeInclusive<u32> = 3000..=3999;

/// The same for apps that are agents; the numbers below are those of agents that an image brings.
pub(crate) const AGENT_USERS: RangeInclusive<u32> = 2500..=2999;

/// So many apps can be services at a time: PID 1 keeps lines of each in memory.
pub const LIMIT: usize = 16;

/// Before services of the system, and after agents and actions.
pub(crate) const OOM_SCORE: i16 = 500;

const STORE: &str = "/nix/store";
const PROCESSES: &str = "/proc";
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// The list of what an action may call.
const CALLS: &str = "action";
/// The one that has sockets.
const AGENT_CALLS: &str = "service";
const MEMORY_MIB: u64 = 512;
const PIDS: u64 = 64;
const DESCRIPTORS: u64 = 1024;
const WEIGHT: u32 = 100;

/// What an app may be opened, by what it is.
struct Opened {
    users: RangeInclusive<u32>,
    calls: &'static str,
    connect: &'static [&'static str],
    execute: &'static [&'static str],
    read: &'static [&'static str],
    device: &'static [&'static str],
}

const TO_AN_APP: Opened =
    Opened { users: USERS, calls: CALLS, connect: &[], execute: &[STORE], read: &[PROCESSES], device: &DEVICES };

const TO_AN_AGENT: Opened =
    Opened { users: AGENT_USERS, calls: AGENT_CALLS, connect: &[AGENT_DOOR], execute: &[], read: &[], device: &[] };

/// What the text of an app's unit may not say: the key, and why.
pub(crate) fn check(unit: &Unit) -> Result<(), (&'static str, String)> {
    if unit.sha256.is_none() {
        return Err(("sha256", "is missing: the program of an app is run by its digest".into()));
    }
    let opened = if unit.kind == Kind::Agent { TO_AN_AGENT } else { TO_AN_APP };
    if !unit.user.parse::<u32>().is_ok_and(|uid| opened.users.contains(&uid)) {
        let (first, last) = opened.users.into_inner();
        return Err(("user", format!("of this app is a number from {first} to {last}")));
    }
    let profile = &unit.sandbox;
    let every = [Own::Mount, Own::Pid, Own::Ipc, Own::Uts, Own::Cgroup];
    let opens = |list: &[String], may: &[&str]| list.iter().all(|path| may.contains(&path.as_str()));
    let is_alone = profile.network == Network::None && profile.view == View::Listed && profile.paths == Paths::Enforced;
    let ties = [&unit.requires, &unit.wants, &unit.after, &unit.conflicts];
    let told_of = unit.audit || unit.boot_state || unit.kernel_messages || unit.tpm;
    let resources = &unit.resources;
    let is_small = resources.memory_max_mib <= MEMORY_MIB
        && resources.pids_max <= PIDS
        && resources.descriptors_max <= DESCRIPTORS
        && resources.cpu_weight <= WEIGHT;
    let floor = [
        ("modes", unit.modes.is_empty(), "goes without: it is started when it is added"),
        ("requires, wants, after, conflicts", ties.iter().all(|tie| tie.is_empty()), "are not for an app"),
        ("socket", !unit.socket && unit.start == Start::Boot, "is not for an app: nobody calls it"),
        ("readiness", unit.readiness == Readiness::Started, "of an app is started: it has no way to say more"),
        ("critical, freezes-actions", !unit.critical && !unit.freezes_actions, "are not for an app"),
        ("audit, boot-state, kernel-messages, tpm", !told_of, "are not for an app"),
        ("state, published", unit.state.is_empty() && unit.published.is_empty(), "are not for an app"),
        ("output", unit.output == OutputTo::Log, "of an app is kept, and not shown on the consoles"),
        ("sandbox.own", every.iter().all(|own| profile.own.contains(own)), "of an app has all five namespaces"),
        ("sandbox", is_alone, "of an app has no network, only listed paths, and these enforced"),
        ("sandbox.capabilities", profile.capabilities.is_empty(), "are not for an app"),
        ("sandbox.groups", profile.groups.is_empty(), "are not for an app"),
        (
            "sandbox.calls",
            profile.calls == [opened.calls],
            "of an app is [\"action\"], of one that is an agent [\"service\"]",
        ),
        ("sandbox.write", profile.write.is_empty(), "is not for an app: it has an empty /tmp"),
        (
            "sandbox.connect",
            opens(&profile.connect, opened.connect),
            "of an app is nothing, of an agent the door of agents",
        ),
        (
            "sandbox.execute",
            opens(&profile.execute, opened.execute),
            "of an app is nothing but /nix/store, of an agent nothing",
        ),
        ("sandbox.read", opens(&profile.read, opened.read), "of an app is nothing but /proc, of an agent nothing"),
        (
            "sandbox.device",
            opens(&profile.device, opened.device),
            "of an app is null, zero, full, random, urandom, of an agent nothing",
        ),
        ("resources", is_small, "of an app are at most 512 MiB, 64 processes, 1024 descriptors and a weight of 100"),
        ("resources.oom-score", unit.oom_score() >= OOM_SCORE, "of an app is at least 500"),
        (
            "restart.when-spent",
            matches!(unit.restart.when_spent, WhenSpent::Ignore | WhenSpent::Degrade),
            "of an app ends no machine: it is ignore or degrade",
        ),
    ];
    match floor.into_iter().find(|(_, holds, _)| !holds) {
        Some((key, _, why)) => Err((key, why.into())),
        None => Ok(()),
    }
}
