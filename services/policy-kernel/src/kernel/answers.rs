//! What people say to requests for approval, and what becomes of those who may not say anything.

use std::time::Duration;

use aios_identity::{Peer, SessionStrength};
use aios_ids::{ActionId, ApprovalId};
use aios_policy::approval::{self, Change, Looked, Refusal};
use aios_policy::keys;
use aios_wire::policy::{Approval, ApprovalState};
use serde_json::{Value, json};

use super::{Kernel, KernelError, Result};
use crate::approvals::ApprovalsError;

/// What an agent's attempt to approve costs it, and a person a wrong code: a flood of attempts must not fill the log.
pub(super) const AFTER_AN_ATTEMPT: Duration = Duration::from_secs(1);

/// The longest reason of a rejection.
const REASON_LIMIT: usize = 1024;

impl Kernel {
    /// Every approval that is kept, with the code of each that wants one and the text of each that can be signed.
    pub(crate) fn approvals(&self) -> Result<Vec<Approval>> {
        let told = |approval: Approval| {
            let waits = approval.state == ApprovalState::Waiting;
            let to_sign = waits.then(|| keys::text_to_sign(&approval, &self.boot));
            Approval { code: aios_policy::code_of(&approval), to_sign, ..approval }
        };
        Ok(self.approvals.all()?.into_iter().map(told).collect())
    }

    /// Stops an agent that tries to answer for a person, whatever the table of peers says, and records the attempt.
    pub(crate) async fn refuse_agents(&self, peer: &Peer, verb: &str, id: &str) -> Result<()> {
        let Err(refusal @ Refusal::Ai) = approval::may_answer(peer) else { return Ok(()) };
        // The id is the agent's word; only one that has the form of an id goes into the record.
        let id = id.parse::<ApprovalId>().ok();
        let action = id.as_ref().and_then(|id| self.approvals.get(id).ok()).map(|approval| approval.action);
        let _one_at_a_time = self.attempts.lock().await;
        let payload = json!({
            "verdict": "denied",
            "reason": "AiSelfApprovalBlocked",
            "rules": ["hd.ai_self_approval"],
            "subject": peer,
            "verb": verb,
            "approval": id,
        });
        self.evidence.append("decision", action.as_ref().map_or("", ActionId::as_str), &payload).await?;
        tokio::time::sleep(AFTER_AN_ATTEMPT).await;
        Err(KernelError::Blocked(refusal))
    }

    /// Records that somebody tried what only people do; one attempt a second is answered.
    pub(super) async fn attempted(&self, peer: &Peer, verb: &str, reason: &str, rule: &str) -> Result<()> {
        let _one_at_a_time = self.attempts.lock().await;
        let payload = json!({"verdict": "denied", "reason": reason, "rules": [rule], "subject": peer, "verb": verb});
        self.evidence.append("decision", "", &payload).await?;
        tokio::time::sleep(AFTER_AN_ATTEMPT).await;
        Ok(())
    }

    /// A person says yes; with a session that began with a pass phrase, the person proves it again.
    pub(crate) async fn approve(&self, id: &str, by: &Peer, code: &str, pass_phrase: &str) -> Result<()> {
        let id = id.parse()?;
        let change = Change::Grant { by: by.clone(), looked: Looked::Typed(code.to_owned()) };
        self.settle().await;
        // A request that cannot be granted should not cost the person a pass phrase.
        match self.approvals.preview(&id, &change, self.at(&self.policy.now())) {
            Err(ApprovalsError::Refused(refusal @ Refusal::WrongCode { .. })) => {
                self.count_a_miss(&id, by).await?;
                return Err(KernelError::Blocked(refusal));
            }
            other => drop(other?),
        }
        self.confirm(by, pass_phrase, "approval").await?;
        self.answer("approval-granted", &id, &change, by).await
    }

    /// A code that is not the request's is recorded and counted, and no second one is taken for a moment.
    async fn count_a_miss(&self, id: &ApprovalId, by: &Peer) -> Result<()> {
        let _one_at_a_time = self.attempts.lock().await;
        {
            let _turn = self.turn.write().await;
            let approval = self.approvals.get(id)?;
            let payload = json!({
                "verdict": "denied",
                "reason": "WrongCode",
                "rules": [],
                "subject": by,
                "verb": "approve",
                "approval": id,
                "digest": approval.digest,
                "epoch": approval.epoch,
            });
            self.evidence.append("decision", approval.action.as_str(), &payload).await?;
            self.approvals.change(id, &Change::Miss, self.at(&self.policy.now()))?;
        }
        self.tell_change();
        tokio::time::sleep(AFTER_AN_ATTEMPT).await;
        Ok(())
    }

    /// A person says no.
    pub(crate) async fn reject(&self, id: &str, by: &Peer, reason: &str) -> Result<()> {
        if reason.len() > REASON_LIMIT || reason.contains(char::is_control) {
            let why = format!("it must be at most {REASON_LIMIT} bytes without control characters");
            return Err(KernelError::Input { what: "the reason", why });
        }
        let change = Change::Reject { by: by.clone(), reason: reason.to_owned() };
        self.answer("approval-rejected", &id.parse()?, &change, by).await
    }

    /// The action was cancelled. The runtime records that with who did it, so there is no record of its own here.
    pub(crate) async fn withdraw(&self, id: &str) -> Result<()> {
        let _turn = self.turn.write().await;
        self.approvals.change(&id.parse()?, &Change::Withdraw, self.at(&self.policy.now()))?;
        self.tell_change();
        Ok(())
    }

    /// A session that began with a pass phrase proves it again.
    pub(super) async fn confirm(&self, by: &Peer, pass_phrase: &str, purpose: &str) -> Result<()> {
        let name = match by {
            // Being at the machine is all that such a session proved, and it still is.
            Peer::Operator { strength: SessionStrength::Presence, .. } => return Ok(()),
            Peer::Operator { name, strength: SessionStrength::PassPhrase | SessionStrength::Signature } => name,
            Peer::Agent { .. } | Peer::Service { .. } => return Ok(()),
        };
        let result = self.login.check(name, pass_phrase).await;
        if let Err(error) = &result {
            let payload = json!({"operator": name, "for": purpose, "result": "refused", "text": error.to_string()});
            self.evidence.append("login", "", &payload).await?;
        }
        result.map_err(KernelError::Login)
    }

    async fn answer(&self, kind: &'static str, id: &ApprovalId, change: &Change, by: &Peer) -> Result<()> {
        let _turn = self.turn.write().await;
        self.answer_now(kind, id, change, by, Value::Null).await
    }

    /// Recorded, then made, by who holds the turn. `beside` are fields of the record that say how the answer came.
    pub(super) async fn answer_now(
        &self,
        kind: &'static str,
        id: &ApprovalId,
        change: &Change,
        by: &Peer,
        beside: Value,
    ) -> Result<()> {
        let policy = self.policy.now();
        let (approval, _) = self.approvals.preview(id, change, self.at(&policy))?;
        let mut payload = json!({
            "approval": id,
            "digest": approval.digest,
            "epoch": approval.epoch,
            "subject": approval.subject,
            "by": by,
            // An operator's own action is confirmed; separation of duty is for what others ask for.
            "confirmation": approval.subject.to_string() == by.to_string(),
            "state": approval.state,
        });
        if let (Value::Object(payload), Value::Object(beside)) = (&mut payload, beside) {
            payload.extend(beside);
        }
        self.evidence.append(kind, approval.action.as_str(), &payload).await?;
        self.approvals.change(id, change, self.at(&policy))?;
        self.tell_change();
        Ok(())
    }
}
