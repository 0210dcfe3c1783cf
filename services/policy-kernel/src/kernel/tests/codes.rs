//! The code of a high risk, as the service takes it.

use super::*;

#[tokio::test]
async fn a_wrong_code_is_recorded_and_counted_and_changes_nothing_else() {
    let machine = Machine::start().await;
    let (envelope, id) = machine.requested(&live(), 1, "node.reboot", json!({})).await;
    let told = || machine.kernel.approvals().expect("read").remove(0);
    let before = told();
    let code = before.code.clone().expect("the risk is high");
    let needed = machine.kernel.approve(id.as_str(), &live(), "", "").await.expect_err("no code");
    assert!(needed.to_string().starts_with("CodeNeeded"), "{needed}");
    assert_eq!(told(), before);
    // The code of another request is as wrong as any.
    let (_, other) = machine.requested(&live(), 2, "node.poweroff", json!({})).await;
    let wrong = machine.kernel.approve(id.as_str(), &live(), &machine.code(&other), "").await.expect_err("another's");
    assert!(wrong.to_string().starts_with("WrongCode"), "{wrong}");
    assert_eq!(told(), Approval { wrong_codes: 1, ..before });
    let record = machine.log.last();
    assert_eq!((&record["reason"], &record["subject"]["name"]), (&json!("WrongCode"), &json!("live")), "{record}");
    assert!(machine.consume(&envelope, &id).await.is_err(), "nobody said yes");
    // What cannot be recorded is not counted, and is no yes either.
    machine.log.refuse(&["decision"]);
    machine.kernel.approve(id.as_str(), &live(), "2222", "").await.expect_err("wrong, and no record");
    assert_eq!(told().wrong_codes, 1);
    machine.log.refuse(&[]);
    machine.kernel.approve(id.as_str(), &live(), &code.to_lowercase(), "").await.expect("as people type it");
    machine.consume(&envelope, &id).await.expect("granted");
    // What is not of high risk has no code, and needs none.
    let (_, plain) = machine.requested(&agent(), 3, "service.restart", json!({"name": "network"})).await;
    machine.kernel.approve(plain.as_str(), &live(), "", "").await.expect("no code is wanted");
}
