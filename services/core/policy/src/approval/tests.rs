//! Each row of the table of transitions, and what no order of events may do.

use aios_identity::SessionStrength;
use aios_wire::policy::{Times, Wanted};
use proptest::prelude::*;

use super::*;

const HOUR: u64 = 3_600_000;
const NOW: Now<'static> = Now { boot: "boot-1", epoch: "1-a", up_ms: 50 * HOUR, wall_ms: 1000 * HOUR };

fn person() -> Peer {
    named("ada")
}

fn named(name: &str) -> Peer {
    Peer::Operator { name: name.into(), strength: SessionStrength::PassPhrase }
}

fn later(hours: u64) -> Now<'static> {
    Now { up_ms: NOW.up_ms + hours * HOUR, wall_ms: NOW.wall_ms + hours * HOUR, ..NOW }
}

/// An agent's request that a person has not answered yet.
pub(crate) fn waiting() -> Approval {
    Approval {
        id: ApprovalId::new(1, [1; 10]),
        action: ActionId::new(1, [2; 10]),
        digest: Digest::of(b"envelope"),
        epoch: "1-a".into(),
        subject: Peer::Agent { name: "helper".into() },
        action_type: "service.restart".into(),
        parameters: "{}".into(),
        target: None,
        reason: String::new(),
        risk: "medium".into(),
        reversible: false,
        shows: Vec::new(),
        wanted: Wanted::default(),
        yes: Vec::new(),
        asked: NOW.moment(),
        times: Times::default(),
        closes_up_ms: None,
        code: None,
        to_sign: None,
        wrong_codes: 0,
        state: ApprovalState::Waiting,
    }
}

fn yes(by: Peer) -> Change {
    Change::Grant { by, looked: Looked::Typed(String::new()) }
}

fn granted() -> Approval {
    after(&waiting(), &yes(person()), NOW).expect("a person may")
}

fn the_use() -> Use {
    Use { digest: waiting().digest, epoch: "1-a".into(), action: waiting().action }
}

#[test]
fn only_a_person_answers() {
    let agent = Peer::Agent { name: "ada".into() };
    let service = Peer::Service { name: "action-runtime".into() };
    for (by, expected) in [(agent, Refusal::Ai), (service, Refusal::NotAPerson)] {
        let grant = yes(by.clone());
        let signed = Change::Grant { by: by.clone(), looked: Looked::Signed };
        let reject = Change::Reject { by, reason: String::new() };
        assert_eq!(after(&waiting(), &grant, NOW), Err(expected.clone()));
        assert_eq!(after(&waiting(), &signed, NOW), Err(expected.clone()));
        assert_eq!(after(&waiting(), &reject, NOW), Err(expected));
    }
    assert!(Refusal::Ai.to_string().starts_with("AiSelfApprovalBlocked"));
}

#[test]
fn an_approval_is_good_for_one_envelope_one_action_one_policy_and_one_boot() {
    let code = |change: &dyn Fn(&mut Use), now| {
        let mut wanted = the_use();
        change(&mut wanted);
        match after(&granted(), &Change::Consume(wanted), now) {
            Ok(_) => "",
            Err(Refusal::Other { code, .. }) => code,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(code(&|_| (), NOW), "");
    assert_eq!(code(&|wanted| wanted.digest = Digest::of(b"other"), NOW), "DigestMismatch");
    assert_eq!(code(&|wanted| wanted.action = ActionId::new(2, [0; 10]), NOW), "ActionMismatch");
    assert_eq!(code(&|wanted| wanted.epoch = "2-b".into(), NOW), "EpochMismatch");
    assert_eq!(code(&|wanted| wanted.epoch = "2-b".into(), Now { epoch: "2-b", ..NOW }), "EpochMismatch");
    assert_eq!(code(&|_| (), Now { epoch: "2-b", ..NOW }), "EpochMismatch");
    assert_eq!(code(&|_| (), Now { boot: "boot-2", ..NOW }), "BootMismatch");
}

#[test]
fn a_withdrawn_request_can_be_neither_granted_nor_used_and_a_used_one_not_withdrawn() {
    for before in [waiting(), granted()] {
        let withdrawn = after(&before, &Change::Withdraw, NOW).expect("it is not used");
        assert_eq!(withdrawn.state, ApprovalState::Expired { why: Ended::Withdrawn });
        assert_eq!(after(&withdrawn, &Change::Withdraw, NOW), Ok(withdrawn.clone()));
        assert!(matches!(after(&withdrawn, &yes(person()), NOW), Err(Refusal::AlreadyAnswered { .. })));
        let used = after(&withdrawn, &Change::Consume(the_use()), NOW);
        assert!(matches!(used, Err(Refusal::Expired { why: Ended::Withdrawn, .. })), "{used:?}");
    }
    let used = after(&granted(), &Change::Consume(the_use()), NOW).expect("granted");
    assert!(matches!(after(&used, &Change::Withdraw, NOW), Err(Refusal::AlreadyAnswered { .. })));
}

#[test]
fn a_used_approval_answers_the_same_use_the_same_and_no_other() {
    let used = after(&granted(), &Change::Consume(the_use()), NOW).expect("granted");
    let again = after(&used, &Change::Consume(the_use()), NOW).expect("the same use");
    assert_eq!(used, again);
    let next_boot = Now { boot: "boot-2", ..NOW };
    assert!(was_used_now(&used, NOW) && !was_used_now(&used, next_boot) && !was_used_now(&granted(), NOW));
    assert!(!was_used_now(&used, Now { epoch: "2-b", ..NOW }));
    assert!(matches!(after(&used, &Change::Consume(the_use()), next_boot), Err(Refusal::AlreadyConsumed { .. })));
    let other = Use { digest: Digest::of(b"other"), ..the_use() };
    assert!(after(&used, &Change::Consume(other), NOW).is_err());
}

#[test]
fn no_transition_goes_backwards() {
    let no = Change::Reject { by: person(), reason: "no".into() };
    let yes = yes(person());
    let rejected = after(&waiting(), &no, NOW).expect("a person may");
    let used = after(&granted(), &Change::Consume(the_use()), NOW).expect("granted");
    let expired = Approval { state: ApprovalState::Expired { why: Ended::Time }, ..waiting() };
    for ended in [&rejected, &used, &expired, &granted()] {
        assert!(matches!(after(ended, &yes, NOW), Err(Refusal::AlreadyAnswered { .. })), "{ended:?}");
        assert!(matches!(after(ended, &no, NOW), Err(Refusal::AlreadyAnswered { .. })), "{ended:?}");
    }
    for not_granted in [&waiting(), &rejected] {
        let refused = after(not_granted, &Change::Consume(the_use()), NOW);
        assert!(matches!(refused, Err(Refusal::NotGranted { .. })), "{not_granted:?}");
    }
    assert!(matches!(after(&expired, &Change::Consume(the_use()), NOW), Err(Refusal::Expired { .. })));
}

#[test]
fn waiting_survives_a_boot_and_a_grant_does_not() {
    let next_boot = Now { boot: "boot-2", ..NOW };
    let next_policy = Now { epoch: "2-b", ..NOW };
    assert_eq!(ended(&waiting(), next_boot), Some(Ended::Time), "this boot is 50 hours old");
    let young = Now { up_ms: HOUR, wall_ms: NOW.wall_ms + HOUR, ..next_boot };
    assert_eq!(ended(&waiting(), young), None);
    assert_eq!(ended(&waiting(), next_policy), Some(Ended::Policy));
    assert_eq!(ended(&granted(), NOW), None);
    assert_eq!(ended(&granted(), young), Some(Ended::Boot));
    assert_eq!(ended(&granted(), next_policy), Some(Ended::Policy));
    let used = after(&granted(), &Change::Consume(the_use()), NOW).expect("granted");
    assert_eq!(ended(&used, young), None);
}

#[test]
fn a_request_ends_a_day_after_it_was_asked_and_a_grant_an_hour_after_it_was_given() {
    let grant = yes(person());
    let late = |result: Result<Approval, Refusal>| matches!(result, Err(Refusal::Expired { why: Ended::Time, .. }));
    assert!(after(&waiting(), &grant, later(23)).is_ok());
    assert!(late(after(&waiting(), &grant, later(24))));
    assert!(late(after(&waiting(), &Change::Reject { by: person(), reason: String::new() }, later(24))));
    assert_eq!(ended(&waiting(), later(24)), Some(Ended::Time));
    let just = Now { up_ms: NOW.up_ms + HOUR - 1, ..NOW };
    assert!(after(&granted(), &Change::Consume(the_use()), just).is_ok());
    assert!(late(after(&granted(), &Change::Consume(the_use()), later(1))));
    // What was used in time stays used: the runtime may ask again at any time.
    let used = after(&granted(), &Change::Consume(the_use()), NOW).expect("in time");
    assert_eq!(after(&used, &Change::Consume(the_use()), later(99)), Ok(used));
}

#[test]
fn what_is_permitted_in_a_part_of_the_day_ends_with_it_and_with_the_boot() {
    let until = Some(NOW.up_ms + HOUR / 2);
    let in_window = |approval: Approval| Approval { closes_up_ms: until, ..approval };
    let at = |ms| Now { up_ms: NOW.up_ms + ms, wall_ms: 0, ..NOW };
    for approval in [in_window(waiting()), in_window(granted())] {
        assert_eq!(ended(&approval, at(HOUR / 2 - 1)), None);
        assert_eq!(ended(&approval, at(HOUR / 2)), Some(Ended::Time));
    }
    assert!(after(&in_window(granted()), &Change::Consume(the_use()), at(HOUR / 2)).is_err());
    let next_boot = Now { boot: "boot-2", up_ms: 1, ..NOW };
    assert_eq!((ended(&waiting(), next_boot), ended(&in_window(waiting()), next_boot)), (None, Some(Ended::Time)));
}

#[test]
fn no_clock_brings_an_old_request_back_or_ends_one_in_its_boot() {
    for wall_ms in [0, 1, NOW.wall_ms - 1000 * HOUR, NOW.wall_ms + 9000 * HOUR, u64::MAX] {
        let moved = |now: Now<'static>| Now { wall_ms, ..now };
        assert_eq!(ended(&waiting(), moved(later(23))), None, "in its boot the clock does not count");
        assert_eq!(ended(&waiting(), moved(later(24))), Some(Ended::Time));
        assert_eq!(ended(&granted(), moved(later(1))), Some(Ended::Time));
    }
    let next = |up: u64, wall_ms| Now { boot: "boot-2", up_ms: up * HOUR, wall_ms, ..NOW };
    assert_eq!(ended(&waiting(), next(1, NOW.wall_ms + 23 * HOUR)), None);
    assert_eq!(ended(&waiting(), next(1, NOW.wall_ms + 24 * HOUR)), Some(Ended::Time));
    assert_eq!(ended(&waiting(), next(24, 0)), Some(Ended::Time), "a clock that was set back gains one boot's day");
}

#[test]
fn of_several_people_each_counts_once() {
    let two = Approval { wanted: Wanted { persons: 2, whom: Whom::Anybody }, ..waiting() };
    let one_of_two = after(&two, &yes(person()), NOW).expect("the first");
    assert_eq!(one_of_two.state, ApprovalState::Waiting);
    let here = Peer::Operator { name: "ada".into(), strength: SessionStrength::Presence };
    for again in [person(), here] {
        let refused = after(&one_of_two, &yes(again), NOW);
        assert!(matches!(refused, Err(Refusal::SaidAlready { .. })), "{refused:?}");
    }
    assert!(matches!(after(&one_of_two, &Change::Consume(the_use()), NOW), Err(Refusal::NotGranted { .. })));
    let both = after(&one_of_two, &yes(named("bob")), NOW).expect("the second");
    assert!(matches!(both.state, ApprovalState::Granted { .. }));
    assert_eq!(both.yes, [person(), named("bob")]);
    assert!(after(&both, &Change::Consume(the_use()), NOW).is_ok());
    // One no is enough.
    let no = Change::Reject { by: named("bob"), reason: String::new() };
    let rejected = after(&one_of_two, &no, NOW).expect("a person may");
    assert!(matches!(rejected.state, ApprovalState::Rejected { .. }));
}

#[test]
fn a_high_risk_is_granted_with_its_code_only() {
    let risky = Approval { risk: "high".into(), ..waiting() };
    let code = code_of(&risky).expect("the risk is high");
    let typed = |code: &str| Change::Grant { by: person(), looked: Looked::Typed(code.into()) };
    assert!(matches!(after(&risky, &yes(person()), NOW), Err(Refusal::CodeNeeded { .. })));
    let of_another = code_of(&Approval { digest: Digest::of(b"other"), ..risky.clone() }).expect("as high");
    for wrong in ["2222", of_another.as_str(), "\u{1b}[2J"] {
        let refused = after(&risky, &typed(wrong), NOW);
        assert!(matches!(refused, Err(Refusal::WrongCode { .. })), "{wrong:?}: {refused:?}");
        assert!(!refused.expect_err("refused").to_string().contains('\u{1b}'));
    }
    let missed = after(&risky, &Change::Miss, NOW).expect("it waits");
    assert_eq!((missed.wrong_codes, &missed.state), (1, &ApprovalState::Waiting));
    let granted = after(&missed, &typed(&code.to_lowercase()), NOW).expect("the right one");
    assert!(matches!(granted.state, ApprovalState::Granted { .. }));
    assert!(after(&granted, &Change::Miss, NOW).is_err());
    // A word that no release ever wrote is no way around it.
    assert!(code_of(&Approval { risk: "none".into(), ..waiting() }).is_some());
    assert_eq!(code_of(&waiting()), None);
}

#[test]
fn where_others_have_to_say_yes_who_asks_does_not_count() {
    let wanted = Wanted { persons: 1, whom: Whom::Others };
    let own = Approval { subject: person(), wanted, ..waiting() };
    let refused = after(&own, &yes(person()), NOW);
    assert!(matches!(refused, Err(Refusal::OwnRequest { .. })), "{refused:?}");
    assert!(after(&own, &yes(named("bob")), NOW).is_ok());
}

proptest! {
    /// Whatever happens in whatever order: it is granted only by as many different people as it wants, and used once.
    #[test]
    fn no_order_of_events_grants_with_fewer_people(
        persons in 1u8..4,
        others in any::<bool>(),
        steps in proptest::collection::vec((0u8..6, 0u8..4, 0u64..3 * HOUR), 1..30),
    ) {
        let names = ["ada", "bob", "eve", "kim"];
        let whom = if others { Whom::Others } else { Whom::Anybody };
        let mut approval = Approval { subject: person(), wanted: Wanted { persons, whom }, ..waiting() };
        let (mut now, mut uses) = (NOW, 0);
        for (what, who, wait) in steps {
            now.up_ms += wait;
            let by = named(names[usize::from(who)]);
            let change = match what {
                0..=2 => yes(by),
                3 => Change::Reject { by, reason: String::new() },
                4 => Change::Withdraw,
                _ => Change::Consume(the_use()),
            };
            let before = approval.clone();
            if let Ok(next) = after(&approval, &change, now) {
                approval = next;
            }
            let used = |approval: &Approval| matches!(approval.state, ApprovalState::Consumed { .. });
            uses += u32::from(used(&approval) && !used(&before));
            let said: std::collections::BTreeSet<_> = approval.yes.iter().map(ToString::to_string).collect();
            prop_assert_eq!(said.len(), approval.yes.len());
            if used(&approval) || matches!(approval.state, ApprovalState::Granted { .. }) {
                prop_assert!(said.len() >= usize::from(persons));
                prop_assert!(!others || !said.contains("operator:ada"));
            }
        }
        prop_assert!(uses <= 1);
    }
}
