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
        /// What shows that they have this request before them.
        looked: Looked,
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

/// What shows that a person who says yes has this very request before them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// They typed this, which has to be the code where the risk is high.
    Typed(String),
    /// They signed the text of this request, in which its whole digest stands. Whoever makes one of these has checked the
    /// signature.
    Signed,
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
        Change::Grant { by, looked } => grant(approval, by, looked, now),
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

fn grant(approval: &Approval, by: &Peer, looked: &Looked, now: Now<'_>) -> Result<Approval, Refusal> {
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
    must_have_looked(approval, looked)?;
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
fn must_have_looked(approval: &Approval, looked: &Looked) -> Result<(), Refusal> {
    let Looked::Typed(typed) = looked else { return Ok(()) };
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
    // The clock was asked once, when the window was open; how long it stays open is measured without it.
    let window_is_over = |closes: u64| asked.boot != now.boot || now.up_ms >= closes;
    match &approval.state {
        ApprovalState::Waiting | ApprovalState::Granted { .. } if approval.closes_up_ms.is_some_and(window_is_over) => {
            true
        }
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
pub(crate) mod tests;
