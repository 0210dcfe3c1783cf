//! What a permit wants besides, on the service as it runs: its clock, its plans, its requests.

use super::*;

const HOUR: u64 = 3_600_000;

/// The clock of the tests begins at eight in the morning of a day.
const RULES: &str = r#"
    @id("in-the-morning") @window("07:00-09:00")
    permit (principal == Agent::"lark", action == Action::"agent.run", resource);
    @id("asked-in-the-morning") @window("07:00-09:00") @approval("person")
    permit (principal == Agent::"lark", action == Action::"node.reboot", resource);
    @id("with-a-plan") @plan("first")
    permit (principal == Agent::"careful", action == Action::"agent.run", resource);
    @id("thrifty") @budget("cpu_ms=500 memory=1048576")
    permit (principal == Agent::"thrifty", action == Action::"agent.run", resource);
    @id("only-in-recovery") @mode("recovery")
    permit (principal == Agent::"late", action == Action::"agent.run", resource);
"#;

async fn machine() -> Machine {
    let about = r#"
        epoch = 2
        [[case]]
        who = "agent:lark"
        type = "agent.run"
        parameters = { name = "helper" }
        at = "08:59"
        expect = "allowed"
        [[case]]
        who = "agent:lark"
        type = "agent.run"
        parameters = { name = "helper" }
        at = "09:00"
        expect = "denied"
        reason = "OutsideWindow"
        [[case]]
        who = "agent:lark"
        type = "agent.run"
        parameters = { name = "helper" }
        expect = "denied"
        reason = "OutsideWindow"
        [[case]]
        who = "agent:careful"
        type = "agent.run"
        parameters = { name = "helper" }
        planned = true
        expect = "allowed"
        [[case]]
        who = "agent:thrifty"
        type = "agent.run"
        parameters = { name = "helper" }
        at-most = { cpu_ms = 500, memory = 1000 }
        expect = "allowed"
    "#;
    let bytes = pack([("rules.cedar", RULES), ("bundle.toml", about)], &SEED).expect("packs");
    Machine::start_with(Ok(Bundle::open(&bytes, &public_key(&SEED)).expect("opens"))).await
}

fn named(name: &str) -> Peer {
    Peer::Agent { name: name.into() }
}

async fn run(machine: &Machine, who: &str, number: u64) -> String {
    machine.asked(&named(who), number, "agent.run", json!({"name": "helper"})).await.reason
}

#[tokio::test]
async fn a_window_is_by_the_clock_and_a_clock_that_was_never_set_is_outside() {
    let machine = machine().await;
    assert_eq!(run(&machine, "lark", 1).await, "PermittedByRule");
    machine.pass(HOUR);
    assert_eq!(run(&machine, "lark", 2).await, "OutsideWindow");
    machine.pass(22 * HOUR);
    assert_eq!(run(&machine, "lark", 3).await, "PermittedByRule", "the next morning");
    machine.wall_ms.store(0, Ordering::SeqCst);
    assert_eq!(run(&machine, "lark", 4).await, "OutsideWindow");
}

/// Yes in the morning is no yes at noon, whatever somebody does to the clock meanwhile.
#[tokio::test]
async fn what_was_asked_in_a_window_ends_with_it() {
    let machine = machine().await;
    let (envelope, id) = machine.requested(&named("lark"), 1, "node.reboot", json!({})).await;
    machine.approve(&id, &live(), "").await.expect("in the morning");
    let (_, waits) = machine.requested(&named("lark"), 2, "node.reboot", json!({})).await;
    machine.up_ms.fetch_add(HOUR, Ordering::SeqCst);
    assert!(machine.consume(&envelope, &id).await.is_err(), "granted for the morning");
    let late = machine.approve(&waits, &live(), "").await.expect_err("too late");
    assert!(late.to_string().starts_with("ApprovalExpired"), "{late}");
}

#[tokio::test]
async fn a_plan_counts_for_the_same_words_of_the_same_subject_for_a_while() {
    let machine = machine().await;
    let careful = named("careful");
    let plan = async |who: &Peer, name: &str| {
        let planned = envelope(who, 99, "agent.run", json!({ "name": name }));
        machine.kernel.explain(&planned.canonical(), who, Asking::Planning).await.expect("a plan")
    };
    assert_eq!(run(&machine, "careful", 1).await, "PlanFirst");
    // Somebody else's plan, one of something else, and a question that shows nobody a plan.
    plan(&named("lark"), "helper").await;
    plan(&careful, "other").await;
    let curious = envelope(&careful, 98, "agent.run", json!({"name": "helper"}));
    machine.kernel.explain(&curious.canonical(), &careful, Asking::Now).await.expect("an answer");
    assert_eq!(run(&machine, "careful", 2).await, "PlanFirst");
    assert_eq!(plan(&careful, "helper").await.verdict, Verdict::Allowed, "a plan says what follows it");
    assert_eq!(run(&machine, "careful", 3).await, "PermittedByRule");
    machine.pass(HOUR);
    assert_eq!(run(&machine, "careful", 4).await, "PlanFirst");
    plan(&careful, "helper").await;
    let mut more = envelope(&careful, 5, "agent.run", json!({"name": "helper"}));
    more.request.constraints.cpu_ms = Some(1);
    let decision = machine.kernel.decide(&more.canonical(), careful.clone()).await.expect("a decision");
    assert_eq!(decision.reason, "PlanFirst", "another budget is another plan");
}

#[tokio::test]
async fn a_budget_has_to_be_in_the_request_and_recovery_is_never_here() {
    let machine = machine().await;
    assert_eq!(run(&machine, "late", 1).await, "RecoveryOnly");
    for (number, cpu_ms, memory, expected) in [
        (2, None, None, "BudgetTooLarge"),
        (3, Some(500), None, "BudgetTooLarge"),
        (4, Some(501), Some(1), "BudgetTooLarge"),
        (5, Some(500), Some(1_048_577), "BudgetTooLarge"),
        (6, Some(500), Some(1_048_576), "PermittedByRule"),
    ] {
        let mut asked = envelope(&named("thrifty"), number, "agent.run", json!({"name": "helper"}));
        (asked.request.constraints.cpu_ms, asked.request.constraints.memory) = (cpu_ms, memory);
        let decision = machine.kernel.decide(&asked.canonical(), named("thrifty")).await.expect("a decision");
        assert_eq!(decision.reason, expected, "{cpu_ms:?} {memory:?}: {}", decision.text);
    }
}
