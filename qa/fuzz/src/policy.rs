//! Policy bundles: bytes that somebody brings, and rules that somebody signed.

use std::sync::OnceLock;

use aios_action::{CATALOGUE, Constraints, Envelope, Request};
use aios_identity::Peer;
use aios_ids::ActionId;
use aios_policy::{Bundle, decide, pack, public_key};
use aios_wire::policy::Verdict;

use crate::{Taken, choice, text};

const SEED: [u8; 32] = [9; 32];
const RULES: [&str; 2] =
    [include_str!("../../../rootfs/policy/operators.cedar"), include_str!("../../../rootfs/policy/agents.cedar")];
const SMALL: &str = "@id(\"power\")\npermit (principal is Operator, action == Action::\"node.reboot\", resource);\n";
const CASE: &str = "epoch = 3\n[[case]]\nwho = 'service:nobody'\ntype = 'node.reboot'\nexpect = 'denied'\n";
/// Between the rules and the cases of an input.
const BETWEEN: &str = "\n%%\n";

/// Good signed bundles: what is opened is one of these, byte for byte.
fn signed() -> &'static [Vec<u8>] {
    static SIGNED: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SIGNED.get_or_init(|| vec![packed(SMALL, CASE).expect("good rules")])
}

fn packed(rules: &str, about: &str) -> Option<Vec<u8>> {
    pack([("rules.cedar", rules), ("bundle.toml", about)], &SEED).ok()
}

pub(crate) fn bundles() -> Vec<Vec<u8>> {
    let bytes = signed().iter().map(|bytes| [b"0", bytes.as_slice()].concat());
    let rules = RULES.into_iter().chain([SMALL]).map(|rules| format!("1{rules}{BETWEEN}{CASE}").into_bytes());
    bytes.chain(rules).collect()
}

pub(crate) fn bundle(bytes: &[u8]) -> Taken {
    let Some((way, rest)) = choice(bytes) else { return Taken::No };
    if way == b'0' {
        let opened = Bundle::open(rest, &public_key(&SEED)).is_ok();
        assert!(!opened || signed().iter().any(|good| good == rest), "a bundle was forged");
        return Taken::when(opened);
    }
    let Some((rules, about)) = text(rest).and_then(|text| text.split_once(BETWEEN)) else { return Taken::No };
    let Some(bytes) = packed(rules, about) else { return Taken::No };
    let bundle = Bundle::open(&bytes, &public_key(&SEED)).expect("what was packed opens");
    assert!(bundle.text().contains(rules));
    nothing_compiled_in_is_lifted(&bundle);
    Taken::Yes
}

/// Whatever the rules say: agents install nothing and change nobody, and nobody stops the guards.
fn nothing_compiled_in_is_lifted(bundle: &Bundle) {
    let agent = Peer::Agent { name: "helper".into() };
    for entry in CATALOGUE {
        let mut parameters = entry.example();
        if entry.name.starts_with("service.") {
            parameters.insert("name".into(), "policy-kernel".into());
        }
        let request = Request {
            action_type: entry.name.into(),
            parameters,
            reason: String::new(),
            idempotency_key: None,
            constraints: Constraints::default(),
        };
        let envelope = Envelope::new(ActionId::new(1, [1; 10]), agent.to_string(), request);
        let decision = decide(Some(bundle), &envelope, &agent);
        let never = ["store.add", "update.apply", "policy.load"];
        let guard = entry.name.starts_with("service.");
        if (guard || entry.name.starts_with("user.") || never.contains(&entry.name))
            && decision.verdict != Verdict::Denied
        {
            panic!("rules let an agent do {}: {decision:?}", entry.name);
        }
        let again = decide(Some(bundle), &envelope, &agent);
        assert_eq!(decision, again, "the same question has two answers");
    }
}
