//! Units of apps, which a person enables while the machine runs: the floor that none of them is above or below.
//!
//! Their text comes from a service that made it from what somebody else wrote, so nothing in it may widen what an app
//! gets: a user of its own, no capability, every namespace, no network, no socket, no folder, the system calls of an action,
//! and a program that is checked against its digest at each start. No unit is tied to another by it.

use std::ops::RangeInclusive;

use crate::profile::{Network, Own, Paths, View};
use crate::unit::{OutputTo, Readiness, Start, Unit, WhenSpent};

/// Numbers that no other program runs under.
pub const USERS: RangeInclusive<u32> = 3000..=3999;

/// So many apps can be services at a time: PID 1 keeps lines of each in memory.
pub const LIMIT: usize = 16;

/// Before services of the system, and after agents and actions.
pub(crate) const OOM_SCORE: i16 = 500;

const STORE: &str = "/nix/store";
const PROCESSES: &str = "/proc";
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// The list of what an action may call.
const CALLS: &str = "action";
const MEMORY_MIB: u64 = 512;
const PIDS: u64 = 64;
const DESCRIPTORS: u64 = 1024;
const WEIGHT: u32 = 100;

/// What the text of an app's unit may not say: the key, and why.
pub(crate) fn check(unit: &Unit) -> Result<(), (&'static str, String)> {
    if unit.sha256.is_none() {
        return Err(("sha256", "is missing: the program of an app is run by its digest".into()));
    }
    if !unit.user.parse::<u32>().is_ok_and(|uid| USERS.contains(&uid)) {
        return Err(("user", format!("of an app is a number from {} to {}", USERS.start(), USERS.end())));
    }
    let profile = &unit.sandbox;
    let every = [Own::Mount, Own::Pid, Own::Ipc, Own::Uts, Own::Cgroup];
    let opens = |list: &[String], may: &[&str]| list.iter().all(|path| may.contains(&path.as_str()));
    let is_alone = profile.network == Network::None && profile.view == View::Listed && profile.paths == Paths::Enforced;
    let ties = [&unit.requires, &unit.wants, &unit.after, &unit.conflicts];
    let told_of = unit.audit || unit.boot_state || unit.kernel_messages;
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
        ("audit, boot-state, kernel-messages", !told_of, "are not for an app"),
        ("state, published", unit.state.is_empty() && unit.published.is_empty(), "are not for an app"),
        ("output", unit.output == OutputTo::Log, "of an app is kept, and not shown on the consoles"),
        ("sandbox.own", every.iter().all(|own| profile.own.contains(own)), "of an app has all five namespaces"),
        ("sandbox", is_alone, "of an app has no network, only listed paths, and these enforced"),
        ("sandbox.capabilities", profile.capabilities.is_empty(), "are not for an app"),
        ("sandbox.groups", profile.groups.is_empty(), "are not for an app"),
        ("sandbox.calls", profile.calls == [CALLS], "of an app is [\"action\"]"),
        ("sandbox.write", profile.write.is_empty(), "is not for an app: it has an empty /tmp"),
        ("sandbox.connect", profile.connect.is_empty(), "is not for an app"),
        ("sandbox.execute", opens(&profile.execute, &[STORE]), "of an app is nothing but /nix/store"),
        ("sandbox.read", opens(&profile.read, &[PROCESSES]), "of an app is nothing but /proc"),
        ("sandbox.device", opens(&profile.device, &DEVICES), "of an app is null, zero, full, random, urandom"),
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
