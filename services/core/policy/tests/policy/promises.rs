//! What holds for the shipped policy, over everything that can be asked, and what holds for any policy.

use aios_action::{CATALOGUE, Envelope, Request, Risk, find};
use aios_identity::Peer;
use aios_ids::ActionId;
use aios_policy::{Bundle, Circumstances, Emergency, Plan, compare, decide, decide_in, pack, public_key};
use aios_wire::policy::Verdict;
use proptest::prelude::*;

use crate::shipped::{SEED, agent, person, service, shipped};

/// Against no policy at all, everything that a policy gives anybody is a difference, and the comparison is over the whole
/// space: this is a check of every answer there is.
#[test]
fn the_shipped_policy_gives_agents_little_and_services_nothing() {
    let given = compare(None, &shipped()).expect("few questions");
    assert!(!given.widens_agents.is_empty());
    for line in &given.widens_agents {
        let (asked, answer) = line.split_once(": denied -> ").expect("a sentence");
        let action_type = asked.split_once(", ").expect("who and what").1.split(' ').next().expect("a type");
        let risk = find(action_type).expect("in the catalogue").risk();
        match answer {
            "allowed" => assert_eq!(risk, Risk::Low, "{line}"),
            // Asking for software is what agents may do in place of installing it; without a yes it is nothing.
            _ => assert!(risk < Risk::High || action_type == "app.install.request", "{line}"),
        }
    }
    for line in &given.changes {
        assert!(line.starts_with("every operator") || line.starts_with("operator '"), "{line}");
    }
}

/// Whoever says that there is an emergency: over the whole catalogue, nobody but a person gains anything by it, and a person
/// nothing but what no rule speaks of.
#[test]
fn an_emergency_gives_agents_and_services_nothing_and_people_no_more_than_it_says() {
    let emergency = Emergency::Declared { left_ms: u64::MAX };
    let circumstances = Circumstances { plan: Plan::Seen, emergency, ..Circumstances::default() };
    let calm = Circumstances { emergency: Emergency::None, ..circumstances };
    let nothing = "@id(\"nothing\") permit (principal == Agent::\"nobody\", action, resource);";
    let about = "epoch = 1\n[[case]]\nwho = 'agent:helper'\ntype = 'node.reboot'\nexpect = 'denied'\n";
    let bytes = pack([("r.cedar", nothing), ("bundle.toml", about)], &SEED).expect("packs");
    let empty = Bundle::open(&bytes, &public_key(&SEED)).expect("opens");
    let others =
        [agent(), Peer::Agent { name: "ada".into() }, service("agent-door"), Peer::Service { name: "ada".into() }];
    let mut lifted = 0;
    for bundle in [None, Some(&shipped()), Some(&empty)] {
        for entry in CATALOGUE {
            for name in [None, Some("policy-kernel"), Some("launcher"), Some("ada")] {
                for subject in others.iter().chain([&person()]) {
                    let envelope = envelope(subject, entry.name, name);
                    let before = decide_in(bundle, &envelope, subject, &calm);
                    let now = decide_in(bundle, &envelope, subject, &circumstances);
                    if *subject == person() && before.reason == "NoMatchingPermit" {
                        let asked =
                            ["policy.", "user.", "app.install"].iter().any(|type_| entry.name.starts_with(type_));
                        let expected = if asked { "ApprovalRequired" } else { "PermittedByOverride" };
                        assert_eq!(now.reason, expected, "{} {name:?}", entry.name);
                        lifted += 1;
                    } else {
                        assert_eq!(now, before, "{subject} {} {name:?}", entry.name);
                    }
                }
            }
        }
    }
    assert!(lifted > CATALOGUE.len(), "{lifted}");
}

/// Rules that permit, in every way that a rule can.
fn permits() -> impl Strategy<Value = String> {
    let whom = ["principal", "principal is Agent", "principal == Agent::\"helper\"", "principal is Operator"];
    let conditions =
        ["", " when { true }", " unless { false }", " when { principal is Agent }", " when { principal is Operator }"];
    let notes = ["", "@approval(\"person\") ", "@approval(\"2 other persons\") "];
    let one = (
        proptest::sample::select(whom.to_vec()),
        proptest::sample::select(CATALOGUE.iter().map(|entry| entry.name).collect::<Vec<_>>()),
        proptest::sample::select(conditions.to_vec()),
        proptest::sample::select(notes.to_vec()),
        any::<bool>(),
    );
    proptest::collection::vec(one, 0..12).prop_map(|rules| {
        let mut text = "@id(\"everything\") permit (principal, action, resource);\n".to_owned();
        for (number, (whom, action, condition, note, any_action)) in rules.into_iter().enumerate() {
            let what = if any_action { "action".to_owned() } else { format!("action == Action::\"{action}\"") };
            text += &format!("@id(\"r{number}\") {note}permit ({whom}, {what}, resource){condition};\n");
        }
        text
    })
}

fn envelope(subject: &Peer, action_type: &str, name: Option<&str>) -> Envelope {
    let mut parameters = find(action_type).expect("in the catalogue").example();
    if let (Some(name), Some(named)) = (name, parameters.get_mut("name")) {
        *named = name.into();
    }
    Envelope::new(ActionId::new(1, [1; 10]), subject.to_string(), Request::new(action_type, parameters))
}

fn verdict(bundle: &Bundle, subject: &Peer, action_type: &str, name: Option<&str>) -> Verdict {
    decide(Some(bundle), &envelope(subject, action_type, name), subject).verdict
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_policy_at_all_lets_anybody_but_a_person_change_who_decides(rules in permits(), name in "[a-z]{1,8}") {
        let about = "epoch = 1\n[[case]]\nwho = 'agent:helper'\ntype = 'policy.load'\nparameters = { digest = 'x' }\nexpect = 'denied'\n";
        let bytes = match pack([("r.cedar", rules.as_str()), ("bundle.toml", about)], &SEED) {
            Ok(bytes) => bytes,
            // A condition that can never hold is refused when it is packed, which is as good.
            Err(_) => return Ok(()),
        };
        let bundle = Bundle::open(&bytes, &public_key(&SEED)).expect("packed");
        let others = [agent(), Peer::Agent { name: name.clone() }, service("agent-door"), Peer::Service { name: name.clone() }];
        for entry in CATALOGUE {
            let who_decides = entry.name.starts_with("policy.") || entry.name.starts_with("user.");
            let installs = entry.name.starts_with("app.install");
            for subject in &others {
                let verdict = self::verdict(&bundle, subject, entry.name, Some(&name));
                if who_decides || entry.name.starts_with("secret.") || (subject.is_ai() && ["store.add", "update.apply"].contains(&entry.name)) {
                    prop_assert_eq!(&verdict, &Verdict::Denied, "{} {}", subject, entry.name);
                }
                if installs {
                    prop_assert_ne!(verdict, Verdict::Allowed, "{} {} without a person's yes", subject, entry.name);
                }
            }
            let by_person = self::verdict(&bundle, &person(), entry.name, None);
            if who_decides || installs {
                prop_assert_ne!(by_person, Verdict::Allowed, "{} without a person's yes", entry.name);
            }
            if entry.name.starts_with("service.") {
                for guard in ["policy-kernel", "evidence-log", "init"] {
                    for subject in others.iter().chain([&person()]) {
                        prop_assert_eq!(self::verdict(&bundle, subject, entry.name, Some(guard)), Verdict::Denied);
                    }
                }
            }
        }
    }
}
