//! The steps in their order, over the real D-Bus, against a log that can be told to refuse.

mod bundles;
mod codes;
mod decisions;
mod emergency;
mod figures;
mod hostile;
mod obligations;
mod people;
mod signed;
mod together;

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicU64, Ordering};

use aios_action::Request as ActionRequest;
use aios_identity::SessionStrength;
use aios_policy::operators::{self, Operator, Operators};
use aios_policy::{Bundle, pack, public_key};
use serde_json::Value;
use tokio::sync::Barrier;
use zbus::connection::Builder;

use super::*;

const SEED: [u8; 32] = [3; 32];

/// A log that keeps what it was given in memory.
#[derive(Clone, Default)]
struct Log(Arc<StdMutex<Kept>>);

#[derive(Default)]
struct Kept {
    /// Kind and payload, oldest first.
    records: Vec<(String, Value)>,
    /// The kinds that it refuses.
    refused: Vec<&'static str>,
    /// Whether it says of itself that it takes nothing.
    read_only: bool,
    /// Whether it only counts: what a real one does with a record, it does in a process of its own.
    only_counts: bool,
    counted: u64,
    /// Where it lets everybody wait who brings a record, until enough are there.
    gathers: Option<Arc<Barrier>>,
}

impl Log {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().expect("no panic")
    }

    fn kinds(&self) -> Vec<String> {
        self.kept().records.iter().map(|(kind, _)| kind.clone()).collect()
    }

    fn last(&self) -> Value {
        self.kept().records.last().expect("a record").1.clone()
    }

    fn refuse(&self, kinds: &[&'static str]) {
        self.kept().refused = kinds.to_vec();
    }
}

#[zbus::interface(name = "org.aios.Evidence1")]
impl Log {
    /// The newest of a kind, as the real log answers a limit of one.
    fn query(&self, filter: &str) -> zbus::fdo::Result<String> {
        let filter: Value = serde_json::from_str(filter).expect("JSON");
        let log = self.kept();
        if log.refused.contains(&"query") {
            return Err(zbus::fdo::Error::Failed("the log does not open".into()));
        }
        let newest = log.records.iter().rev().find(|(kind, _)| filter["kind"] == kind.as_str());
        let found: Vec<_> = newest.map(|(_, payload)| json!({ "payload": payload })).into_iter().collect();
        Ok(serde_json::to_string(&found).expect("JSON"))
    }

    async fn append(&self, kind: &str, _action: &str, payload: &str) -> zbus::fdo::Result<u64> {
        let gathers = self.kept().gathers.clone();
        if let Some(gathers) = gathers {
            gathers.wait().await;
        }
        let mut log = self.kept();
        if log.only_counts {
            log.counted += 1;
            return Ok(log.counted);
        }
        if log.refused.contains(&kind) {
            return Err(zbus::fdo::Error::Failed("the log is full".into()));
        }
        log.records.push((kind.into(), serde_json::from_str(payload).expect("JSON")));
        Ok(log.records.len() as u64 - 1)
    }

    fn room(&self) -> String {
        let state = if self.kept().read_only { json!({"read-only": "old data"}) } else { json!("full") };
        json!({"state": state, "used": 1, "limit": 2}).to_string()
    }
}

/// A kernel with the shipped policy on its own disk and log, and with a clock that the test moves.
struct Machine {
    kernel: Arc<Kernel>,
    log: Log,
    folder: tempfile::TempDir,
    up_ms: Arc<AtomicU64>,
    wall_ms: Arc<AtomicU64>,
    _log_end: zbus::Connection,
}

impl Machine {
    async fn start() -> Self {
        Self::start_with(Ok(shipped())).await
    }

    async fn start_with(image: std::result::Result<Bundle, String>) -> Self {
        Self::build(tempfile::tempdir().expect("a folder"), Log::default(), "boot-1", image).await
    }

    /// An agent needs two persons for a restart, and a person somebody else for the power.
    async fn where_several_are_wanted() -> Self {
        let rules = "@id(\"two-for-agents\") @approval(\"2 persons\")\n\
                     permit (principal is Agent, action == Action::\"service.restart\", resource);\n\
                     @id(\"another-for-power\") @approval(\"another person\")\n\
                     permit (principal is Operator, action == Action::\"node.reboot\", resource);\n";
        let image = Bundle::open(&packed(&[("more.cedar", rules)], 1), &public_key(&SEED)).expect("opens");
        Self::start_with(Ok(image)).await
    }

    /// The same disk and log with a new process, as after a crash or a restart.
    async fn restarted(self, boot: &str) -> Self {
        self.restarted_with(boot, Ok(shipped())).await
    }

    async fn restarted_with(self, boot: &str, image: std::result::Result<Bundle, String>) -> Self {
        let Self { kernel, folder, log, .. } = self;
        drop(kernel);
        Self::build(folder, log, boot, image).await
    }

    async fn build(
        folder: tempfile::TempDir,
        log: Log,
        boot: &str,
        image: std::result::Result<Bundle, String>,
    ) -> Self {
        let (near, far) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let guid = zbus::Guid::generate();
        let far = Builder::unix_stream(far).server(guid).p2p().serve_at("/org/aios/Evidence1", log.clone()).build();
        let near = Builder::unix_stream(near).p2p().build();
        let (log_end, near) = tokio::try_join!(far, near).expect("they greet each other");
        let approvals = Approvals::open(&folder.path().join("approvals.redb")).expect("the table opens");
        let login = Login::new(folder.path().join("operators.json"));
        let policy = InForce::of_test(image, public_key(&SEED), folder.path().join("bundles"));
        let (up_ms, wall_ms) = (Arc::new(AtomicU64::new(60_000)), Arc::new(AtomicU64::new(1_800_000_000_000)));
        let clock = {
            let (up_ms, wall_ms) = (Arc::clone(&up_ms), Arc::clone(&wall_ms));
            Box::new(move || (up_ms.load(Ordering::SeqCst), wall_ms.load(Ordering::SeqCst)))
        };
        let kernel = Kernel::new(policy, approvals, Evidence::over(&near).await, login, boot.into(), clock);
        let kernel = Arc::new(kernel);
        kernel.settle().await;
        Self { kernel, log, folder, up_ms, wall_ms, _log_end: log_end }
    }

    fn pass(&self, ms: u64) {
        self.up_ms.fetch_add(ms, Ordering::SeqCst);
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Lets 'ada' log in with 'correct horse'.
    fn with_ada(&self) {
        let argon2id = operators::hash("correct horse", &[1; 16]).expect("hashed");
        let ada = Operator { name: "ada".parse().expect("a name"), uid: 1001, argon2id, changes: 0, keys: Vec::new() };
        let list = Operators::new(vec![ada]).expect("a list");
        std::fs::write(self.folder.path().join("operators.json"), list.to_json()).expect("written");
    }

    /// Asks for an action that needs a person, and gives its request.
    async fn requested(&self, by: &Peer, number: u64, action_type: &str, parameters: Value) -> (Envelope, ApprovalId) {
        let envelope = envelope(by, number, action_type, parameters);
        let decision = self.kernel.decide(&envelope.canonical(), by.clone()).await.expect("a decision");
        let Verdict::NeedsApproval { approval: Some(id) } = decision.verdict else { panic!("{decision:?}") };
        (envelope, id)
    }

    /// The same, approved by who sits at the machine and used, as the runtime does right before the adapter.
    async fn ready(&self, by: &Peer, number: u64, action_type: &str, parameters: Value) -> Envelope {
        let (envelope, id) = self.requested(by, number, action_type, parameters).await;
        self.approve(&id, &live(), "").await.expect("a person says yes");
        self.consume(&envelope, &id).await.expect("granted");
        envelope
    }

    /// Says yes as a person does who reads the request.
    async fn approve(&self, id: &ApprovalId, by: &Peer, pass_phrase: &str) -> Result<()> {
        self.kernel.approve(id.as_str(), by, &self.code(id), pass_phrase).await
    }

    /// The code beside a request; nothing where it has none.
    fn code(&self, id: &ApprovalId) -> String {
        let all = self.kernel.approvals().expect("read");
        all.into_iter().find(|approval| approval.id == *id).and_then(|approval| approval.code).unwrap_or_default()
    }

    async fn asked(&self, subject: &Peer, number: u64, action_type: &str, parameters: Value) -> Decision {
        let envelope = envelope(subject, number, action_type, parameters);
        self.kernel.decide(&envelope.canonical(), subject.clone()).await.expect("a decision")
    }

    /// An agent's request that waits for a person.
    async fn waiting(&self) -> (Envelope, ApprovalId) {
        self.requested(&agent(), 1, "service.restart", json!({"name": "network"})).await
    }

    async fn consume(&self, envelope: &Envelope, id: &ApprovalId) -> Result<Digest> {
        let epoch = self.kernel.policy().epoch;
        self.kernel.consume(id.as_str(), &envelope.digest().to_string(), &epoch, envelope.id.as_str()).await
    }
}

fn shipped() -> Bundle {
    Bundle::open(&packed(&[], 1), &public_key(&SEED)).expect("opens")
}

/// The shipped rules with more rules, under another epoch, signed by the key of the tests.
fn packed(more: &[(&str, &str)], epoch: u64) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rootfs/policy");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("in the repository");
    let about = read("bundle.toml").replacen("epoch = 1\n", &format!("epoch = {epoch}\n"), 1);
    let mut sources = vec![
        ("operators.cedar", read("operators.cedar")),
        ("agents.cedar", read("agents.cedar")),
        ("bundle.toml", about),
    ];
    sources.extend(more.iter().map(|(name, text)| (*name, (*text).to_owned())));
    pack(sources.iter().map(|(name, text)| (*name, text.as_str())), &SEED).expect("packs")
}

fn envelope(subject: &Peer, number: u64, action_type: &str, parameters: Value) -> Envelope {
    let Value::Object(parameters) = parameters else { panic!("parameters are an object") };
    let request = ActionRequest { reason: "a test".into(), ..ActionRequest::new(action_type, parameters) };
    Envelope::new(ActionId::new(number, [1; 10]), subject.to_string(), request)
}

fn agent() -> Peer {
    Peer::Agent { name: "helper".into() }
}

fn live() -> Peer {
    Peer::Operator { name: "live".into(), strength: SessionStrength::Presence }
}

fn ada() -> Peer {
    Peer::Operator { name: "ada".into(), strength: SessionStrength::PassPhrase }
}

#[tokio::test]
async fn a_decision_is_in_the_log_before_the_caller_has_it() {
    let machine = Machine::start().await;
    let decision = machine.asked(&live(), 1, "service.restart", json!({"name": "network"})).await;
    assert_eq!((&decision.verdict, decision.evidence), (&Verdict::Allowed, Some(0)));
    let denied = machine.asked(&agent(), 2, "shell.run", json!({"line": "id"})).await;
    assert_eq!((denied.reason.as_str(), denied.evidence), ("UnknownActionType", Some(1)));
    assert_eq!(machine.log.last()["decision"]["reason"], "UnknownActionType");
}

#[tokio::test]
async fn an_explanation_is_for_the_attested_subject_and_leaves_nothing_behind() {
    let machine = Machine::start().await;
    let mut asked = envelope(&agent(), 1, "service.restart", json!({"name": "network"}));
    asked.subject.clear();
    let explained = machine.kernel.explain(&asked.canonical(), &agent(), Asking::Now).await.expect("an answer");
    assert_eq!(explained.verdict, Verdict::NeedsApproval { approval: None });
    asked.subject = "operator:ada".into();
    assert_eq!(
        machine.kernel.explain(&asked.canonical(), &agent(), Asking::Now).await.expect("an answer").reason,
        "SubjectMismatch"
    );
    assert_eq!((machine.log.kinds().len(), machine.kernel.approvals().expect("read").len()), (0, 0));

    asked.subject.clear();
    let decided = machine.kernel.decide(&asked.canonical(), agent()).await.expect("an answer");
    assert_eq!(decided.reason, "SubjectMismatch", "a decision needs the name in the sealed envelope");
}

#[tokio::test]
async fn what_cannot_be_recorded_is_denied_and_leaves_no_approval() {
    let machine = Machine::start().await;
    machine.log.refuse(&["decision"]);
    let decision = machine.asked(&live(), 1, "service.restart", json!({"name": "network"})).await;
    assert_eq!((decision.verdict, decision.reason.as_str()), (Verdict::Denied, "EvidenceUnavailable"));

    machine.log.refuse(&["approval-requested"]);
    let decision = machine.asked(&live(), 2, "node.reboot", json!({})).await;
    assert_eq!((decision.verdict, decision.reason.as_str()), (Verdict::Denied, "EvidenceUnavailable"));
    assert_eq!(machine.kernel.approvals().expect("read"), []);
}

#[tokio::test]
async fn an_approval_from_request_to_use() {
    let machine = Machine::start().await;
    let (envelope, id) = machine.waiting().await;
    let waits = tokio::spawn({
        let (kernel, id) = (Arc::clone(&machine.kernel), id.clone());
        async move { kernel.await_approval(id.as_str()).await }
    });
    assert!(machine.consume(&envelope, &id).await.is_err(), "nobody said yes");
    machine.approve(&id, &live(), "").await.expect("a person at the machine");
    let granted = waits.await.expect("no panic").expect("an approval");
    assert!(matches!(granted.state, ApprovalState::Granted { .. }), "{granted:?}");

    let token = machine.consume(&envelope, &id).await.expect("granted");
    assert_eq!(machine.consume(&envelope, &id).await.expect("the same use"), token);
    assert_eq!(
        machine.log.kinds(),
        ["decision", "approval-requested", "approval-granted", "approval-consumed"],
        "the second use is no second record"
    );
    let other = super::tests::envelope(&agent(), 2, "service.restart", json!({"name": "network"}));
    assert!(machine.consume(&other, &id).await.is_err(), "another action");
}

#[tokio::test]
async fn a_grant_that_cannot_be_recorded_is_no_grant() {
    let machine = Machine::start().await;
    let (envelope, id) = machine.waiting().await;
    machine.log.refuse(&["approval-granted", "approval-consumed"]);
    assert!(machine.approve(&id, &live(), "").await.is_err());
    assert!(machine.consume(&envelope, &id).await.is_err());
    machine.log.refuse(&["approval-consumed"]);
    machine.approve(&id, &live(), "").await.expect("recorded");
    assert!(machine.consume(&envelope, &id).await.is_err());
    machine.log.refuse(&[]);
    machine.consume(&envelope, &id).await.expect("still good");
}

#[tokio::test]
async fn a_grant_dies_with_its_boot_and_asking_again_makes_a_new_request() {
    let machine = Machine::start().await;
    let (envelope, id) = machine.waiting().await;
    machine.approve(&id, &live(), "").await.expect("granted");
    let machine = machine.restarted("boot-2").await;
    assert!(machine.consume(&envelope, &id).await.is_err());
    let (_, new) = machine.waiting().await;
    assert_ne!(new, id);
}

#[tokio::test]
async fn asking_again_finds_the_same_request_and_a_changed_envelope_does_not() {
    let machine = Machine::start().await;
    let (_, id) = machine.waiting().await;
    assert_eq!(machine.waiting().await.1, id);
    let revised = machine.asked(&agent(), 1, "service.restart", json!({"name": "settings"})).await;
    assert_eq!((revised.verdict, revised.reason.as_str()), (Verdict::Denied, "ActionRevised"));
    machine.kernel.reject(id.as_str(), &live(), "not now").await.expect("a person says no");
    let again = machine.asked(&agent(), 1, "service.restart", json!({"name": "network"})).await;
    assert_eq!((again.verdict, again.reason.as_str()), (Verdict::Denied, "RejectedByPerson"));
    assert!(again.text.contains("not now"), "{}", again.text);
}

#[tokio::test]
async fn an_agent_that_tries_to_approve_is_refused_and_recorded() {
    let machine = Machine::start().await;
    let (_, id) = machine.waiting().await;
    let error = machine.kernel.refuse_agents(&agent(), "approve", id.as_str()).await.expect_err("an agent");
    assert!(error.to_string().starts_with("AiSelfApprovalBlocked"), "{error}");
    assert_eq!(machine.log.last()["reason"], "AiSelfApprovalBlocked");
    assert!(machine.approve(&id, &agent(), "").await.is_err(), "the second fence");
    assert_eq!(machine.kernel.approvals().expect("read")[0].state, ApprovalState::Waiting);
    machine.kernel.refuse_agents(&live(), "approve", id.as_str()).await.expect("people pass");
}

#[tokio::test]
async fn a_session_with_a_pass_phrase_proves_it_again_to_approve() {
    let machine = Machine::start().await;
    machine.with_ada();
    let (_, id) = machine.waiting().await;
    assert!(machine.approve(&id, &ada(), "").await.is_err());
    assert_eq!(machine.log.last()["result"], "refused");
    machine.approve(&id, &ada(), "correct horse").await.expect("the right one");
    assert_eq!(machine.log.last()["confirmation"], false);

    let own = machine.asked(&ada(), 2, "node.reboot", json!({})).await;
    let Verdict::NeedsApproval { approval: Some(own) } = own.verdict else { panic!("{own:?}") };
    machine.approve(&own, &ada(), "correct horse").await.expect("an own action");
    assert_eq!(machine.log.last()["confirmation"], true);
}

#[tokio::test]
async fn a_login_that_fails_is_recorded_without_what_was_typed() {
    let machine = Machine::start().await;
    machine.with_ada();
    // Also what could be a name: a pass phrase is often a word.
    for typed_in_the_wrong_place in ["Correct Horse!", "horse"] {
        machine.kernel.log_in(typed_in_the_wrong_place, "", "ttyS0").await.expect_err("nobody");
        let record = machine.log.last();
        assert_eq!((&record["operator"], &record["result"]), (&Value::Null, &Value::from("refused")));
        assert!(!record.to_string().to_lowercase().contains("horse"), "{record}");
    }
    machine.kernel.log_in("ada", "horse", "ttyS0").await.expect_err("not the phrase");
    assert_eq!(
        machine.log.last(),
        json!({"operator": "ada", "for": "session", "terminal": "ttyS0", "result": "refused"})
    );
    let error = machine.kernel.log_in("ada", "x", "../mem").await.expect_err("no terminal");
    assert!(matches!(error, KernelError::Input { .. }), "{error}");
}

/// A log that is full or gone lets nobody in unseen. One that says itself that it takes nothing lets a person look.
#[tokio::test]
async fn without_a_record_a_person_gets_in_only_to_a_log_that_is_read_only() {
    let machine = Machine::start().await;
    machine.with_ada();
    machine.log.refuse(&["login"]);
    let error = machine.kernel.log_in("ada", "correct horse", "ttyS0").await.expect_err("no record");
    assert!(matches!(error, KernelError::Evidence(_)), "{error}");
    machine.log.kept().read_only = true;
    let error = machine.kernel.log_in("ada", "wrong horse", "ttyS0").await.expect_err("not the phrase");
    assert!(matches!(error, KernelError::Login(_)), "{error}");
    // The next step is PID 1's, which is not there.
    let error = machine.kernel.log_in("ada", "correct horse", "ttyS0").await.expect_err("no PID 1");
    assert!(matches!(error, KernelError::Session(_)), "{error}");
}

#[tokio::test]
async fn time_ends_a_request_and_no_clock_brings_it_back() {
    const HOUR: u64 = 3_600_000;
    let machine = Machine::start().await;
    let (_, id) = machine.waiting().await;
    let waits = tokio::spawn({
        let (kernel, id) = (Arc::clone(&machine.kernel), id.clone());
        async move { kernel.await_approval(id.as_str()).await }
    });
    // The clock is set a year ahead and a year back: nothing happens.
    for wall_ms in [1_800_000_000_000 + 8760 * HOUR, 1_800_000_000_000 - 8760 * HOUR] {
        machine.wall_ms.store(wall_ms, Ordering::SeqCst);
        machine.kernel.end_what_is_over().await.expect("looked through");
        assert_eq!(machine.kernel.approvals().expect("read")[0].state, ApprovalState::Waiting);
    }
    machine.pass(24 * HOUR);
    let late = machine.approve(&id, &live(), "").await.expect_err("a day later");
    assert!(late.to_string().starts_with("ApprovalExpired"), "{late}");
    machine.kernel.end_what_is_over().await.expect("looked through");
    let ended = waits.await.expect("no panic").expect("an approval");
    assert_eq!(ended.state, ApprovalState::Expired { why: aios_wire::policy::Ended::Time });
    machine.wall_ms.store(0, Ordering::SeqCst);
    assert!(machine.approve(&id, &live(), "").await.is_err());
    // The same action asked again is a new request.
    let (envelope, new) = machine.waiting().await;
    assert_ne!(new, id);
    machine.approve(&new, &live(), "").await.expect("in time");
    machine.pass(HOUR);
    assert!(machine.consume(&envelope, &new).await.is_err(), "granted an hour ago");
}

#[tokio::test]
async fn two_persons_means_two_and_another_person_is_not_who_asks() {
    let machine = Machine::where_several_are_wanted().await;
    let (envelope, id) = machine.waiting().await;
    machine.approve(&id, &live(), "").await.expect("the first");
    let again = machine.approve(&id, &live(), "").await.expect_err("the same person");
    assert!(again.to_string().starts_with("SaidAlready"), "{again}");
    assert!(machine.consume(&envelope, &id).await.is_err(), "one is not two");
    machine.with_ada();
    machine.approve(&id, &ada(), "correct horse").await.expect("the second");
    machine.consume(&envelope, &id).await.expect("both said yes");
    let granted = machine.log.kinds().iter().filter(|kind| *kind == "approval-granted").count();
    assert_eq!(granted, 2, "each yes is a record");

    let (_, own) = machine.requested(&ada(), 2, "node.reboot", json!({})).await;
    let own_yes = machine.approve(&own, &ada(), "correct horse").await.expect_err("who asks");
    assert!(own_yes.to_string().starts_with("OwnRequest"), "{own_yes}");
    machine.approve(&own, &live(), "").await.expect("somebody else");
}
