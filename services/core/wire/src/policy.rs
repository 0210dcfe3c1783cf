//! What the policy kernel says: decisions and the approvals it owns.

use aios_identity::Peer;
use aios_ids::{ActionId, ApprovalId, Digest};
use serde::{Deserialize, Serialize};

/// The answer to "may this be done?". It says nothing about what happened afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Yes, no, or when a person says so.
    pub verdict: Verdict,
    /// A stable code, such as `PermittedByRule` or `NoMatchingPermit`.
    pub reason: String,
    /// The reason in a sentence for people, with what to try.
    pub text: String,
    /// The ids of the rules that made the decision.
    pub rules: Vec<String>,
    /// The epoch of the bundle that was asked, or `none`.
    pub epoch: String,
    /// The envelope that was decided on.
    pub digest: Digest,
    /// Who asked, as the kernel attests.
    pub subject: Peer,
    /// The decision's place in the evidence log.
    pub evidence: Option<u64>,
}

/// The three answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
#[must_use]
pub enum Verdict {
    /// May run now.
    Allowed,
    /// May run once a person has approved it.
    NeedsApproval {
        /// The request that a person can approve; absent when the decision was only explained.
        approval: Option<ApprovalId>,
    },
    /// May not run.
    Denied,
}

/// One request for a person's approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// The action that waits.
    pub action: ActionId,
    /// The only envelope this approval is good for.
    pub digest: Digest,
    /// The policy that wants a person to say; under another one the request is void.
    pub epoch: String,
    /// Who asked for the action.
    pub subject: Peer,
    /// The action's type.
    pub action_type: String,
    /// Its parameters as canonical JSON.
    pub parameters: String,
    /// Why, in the words of who asked: not trusted.
    pub reason: String,
    /// The type's fixed risk.
    pub risk: String,
    /// Whether a failed outcome can be undone.
    pub reversible: bool,
    /// Where it stands.
    pub state: ApprovalState,
}

/// Where a request for approval stands. No transition goes backwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum ApprovalState {
    /// A person has to say.
    Waiting,
    /// A person said yes; good until consumed, and only in this boot.
    Granted {
        /// Who.
        by: Peer,
        /// The boot it is good in.
        boot: String,
        /// The policy epoch it is good in.
        epoch: String,
    },
    /// A person said no.
    Rejected {
        /// Who.
        by: Peer,
        /// Their words.
        reason: String,
    },
    /// The action started with it; never again.
    Consumed {
        /// What the runtime's `started` record carries.
        token: Digest,
    },
    /// It can no longer be used: its boot or its policy is gone, or its action was cancelled.
    Expired,
}

/// The policy that decides now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    /// The bundle's epoch, or `none` when no policy is loaded and everything is denied.
    pub epoch: String,
    /// The public key that signed the bundle, in hexadecimal; empty when no policy is loaded.
    pub signer: String,
    /// The rules as they were written; why there is no policy when there is none.
    pub text: String,
}
