//! The list of scenarios. Each module holds the ones about one part of the system.

mod boot;
mod evidence;
mod fixture;
mod formats;
mod init;
mod installed;
mod live;
mod machines;
mod network;
mod policy;
mod sandbox;
mod service;
mod spine;
mod tamper;
mod trust;
mod vault;
mod workflow;

use crate::scenario::{Scenario, Set};

/// Every scenario, in the order in which they run.
pub fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    ALL.iter()
        .chain(evidence::ALL)
        .chain(formats::ALL)
        .chain(init::ALL)
        .chain(machines::ALL)
        .chain(network::ALL)
        .chain(policy::ALL)
        .chain(sandbox::ALL)
        .chain(service::ALL)
        .chain(tamper::ALL)
        .chain(trust::ALL)
        .chain(vault::ALL)
        .chain(workflow::ALL)
}

const ALL: &[Scenario] = &[
    Scenario {
        name: "fixture",
        promise: "the fixture sees how commands end, cuts power and notices a machine that died",
        set: Set::Ci,
        boots: 2,
        show: fixture::fixture,
    },
    Scenario {
        name: "boot-cd",
        promise: "the ISO in a CD drive boots to the console, on serial line and screen, and is ready in 256 MiB",
        set: Set::Ci,
        boots: 1,
        show: boot::cd,
    },
    Scenario {
        name: "boot-usb",
        promise: "the same ISO on a USB stick boots to the console",
        set: Set::Ci,
        boots: 1,
        show: boot::usb,
    },
    Scenario {
        name: "secure-boot-on",
        promise: "firmware that enforces our signatures boots the ISO, and the system says so",
        set: Set::Ci,
        boots: 1,
        show: boot::secure_boot,
    },
    Scenario {
        name: "unsigned-refused",
        promise: "a kernel image without our signature does not start",
        set: Set::Ci,
        boots: 1,
        show: boot::unsigned,
    },
    Scenario {
        name: "services",
        promise: "every service runs in a process of its own, restarts on request, and the core cannot be restarted",
        set: Set::Long,
        boots: 1,
        show: live::services,
    },
    Scenario {
        name: "fail-closed",
        promise: "without evidence log or policy kernel, running actions stand still within a second until it is back",
        set: Set::Ci,
        boots: 1,
        show: live::fail_closed,
    },
    Scenario {
        name: "evidence",
        promise: "the log verifies here and elsewhere, by our program and a foreign one, and a flipped byte is found",
        set: Set::Long,
        boots: 1,
        show: live::evidence,
    },
    Scenario {
        name: "policy",
        promise: "what is permitted runs, what is refused says why, and a person's no is final",
        set: Set::Long,
        boots: 1,
        show: live::policy,
    },
    Scenario {
        name: "actions",
        promise: "five types of action run confined, are measured by the verifier, and leave linked receipts",
        set: Set::Long,
        boots: 2,
        show: live::actions,
    },
    Scenario {
        name: "undone",
        promise: "a setting whose file is spoiled before it is measured is undone, and the records say what was seen",
        set: Set::Ci,
        boots: 1,
        show: live::undone,
    },
    Scenario {
        name: "action-types",
        promise: "the catalogue's own example of each type does what it says, seen by somebody else, and off is off",
        set: Set::Long,
        boots: 1,
        show: live::action_types,
    },
    Scenario {
        name: "apps",
        promise: "a program that was handed in is tried, shown and decided before it exists; a lie and a swap stay out",
        set: Set::Long,
        boots: 1,
        show: live::apps,
    },
    Scenario {
        name: "escape-probe",
        promise: "sixty and more escape attempts fail in every tier of the action sandbox",
        set: Set::Long,
        boots: 1,
        show: live::escape_probe,
    },
    Scenario {
        name: "store",
        promise: "software from a cache that Debian's Nix made is verified and runs confined; a wrong signature is refused",
        set: Set::Long,
        boots: 1,
        show: live::store,
    },
    Scenario {
        name: "agent",
        promise: "an agent does what it may, waits for a person where it must, and finds no way around its door",
        set: Set::Long,
        boots: 1,
        show: live::agent,
    },
    Scenario {
        name: "install",
        promise: "an answer file installs to an empty disk without a person, and the disk then starts alone, Secure Boot on",
        set: Set::Long,
        boots: 2,
        show: installed::install,
    },
    Scenario {
        name: "encrypted-disk",
        promise: "an encrypted data partition is asked for at the start, opens by two keys, and shows nothing to whoever has the disk",
        set: Set::Long,
        boots: 4,
        show: installed::encrypted,
    },
    Scenario {
        name: "app-agent",
        promise: "an app that a person makes an agent proposes in its own name, gets what agents get, and goes when asked",
        set: Set::Long,
        boots: 1,
        show: live::app_agent,
    },
    Scenario {
        name: "app-service",
        promise: "an app that a person makes a service runs confined, comes back when it ends and after a boot, and goes when asked",
        set: Set::Long,
        boots: 3,
        show: installed::app_service,
    },
    Scenario {
        name: "update",
        promise: "a new release runs from the other slot and is marked good; one that panics comes back by itself",
        set: Set::Long,
        boots: 8,
        show: installed::update,
    },
    Scenario {
        name: "recovery",
        promise: "with slots and data destroyed, recovery verifies an export, gives a shell and has no agent code in it",
        set: Set::Long,
        boots: 3,
        show: installed::recovery,
    },
    Scenario {
        name: "spine",
        promise: "one machine goes through every part of the system, from the ISO to recovery",
        set: Set::Ci,
        boots: 11,
        show: spine::spine,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What a change has to wait for.
    const CI_BOOTS: u32 = 45;

    #[test]
    fn a_change_waits_for_few_boots_and_every_name_is_one_scenario() {
        let boots: u32 = scenarios().filter(|scenario| scenario.set == Set::Ci).map(|scenario| scenario.boots).sum();
        assert!(boots <= CI_BOOTS, "{boots} boots in the CI set");
        let names: BTreeSet<_> = scenarios().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), scenarios().count());
    }
}
