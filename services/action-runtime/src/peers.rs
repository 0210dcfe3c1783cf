//! The other services as the runtime asks them. Those that each action needs are asked over a line that is kept; the others
//! over a connection for each question, so a service that restarted is simply asked anew.

use std::fs::File;
use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use aios_action::app::Refused;
use aios_daemon::proxy::{Evidence1Proxy, Objects1Proxy, Policy1Proxy, Settings1Proxy, Verifier1Proxy};
use aios_daemon::{Line, LineError, is_answer};
use aios_ids::{ActionId, ApprovalId, Digest};
use aios_wire::evidence::Room;
use aios_wire::objects::{App, AppVersion, ObjectTag};
use aios_wire::policy::{Approval, Decision};
use aios_wire::settings::SettingsList;
use aios_wire::verify::Outcome;
use serde_json::Value;

const POLICY: &str = "policy-kernel";
const EVIDENCE: &str = "evidence-log";
const VERIFIER: &str = "verifier";
const SETTINGS: &str = "settings";
const OBJECTS: &str = "object-store";

static POLICY_LINE: Line<Policy1Proxy<'static>> = Line::to(POLICY);
static EVIDENCE_LINE: Line<Evidence1Proxy<'static>> = Line::to(EVIDENCE);
static VERIFIER_LINE: Line<Verifier1Proxy<'static>> = Line::to(VERIFIER);

/// A service gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// It is away, or said no.
    #[error("{service} did not {what}")]
    Call {
        service: &'static str,
        what: &'static str,
        #[source]
        source: zbus::Error,
    },
    /// Its answer cannot be read.
    #[error("the answer of {service} cannot be read")]
    Answer {
        service: &'static str,
        #[source]
        source: serde_json::Error,
    },
    /// What it handed over cannot be read.
    #[error("what {service} handed over cannot be read")]
    Read {
        service: &'static str,
        #[source]
        source: std::io::Error,
    },
    /// It answered about another number of records than it was sent.
    #[error("the evidence log numbered {indices} of {records} records")]
    Count { records: usize, indices: usize },
    /// It took too long.
    #[error("{service} did not {what} in {} seconds", limit.as_secs())]
    Late { service: &'static str, what: &'static str, limit: Duration },
}

impl PeerError {
    /// Whether the service was there and answered with a refusal.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self, Self::Call { source, .. } if is_answer(source))
    }
}

/// Nothing that is asked here takes longer; a service that is frozen or stuck must not hold an action for ever.
const LIMIT: Duration = Duration::from_secs(30);

/// Who asks for an action waits for the decision.
const DECIDING: Duration = Duration::from_secs(10);

/// How long a record is tried that must not be lost: a service that was just restarted is back by then.
const INSISTING: Duration = Duration::from_secs(30);

async fn within<T>(
    service: &'static str,
    what: &'static str,
    limit: Duration,
    call: impl Future<Output = zbus::Result<T>>,
) -> Result<T, PeerError> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(PeerError::Call { service, what, source }),
        Err(_) => Err(PeerError::Late { service, what, limit }),
    }
}

/// The same over a line, which was given the limit.
fn answered<T>(
    service: &'static str,
    what: &'static str,
    limit: Duration,
    answer: Result<T, LineError>,
) -> Result<T, PeerError> {
    answer.map_err(|error| match error {
        LineError::Call(source) => PeerError::Call { service, what, source },
        LineError::Late => PeerError::Late { service, what, limit },
    })
}

fn read<T: serde::de::DeserializeOwned>(service: &'static str, text: &str) -> Result<T, PeerError> {
    serde_json::from_str(text).map_err(|source| PeerError::Answer { service, source })
}

/// Whether the envelope's action may be done.
pub(crate) async fn decide(envelope: &str, subject: BorrowedFd<'_>) -> Result<Decision, PeerError> {
    let question = |policy: Policy1Proxy<'static>| async move { policy.decide(envelope, subject.into()).await };
    read(POLICY, &answered(POLICY, "decide", DECIDING, POLICY_LINE.ask(DECIDING, question).await)?)
}

/// What would be decided; nothing is recorded and nobody is asked.
pub(crate) async fn explain(envelope: &str, subject: BorrowedFd<'_>) -> Result<Decision, PeerError> {
    let question = |policy: Policy1Proxy<'static>| async move { policy.explain(envelope, subject.into()).await };
    read(POLICY, &answered(POLICY, "explain", DECIDING, POLICY_LINE.ask(DECIDING, question).await)?)
}

/// Returns when a person has said, or never; a lost connection is an error.
pub(crate) async fn await_approval(approval: &ApprovalId) -> Result<Approval, PeerError> {
    // A person may take days.
    let limit = Duration::from_secs(u32::MAX.into());
    let call = async {
        let connection = aios_daemon::connect(POLICY).await?;
        Policy1Proxy::new(&connection).await?.await_approval(approval.as_str()).await
    };
    read(POLICY, &within(POLICY, "tell what became of the approval", limit, call).await?)
}

/// Uses the approval up for this one action; answers with the token that proves it.
pub(crate) async fn consume(
    approval: &ApprovalId,
    digest: &Digest,
    epoch: &str,
    action: &ActionId,
) -> Result<String, PeerError> {
    let digest = digest.to_string();
    let call = async {
        let connection = aios_daemon::connect(POLICY).await?;
        Policy1Proxy::new(&connection).await?.consume(approval.as_str(), &digest, epoch, action.as_str()).await
    };
    within(POLICY, "accept the approval", LIMIT, call).await
}

/// Nobody is to be asked about this any more.
pub(crate) async fn withdraw(approval: &ApprovalId) -> Result<(), PeerError> {
    let call = async {
        let connection = aios_daemon::connect(POLICY).await?;
        Policy1Proxy::new(&connection).await?.withdraw(approval.as_str()).await
    };
    within(POLICY, "withdraw the request", LIMIT, call).await
}

/// How much room the log has for what is about to happen.
pub(crate) async fn room() -> Result<Room, PeerError> {
    let room = EVIDENCE_LINE.ask(LIMIT, |log| async move { log.room().await }).await;
    read(EVIDENCE, &answered(EVIDENCE, "say how much room it has", LIMIT, room)?)
}

/// Appends a record; it is durable when this returns.
pub(crate) async fn append(kind: &str, action: &str, payload: &Value) -> Result<u64, PeerError> {
    append_all(action, [(kind, payload)]).await.map(|[index]| index)
}

/// Appends records in their order, with one wait for all of them; they are durable when this returns.
pub(crate) async fn append_all<const N: usize>(
    action: &str,
    records: [(&str, &Value); N],
) -> Result<[u64; N], PeerError> {
    let payloads = records.map(|(_, payload)| payload.to_string());
    let records: Vec<_> =
        records.iter().zip(&payloads).map(|((kind, _), text)| (*kind, action, text.as_str())).collect();
    let records = records.as_slice();
    let appended = EVIDENCE_LINE.ask(LIMIT, |log| async move { log.append_all(records).await }).await;
    let indices = answered(EVIDENCE, "append the record", LIMIT, appended)?;
    let count = indices.len();
    indices.try_into().map_err(|_| PeerError::Count { records: N, indices: count })
}

/// Appends a record of what has happened already: tries again while the log is away.
pub(crate) async fn insist_append(kind: &str, action: &str, payload: &Value) -> Result<u64, PeerError> {
    let patience = Patience::begin();
    loop {
        match append(kind, action, payload).await {
            Err(error) if patience.lasts(&error).await => {}
            answer => return answer,
        }
    }
}

/// What the verifier sees before the effect.
pub(crate) async fn before(envelope: &str) -> Result<String, PeerError> {
    let before = VERIFIER_LINE.ask(LIMIT, |verifier| async move { verifier.before(envelope).await }).await;
    answered(VERIFIER, "look before the effect", LIMIT, before)
}

/// What the verifier measures after the effect; tries again while it is away.
pub(crate) async fn measure(envelope: &str, before: &str) -> Result<Outcome, PeerError> {
    // Some effects take their time, and the verifier waits for them.
    let limit = Duration::from_secs(20 * 60);
    let patience = Patience::begin();
    loop {
        let measured =
            VERIFIER_LINE.ask(limit, |verifier| async move { verifier.measure(envelope, before).await }).await;
        match answered(VERIFIER, "measure the outcome", limit, measured) {
            Err(error) if patience.lasts(&error).await => {}
            answer => return read(VERIFIER, &answer?),
        }
    }
}

/// The value of a setting now.
pub(crate) async fn setting(key: &str) -> Result<Value, PeerError> {
    let call = async {
        let connection = aios_daemon::connect(SETTINGS).await?;
        Settings1Proxy::new(&connection).await?.get(key).await
    };
    read(SETTINGS, &within(SETTINGS, "tell the setting", LIMIT, call).await?)
}

/// The number of the settings' generation now.
pub(crate) async fn settings_generation() -> Result<u64, PeerError> {
    let call = async {
        let connection = aios_daemon::connect(SETTINGS).await?;
        // No settings ever have this generation, so the answer comes at once.
        Settings1Proxy::new(&connection).await?.watch(u64::MAX).await
    };
    let list: SettingsList = read(SETTINGS, &within(SETTINGS, "tell the generation", LIMIT, call).await?)?;
    Ok(list.generation)
}

/// The version that a tag of an object is at, when there is one.
pub(crate) async fn tag(name: &str, tag: &str) -> Result<Option<u64>, PeerError> {
    let call = async {
        let connection = aios_daemon::connect(OBJECTS).await?;
        Objects1Proxy::new(&connection).await?.tags(name).await
    };
    let tags: Vec<ObjectTag> = read(OBJECTS, &within(OBJECTS, "tell the tags", LIMIT, call).await?)?;
    Ok(tags.into_iter().find(|known| known.tag == tag).map(|known| known.version))
}

/// The app of this name that there is or was.
pub(crate) async fn app(name: &str) -> Result<Option<App>, PeerError> {
    Ok(apps().await?.into_iter().find(|app| app.name.as_str() == name))
}

/// Every app that there is or was.
pub(crate) async fn apps() -> Result<Vec<App>, PeerError> {
    let call = async {
        let connection = aios_daemon::connect(OBJECTS).await?;
        Objects1Proxy::new(&connection).await?.app_list().await
    };
    read(OBJECTS, &within(OBJECTS, "list the apps", LIMIT, call).await?)
}

/// The program of the app that is in use, with its version.
pub(crate) async fn open_app(name: &str) -> Result<(OwnedFd, AppVersion), PeerError> {
    let call = async {
        let connection = aios_daemon::connect(OBJECTS).await?;
        Objects1Proxy::new(&connection).await?.app_open(name).await
    };
    let (program, version) = within(OBJECTS, "open the app", LIMIT, call).await?;
    Ok((program.into(), read(OBJECTS, &version)?))
}

/// The first `most` bytes of an object's newest version.
pub(crate) async fn object(name: &str, most: usize) -> Result<Vec<u8>, PeerError> {
    let call = async {
        let connection = aios_daemon::connect(OBJECTS).await?;
        Objects1Proxy::new(&connection).await?.get(name, 0).await
    };
    let content = File::from(OwnedFd::from(within(OBJECTS, "open the object", LIMIT, call).await?));
    let mut bytes = Vec::new();
    let read = content.take(most as u64).read_to_end(&mut bytes);
    read.map(|_| bytes).map_err(|source| PeerError::Read { service: OBJECTS, source })
}

/// What the kernel refused an action until now, as far as it is written down.
pub(crate) async fn denials(action: &ActionId) -> Result<Vec<Refused>, PeerError> {
    let filter = serde_json::json!({"kind": "denial", "action": action}).to_string();
    let call = async {
        let connection = aios_daemon::connect(EVIDENCE).await?;
        Evidence1Proxy::new(&connection).await?.query(&filter).await
    };
    let records: Vec<Value> = read(EVIDENCE, &within(EVIDENCE, "tell what was refused", LIMIT, call).await?)?;
    let refused = records.iter().map(|record| {
        let payload = &record["payload"];
        let text = |name: &str| payload[name].as_str().unwrap_or_default().to_owned();
        Refused {
            blocker: text("blocker"),
            what: text("what"),
            target: text("target"),
            count: payload["count"].as_u64().unwrap_or(1),
        }
    });
    Ok(refused.collect())
}

/// How long a question is asked again.
struct Patience(tokio::time::Instant);

impl Patience {
    fn begin() -> Self {
        Self(tokio::time::Instant::now() + INSISTING)
    }

    /// Whether to ask again after `error`; waits a moment first.
    async fn lasts(&self, error: &PeerError) -> bool {
        let lasts = !error.is_answer() && tokio::time::Instant::now() < self.0;
        if lasts {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        lasts
    }
}
