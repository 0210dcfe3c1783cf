//! Several who ask at once: decisions wait for nobody's record, and nothing changes between one of them and its record.

use std::time::Duration;

use super::*;

/// Asks for something that a person may do without being asked.
async fn allowed(machine: &Machine, number: u64) -> Decision {
    machine.asked(&live(), number, "object.put", json!({"name": "notes/a", "content": "x"})).await
}

#[tokio::test]
async fn decisions_bring_their_records_to_the_log_side_by_side() {
    let machine = Machine::start().await;
    machine.log.kept().gathers = Some(Arc::new(Barrier::new(3)));
    let (one, two, three) = tokio::join!(allowed(&machine, 1), allowed(&machine, 2), allowed(&machine, 3));
    let mut places: Vec<_> = [one, two, three].into_iter().map(|decision| decision.evidence).collect();
    places.sort();
    assert_eq!(places, [Some(0), Some(1), Some(2)]);
}

#[tokio::test]
async fn a_change_waits_for_the_record_of_a_decision_that_was_made_before_it() {
    let machine = Machine::start().await;
    let (_, id) = machine.waiting().await;
    let gathers = Arc::new(Barrier::new(2));
    machine.log.kept().gathers = Some(Arc::clone(&gathers));
    let let_go = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(machine.log.kinds(), ["decision", "approval-requested"], "two records at the log let each other go");
        machine.log.kept().gathers = None;
        gathers.wait().await
    };
    let person = live();
    let rejects = machine.kernel.reject(id.as_str(), &person, "no");
    let (decision, rejected, _) = tokio::join!(allowed(&machine, 2), rejects, let_go);
    rejected.expect("the change came afterwards");
    assert_eq!(decision.evidence, Some(2));
    assert_eq!(machine.log.kinds()[2..], ["decision", "approval-rejected"]);
}
