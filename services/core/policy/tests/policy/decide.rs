//! What the shipped policy and the compiled-in denies say, and that nothing a caller can change widens it.

use aios_action::{CATALOGUE, Envelope, Request};
use aios_identity::Peer;
use aios_ids::ActionId;
use aios_policy::{Bundle, decide, public_key};
use aios_wire::policy::{Decision, Verdict};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::shipped::{SEED, agent, live, pack_sources, person, service, shipped};

const HELLO: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-hello-1.0";

fn envelope(subject: &Peer, action_type: &str, parameters: Value) -> Envelope {
    let Value::Object(parameters) = parameters else { panic!("parameters are an object") };
    let request = Request { reason: "a test".into(), ..Request::new(action_type, parameters) };
    Envelope::new(ActionId::new(7, [7; 10]), subject.to_string(), request)
}

fn asked(bundle: &Bundle, subject: &Peer, action_type: &str, parameters: Value) -> Decision {
    decide(Some(bundle), &envelope(subject, action_type, parameters), subject)
}

fn word(decision: &Decision) -> &'static str {
    match decision.verdict {
        Verdict::Allowed => "allowed",
        Verdict::NeedsApproval { .. } => "needs approval",
        Verdict::Denied => "denied",
    }
}

#[test]
fn the_table_of_answers() {
    let policy = shipped();
    let restart = |name: &str| ("service.restart", json!({ "name": name }));
    let set = |key: &str| ("settings.set", json!({"key": key, "value": "box"}));
    let put = |name: &str| ("object.put", json!({"name": name, "content": "hello"}));
    let write = |path: &str| ("file.write", json!({"path": path, "content": "hello"}));
    let add = || ("store.add", json!({"path": HELLO, "cache": "http://10.0.2.2:8080", "key": "cache:AAAA"}));
    let run = |program: String| ("task.run", json!({"program": program, "args": ["--version"]}));
    let hello = || run(format!("{HELLO}/bin/hello"));
    let reboot = || ("node.reboot", json!({}));
    let start = || ("agent.run", json!({"name": "helper"}));
    let update = || ("update.apply", json!({"source": "http://10.0.2.2/release"}));

    let table = [
        // People.
        (person(), restart("network"), "allowed", "PermittedByRule", "operator-services"),
        (live(), restart("network"), "allowed", "PermittedByRule", "operator-services"),
        (person(), restart("object-store"), "allowed", "PermittedByRule", "operator-services"),
        (person(), restart("action-runtime"), "denied", "ForbiddenByRule", "services-of-the-action"),
        (person(), restart("launcher"), "denied", "ForbiddenByRule", "services-of-the-action"),
        (person(), restart("verifier"), "denied", "ForbiddenByRule", "services-of-the-action"),
        (person(), restart("policy-kernel"), "denied", "PolicyKernelProtected", "hd.disable_policy_kernel"),
        (live(), restart("policy-kernel"), "denied", "PolicyKernelProtected", "hd.disable_policy_kernel"),
        (person(), restart("evidence-log"), "denied", "EvidenceLogProtected", "hd.disable_evidence_log"),
        (person(), restart("init"), "denied", "InitProtected", "hd.disable_init"),
        (person(), set("hostname"), "allowed", "PermittedByRule", "operator-settings"),
        (person(), put("notes/today"), "allowed", "PermittedByRule", "operator-objects"),
        (person(), write("today.txt"), "allowed", "PermittedByRule", "operator-files"),
        (person(), write("a/b/c.txt"), "allowed", "PermittedByRule", "operator-files"),
        (person(), add(), "allowed", "PermittedByRule", "operator-software"),
        (person(), hello(), "allowed", "PermittedByRule", "operator-programs"),
        (person(), start(), "allowed", "PermittedByRule", "operator-agents"),
        (person(), reboot(), "needs approval", "ApprovalRequired", "operator-power"),
        (live(), reboot(), "needs approval", "ApprovalRequired", "operator-power"),
        (person(), update(), "needs approval", "ApprovalRequired", "operator-update"),
        // Agents.
        (agent(), put("notes/today"), "allowed", "PermittedByRule", "agent-objects"),
        (agent(), write("today.txt"), "allowed", "PermittedByRule", "agent-files"),
        (agent(), restart("network"), "needs approval", "ApprovalRequired", "agent-services"),
        (agent(), restart("launcher"), "denied", "ForbiddenByRule", "services-of-the-action"),
        (agent(), restart("policy-kernel"), "denied", "PolicyKernelProtected", "hd.disable_policy_kernel"),
        (agent(), restart("evidence-log"), "denied", "EvidenceLogProtected", "hd.disable_evidence_log"),
        (agent(), hello(), "needs approval", "ApprovalRequired", "agent-programs"),
        (agent(), set("hostname"), "denied", "ForbiddenByRule", "agent-settings"),
        (agent(), add(), "denied", "AIInstallInitiationBlocked", "hd.ai_install"),
        (agent(), update(), "denied", "AIInstallInitiationBlocked", "hd.ai_install"),
        (agent(), reboot(), "denied", "NoMatchingPermit", ""),
        (agent(), start(), "denied", "NoMatchingPermit", ""),
        // Services do not ask in their own name.
        (service("agent-door"), put("x"), "denied", "NoMatchingPermit", ""),
        (service("action-runtime"), restart("network"), "denied", "NoMatchingPermit", ""),
        (service("init"), reboot(), "denied", "NoMatchingPermit", ""),
        (service("object-store"), add(), "denied", "NoMatchingPermit", ""),
        // What the catalogue does not know or accept is denied whoever asks.
        (person(), ("shell.run", json!({"line": "id"})), "denied", "UnknownActionType", ""),
        (person(), ("service.kill", json!({"name": "network"})), "denied", "UnknownActionType", ""),
        (person(), ("", json!({})), "denied", "UnknownActionType", ""),
        (person(), ("Service.Restart", json!({"name": "network"})), "denied", "UnknownActionType", ""),
        (person(), restart("../init"), "denied", "InvalidAction", ""),
        (person(), restart(""), "denied", "InvalidAction", ""),
        (person(), ("service.restart", json!({})), "denied", "InvalidAction", ""),
        (person(), ("service.restart", json!({"name": ["network"]})), "denied", "InvalidAction", ""),
        (person(), ("node.reboot", json!({"force": true})), "denied", "InvalidAction", ""),
        (agent(), write("/root/key"), "denied", "InvalidAction", ""),
        (agent(), write("../../../system/policy/operators.json"), "denied", "InvalidAction", ""),
        (agent(), run("/bin/sh".into()), "denied", "InvalidAction", ""),
        (person(), run(format!("{HELLO}/../../../bin/sh")), "denied", "InvalidAction", ""),
        (agent(), put("../x"), "denied", "InvalidAction", ""),
    ];
    for (subject, (action_type, parameters), verdict, reason, rule) in table {
        let decision = asked(&policy, &subject, action_type, parameters.clone());
        let found = (word(&decision), decision.reason.as_str(), decision.rules.join(" "));
        assert_eq!(found, (verdict, reason, rule.to_owned()), "{subject} {action_type} {parameters}: {decision:?}");
        assert_eq!((&decision.subject, decision.epoch.as_str()), (&subject, policy.epoch()));
    }
}

/// The rules of a person who lets an agent work in one folder and on one object, and keeps another folder closed.
fn one_folder_and_one_object() -> Bundle {
    let rules = r#"
        @id("drafts") permit (principal is Agent, action, resource in Folder::"/aios/groups/home/files/drafts");
        @id("archive") @approval("person")
        permit (principal is Agent, action, resource in Folder::"/aios/groups/home/files/archive");
        @id("private") @says("it is private")
        forbid (principal, action, resource in Folder::"/aios/groups/home/files/private");
        @id("note") permit (principal is Agent, action == Action::"object.transaction", resource == Object::"note");
    "#;
    let about = "epoch = 1\n[[case]]\nwho = 'agent:helper'\ntype = 'node.reboot'\nexpect = 'denied'\n";
    let bytes =
        pack_sources(&[("some.cedar".into(), rules.into()), ("bundle.toml".into(), about.into())]).expect("packs");
    Bundle::open(&bytes, &public_key(&SEED)).expect("opens")
}

#[test]
fn an_action_on_several_things_gets_the_worst_of_the_answers() {
    let policy = one_folder_and_one_object();
    for (from, to, verdict, reason) in [
        ("drafts/a", "drafts/b", "allowed", "PermittedByRule"),
        ("drafts/a", "archive/a", "needs approval", "ApprovalRequired"),
        ("archive/a", "drafts/a", "needs approval", "ApprovalRequired"),
        ("drafts/a", "elsewhere", "denied", "NoMatchingPermit"),
        ("elsewhere", "drafts/a", "denied", "NoMatchingPermit"),
        ("drafts/a", "private/a", "denied", "ForbiddenByRule"),
        ("private/a", "drafts/a", "denied", "ForbiddenByRule"),
        ("elsewhere", "private/a", "denied", "ForbiddenByRule"),
    ] {
        let decision = asked(&policy, &agent(), "file.move", json!({"path": from, "to": to}));
        assert_eq!((word(&decision), decision.reason.as_str()), (verdict, reason), "{from} {to}");
    }
    let both = asked(&policy, &agent(), "file.move", json!({"path": "drafts/a", "to": "archive/a"}));
    assert_eq!(both.rules, ["archive", "drafts"]);
    let object = |name: &str| json!({"name": name, "content": ""});
    let put = |objects: Value| word(&asked(&policy, &agent(), "object.transaction", json!({ "objects": objects })));
    assert_eq!(put(json!([object("note")])), "allowed");
    assert_eq!(put(json!([object("note"), object("other")])), "denied");
}

#[test]
fn without_a_policy_everything_is_denied_and_compiled_in_denies_still_name_themselves() {
    let restart = |name: &str| envelope(&person(), "service.restart", json!({ "name": name }));
    let nothing = decide(None, &restart("network"), &person());
    assert_eq!((word(&nothing), nothing.reason.as_str(), nothing.epoch.as_str()), ("denied", "NoPolicy", "none"));
    assert_eq!(decide(None, &restart("init"), &person()).reason, "InitProtected");
}

#[test]
fn an_envelope_in_another_name_is_denied() {
    let policy = shipped();
    for claimed in ["operator:ada", "service:action-runtime", "agent:other", "agent:helper ", ""] {
        let mut forged = envelope(&agent(), "object.put", json!({"name": "x", "content": ""}));
        forged.subject = claimed.into();
        let decision = decide(Some(&policy), &forged, &agent());
        assert_eq!((word(&decision), decision.reason.as_str()), ("denied", "SubjectMismatch"), "{claimed}");
    }
}

#[test]
fn the_sentence_says_who_what_why_and_what_to_try() {
    let policy = shipped();
    let text = |subject: Peer, action_type, parameters| asked(&policy, &subject, action_type, parameters).text;
    assert_eq!(
        text(agent(), "settings.set", json!({"key": "hostname", "value": "x"})),
        "agent:helper asks for settings.set on 'hostname', but rule 'agent-settings' forbids it: an agent does not \
         change settings; ask an operator to set it"
    );
    assert_eq!(
        text(agent(), "node.reboot", json!({})),
        "agent:helper asks for node.reboot, but no rule permits it, and what is not permitted is denied; 'aios policy \
         show' lists what is"
    );
    assert_eq!(
        text(person(), "node.reboot", json!({})),
        "operator:ada asks for node.reboot; rule 'operator-power' permits it once a person has approved it: 'aios \
         approval list' shows what waits"
    );
}

#[test]
fn the_same_question_has_the_same_answer() {
    let ask = |policy: &Bundle| {
        let decision = asked(policy, &agent(), "service.restart", json!({"name": "network"}));
        serde_json::to_string(&decision).expect("a decision is JSON")
    };
    let policy = shipped();
    assert_eq!(ask(&policy), ask(&policy));
    assert_eq!(ask(&policy), ask(&shipped()));
}

/// The most that an agent may ever get for an action type, whatever else stands in the envelope.
fn most_for_an_agent(action_type: &str) -> &'static [&'static str] {
    match action_type {
        "object.put" | "file.write" => &["allowed", "denied"],
        "service.restart" | "task.run" => &["needs approval", "denied"],
        _ => &["denied"],
    }
}

/// From the narrowest to the widest answer.
fn rank(decision: &Decision) -> u8 {
    match decision.verdict {
        Verdict::Denied => 0,
        Verdict::NeedsApproval { .. } => 1,
        Verdict::Allowed => 2,
    }
}

/// What people and programs write to mean something else than they seem to.
fn hostile_values() -> Vec<Value> {
    let deep = (0..64).fold(json!("x"), |inner, _| json!([inner]));
    let texts = [
        "",
        " ",
        ".",
        "..",
        "/",
        "../..",
        "/etc/passwd",
        "a//b",
        "a/../b",
        "*",
        "%2e%2e",
        "\u{0}",
        "network\n",
        " network",
        // Letters that look like others: Cyrillic, full width, a ligature, an invisible one, right to left.
        "n\u{435}twork",
        "\u{ff4e}etwork",
        "\u{fb01}le",
        "net\u{200b}work",
        "\u{202e}krowten",
        "p\u{43e}licy-kernel",
        "policy-kernel",
        "evidence-log",
        "init",
        "launcher",
        "NETWORK",
    ];
    let numbers = [json!(null), json!(true), json!(0), json!(-1), json!(u64::MAX), json!(1.5)];
    let mut values: Vec<_> = texts.into_iter().map(Value::from).chain(numbers).collect();
    values.extend([deep, json!({}), json!([]), json!({"name": "network"}), json!("x".repeat(1 << 17))]);
    values
}

/// Every field of every type: no value in it gets an agent or a service more than the type's own example does.
#[test]
fn no_field_of_any_type_widens_an_answer() {
    let policy = shipped();
    let mut asked_for = 0;
    for entry in CATALOGUE {
        for subject in [agent(), service("agent-door"), person()] {
            let example = rank(&asked(&policy, &subject, entry.name, entry.example().into()));
            let mut check = |changed: &Envelope| {
                let decision = decide(Some(&policy), changed, &subject);
                assert!(rank(&decision) <= example, "{subject} {}: {decision:?}", entry.name);
                asked_for += 1;
            };
            let original = envelope(&subject, entry.name, entry.example().into());
            let names =
                entry.parameters.iter().map(|parameter| parameter.name).chain(["subject", "approved", "n\u{430}me"]);
            for name in names {
                for value in hostile_values() {
                    let mut changed = original.clone();
                    changed.request.parameters.insert(name.into(), value);
                    check(&changed);
                }
                let mut without = original.clone();
                without.request.parameters.remove(name);
                check(&without);
            }
            for text in hostile_values().iter().filter_map(Value::as_str) {
                let fields: [fn(&mut Envelope, &str); 5] = [
                    |changed, text| changed.schema = text.into(),
                    |changed, text| changed.subject = text.into(),
                    |changed, text| changed.request.reason = text.into(),
                    |changed, text| changed.request.idempotency_key = Some(text.into()),
                    |changed, text| changed.request.action_type += text,
                ];
                for field in fields {
                    let mut changed = original.clone();
                    field(&mut changed, text);
                    check(&changed);
                }
            }
        }
    }
    assert!(asked_for > 10_000, "{asked_for}");
}

proptest! {
    #[test]
    fn changed_bytes_of_an_envelope_never_widen_what_an_agent_gets(
        which in 0usize..4,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let policy = shipped_once();
        let (action_type, parameters) = [
            ("settings.set", json!({"key": "hostname", "value": "box"})),
            ("service.restart", json!({"name": "network"})),
            ("file.write", json!({"path": "a/b", "content": "hello"})),
            ("node.reboot", json!({})),
        ][which].clone();
        let original = envelope(&agent(), action_type, parameters);
        let mut bytes = original.canonical().into_bytes();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(Ok((changed, _))) = String::from_utf8(bytes).map(|text| Envelope::parse(&text)) {
            let decision = decide(Some(policy), &changed, &agent());
            let most = most_for_an_agent(&changed.request.action_type);
            prop_assert!(most.contains(&word(&decision)), "{changed:?} {decision:?}");
            if changed.subject != agent().to_string() {
                prop_assert_eq!(word(&decision), "denied");
            }
        }
    }

    #[test]
    fn no_parameter_widens_what_an_agent_gets(
        action_type in prop_oneof![
            Just("service.restart"), Just("settings.set"), Just("file.write"), Just("object.put"), Just("node.reboot"),
            Just("store.add"), Just("task.run"), Just("agent.run"), Just("update.apply"), Just("service.stop"),
            Just("policy.load"), Just("user.add"), Just("user.passphrase"), Just("user.key.add"), Just("user.key.remove"),
        ],
        keys in proptest::collection::vec(
            (prop_oneof!["name|key|value|path|content|program|args|cache|source|digest", "[a-z]{1,8}"], "[ -~]{0,24}"), 0..4),
    ) {
        let policy = shipped_once();
        let parameters: serde_json::Map<_, _> = keys.into_iter().map(|(key, value)| (key, Value::from(value))).collect();
        let decision = asked(policy, &agent(), action_type, Value::Object(parameters));
        prop_assert!(most_for_an_agent(action_type).contains(&word(&decision)), "{decision:?}");
    }
}

fn shipped_once() -> &'static Bundle {
    static POLICY: std::sync::OnceLock<Bundle> = std::sync::OnceLock::new();
    POLICY.get_or_init(shipped)
}
