//! The policy kernel's work: each step is checked, recorded, then made. A crash between the record and the step leaves
//! a record of something that did not happen, never something that happened without a record.

mod answers;
mod apps;
mod bundles;
mod emergency;
mod people;
mod signed;

use std::time::{Duration, SystemTime};

use aios_action::canonical::{self, StrictError};
use aios_action::{Envelope, Reversal, Target};
use aios_identity::Peer;
use aios_ids::{ActionId, ApprovalId, Digest, IdError};
use aios_policy::approval::{self, Change, Now, Refusal, Use};
use aios_policy::keys::{self, KeyError, NoFingerprint, SignatureError};
use aios_policy::{Circumstances, NotNewer, OverrideRefusal, Plan, TimeOfDay};
use aios_wire::policy::{Approval, ApprovalState, Decision, PolicyView, Verdict};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Mutex, RwLock, watch};

use crate::approvals::{Approvals, ApprovalsError, Occurrence};
use crate::evidence::{Evidence, EvidenceError};
use crate::login::{Login, LoginError};
use crate::offers::Offers;
use crate::plans::Plans;
use crate::policy::{InForce, KeepError, Policy};

/// How often approvals are looked at whose time may be over.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// What time it is: milliseconds since the boot, sleep included, and since 1970 by the clock.
pub(crate) type Clock = Box<dyn Fn() -> (u64, u64) + Send + Sync>;

/// Everything that answers callers.
pub(crate) struct Kernel {
    policy: InForce,
    offers: Offers,
    plans: Plans,
    emergency: emergency::Kept,
    clock: Clock,
    approvals: Approvals,
    evidence: Evidence,
    login: Login,
    boot: String,
    /// Checking, recording and changing an approval or the policy is one step for everybody else. Decisions that change
    /// nothing share a turn: no change comes between one of them and its record.
    turn: RwLock<()>,
    attempts: Mutex<()>,
    changes: watch::Sender<u64>,
}

/// What is on record of a decision.
#[derive(Serialize)]
struct Decided<'a> {
    #[serde(rename = "type")]
    action_type: &'a str,
    decision: &'a Decision,
}

/// Why somebody wants to know what would be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asking {
    /// Would it be decided so now?
    Now,
    /// The runtime plans: who asks is shown what would become of it.
    Planning,
    /// Would what was decided before be decided so again?
    Again,
}

/// A caller's request could not be done. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KernelError {
    #[error("the envelope cannot be read")]
    Envelope(#[from] StrictError),
    #[error("the envelope does not have the form of an action")]
    Form(#[source] serde_json::Error),
    #[error("{what} cannot be used: {why}")]
    Input { what: &'static str, why: String },
    #[error(transparent)]
    Blocked(Refusal),
    #[error(transparent)]
    Approvals(#[from] ApprovalsError),
    #[error(
        "EvidenceUnavailable: nothing is done that cannot be recorded; 'aios service show evidence-log' tells more"
    )]
    Evidence(#[from] EvidenceError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Fingerprint(#[from] NoFingerprint),
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error("SignerUnknown: nobody who can log in has the key {0}; 'aios user key list NAME' shows whose are whose")]
    Signer(keys::Fingerprint),
    #[error("no session")]
    Login(#[source] LoginError),
    #[error(transparent)]
    People(#[from] LoginError),
    #[error("BundleUnusable: the bundle cannot be loaded: {0}")]
    Bundle(String),
    #[error(transparent)]
    NotNewer(#[from] NotNewer),
    #[error(transparent)]
    Keep(#[from] KeepError),
    #[error("NotOffered: {0}")]
    NotOffered(String),
    #[error("NotApproved: {0} was not approved by a person just now, under this policy and in this boot")]
    NotApproved(ActionId),
    #[error(transparent)]
    Override(OverrideRefusal),
    #[error("NotTried: {0}; nobody is asked about a program that was not tried")]
    NotTried(&'static str),
    #[error("the session cannot be started")]
    Session(#[from] aios_daemon::init::AskError),
    #[error("the kernel gave no random numbers")]
    Random(#[from] getrandom::Error),
}

impl From<IdError> for KernelError {
    fn from(error: IdError) -> Self {
        Self::Input { what: "the request", why: error.to_string() }
    }
}

type Result<T> = std::result::Result<T, KernelError>;

impl Kernel {
    pub(crate) fn new(
        policy: InForce,
        approvals: Approvals,
        evidence: Evidence,
        login: Login,
        boot: String,
        clock: Clock,
    ) -> Self {
        Self {
            policy,
            offers: Offers::default(),
            plans: Plans::default(),
            emergency: emergency::Kept::default(),
            clock,
            approvals,
            evidence,
            login,
            boot,
            turn: RwLock::new(()),
            attempts: Mutex::new(()),
            changes: watch::Sender::new(0),
        }
    }

    /// The policy for people.
    pub(crate) fn policy(&self) -> PolicyView {
        self.policy.now().view()
    }

    /// The decision without a record; it can have no approval. Who only wants to know may leave the subject empty: it is
    /// the one that the kernel attests.
    pub(crate) async fn explain(&self, envelope: &str, subject: &Peer, asking: Asking) -> Result<Decision> {
        let mut envelope = read_envelope(envelope)?;
        if envelope.subject.is_empty() {
            envelope.subject = subject.to_string();
        }
        let (up_ms, _) = (self.clock)();
        let seen = match asking {
            Asking::Now => self.planned(&envelope, subject),
            Asking::Planning => {
                self.plans.add(subject.to_string(), aios_policy::planned(&envelope, subject), up_ms);
                Plan::Seen
            }
            Asking::Again => Plan::Seen,
        };
        Ok(said(&self.policy.now(), &envelope, subject, &self.circumstances(subject, seen).await))
    }

    /// What a decision depends on besides the rules.
    async fn circumstances(&self, subject: &Peer, plan: Plan) -> Circumstances {
        let (_, wall_ms) = (self.clock)();
        Circumstances { time: TimeOfDay::of_clock(wall_ms), plan, emergency: self.emergency_of(subject).await }
    }

    /// The decision, recorded before it is told. What cannot be recorded is denied.
    pub(crate) async fn decide(&self, envelope: &str, subject: Peer) -> Result<Decision> {
        let envelope = read_envelope(envelope)?;
        self.settle().await;
        {
            let _turn = self.turn.read().await;
            let decision = self.said_now(&envelope, &subject).await;
            if !matches!(decision.verdict, Verdict::NeedsApproval { .. }) {
                return self.recorded(decision, &envelope, None).await;
            }
        }
        // A request for approval may be made: that is a change, and what was said without this turn may have changed.
        let _turn = self.turn.write().await;
        let decision = self.said_now(&envelope, &subject).await;
        let (decision, new) = match decision.verdict {
            Verdict::NeedsApproval { .. } => match self.what_to_show(&envelope, &subject) {
                Ok(shows) => self.with_approval(decision, &envelope, &self.policy.now(), shows)?,
                Err(error) => {
                    let text = aios_daemon::error_chain(&error);
                    let code = text.split_once(": ").map_or("NotPossible", |(code, _)| code).to_owned();
                    (denied(decision, &code, text), None)
                }
            },
            Verdict::Allowed | Verdict::Denied => (decision, None),
        };
        self.recorded(decision, &envelope, new).await
    }

    /// What the policy in force says at this moment.
    async fn said_now(&self, envelope: &Envelope, subject: &Peer) -> Decision {
        let circumstances = self.circumstances(subject, self.planned(envelope, subject)).await;
        said(&self.policy.now(), envelope, subject, &circumstances)
    }

    /// Whether who asks was shown a short while ago what would become of this.
    fn planned(&self, envelope: &Envelope, subject: &Peer) -> Plan {
        self.plans.of(&subject.to_string(), (self.clock)().0, || aios_policy::planned(envelope, subject))
    }

    /// The decision with its place in the log, and the request for approval that came with it kept.
    async fn recorded(&self, decision: Decision, envelope: &Envelope, new: Option<Approval>) -> Result<Decision> {
        match self.record(&decision, envelope, new.as_ref()).await {
            Ok(index) => {
                if let Some(approval) = new {
                    self.approvals.add(&approval)?;
                    self.tell_change();
                }
                Ok(Decision { evidence: Some(index), ..decision })
            }
            Err(error) => {
                let text = aios_daemon::error_chain(&KernelError::Evidence(error));
                eprintln!("{} was denied: {text}", envelope.id);
                Ok(denied(decision, "EvidenceUnavailable", text))
            }
        }
    }

    /// What a person has to know before saying yes to a change of who decides, or why it cannot be done at all.
    fn what_to_show(&self, envelope: &Envelope, subject: &Peer) -> Result<Vec<String>> {
        let parameter = |name: &str| {
            let value = envelope.request.parameters.get(name).and_then(|value| value.as_str());
            value.unwrap_or_default().to_owned()
        };
        match envelope.request.action_type.as_str() {
            "policy.load" => self.what_a_load_changes(&parameter("digest")),
            "user.add" | "user.passphrase" => {
                self.what_a_person_gets(&envelope.request.action_type, &parameter("name"), subject)
            }
            "user.key.add" => self.what_a_key_gives(&parameter("name"), &parameter("key")),
            "user.key.remove" => self.what_a_key_leaves(&parameter("name"), &parameter("fingerprint")),
            "app.install" | "app.install.request" => apps::what_a_trial_said(envelope, &parameter("manifest")),
            _ => Ok(Vec::new()),
        }
    }

    /// Finds the request for approval that this action has, or makes one.
    fn with_approval(
        &self,
        decision: Decision,
        envelope: &Envelope,
        policy: &Policy,
        shows: Vec<String>,
    ) -> Result<(Decision, Option<Approval>)> {
        let asks = |id: &ApprovalId, decision: Decision| Decision {
            verdict: Verdict::NeedsApproval { approval: Some(id.clone()) },
            ..decision
        };
        match self.approvals.of_action(&envelope.id)? {
            Some(known) if known.digest != decision.digest => {
                let text = format!("{} was asked with another envelope before; submit it as a new action", envelope.id);
                Ok((denied(decision, "ActionRevised", text), None))
            }
            Some(Approval { state: ApprovalState::Rejected { by, reason }, .. }) => {
                let text = format!("{by} said no: '{}'", reason.escape_default());
                Ok((denied(decision, "RejectedByPerson", text), None))
            }
            Some(known) if approval::ended(&known, self.at(policy)).is_none() && !has_expired(&known) => {
                Ok((asks(&known.id, decision), None))
            }
            Some(_) | None => {
                let new = self.new_approval(&decision, envelope, policy, shows)?;
                match self.approvals.has_room(&new) {
                    Ok(()) => Ok((asks(&new.id, decision), Some(new))),
                    Err(error @ ApprovalsError::TooMany(_)) => {
                        Ok((denied(decision, "TooManyWaiting", error.to_string()), None))
                    }
                    Err(error @ ApprovalsError::TooOften(_)) => {
                        Ok((denied(decision, "TooManyAsked", error.to_string()), None))
                    }
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    fn new_approval(
        &self,
        decision: &Decision,
        envelope: &Envelope,
        policy: &Policy,
        shows: Vec<String>,
    ) -> Result<Approval> {
        let entry = aios_action::find(&envelope.request.action_type);
        let asked = self.at(policy).moment();
        Ok(Approval {
            id: new_approval_id()?,
            action: envelope.id.clone(),
            digest: decision.digest,
            epoch: decision.epoch.clone(),
            subject: decision.subject.clone(),
            action_type: envelope.request.action_type.clone(),
            parameters: canonical::write(&envelope.request.parameters.clone().into()),
            target: envelope.target.map(Target::text),
            reason: envelope.request.reason.clone(),
            risk: entry.map_or("high", |entry| entry.risk().word()).to_owned(),
            reversible: entry.is_some_and(|entry| entry.reversal == Reversal::RestoresBefore),
            shows,
            wanted: decision.wanted.unwrap_or_default(),
            yes: Vec::new(),
            closes_up_ms: decision.closes_ms.map(|left| asked.up_ms.saturating_add(left)),
            asked,
            times: policy.bundle().map(aios_policy::Bundle::times).unwrap_or_default(),
            code: None,
            to_sign: None,
            wrong_codes: 0,
            state: ApprovalState::Waiting,
        })
    }

    async fn record(
        &self,
        decision: &Decision,
        envelope: &Envelope,
        new: Option<&Approval>,
    ) -> std::result::Result<u64, EvidenceError> {
        let payload = Decided { action_type: &envelope.request.action_type, decision };
        let index = self.evidence.append("decision", envelope.id.as_str(), &payload).await?;
        self.record_use(decision, &envelope.request.action_type, envelope.id.as_str()).await?;
        if let Some(approval) = new {
            let payload = json!({
                "approval": approval.id,
                "digest": approval.digest,
                "epoch": approval.epoch,
                "subject": approval.subject,
                "type": approval.action_type,
                "risk": approval.risk,
            });
            self.evidence.append("approval-requested", envelope.id.as_str(), &payload).await?;
        }
        Ok(index)
    }

    /// Waits until a person has answered or the approval has ended.
    pub(crate) async fn await_approval(&self, id: &str) -> Result<Approval> {
        let id = id.parse()?;
        let mut changes = self.changes.subscribe();
        loop {
            let approval = self.approvals.get(&id)?;
            // The sender lives as long as this, so waiting for it cannot fail; if it did, the answer is as it stands.
            if approval.state != ApprovalState::Waiting || changes.changed().await.is_err() {
                return Ok(approval);
            }
        }
    }

    /// Uses a granted approval for the one action that it was given for.
    pub(crate) async fn consume(&self, id: &str, digest: &str, epoch: &str, action: &str) -> Result<Digest> {
        let id: ApprovalId = id.parse()?;
        let wanted = Use { digest: digest.parse()?, epoch: epoch.to_owned(), action: action.parse()? };
        let change = Change::Consume(wanted);
        self.settle().await;
        let _turn = self.turn.write().await;
        let policy = self.policy.now();
        let (mut approval, occurrence) = self.approvals.preview(&id, &change, self.at(&policy))?;
        if occurrence == Occurrence::First {
            let payload = json!({
                "approval": id,
                "digest": approval.digest,
                "epoch": approval.epoch,
                "state": approval.state,
            });
            self.evidence.append("approval-consumed", approval.action.as_str(), &payload).await?;
            (approval, _) = self.approvals.change(&id, &change, self.at(&policy))?;
            self.tell_change();
        }
        match approval.state {
            ApprovalState::Consumed { token } => Ok(token),
            _ => Err(KernelError::Input { what: "the approval", why: "it was not consumed".into() }),
        }
    }

    /// Ends approvals whose time is over, for as long as the program runs.
    pub(crate) async fn watch_the_time(&self) {
        loop {
            self.settle().await;
            // A log that is starting is asked again soon.
            let pause = if self.policy.is_settled() { LOOK_AGAIN } else { Duration::from_secs(1) };
            tokio::time::sleep(pause).await;
            if let Err(error) = self.end_override_in_time().await {
                eprintln!("the end of an emergency is not recorded yet: {}", aios_daemon::error_chain(&error));
            }
            if let Err(error) = self.end_what_is_over().await {
                eprintln!("approvals cannot be looked through: {}", aios_daemon::error_chain(&error));
            }
        }
    }

    pub(crate) async fn end_what_is_over(&self) -> Result<()> {
        let _turn = self.turn.write().await;
        // Before it is known which policy decides, every epoch looks like another one.
        if self.policy.is_settled() {
            self.sweep(&self.policy.now())?;
        }
        Ok(())
    }

    /// Who holds the turn calls this.
    fn sweep(&self, policy: &Policy) -> Result<()> {
        if self.approvals.sweep(self.at(policy))? == Occurrence::First {
            self.tell_change();
        }
        Ok(())
    }

    /// This moment under a policy.
    fn at<'a>(&'a self, policy: &'a Policy) -> Now<'a> {
        let (up_ms, wall_ms) = (self.clock)();
        Now { boot: &self.boot, epoch: policy.epoch(), up_ms, wall_ms }
    }

    fn tell_change(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

/// The form is read strictly; whether the catalogue knows the action is part of the decision.
fn read_envelope(text: &str) -> Result<Envelope> {
    serde_json::from_value(canonical::parse(text)?).map_err(KernelError::Form)
}

/// What the policy in force says.
fn said(policy: &Policy, envelope: &Envelope, subject: &Peer, circumstances: &Circumstances) -> Decision {
    let decision = aios_policy::decide_in(policy.bundle(), envelope, subject, circumstances);
    match policy {
        Policy::Behind { missing, .. } => aios_policy::narrowed(decision, missing),
        Policy::Loaded(..) | Policy::None(_) => decision,
    }
}

fn has_expired(approval: &Approval) -> bool {
    matches!(approval.state, ApprovalState::Expired { .. })
}

fn denied(decision: Decision, reason: &str, text: String) -> Decision {
    Decision { verdict: Verdict::Denied, reason: reason.to_owned(), text, wanted: None, closes_ms: None, ..decision }
}

fn new_approval_id() -> Result<ApprovalId> {
    let mut random = [0; 10];
    getrandom::fill(&mut random)?;
    // A clock before 1970 only makes the id sort first.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(ApprovalId::new(u64::try_from(now.as_millis()).unwrap_or(0), random))
}

#[cfg(test)]
mod tests;
