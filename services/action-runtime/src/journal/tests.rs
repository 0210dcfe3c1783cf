//! What a crash at each step leaves, and that nothing leads out of the life cycle.

use aios_action::{Envelope, Request};
use aios_ids::ApprovalId;
use proptest::prelude::*;

use super::*;
use crate::task::Was;

fn entry(number: u64, action_type: &str, key: Option<&str>) -> Entry {
    let request =
        Request { idempotency_key: key.map(str::to_owned), ..Request::new(action_type, serde_json::Map::new()) };
    let envelope = Envelope::new(ActionId::new(number, [0; 10]), "operator:ada".into(), request);
    Entry::new(ActionView::proposed(&envelope), "one")
}

fn approval() -> ApprovalId {
    ApprovalId::new(0, [0; 10])
}

/// Every way to a state that an action can be left in.
fn paths() -> Vec<(&'static str, Vec<Event>)> {
    vec![
        ("proposed", vec![]),
        ("waiting", vec![Event::NeedsApproval(approval())]),
        ("allowed", vec![Event::NeedsApproval(approval()), Event::Approved]),
        ("running", vec![Event::Allowed, Event::Started]),
        ("verifying", vec![Event::Allowed, Event::Started, Event::EffectDone]),
        ("succeeded", vec![Event::Allowed, Event::Started, Event::EffectDone, Event::Held]),
    ]
}

/// Takes an action to each state, "crashes" by dropping the journal, and opens it again.
fn after_crash(action_type: &str, boot: &str) -> Vec<(&'static str, String, usize)> {
    let folder = tempfile::tempdir().expect("a folder");
    paths()
        .into_iter()
        .map(|(name, events)| {
            let path = folder.path().join(name);
            let (journal, _) = Journal::open(&path, "one").expect("a journal");
            let entry = Entry { before: Some("{}".into()), ..entry(1, action_type, None) };
            assert_eq!(journal.insert(&entry, 0).expect("inserted"), None);
            for event in events {
                journal.advance(&entry.view.id, event, |_| {}).expect("the next state");
            }
            drop(journal);
            let (journal, left) = Journal::open(&path, boot).expect("a journal");
            let state = journal.show(&entry.view.id).expect("still there").view.state.word().to_owned();
            // What was settled once stays settled.
            drop(journal);
            let (_, again) = Journal::open(&path, boot).expect("a journal");
            assert!(again.iter().all(|left| !matches!(left, Left::Ended(_))), "{name}");
            (name, state, left.len())
        })
        .collect()
}

#[test]
fn no_crash_lets_an_action_run_twice() {
    let expected = [
        ("proposed", "denied", 1),
        ("waiting", "waiting", 1),
        ("allowed", "failed", 1),
        ("running", "failed", 1),
        ("verifying", "verifying", 1),
        ("succeeded", "succeeded", 0),
    ];
    for boot in ["one", "two"] {
        let found = after_crash("settings.set", boot);
        let found: Vec<_> = found.iter().map(|(from, to, left)| (*from, to.as_str(), *left)).collect();
        assert_eq!(found, expected);
    }
}

/// Each write of an action that can be undone, as what is found at the next start.
fn left_after(writes: usize, undo: &Undo, boot: &str) -> Option<Left> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let (journal, _) = Journal::open(&path, "one").expect("a journal");
    let entry = Entry { before: Some("{}".into()), ..entry(1, "settings.set", None) };
    let id = &entry.view.id;
    let steps: [&dyn Fn(); 6] = [
        &|| drop(journal.insert(&entry, 0).expect("inserted")),
        &|| drop(journal.advance(id, Event::Allowed, |_| {}).expect("allowed")),
        &|| drop(journal.begin(id, Some(undo.clone()), |_| {}).expect("begun")),
        &|| drop(journal.advance(id, Event::EffectDone, |_| {}).expect("done")),
        &|| journal.undoing(id, "it did not hold").expect("noted"),
        &|| drop(journal.advance_through(id, [Event::Failed("x".into()), Event::RolledBack], |_| {}).expect("ended")),
    ];
    let all = steps.len();
    steps[..writes].iter().for_each(|step| step());
    drop(journal);
    let (journal, mut left) = Journal::open(&path, boot).expect("a journal");
    if writes == all {
        assert_eq!(journal.show(id).expect("there").view.state.word(), "rolled-back");
        assert_eq!(journal.undo(id).expect("readable"), None, "what is over is forgotten");
    }
    assert!(left.len() <= 1);
    left.pop()
}

#[test]
fn a_crash_at_any_write_ends_with_the_effect_measured_or_the_state_from_before_back() {
    let setting = Undo::Setting { key: "motd".into(), value: "before".into() };
    for boot in ["one", "two"] {
        let left = |writes| left_after(writes, &setting, boot);
        assert_eq!(left(0), None);
        for before_the_effect in [1, 2] {
            assert!(matches!(left(before_the_effect), Some(Left::Ended(_))));
        }
        let Some(Left::Undo(_, undo, why)) = left(3) else { panic!("the effect may have begun") };
        assert_eq!((undo, why.as_str()), (setting.clone(), "the action runtime ended while the action ran"));
        assert!(matches!(left(4), Some(Left::Measure(_))), "it may have held");
        let Some(Left::Undo(_, undo, why)) = left(5) else { panic!("the undo may have been cut short") };
        assert_eq!((undo, why.as_str()), (setting.clone(), "it did not hold"));
        assert_eq!(left(6), None);
    }
}

#[test]
fn what_ran_in_another_boot_is_not_stopped_in_this_one() {
    let unit = Undo::Unit { name: "network".into(), was: Was::Stopped };
    assert!(matches!(left_after(3, &unit, "one"), Some(Left::Undo(..))));
    assert!(matches!(left_after(3, &unit, "two"), Some(Left::Ended(_))));
    assert!(matches!(left_after(5, &unit, "one"), Some(Left::Undo(..))));
    assert!(matches!(left_after(5, &unit, "two"), Some(Left::Measure(_))));
}

#[test]
fn a_reboot_is_measured_in_the_next_boot_only() {
    let state = |boot: &str, from: &str| {
        after_crash("node.reboot", boot).into_iter().find(|(name, ..)| *name == from).expect("listed").1
    };
    assert_eq!(state("two", "running"), "running");
    assert_eq!(state("two", "verifying"), "verifying");
    assert_eq!(state("one", "running"), "failed");
    assert_eq!(state("one", "verifying"), "failed");
}

#[test]
fn a_key_means_one_action_of_one_subject() {
    let folder = tempfile::tempdir().expect("a folder");
    let (journal, _) = Journal::open(&folder.path().join("journal"), "one").expect("a journal");
    let first = entry(1, "settings.set", Some("k"));
    assert_eq!(journal.insert(&first, 0).expect("inserted"), None);
    let again = journal.insert(&entry(2, "settings.set", Some("k")), 0).expect("found");
    assert_eq!(again.map(|entry| entry.view.id), Some(first.view.id));
    let mut other = entry(3, "settings.set", Some("k"));
    other.view.subject = "agent:helper".into();
    assert_eq!(journal.insert(&other, 0).expect("inserted"), None);
    assert_eq!(journal.newest(9).expect("listed").len(), 2);
    let newest = journal.newest(1).expect("listed");
    assert_eq!(newest.first().map(|entry| &entry.view.id), Some(&other.view.id));
}

proptest! {
    // Each step is on the disk before the next, so a case takes a while.
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever happens in whatever order, what is kept is what the life cycle allows and no end is left.
    #[test]
    fn the_journal_never_leaves_the_life_cycle(events in prop::collection::vec(0usize..8, 0..12)) {
        let folder = tempfile::tempdir().expect("a folder");
        let (journal, _) = Journal::open(&folder.path().join("journal"), "one").expect("a journal");
        let entry = entry(1, "settings.set", None);
        journal.insert(&entry, 0).expect("inserted");
        let mut state = State::Proposed;
        for event in events {
            let event = [
                Event::Allowed,
                Event::NeedsApproval(approval()),
                Event::Approved,
                Event::Cancelled,
                Event::Started,
                Event::EffectDone,
                Event::Held,
                Event::Failed("x".into()),
            ][event].clone();
            let expected = state.after(event.clone());
            let result = journal.advance(&entry.view.id, event, |_| {});
            prop_assert_eq!(result.is_ok(), expected.is_ok());
            if let Ok(next) = expected {
                prop_assert!(!state.is_final());
                state = next;
            }
            prop_assert_eq!(&journal.show(&entry.view.id).expect("there").view.state, &state);
            prop_assert_eq!(journal.unfinished().expect("listed").is_empty(), state.is_final());
        }
    }
}
