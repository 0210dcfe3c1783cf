//! From a request to a decided action, and what goes on in the background afterwards.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use action_runtime::journal::{Charge, Entry, Journal, JournalError, Left};
use action_runtime::launch::Users;
use action_runtime::target;
use action_runtime::task::Undo;
use aios_action::allowance::{Ledger, Use, UsedUp};
use aios_action::{ActionType, ActionView, Envelope, EnvelopeError, Event, Receipt, Request, State, Target, find};
use aios_daemon::error_chain;
use aios_identity::Peer;
use aios_ids::{ActionId, ApprovalId};
use aios_wire::launch::Tier;
use aios_wire::policy::{ApprovalState, Verdict};
use tokio::sync::watch;

use crate::containment::{Containment, Tiers};
use crate::trial::{self, TrialError};
use crate::turns::{Lane, Turn, Turns};
use crate::{app, peers, perform, resource, roll_back};

/// So many actions of one subject may be unfinished: a flood of requests must not hide one from the person who approves.
const UNFINISHED: usize = 32;

/// A list shows so many; older ones are found by their id and in the evidence log.
const LISTED: usize = 256;

/// How long to wait before a lost policy kernel is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// So many refusals of a policy kernel that answers are taken for its last word.
const REFUSALS: u32 = 5;

/// The request was not taken; nothing happened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubmitError {
    #[error("the request was not taken")]
    Request(#[from] EnvelopeError),
    #[error("the idempotency key belongs to {0}, which asked for something else; use another key")]
    KeyTaken(ActionId),
    #[error("{subject} has {UNFINISHED} unfinished actions; wait for some to end or cancel them")]
    TooMany { subject: String },
    #[error(transparent)]
    UsedUp(#[from] UsedUp),
    #[error("no action is taken: {0}")]
    NotContained(String),
    #[error("the request cannot be kept")]
    Journal(#[from] JournalError),
    #[error("the program was not tried")]
    Trial(#[from] TrialError),
    #[error("nobody can say what would be decided")]
    NotDecided(#[source] peers::PeerError),
    #[error("no random number for an action id")]
    Random(#[from] getrandom::Error),
}

/// What the daemon holds.
pub(crate) struct Runtime {
    pub(crate) journal: Journal,
    pub(crate) boot: String,
    pub(crate) users: Users,
    pub(crate) tiers: watch::Sender<Tiers>,
    /// What each subject used in the last hour. The journal has the same for the next runtime.
    ledger: std::sync::Mutex<Ledger>,
    /// Counts changes, so that watchers look again.
    changes: watch::Sender<u64>,
    turns: Turns,
}

impl Runtime {
    pub(crate) fn new(journal: Journal, boot: String) -> Result<Self, JournalError> {
        let ledger = std::sync::Mutex::new(journal.ledger()?);
        Ok(Self {
            journal,
            boot,
            users: Users::default(),
            tiers: watch::Sender::default(),
            ledger,
            changes: watch::Sender::new(0),
            turns: Turns::default(),
        })
    }

    /// Takes a request of `peer`, whose process is behind `subject`, and has it decided.
    pub(crate) async fn submit(
        self: &Arc<Self>,
        peer: &Peer,
        subject: BorrowedFd<'_>,
        request: &str,
    ) -> Result<ActionView, SubmitError> {
        let (request, action_type) = match Request::parse(request) {
            Ok(request) => request,
            Err(wrong) => {
                if let Ok(request) = Request::read(request)
                    && peer.is_ai()
                {
                    self.ledger().take(&peer.to_string(), minute_now())?;
                    self.record_attempt(peer, subject, request).await;
                }
                return Err(wrong.into());
            }
        };
        self.require_containment(resource::tier(action_type)).await.map_err(SubmitError::NotContained)?;
        let subject_text = peer.to_string();
        let unfinished = self.journal.unfinished()?;
        if unfinished.iter().filter(|entry| entry.view.subject == subject_text).count() >= UNFINISHED {
            return Err(SubmitError::TooMany { subject: subject_text });
        }
        let minute = minute_now();
        self.ledger().take(&subject_text, minute)?;
        if let Some(key) = request.idempotency_key.as_deref().filter(|_| action_type.is_tried())
            && let Some(known) = self.journal.known(&subject_text, key)?
        {
            // Nothing is tried again because somebody asks how it stands.
            let same = known.view.request == request;
            return if same { Ok(known.view) } else { Err(SubmitError::KeyTaken(known.view.id)) };
        }
        let target = target_of(&request).await;
        let mut envelope = Envelope::new(new_id()?, subject_text, request).of_target(target);
        if action_type.is_tried() && self.may_be_tried(&envelope, subject).await? {
            match trial::run(self, peer, &envelope.id, &envelope.request).await {
                Ok(trial) => envelope = envelope.after_trial(Some(trial)),
                Err(untried) => {
                    if peer.is_ai() {
                        self.record_attempt(peer, subject, envelope.request).await;
                    }
                    return Err(untried.into());
                }
            }
        }
        let entry = self.entry(&envelope);
        if let Some(known) = self.journal.insert(&entry, minute)? {
            // The same request again is the same action; another request under the same key is a mistake.
            let same = known.view.request == envelope.request;
            return if same { Ok(known.view) } else { Err(SubmitError::KeyTaken(known.view.id)) };
        }
        let entry = self.decide(&envelope, peer, subject).await?;
        match &entry.view.state {
            State::Waiting { approval } => {
                tokio::spawn(wait_for_person(Arc::clone(self), entry.view.id.clone(), approval.clone()));
            }
            State::Allowed { .. } => {
                tokio::spawn(perform::perform(Arc::clone(self), entry.clone()));
            }
            // A denial that the policy kernel did not record is recorded here, once somebody can.
            State::Denied { .. } if entry.view.evidence.is_empty() => {
                let (runtime, entry) = (Arc::clone(self), entry.clone());
                tokio::spawn(async move { perform::record_result(&runtime, &entry, serde_json::json!({})).await });
            }
            _ => {}
        }
        Ok(entry.view)
    }

    /// What an agent asks for that is no action, or cannot be tried, is decided and so denied like any other request: the
    /// attempt is on record. The hour's account bounds how many there are.
    async fn record_attempt(&self, peer: &Peer, subject: BorrowedFd<'_>, request: Request) {
        let Ok(id) = new_id() else { return };
        let envelope = Envelope::new(id, peer.to_string(), request.with_plain_type());
        if let Err(error) = peers::decide(&envelope.canonical(), subject).await {
            eprintln!("an attempt of {peer} is not on record: {}", error_chain(&error));
        }
    }

    /// Whether policy would let the program exist if a person said so: what is denied anyway is not run for a trial.
    async fn may_be_tried(&self, envelope: &Envelope, subject: BorrowedFd<'_>) -> Result<bool, SubmitError> {
        let decision = peers::explain(&envelope.canonical(), subject).await.map_err(SubmitError::NotDecided)?;
        Ok(decision.verdict != Verdict::Denied)
    }

    /// Returns once it is known that the sandbox of the tier holds.
    pub(crate) async fn require_containment(&self, tier: Tier) -> Result<(), String> {
        let mut tiers = self.tiers.subscribe();
        let known = tiers.wait_for(|tiers| tiers.of(tier) != Containment::Unknown);
        match tokio::time::timeout(Duration::from_secs(20), known).await {
            Ok(Ok(tiers)) => match tiers.of(tier) {
                Containment::Proven => Ok(()),
                Containment::Broken(why) => Err(why),
                Containment::Unknown => Err("the sandbox is not proved yet".into()),
            },
            _ => {
                Err("the sandbox could not be proved in time; 'aios service list' shows whether the launcher runs"
                    .into())
            }
        }
    }

    /// Counts what an action's program used from now on; the journal's next step with the action has to keep it.
    pub(crate) fn charge(&self, subject: &str, used: Use) -> Charge {
        let charge = Charge { minute: minute_now(), used };
        self.ledger().charge_in(subject, used, charge.minute);
        charge
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, envelope: &Envelope) -> Entry {
        Entry::new(ActionView::proposed(envelope), &self.boot)
    }

    /// Asks policy. No answer, or an answer to another question, is a denial.
    async fn decide(&self, envelope: &Envelope, peer: &Peer, subject: BorrowedFd<'_>) -> Result<Entry, JournalError> {
        let denied = |reason: &str, text: String| Event::Denied { reason: reason.into(), text };
        let decision = peers::decide(&envelope.canonical(), subject).await;
        let (event, decision) = match decision {
            Err(error) => (denied("PolicyUnavailable", error_chain(&error)), None),
            Ok(decision) if decision.digest != envelope.digest() || decision.subject != *peer => (
                denied("DigestMismatch", "the decision is about another request or another subject".into()),
                Some(decision),
            ),
            Ok(decision) => {
                let event = match &decision.verdict {
                    Verdict::Allowed => Event::Allowed,
                    Verdict::NeedsApproval { approval: Some(approval) } => Event::NeedsApproval(approval.clone()),
                    Verdict::NeedsApproval { approval: None } => {
                        denied("NoApproval", "the policy kernel made no request that a person could approve".into())
                    }
                    Verdict::Denied => denied(&decision.reason, decision.text.clone()),
                };
                (event, Some(decision))
            }
        };
        self.advance(&envelope.id, event, |entry| {
            if let Some(decision) = decision {
                entry.view.rules = decision.rules;
                entry.view.epoch = decision.epoch;
                let receipt = |index| Receipt { kind: "decision".into(), index };
                entry.view.evidence.extend(decision.evidence.map(receipt));
            }
        })
    }

    /// Takes an action to its next state and wakes who watches.
    pub(crate) fn advance(
        &self,
        id: &ActionId,
        event: Event,
        change: impl FnOnce(&mut Entry),
    ) -> Result<Entry, JournalError> {
        self.advance_through(id, [event], change)
    }

    /// The same through several states in one step.
    pub(crate) fn advance_through(
        &self,
        id: &ActionId,
        events: impl IntoIterator<Item = Event>,
        change: impl FnOnce(&mut Entry),
    ) -> Result<Entry, JournalError> {
        let entry = self.journal.advance_through(id, events, change)?;
        self.changes.send_modify(|count| *count += 1);
        Ok(entry)
    }

    /// Tells whenever an action changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Marks an action as running, and keeps how it is undone.
    pub(crate) fn begin(
        &self,
        id: &ActionId,
        undo: Option<Undo>,
        change: impl FnOnce(&mut Entry),
    ) -> Result<Entry, JournalError> {
        let entry = self.journal.begin(id, undo, change)?;
        self.changes.send_modify(|count| *count += 1);
        Ok(entry)
    }

    /// Waits for the turn of an action of this type; programs and checks need none.
    pub(crate) async fn turn(&self, view: &ActionView) -> Option<Turn> {
        let area = find(&view.request.action_type).and_then(ActionType::turn)?;
        Some(self.turns.wait(area, Lane::of(&view.subject)).await)
    }

    /// Takes the turn at once. Before the first request is taken nobody else has it.
    fn turn_at_start(&self, entry: &Entry) -> Option<Turn> {
        self.turns.take(find(&entry.view.request.action_type).and_then(ActionType::turn)?)
    }

    pub(crate) fn list(&self) -> Result<Vec<ActionView>, JournalError> {
        Ok(self.journal.newest(LISTED)?.into_iter().map(|entry| entry.view).collect())
    }

    pub(crate) fn show(&self, id: &ActionId) -> Result<ActionView, JournalError> {
        Ok(self.journal.show(id)?.view)
    }

    pub(crate) async fn watch(&self, id: &ActionId) -> Result<ActionView, JournalError> {
        let mut changes = self.changes.subscribe();
        let first = self.show(id)?;
        loop {
            let view = self.show(id)?;
            if view.state.is_final() || view.state != first.state || changes.changed().await.is_err() {
                return Ok(view);
            }
        }
    }

    /// Takes back what waits. A person may take back any action; the agents' door only those of agents.
    pub(crate) async fn cancel(&self, id: &ActionId, by: &Peer) -> Result<(), JournalError> {
        let before = self.show(id)?;
        let is_of_agent = before.subject.starts_with("agent:");
        if !is_of_agent && !matches!(by, Peer::Operator { .. }) {
            return Err(JournalError::Unknown(id.clone()));
        }
        let entry = self.advance(id, Event::Cancelled, |_| {})?;
        perform::record_result(self, &entry, serde_json::json!({"cancelled-by": by.to_string()})).await;
        // The action has ended, so a request that stays is of no use to anybody; it only counts and takes up a line.
        if let State::Waiting { approval } = before.state
            && let Err(error) = peers::withdraw(&approval).await
        {
            eprintln!("{id} is cancelled, and {approval} is not withdrawn: {}", error_chain(&error));
        }
        Ok(())
    }
}

/// Goes on with what an earlier runtime left.
pub(crate) fn go_on(runtime: &Arc<Runtime>, left: Vec<Left>) {
    for left in left {
        let runtime = Arc::clone(runtime);
        match left {
            Left::Waits(entry) => {
                if let State::Waiting { approval } = entry.view.state {
                    tokio::spawn(wait_for_person(runtime, entry.view.id, approval));
                }
            }
            Left::Measure(entry) => {
                let turn = runtime.turn_at_start(&entry);
                tokio::spawn(async move { perform::measure_after_restart(&runtime, entry, turn).await });
            }
            Left::Undo(entry, undo, why) => {
                let turn = runtime.turn_at_start(&entry);
                tokio::spawn(async move { roll_back::after_restart(&runtime, entry, undo, why, turn).await });
            }
            Left::Ended(entry) => {
                tokio::spawn(async move {
                    perform::record_result(&runtime, &entry, serde_json::json!({"found": "at start"})).await;
                });
            }
        }
    }
}

/// Waits until a person has said, however often the policy kernel restarts meanwhile, and goes on.
async fn wait_for_person(runtime: Arc<Runtime>, id: ActionId, approval: ApprovalId) {
    // Cancelled meanwhile: its request is withdrawn, which is no answer.
    let has_ended = || runtime.show(&id).is_ok_and(|view| view.state.is_final());
    let mut refusals = 0;
    let said = loop {
        match peers::await_approval(&approval).await {
            Ok(said) if said.state == ApprovalState::Waiting => {}
            Ok(said) => break said,
            Err(error) if error.is_answer() && refusals >= REFUSALS => {
                // The policy kernel is there and does not know the request: nobody can ever approve it.
                let event = Event::Denied { reason: "ApprovalGone".into(), text: error_chain(&error) };
                return perform::finish(&runtime, &id, event).await;
            }
            Err(error) => {
                refusals += u32::from(error.is_answer());
                eprintln!("{id} waits for a person, and the policy kernel does not tell: {}", error_chain(&error));
            }
        }
        tokio::time::sleep(AGAIN).await;
        if has_ended() {
            return;
        }
    };
    if has_ended() {
        return;
    }
    let denied = |reason: &str, text: String| Event::Denied { reason: reason.into(), text };
    let event = match said.state {
        ApprovalState::Granted { .. } => Event::Approved,
        ApprovalState::Rejected { by, reason } => denied("Rejected", format!("{by} said no: {reason}")),
        ApprovalState::Consumed { .. } => {
            denied("ApprovalSpent", "the approval was used before; submit it again".into())
        }
        ApprovalState::Expired { why } => {
            denied("ApprovalExpired", format!("the request for approval is void, because {why}; submit it again"))
        }
        ApprovalState::Waiting => denied("ApprovalExpired", "nobody has said anything; submit it again".into()),
    };
    if event != Event::Approved {
        return perform::finish(&runtime, &id, event).await;
    }
    match runtime.advance(&id, event, |_| {}) {
        Ok(entry) => perform::perform(runtime, entry).await,
        // It was cancelled while the person said yes.
        Err(error) => eprintln!("{id} does not go on: {}", error_chain(&error)),
    }
}

/// What a request is about, where an approval is for that too.
pub(crate) async fn target_of(request: &Request) -> Option<Target> {
    match app::target(request).await {
        Some(target) => Some(target),
        None => target::of(resource::granted_folder, request),
    }
}

pub(crate) fn new_id() -> Result<ActionId, getrandom::Error> {
    now_and_random().map(|(now, random)| ActionId::new(now, random))
}

/// What new ids are made of.
pub(crate) fn now_and_random() -> Result<(u64, [u8; 10]), getrandom::Error> {
    let mut random = [0; 10];
    getrandom::fill(&mut random)?;
    Ok((now_ms(), random))
}

/// The minute since the machine started, by which budgets are counted.
pub(crate) fn minute_now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec.cast_unsigned() / 60
}

/// Milliseconds since 1970, as ids have it.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
