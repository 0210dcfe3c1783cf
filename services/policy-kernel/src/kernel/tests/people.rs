//! Adding people and changing pass phrases: nothing secret outside the list, nothing without a person's yes.

use super::*;

fn listed(machine: &Machine) -> Vec<(String, u32, u32)> {
    let people = machine.kernel.people(&live()).expect("read").operators;
    people.into_iter().map(|person| (person.name, person.uid, person.changes)).collect()
}

#[tokio::test]
async fn a_person_is_added_with_the_phrase_that_was_offered_and_only_once() {
    let machine = Machine::start().await;
    machine.with_ada();
    machine.kernel.offer_pass_phrase(&live(), "grace", "amazing discovery").await.expect("kept");
    let action = machine.ready(&live(), 1, "user.add", json!({"name": "grace"})).await;
    machine.kernel.add_operator("grace", action.id.as_str()).await.expect("added");
    assert_eq!(listed(&machine), [("ada".into(), 1001, 0), ("grace".into(), 1002, 0)]);
    machine.kernel.confirm(&named("grace"), "amazing discovery", "approval").await.expect("her phrase");
    assert!(machine.kernel.confirm(&named("grace"), "correct horse", "approval").await.is_err());
    assert!(machine.log.kinds().contains(&"operator".to_owned()));
    let again = machine.kernel.add_operator("grace", action.id.as_str()).await;
    assert!(matches!(again, Err(KernelError::NotOffered(_))), "{again:?}");
    let machine = machine.restarted("boot-1").await;
    assert_eq!(listed(&machine).len(), 2);
}

#[tokio::test]
async fn a_pass_phrase_is_changed_by_its_owner() {
    let machine = Machine::start().await;
    machine.with_ada();
    machine.kernel.offer_pass_phrase(&ada(), "ada", "battery staple").await.expect("kept");
    let (envelope, id) = machine.requested(&ada(), 1, "user.passphrase", json!({"name": "ada"})).await;
    assert!(machine.approve(&id, &ada(), "battery staple").await.is_err(), "the new one proves nothing");
    machine.approve(&id, &ada(), "correct horse").await.expect("the old one");
    machine.consume(&envelope, &id).await.expect("granted");
    machine.kernel.change_pass_phrase("ada", envelope.id.as_str()).await.expect("changed");
    assert_eq!(listed(&machine), [("ada".into(), 1001, 1)]);
    assert!(machine.kernel.confirm(&ada(), "correct horse", "approval").await.is_err());
    machine.kernel.confirm(&ada(), "battery staple", "approval").await.expect("the new one");
}

#[tokio::test]
async fn nobody_is_changed_without_an_approval_of_exactly_that() {
    let machine = Machine::start().await;
    machine.with_ada();
    machine.kernel.offer_pass_phrase(&ada(), "grace", "amazing discovery").await.expect("kept");
    machine.kernel.offer_pass_phrase(&ada(), "eve", "mine").await.expect("kept");
    let refused = |result: Result<()>| assert!(matches!(result, Err(KernelError::NotApproved(_))), "{result:?}");
    let (envelope, id) = machine.requested(&ada(), 1, "user.add", json!({"name": "grace"})).await;
    let action = envelope.id.as_str();
    refused(machine.kernel.add_operator("grace", action).await);
    machine.approve(&id, &ada(), "correct horse").await.expect("approved");
    refused(machine.kernel.add_operator("grace", action).await);
    machine.consume(&envelope, &id).await.expect("granted");
    refused(machine.kernel.add_operator("eve", action).await);
    refused(machine.kernel.change_pass_phrase("grace", action).await);
    let other = envelope_of(2);
    refused(machine.kernel.add_operator("grace", other.id.as_str()).await);
    let machine = machine.restarted("boot-2").await;
    refused(machine.kernel.add_operator("grace", action).await);
    assert_eq!(listed(&machine).len(), 1);
}

#[tokio::test]
async fn no_pass_phrase_and_no_hash_is_in_the_log_or_in_a_request() {
    let machine = Machine::start().await;
    machine.with_ada();
    machine.kernel.offer_pass_phrase(&ada(), "grace", "canary-7f3a").await.expect("kept");
    let (envelope, id) = machine.requested(&ada(), 1, "user.add", json!({"name": "grace"})).await;
    machine.approve(&id, &ada(), "correct horse").await.expect("approved");
    machine.consume(&envelope, &id).await.expect("granted");
    machine.kernel.add_operator("grace", envelope.id.as_str()).await.expect("added");
    let told = format!(
        "{:?} {:?} {}",
        machine.log.kept().records,
        machine.kernel.approvals().expect("read"),
        serde_json::to_string(&machine.kernel.people(&ada()).expect("read")).expect("JSON")
    );
    for secret in ["canary", "correct horse", "argon2"] {
        assert!(!told.contains(secret), "{secret}");
    }
}

/// Recorded, then made: when the record fails nothing changes, and what was offered is used up.
#[tokio::test]
async fn what_cannot_be_recorded_changes_nobody() {
    let machine = Machine::start().await;
    machine.with_ada();
    machine.kernel.offer_pass_phrase(&live(), "grace", "amazing discovery").await.expect("kept");
    let action = machine.ready(&live(), 1, "user.add", json!({"name": "grace"})).await;
    machine.log.refuse(&["operator"]);
    assert!(machine.kernel.add_operator("grace", action.id.as_str()).await.is_err());
    assert_eq!(listed(&machine).len(), 1);
}

fn named(name: &str) -> Peer {
    Peer::Operator { name: name.into(), strength: SessionStrength::PassPhrase }
}

fn envelope_of(number: u64) -> Envelope {
    envelope(&ada(), number, "user.add", json!({"name": "grace"}))
}
