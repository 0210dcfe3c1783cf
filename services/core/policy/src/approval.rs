//! The life of an approval. No transition goes backwards, and one that was used cannot be used again.
//!
//! | from | change | to | if |
//! |---|---|---|---|
//! | waiting | grant | granted | the last of the people who have to say yes, in time, under the policy that asked |
//! | waiting | grant | waiting | one of several; nobody counts twice, and where others have to say yes, not who asks |
//! | waiting | miss | waiting | the code of a high risk was not the one beside the request; it is counted |
//! | waiting | reject | rejected | an operator |
//! | granted | consume | consumed | same envelope, action, policy epoch and boot, in time |
//! | consumed | consume | consumed | the very same use: the answer is the same token |
//! | waiting, granted | withdraw | expired | its action was cancelled |
//! | waiting, granted | end | expired | its policy is gone, or its time, or its boot once it was granted |
//!
//! Time is the time since the boot, which no clock moves. Only a request that waits since an earlier boot is also
//! measured by the clock, so that it can end too early and never too late.
//!
//! An agent never grants and never rejects, whatever the table of peers or a bundle says.

use aios_identity::Peer;
use aios_ids::{ActionId, ApprovalId, Digest};
use aios_wire::policy::{Approval, ApprovalState, Ended, Moment, Whom};

use crate::code::{code_of, is_typed};

/// What is to happen to an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A person says yes.
    Grant {
        /// Who.
        by: Peer,
        /// What they typed where the risk is high.
        code: String,
    },
    /// A person typed another code than the one beside the request.
    Miss,
    /// A person says no.
    Reject {
        /// Who.
        by: Peer,
        /// Their words.
        reason: String,
    },
    /// The runtime starts the action with it.
    Consume(Use),
    /// The action will never run: nobody is to be asked any more.
    Withdraw,
}

/// What an approval is used for; all of it must be what was approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The envelope that is about to run.
    pub digest: Digest,
    /// The policy that the runtime was told.
    pub epoch: String,
    /// The action that is about to run.
    pub action: ActionId,
}

/// When a change happens: nothing granted outlives boot or policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now<'a> {
    /// The kernel's id of this boot.
    pub boot: &'a str,
    /// The policy that decides now.
    pub epoch: &'a str,
    /// Milliseconds since the boot, sleep included.
    pub up_ms: u64,
    /// Milliseconds since 1970 as the clock says.
    pub wall_ms: u64,
}

impl Now<'_> {
    /// What is kept of it.
    pub fn moment(self) -> Moment {
        Moment { boot: self.boot.to_owned(), up_ms: self.up_ms, wall_ms: self.wall_ms }
    }
}

/// The change is not possible; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An agent tried to answer.
    #[error("AiSelfApprovalBlocked: an agent never approves or rejects; ask a person")]
    Ai,
    /// A service tried to answer.
    #[error("NotAPerson: only an operator's session approves or rejects")]
    NotAPerson,
    /// The one who asked said yes where others have to.
    #[error("OwnRequest: {id} needs somebody else than {by}, who asks for it")]
    OwnRequest {
        /// The approval.
        id: ApprovalId,
        /// Who said yes.
        by: String,
    },
    /// One of several people said yes a second time.
    #[error("SaidAlready: {by} has said yes to {id} already; it waits for somebody else")]
    SaidAlready {
        /// The approval.
        id: ApprovalId,
        /// Who.
        by: String,
    },
    /// The risk is high, and the code is another one.
    #[error("WrongCode: '{typed}' is not the code of {id}; 'aios approval show {id}' has it beside what will run")]
    WrongCode {
        /// The approval.
        id: ApprovalId,
        /// What was typed.
        typed: String,
    },
    /// The risk is high, and nothing was typed.
    #[error(
        "CodeNeeded: the risk of {id} is high, so its code is wanted too; 'aios approval show {id}' has it beside what \
         will run"
    )]
    CodeNeeded {
        /// The approval.
        id: ApprovalId,
    },
    /// Too late.
    #[error("ApprovalExpired: {id} can no longer be used, because {why}; submit the action again")]
    Expired {
        /// The approval.
        id: ApprovalId,
        /// What ended it.
        why: Ended,
    },
    /// A person has said already, or it has ended.
    #[error("AlreadyAnswered: {id} is {state}; 'aios approval list' shows what waits")]
    AlreadyAnswered {
        /// The approval.
        id: ApprovalId,
        /// Where it stands.
        state: &'static str,
    },
    /// Used before a person said yes, after no, or after its end.
    #[error("NotGranted: {id} is {state}; an action runs only with a granted approval")]
    NotGranted {
        /// The approval.
        id: ApprovalId,
        /// Where it stands.
        state: &'static str,
    },
    /// Used a second time in another boot or under another policy.
    #[error("AlreadyConsumed: {id} was used; submit the action again")]
    AlreadyConsumed {
        /// The approval.
        id: ApprovalId,
    },
    /// Used for something else than was approved.
    #[error("{code}: {id} was given for another {what}; submit the action again")]
    Other {
        /// `DigestMismatch`, `ActionMismatch`, `EpochMismatch` or `BootMismatch`.
        code: &'static str,
        /// The approval.
        id: ApprovalId,
        /// What differs.
        what: &'static str,
    },
}

/// Whether this subject may answer requests for approval at all.
pub fn may_answer(by: &Peer) -> Result<(), Refusal> {
    match by {
        Peer::Operator { .. } => Ok(()),
        Peer::Agent { .. } => Err(Refusal::Ai),
        Peer::Service { .. } => Err(Refusal::NotAPerson),
    }
}

/// The approval after `change`.
pub fn after(approval: &Approval, change: &Change, now: Now<'_>) -> Result<Approval, Refusal> {
    let in_state = |state| Approval { state, ..approval.clone() };
    match change {
        Change::Grant { by, code } => grant(approval, by, code, now),
        Change::Miss => {
            must_wait(approval)?;
            Ok(Approval { wrong_codes: approval.wrong_codes.saturating_add(1), ..approval.clone() })
        }
        Change::Reject { by, reason } => {
            may_answer(by)?;
            must_wait(approval)?;
            must_be_in_time(approval, now)?;
            Ok(in_state(ApprovalState::Rejected { by: by.clone(), reason: reason.clone() }))
        }
        Change::Consume(wanted) => consume(approval, wanted, now).map(in_state),
        Change::Withdraw => match &approval.state {
            ApprovalState::Waiting | ApprovalState::Granted { .. } => {
                Ok(in_state(ApprovalState::Expired { why: Ended::Withdrawn }))
            }
            ApprovalState::Expired { .. } => Ok(approval.clone()),
            other => Err(Refusal::AlreadyAnswered { id: approval.id.clone(), state: word(other) }),
        },
    }
}

fn grant(approval: &Approval, by: &Peer, typed: &str, now: Now<'_>) -> Result<Approval, Refusal> {
    may_answer(by)?;
    must_wait(approval)?;
    must_be(approval, approval.epoch == now.epoch, "EpochMismatch", "policy")?;
    must_be_in_time(approval, now)?;
    // A person is a name: how a session of theirs began makes nobody a second person.
    let name = by.to_string();
    if approval.wanted.whom == Whom::Others && approval.subject.to_string() == name {
        return Err(Refusal::OwnRequest { id: approval.id.clone(), by: name });
    }
    if approval.yes.iter().any(|other| other.to_string() == name) {
        return Err(Refusal::SaidAlready { id: approval.id.clone(), by: name });
    }
    must_have_looked(approval, typed)?;
    let mut after = approval.clone();
    after.yes.push(by.clone());
    if after.yes.len() >= usize::from(approval.wanted.persons) {
        after.state = ApprovalState::Granted {
            by: by.clone(),
            boot: now.boot.to_owned(),
            epoch: now.epoch.to_owned(),
            at_ms: now.up_ms,
        };
    }
    Ok(after)
}

/// Of a high risk, the code is the proof that the person has the right request before them.
fn must_have_looked(approval: &Approval, typed: &str) -> Result<(), Refusal> {
    let id = approval.id.clone();
    match code_of(approval) {
        None => Ok(()),
        Some(code) if is_typed(&code, typed) => Ok(()),
        Some(_) if typed.trim().is_empty() => Err(Refusal::CodeNeeded { id }),
        Some(_) => Err(Refusal::WrongCode {
            id,
            typed: typed.trim().chars().take(12).flat_map(char::escape_default).collect(),
        }),
    }
}

fn consume(approval: &Approval, wanted: &Use, now: Now<'_>) -> Result<ApprovalState, Refusal> {
    must_be(approval, approval.action == wanted.action, "ActionMismatch", "action")?;
    must_be(approval, approval.digest == wanted.digest, "DigestMismatch", "envelope")?;
    must_be(approval, wanted.epoch == now.epoch && approval.epoch == now.epoch, "EpochMismatch", "policy")?;
    let token = token(approval, now);
    match &approval.state {
        ApprovalState::Granted { boot, epoch, .. } => {
            must_be(approval, boot == now.boot, "BootMismatch", "boot")?;
            must_be(approval, epoch == now.epoch, "EpochMismatch", "policy")?;
            must_be_in_time(approval, now)?;
            Ok(ApprovalState::Consumed { token })
        }
        ApprovalState::Consumed { token: used } if *used == token => Ok(approval.state.clone()),
        ApprovalState::Consumed { .. } => Err(Refusal::AlreadyConsumed { id: approval.id.clone() }),
        ApprovalState::Expired { why } => Err(Refusal::Expired { id: approval.id.clone(), why: *why }),
        other => Err(Refusal::NotGranted { id: approval.id.clone(), state: word(other) }),
    }
}

/// Whether this approval was used now, in this boot and under this policy: what it was given for may be done.
#[must_use]
pub fn was_used_now(approval: &Approval, now: Now<'_>) -> bool {
    approval.epoch == now.epoch && approval.state == ApprovalState::Consumed { token: token(approval, now) }
}

/// What has ended a kept approval, if it is good for nothing any more: [`ApprovalState::Expired`] is what to keep instead.
#[must_use]
pub fn ended(approval: &Approval, now: Now<'_>) -> Option<Ended> {
    match &approval.state {
        ApprovalState::Waiting if approval.epoch != now.epoch => Some(Ended::Policy),
        ApprovalState::Granted { epoch, .. } if epoch != now.epoch => Some(Ended::Policy),
        ApprovalState::Granted { boot, .. } if boot != now.boot => Some(Ended::Boot),
        ApprovalState::Waiting | ApprovalState::Granted { .. } if is_late(approval, now) => Some(Ended::Time),
        _ => None,
    }
}

/// Whether its time is over. A moment that lies ahead is no reason to wait longer, because it is not subtracted.
fn is_late(approval: &Approval, now: Now<'_>) -> bool {
    let (asked, times) = (&approval.asked, approval.times);
    match &approval.state {
        ApprovalState::Waiting if asked.boot == now.boot => now.up_ms.saturating_sub(asked.up_ms) >= times.waits_ms,
        // How long it waited before this boot nobody measured but the clock; this boot alone is a bound of its own.
        ApprovalState::Waiting => {
            now.up_ms >= times.waits_ms || now.wall_ms.saturating_sub(asked.wall_ms) >= times.waits_ms
        }
        ApprovalState::Granted { at_ms, .. } => now.up_ms.saturating_sub(*at_ms) >= times.lasts_ms,
        _ => false,
    }
}

fn must_be_in_time(approval: &Approval, now: Now<'_>) -> Result<(), Refusal> {
    if is_late(approval, now) {
        return Err(Refusal::Expired { id: approval.id.clone(), why: Ended::Time });
    }
    Ok(())
}

/// What ties the runtime's records to this use. It says which boot and policy, so that a second use in another one
/// cannot pass as the first.
fn token(approval: &Approval, now: Now<'_>) -> Digest {
    let line = format!(
        "aios approval used\n{}\n{}\n{}\n{}\n{}\n",
        approval.id, approval.action, approval.digest, now.epoch, now.boot
    );
    Digest::of(line.as_bytes())
}

fn must_wait(approval: &Approval) -> Result<(), Refusal> {
    match &approval.state {
        ApprovalState::Waiting => Ok(()),
        other => Err(Refusal::AlreadyAnswered { id: approval.id.clone(), state: word(other) }),
    }
}

fn must_be(approval: &Approval, holds: bool, code: &'static str, what: &'static str) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::Other { code, id: approval.id.clone(), what }) }
}

fn word(state: &ApprovalState) -> &'static str {
    match state {
        ApprovalState::Waiting => "waiting",
        ApprovalState::Granted { .. } => "granted",
        ApprovalState::Rejected { .. } => "rejected",
        ApprovalState::Consumed { .. } => "consumed",
        ApprovalState::Expired { .. } => "expired",
    }
}

#[cfg(test)]
mod tests {
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

    fn waiting() -> Approval {
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
            code: None,
            wrong_codes: 0,
            state: ApprovalState::Waiting,
        }
    }

    fn yes(by: Peer) -> Change {
        Change::Grant { by, code: String::new() }
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
            let reject = Change::Reject { by, reason: String::new() };
            assert_eq!(after(&waiting(), &grant, NOW), Err(expected.clone()));
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
        let typed = |code: &str| Change::Grant { by: person(), code: code.into() };
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
}
