//! The life of an approval. No transition goes backwards, and one that was used cannot be used again.
//!
//! | from | change | to | if |
//! |---|---|---|---|
//! | waiting | grant | granted | an operator, under the policy that asked |
//! | waiting | reject | rejected | an operator |
//! | granted | consume | consumed | same envelope, action, policy epoch and boot |
//! | consumed | consume | consumed | the very same use: the answer is the same token |
//! | waiting, granted | withdraw | expired | its action was cancelled |
//! | waiting, granted | end | expired | its policy is gone, or its boot once it was granted |
//!
//! An agent never grants and never rejects, whatever the table of peers or a bundle says.

use aios_identity::Peer;
use aios_ids::{ActionId, ApprovalId, Digest};
use aios_wire::policy::{Approval, ApprovalState};

/// What is to happen to an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A person says yes.
    Grant {
        /// Who.
        by: Peer,
    },
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

/// When a change happens: nothing granted outlives either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now<'a> {
    /// The kernel's id of this boot.
    pub boot: &'a str,
    /// The policy that decides now.
    pub epoch: &'a str,
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

/// The state after `change`.
pub fn after(approval: &Approval, change: &Change, now: Now<'_>) -> Result<ApprovalState, Refusal> {
    match change {
        Change::Grant { by } => {
            may_answer(by)?;
            must_wait(approval)?;
            must_be(approval, approval.epoch == now.epoch, "EpochMismatch", "policy")?;
            Ok(ApprovalState::Granted { by: by.clone(), boot: now.boot.to_owned(), epoch: now.epoch.to_owned() })
        }
        Change::Reject { by, reason } => {
            may_answer(by)?;
            must_wait(approval)?;
            Ok(ApprovalState::Rejected { by: by.clone(), reason: reason.clone() })
        }
        Change::Consume(wanted) => consume(approval, wanted, now),
        Change::Withdraw => match &approval.state {
            ApprovalState::Waiting | ApprovalState::Granted { .. } | ApprovalState::Expired => {
                Ok(ApprovalState::Expired)
            }
            other => Err(Refusal::AlreadyAnswered { id: approval.id.clone(), state: word(other) }),
        },
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
            Ok(ApprovalState::Consumed { token })
        }
        ApprovalState::Consumed { token: used } if *used == token => Ok(approval.state.clone()),
        ApprovalState::Consumed { .. } => Err(Refusal::AlreadyConsumed { id: approval.id.clone() }),
        other => Err(Refusal::NotGranted { id: approval.id.clone(), state: word(other) }),
    }
}

/// Whether a kept approval is good for nothing any more: [`ApprovalState::Expired`] is what to keep instead.
#[must_use]
pub fn has_ended(approval: &Approval, now: Now<'_>) -> bool {
    match &approval.state {
        ApprovalState::Waiting => approval.epoch != now.epoch,
        ApprovalState::Granted { boot, epoch, .. } => boot != now.boot || epoch != now.epoch,
        ApprovalState::Rejected { .. } | ApprovalState::Consumed { .. } | ApprovalState::Expired => false,
    }
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
        ApprovalState::Expired => "expired",
    }
}

#[cfg(test)]
mod tests {
    use aios_identity::SessionStrength;

    use super::*;

    const NOW: Now<'static> = Now { boot: "boot-1", epoch: "1-a" };

    fn person() -> Peer {
        Peer::Operator { name: "ada".into(), strength: SessionStrength::PassPhrase }
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
            reason: String::new(),
            risk: "medium".into(),
            reversible: false,
            state: ApprovalState::Waiting,
        }
    }

    fn changed(approval: &Approval, change: &Change, now: Now<'_>) -> Result<Approval, Refusal> {
        after(approval, change, now).map(|state| Approval { state, ..approval.clone() })
    }

    fn granted() -> Approval {
        changed(&waiting(), &Change::Grant { by: person() }, NOW).expect("a person may")
    }

    fn the_use() -> Use {
        Use { digest: waiting().digest, epoch: "1-a".into(), action: waiting().action }
    }

    #[test]
    fn only_a_person_answers() {
        let agent = Peer::Agent { name: "ada".into() };
        let service = Peer::Service { name: "action-runtime".into() };
        for (by, expected) in [(agent, Refusal::Ai), (service, Refusal::NotAPerson)] {
            let grant = Change::Grant { by: by.clone() };
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
            let withdrawn = changed(&before, &Change::Withdraw, NOW).expect("it is not used");
            assert_eq!(withdrawn.state, ApprovalState::Expired);
            assert_eq!(changed(&withdrawn, &Change::Withdraw, NOW), Ok(withdrawn.clone()));
            assert!(matches!(
                after(&withdrawn, &Change::Grant { by: person() }, NOW),
                Err(Refusal::AlreadyAnswered { .. })
            ));
            let used = after(&withdrawn, &Change::Consume(the_use()), NOW);
            assert!(matches!(used, Err(Refusal::NotGranted { .. })), "{used:?}");
        }
        let used = changed(&granted(), &Change::Consume(the_use()), NOW).expect("granted");
        assert!(matches!(after(&used, &Change::Withdraw, NOW), Err(Refusal::AlreadyAnswered { .. })));
    }

    #[test]
    fn a_used_approval_answers_the_same_use_the_same_and_no_other() {
        let used = changed(&granted(), &Change::Consume(the_use()), NOW).expect("granted");
        let again = changed(&used, &Change::Consume(the_use()), NOW).expect("the same use");
        assert_eq!(used, again);
        let next_boot = Now { boot: "boot-2", ..NOW };
        assert!(matches!(after(&used, &Change::Consume(the_use()), next_boot), Err(Refusal::AlreadyConsumed { .. })));
        let other = Use { digest: Digest::of(b"other"), ..the_use() };
        assert!(after(&used, &Change::Consume(other), NOW).is_err());
    }

    #[test]
    fn no_transition_goes_backwards() {
        let no = Change::Reject { by: person(), reason: "no".into() };
        let yes = Change::Grant { by: person() };
        let rejected = changed(&waiting(), &no, NOW).expect("a person may");
        let used = changed(&granted(), &Change::Consume(the_use()), NOW).expect("granted");
        let expired = Approval { state: ApprovalState::Expired, ..waiting() };
        for ended in [&rejected, &used, &expired, &granted()] {
            assert!(matches!(after(ended, &yes, NOW), Err(Refusal::AlreadyAnswered { .. })), "{ended:?}");
            assert!(matches!(after(ended, &no, NOW), Err(Refusal::AlreadyAnswered { .. })), "{ended:?}");
        }
        for not_granted in [&waiting(), &rejected, &expired] {
            let refused = after(not_granted, &Change::Consume(the_use()), NOW);
            assert!(matches!(refused, Err(Refusal::NotGranted { .. })), "{not_granted:?}");
        }
    }

    #[test]
    fn waiting_survives_a_boot_and_a_grant_does_not() {
        let next_boot = Now { boot: "boot-2", ..NOW };
        let next_policy = Now { epoch: "2-b", ..NOW };
        assert!(!has_ended(&waiting(), next_boot));
        assert!(has_ended(&waiting(), next_policy));
        assert!(!has_ended(&granted(), NOW));
        assert!(has_ended(&granted(), next_boot));
        assert!(has_ended(&granted(), next_policy));
        let used = changed(&granted(), &Change::Consume(the_use()), NOW).expect("granted");
        assert!(!has_ended(&used, next_boot));
    }
}
