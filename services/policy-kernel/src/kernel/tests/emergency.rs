//! Emergencies: who has one, what it lifts, what is on record.

use super::*;

const MINUTE: u64 = 60_000;

/// Nothing permits this to anybody but operators, and to them only under this rule's absence.
async fn machine() -> Machine {
    let rules = r#"
        @id("objects") permit (principal, action == Action::"object.put", resource);
        @id("no-power") @says("not today") forbid (principal, action == Action::"node.poweroff", resource);
    "#;
    let about = "epoch = 1\n[[case]]\nwho = 'agent:helper'\ntype = 'node.reboot'\nexpect = 'denied'\n";
    let bytes = pack([("rules.cedar", rules), ("bundle.toml", about)], &SEED).expect("packs");
    let machine = Machine::start_with(Ok(Bundle::open(&bytes, &public_key(&SEED)).expect("opens"))).await;
    machine.with_ada();
    machine
}

async fn declare(machine: &Machine, by: &Peer, pass_phrase: &str) -> Result<()> {
    machine.kernel.start_override(by, 10, "the disk is full", pass_phrase).await.map(drop)
}

async fn reason(machine: &Machine, who: &Peer, number: u64, action_type: &str, parameters: Value) -> String {
    machine.asked(who, number, action_type, parameters).await.reason
}

fn told(machine: &Machine) -> Vec<(String, String)> {
    let log = machine.log.kept();
    let mine = log.records.iter().filter(|(kind, _)| kind == "override");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    mine.map(|(_, payload)| (text(&payload["what"]), text(&payload["why"]))).collect()
}

fn words(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(what, why)| ((*what).to_owned(), (*why).to_owned())).collect()
}

#[tokio::test]
async fn it_lifts_what_no_rule_permits_for_its_owner_alone_and_each_step_is_on_record() {
    let machine = machine().await;
    let restart = json!({"name": "network"});
    assert_eq!(reason(&machine, &ada(), 1, "service.restart", restart.clone()).await, "NoMatchingPermit");
    declare(&machine, &ada(), "correct horse").await.expect("declared");
    assert_eq!(reason(&machine, &ada(), 2, "service.restart", restart.clone()).await, "PermittedByOverride");
    // Neither another person nor a program named like her.
    for other in [live(), Peer::Agent { name: "ada".into() }, Peer::Service { name: "ada".into() }, agent()] {
        assert_eq!(
            reason(&machine, &other, 3, "service.restart", restart.clone()).await,
            "NoMatchingPermit",
            "{other}"
        );
    }
    // Neither a forbid nor what is compiled in; and who decides still wants a yes.
    assert_eq!(reason(&machine, &ada(), 4, "node.poweroff", json!({})).await, "ForbiddenByRule");
    let guard = json!({"name": "evidence-log"});
    assert_eq!(reason(&machine, &ada(), 5, "service.stop", guard).await, "EvidenceLogProtected");
    machine.kernel.offer_pass_phrase(&ada(), "eve", "mine").await.expect("kept");
    assert_eq!(reason(&machine, &ada(), 6, "user.add", json!({"name": "eve"})).await, "ApprovalRequired");
    let lasting = machine.kernel.override_now().await.expect("it lasts");
    assert_eq!((lasting.by, lasting.left_s, lasting.uses), (ada(), 600, 2));

    machine.pass(10 * MINUTE);
    assert_eq!(machine.kernel.override_now().await, None);
    assert_eq!(reason(&machine, &ada(), 7, "service.restart", restart).await, "NoMatchingPermit");
    machine.kernel.end_override_in_time().await.expect("recorded");
    let expected = [("started", ""), ("used", ""), ("used", ""), ("ended", "time")];
    assert_eq!(told(&machine), words(&expected));
}

#[tokio::test]
async fn what_it_let_wait_for_a_person_ends_with_it() {
    let machine = machine().await;
    declare(&machine, &ada(), "correct horse").await.expect("declared");
    machine.kernel.offer_pass_phrase(&ada(), "eve", "mine").await.expect("kept");
    let (_, id) = machine.requested(&ada(), 1, "user.add", json!({"name": "eve"})).await;
    machine.pass(10 * MINUTE);
    let late = machine.approve(&id, &ada(), "correct horse").await.expect_err("the emergency is over");
    assert!(late.to_string().starts_with("ApprovalExpired"), "{late}");
}

#[tokio::test]
async fn only_a_person_who_proves_it_declares_one_and_an_attempt_is_recorded() {
    let machine = machine().await;
    for other in [agent(), Peer::Service { name: "action-runtime".into() }] {
        let refused = declare(&machine, &other, "").await.expect_err("no person");
        assert!(refused.to_string().starts_with("OverrideByPersonOnly"), "{refused}");
        assert_eq!(machine.log.last()["reason"], "OverrideByPersonOnly");
        assert!(machine.kernel.end_override(&other).await.is_err());
    }
    assert!(declare(&machine, &ada(), "wrong").await.is_err());
    assert_eq!((machine.log.last()["for"].as_str(), machine.kernel.override_now().await), (Some("override"), None));
    declare(&machine, &ada(), "correct horse").await.expect("declared");
    let second = declare(&machine, &live(), "").await.expect_err("there is one");
    assert!(second.to_string().starts_with("OverrideOn"), "{second}");
    machine.kernel.end_override(&live()).await.expect("any person ends it");
    machine.kernel.end_override(&live()).await.expect("there is none, which is as wanted");
    assert_eq!(told(&machine), words(&[("started", ""), ("ended", "person")]));
}

/// The steps of the table in `kernel/emergency.rs`: what is not on record does not count.
#[tokio::test]
async fn without_a_record_nothing_begins_and_nothing_is_permitted_and_a_restart_ends_it() {
    let machine = machine().await;
    machine.log.refuse(&["override"]);
    assert!(declare(&machine, &ada(), "correct horse").await.is_err());
    assert_eq!(machine.kernel.override_now().await, None);
    machine.log.refuse(&[]);
    declare(&machine, &ada(), "correct horse").await.expect("declared");
    machine.log.refuse(&["override"]);
    let restart = json!({"name": "network"});
    assert_eq!(reason(&machine, &ada(), 1, "service.restart", restart.clone()).await, "EvidenceUnavailable");
    machine.log.refuse(&[]);
    // The same boot with a new process, as after a crash: it has ended, and that is on record, once.
    let machine = machine.restarted("boot-1").await;
    assert_eq!(machine.kernel.override_now().await, None);
    let machine = machine.restarted("boot-2").await;
    assert_eq!(told(&machine), words(&[("started", ""), ("ended", "restart")]));
}
