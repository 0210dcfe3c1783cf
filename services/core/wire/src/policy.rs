//! What the policy kernel says: decisions and the approvals it owns.

use std::fmt;

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
    /// Who has to say yes, when somebody has to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Wanted>,
    /// For how many milliseconds it is so, where the rules permit it in a part of the day only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes_ms: Option<u64>,
}

/// Who has to say yes before something may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// How many different people.
    pub persons: u8,
    /// Which people count.
    pub whom: Whom,
}

/// Which people's yes counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whom {
    /// Also the one who asks: for them it is a confirmation.
    Anybody,
    /// Only others than the one who asks.
    Others,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { persons: 1, whom: Whom::Anybody }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.persons, self.whom) {
            (1, Whom::Anybody) => f.write_str("a person"),
            (1, Whom::Others) => f.write_str("another person"),
            (count, Whom::Anybody) => write!(f, "{count} persons"),
            (count, Whom::Others) => write!(f, "{count} other persons"),
        }
    }
}

/// How long a request for approval is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// How long it waits for people, in milliseconds.
    pub waits_ms: u64,
    /// How long it can be used once it is granted.
    pub lasts_ms: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { waits_ms: 24 * 3_600_000, lasts_ms: 3_600_000 }
    }
}

/// A point in time that no set clock moves within its boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// The kernel's id of the boot.
    pub boot: String,
    /// Milliseconds since that boot, sleep included.
    pub up_ms: u64,
    /// Milliseconds since 1970 as the clock said; it counts only in a later boot.
    pub wall_ms: u64,
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
    /// What the file is that it is about, in words; when it is another one by then, the action does not begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Why, in the words of who asked: not trusted.
    pub reason: String,
    /// The type's fixed risk.
    pub risk: String,
    /// Whether a failed outcome can be undone.
    pub reversible: bool,
    /// What else a person has to know before saying yes, as the policy kernel found it.
    #[serde(default)]
    pub shows: Vec<String>,
    /// Who has to say yes.
    #[serde(default)]
    pub wanted: Wanted,
    /// Who said yes so far.
    #[serde(default)]
    pub yes: Vec<Peer>,
    /// When it was asked for.
    #[serde(default)]
    pub asked: Moment,
    /// How long it is good for.
    #[serde(default)]
    pub times: Times,
    /// When the part of the day is over in which the rules permit it, in milliseconds since the boot in which it was asked
    /// for. With that boot it is over too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes_up_ms: Option<u64>,
    /// What a person types to approve it, where the risk is high. It follows from the digest, so it is not kept: the
    /// policy kernel puts it in when it tells of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What a person signs to approve it from elsewhere, while it waits: the policy kernel puts it in like the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_sign: Option<String>,
    /// How often another code was typed.
    #[serde(default)]
    pub wrong_codes: u32,
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
        /// When, in milliseconds since the boot.
        #[serde(default)]
        at_ms: u64,
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
    /// It can no longer be used.
    Expired {
        /// What ended it.
        #[serde(default)]
        why: Ended,
    },
}

/// What ended a request for approval that nobody used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// Its action was cancelled.
    #[default]
    Withdrawn,
    /// Another policy is in force than the one that asked.
    Policy,
    /// It was granted in an earlier boot.
    Boot,
    /// Nobody said yes, or nobody used it, in time.
    Time,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Withdrawn => "its action was cancelled",
            Self::Policy => "another policy is in force than the one that asked",
            Self::Boot => "it was granted before the machine started again",
            Self::Time => "its time is over",
        })
    }
}

/// The policy that decides now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    /// The bundle's epoch, or `none` when no policy is loaded and everything is denied.
    pub epoch: String,
    /// The SHA-256 of the bundle.
    pub digest: Option<Digest>,
    /// The public key that signed the bundle, in hexadecimal; empty when no policy is loaded.
    pub signer: String,
    /// Where it comes from.
    pub origin: PolicyOrigin,
    /// What a person has to know of it; empty when all is well.
    pub note: String,
    /// The rules as they were written; why there is no policy when there is none.
    pub text: String,
}

/// Where a policy comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyOrigin {
    /// It is part of the image.
    Image,
    /// An operator loaded it.
    Loaded,
}

/// What a bundle would do if it were loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleReport {
    /// The SHA-256 of the file, which is what an action names it by.
    pub digest: Digest,
    /// Its epoch.
    pub epoch: String,
    /// The public key that signed it, in hexadecimal.
    pub signer: String,
    /// How many rules it has.
    pub rules: usize,
    /// How many test cases it has; each came out as it says.
    pub cases: usize,
    /// The epoch of the policy that it is compared with.
    pub instead_of: String,
    /// Why it could not be loaded now, if something is against it.
    pub refused: Option<String>,
    /// What changes for agents in their favour, a sentence each.
    pub widens_agents: Vec<String>,
    /// What else changes, a sentence each.
    pub changes: Vec<String>,
}

/// An emergency that a person declared and that lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideView {
    /// Who: it lifts denials for them alone.
    pub by: Peer,
    /// Why, in their words.
    pub reason: String,
    /// For how many more seconds.
    pub left_s: u64,
    /// How many decisions it has changed.
    pub uses: u32,
}

/// One test case of the policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseReport {
    /// Who asks for what.
    pub asks: String,
    /// What the answer must be.
    pub expected: String,
    /// What is against it, if it came out otherwise.
    pub wrong: Option<String>,
}

/// Who can log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct People {
    /// Who asks.
    pub you: Peer,
    /// Everybody who can log in.
    pub operators: Vec<OperatorView>,
}

/// An operator, without anything secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorView {
    /// The name.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// How often the pass phrase was changed.
    pub changes: u32,
    /// Whose signatures are answers of this person.
    #[serde(default)]
    pub keys: Vec<KeyView>,
}

/// A public key of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// Its SHA-256, as `ssh-keygen -l` writes it.
    pub fingerprint: String,
    /// The key as OpenSSH writes it: algorithm, key, and what its owner wrote beside it.
    pub line: String,
}
