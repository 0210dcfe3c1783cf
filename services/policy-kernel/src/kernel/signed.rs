//! Answers that a person signed elsewhere with a key of theirs: who signed is who answers, whoever brings the text.

use aios_identity::{Peer, SessionStrength};
use aios_ids::ApprovalId;
use aios_policy::approval::{self, Change, Looked};
use aios_policy::keys::{Fingerprint, Signature, text_to_sign};
use aios_wire::policy::Approval;
use serde_json::json;

use super::answers::AFTER_AN_ATTEMPT;
use super::{Kernel, KernelError, Result};

impl Kernel {
    /// A person said yes by a signature, which `carrier`, a person's session too, brings.
    ///
    /// The key is looked up, the signature checked and the answer made in one turn: no key is removed in between. A signature
    /// that can be read and does not count is recorded, and the next one waits a second.
    pub(crate) async fn approve_signed(&self, id: &str, carrier: &Peer, signature: &str) -> Result<()> {
        approval::may_answer(carrier).map_err(KernelError::Blocked)?;
        let (id, signature): (ApprovalId, Signature) = (id.parse()?, signature.parse()?);
        self.settle().await;
        let _one_at_a_time = self.attempts.lock().await;
        let refused = {
            let _turn = self.turn.write().await;
            let approval = self.approvals.get(&id)?;
            match self.who_signed(&approval, &signature) {
                Ok(by) => {
                    let change = Change::Grant { by: by.clone(), looked: Looked::Signed };
                    let beside = json!({"key": signature.fingerprint().to_string(), "carrier": carrier});
                    return self.answer_now("approval-granted", &id, &change, &by, beside).await;
                }
                Err(refused) => {
                    self.record_unsigned(&approval, carrier, signature.fingerprint(), &refused).await?;
                    refused
                }
            }
        };
        tokio::time::sleep(AFTER_AN_ATTEMPT).await;
        Err(refused)
    }

    /// The operator whose key signed yes to this request, in this boot.
    fn who_signed(&self, approval: &Approval, signature: &Signature) -> Result<Peer> {
        let people = self.login.people()?;
        let owner = people.owner_of(signature.fingerprint());
        let (person, key) = owner.ok_or(KernelError::Signer(signature.fingerprint()))?;
        key.has_signed(&text_to_sign(approval, &self.boot), signature)?;
        Ok(Peer::Operator { name: person.name.to_string(), strength: SessionStrength::Signature })
    }

    async fn record_unsigned(
        &self,
        approval: &Approval,
        carrier: &Peer,
        key: Fingerprint,
        refused: &KernelError,
    ) -> Result<()> {
        let text = refused.to_string();
        let payload = json!({
            "verdict": "denied",
            "reason": text.split_once(':').map_or("SignatureRefused", |(code, _)| code),
            "rules": [],
            "subject": carrier,
            "verb": "approve-signed",
            "approval": approval.id,
            "digest": approval.digest,
            "epoch": approval.epoch,
            "key": key.to_string(),
        });
        self.evidence.append("decision", approval.action.as_str(), &payload).await?;
        Ok(())
    }
}
