//! The boundary around agents (`docs/ai-boundary.md`): places that hold when the others are switched off, and that the page
//! names tests that are there.

use std::path::Path;

use aios_action::{ActionType, CATALOGUE, Envelope, Request};
use aios_identity::{Peer, PeerTable};
use aios_ids::ActionId;
use aios_policy::{Bundle, decide, public_key};
use aios_wire::policy::Verdict;
use serde_json::{Map, Value};

use crate::shipped::{SEED, agent, pack_sources, person, service};

const PEERS: &str = include_str!("../../../../../rootfs/peers.toml");
const PAGE: &str = include_str!("../../../../../docs/ai-boundary.md");
const ATTACKS: &str = include_str!("../../../../../docs/attacks.md");

/// The rules switched off: everybody may do everything.
fn everything_permitted() -> Bundle {
    let rule = "@id(\"everything\") permit (principal, action, resource);".to_owned();
    let case = "[[case]]\nwho = 'agent:helper'\ntype = 'node.reboot'\nexpect = 'allowed'\n";
    let about = format!("epoch = 1\n{case}");
    let bytes = pack_sources(&[("all.cedar".into(), rule), ("bundle.toml".into(), about)]).expect("packs");
    Bundle::open(&bytes, &public_key(&SEED)).expect("opens")
}

/// The type's example, about the service `name` where it is about one.
fn parameters(entry: &ActionType, name: &str) -> Map<String, Value> {
    let mut given = entry.example();
    if let Some(named) = given.get_mut("name").filter(|_| entry.name.starts_with("service.")) {
        *named = name.into();
    }
    given
}

/// Every type of the catalogue, every service that one could be about, every kind of subject.
#[test]
fn no_rules_let_an_agent_install_or_anybody_stop_the_guards() {
    let bundle = everything_permitted();
    for subject in [agent(), person(), service("agent-door")] {
        for entry in CATALOGUE {
            for name in ["network", "policy-kernel", "evidence-log", "init"] {
                let parameters = parameters(entry, name);
                let request = Request::new(entry.name, parameters);
                let envelope = Envelope::new(ActionId::new(1, [1; 10]), subject.to_string(), request);
                let decision = decide(Some(&bundle), &envelope, &subject);
                let guarded = entry.name.starts_with("service.") && name != "network";
                let is_person = matches!(subject, Peer::Operator { .. });
                let secret = !is_person && ["secret.put", "secret.remove"].contains(&entry.name);
                let hands_in = ["app.install", "app.install.request"].contains(&entry.name);
                let brings = [
                    "store.add",
                    "update.apply",
                    "app.install",
                    "app.remove",
                    "app.rollback",
                    "service.enable",
                    "service.disable",
                ];
                let installs = subject.is_ai() && brings.contains(&entry.name);
                let rules_itself = entry.name == "policy.load" || entry.name.starts_with("user.");
                let expected = match (guarded || installs || secret, rules_itself, &subject) {
                    (true, ..) => Verdict::Denied,
                    _ if hands_in => Verdict::NeedsApproval { approval: None },
                    (_, true, Peer::Operator { .. }) => Verdict::NeedsApproval { approval: None },
                    (_, true, _) => Verdict::Denied,
                    _ => Verdict::Allowed,
                };
                assert_eq!(decision.verdict, expected, "{subject} {} {name}", entry.name);
            }
        }
    }
}

/// With every other place open, this is what an agent could call: its door, and what everybody may read.
#[test]
fn the_table_of_peers_opens_the_door_and_nothing_that_changes_anything() {
    let table = PeerTable::parse(PEERS).expect("the table that ships");
    let words: toml::Table = toml::from_str(PEERS).expect("a table");
    let mut open = Vec::new();
    for (service, verbs) in &words {
        for verb in verbs.as_table().expect("verbs").keys() {
            if table.allows(service, verb, &agent()) {
                open.push(format!("{service} {verb}"));
            }
        }
    }
    let reads = [
        "status",
        "services",
        "boot",
        "boots",
        "get",
        "list",
        "watch",
        "log",
        "store-info",
        "store-list",
        "earlier",
        "tags",
        "app-list",
    ];
    open.retain(|pair| {
        let (service, verb) = pair.split_once(' ').expect("a pair");
        !(reads.contains(&verb) || (service, verb) == ("object-store", "store-verify"))
    });
    assert_eq!(open, ["agent-door connect"]);
    for verb in ["approve", "approve-signed", "reject", "decide", "consume", "login"] {
        assert!(!table.allows("policy-kernel", verb, &agent()), "{verb}");
    }
}

#[test]
fn nobody_but_the_verifier_says_what_an_action_has_done() {
    let table = PeerTable::parse(PEERS).expect("the table that ships");
    let others = ["action-runtime", "launcher", "agent-door", "policy-kernel", "evidence-log"].map(service);
    for peer in others.into_iter().chain([agent(), person()]) {
        assert!(!table.allows("evidence-log", "append:outcome", &peer), "{peer}");
    }
    assert!(table.allows("evidence-log", "append:outcome", &Peer::Service { name: "verifier".into() }));
}

#[test]
fn the_page_names_tests_and_scenarios_that_are_there() {
    let named = named_by("docs/ai-boundary.md", PAGE);
    assert!(named >= 20, "the page names {named}");
}

#[test]
fn the_page_about_attacks_names_tests_and_scenarios_that_are_there() {
    let named = named_by("docs/attacks.md", ATTACKS);
    assert!(named >= 20, "the page names {named}");
}

/// How many tests and scenarios a page names; each of them must be there.
fn named_by(page: &str, text: &str) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let mut named = 0;
    for code in text.split('`').skip(1).step_by(2) {
        if let Some((file, test)) = code.split_once(".rs: ") {
            let text = std::fs::read_to_string(root.join(format!("{file}.rs"))).unwrap_or_default();
            assert!(text.contains(&format!("fn {test}(")), "{page} names {code}");
            named += 1;
        } else if let Some(scenario) = code.strip_prefix("cargo xtask qa ") {
            let folder = root.join("qa/src/scenarios");
            let files = std::fs::read_dir(&folder).expect("scenarios").map(|file| file.expect("a file").path());
            let files = files.chain([root.join("qa/src/scenarios.rs")]);
            let wanted = format!("name: \"{scenario}\"");
            let found = |path: &Path| std::fs::read_to_string(path).is_ok_and(|text| text.contains(&wanted));
            assert!(files.into_iter().any(|path| found(&path)), "{page} names {code}");
            named += 1;
        }
    }
    named
}
