//! `org.aios.Verifier1`: what callers may ask, and the words they get when it fails.

use std::time::Duration;

use aios_action::Envelope;
use aios_daemon::proxy::Evidence1Proxy;
use aios_daemon::{Caller, Line, LineError, error_chain};
use aios_wire::verify::Outcome;
use serde_json::json;
use zbus::fdo;

use crate::judge::{self, Judgement};

/// The verifier as one caller sees it.
pub(crate) struct Verifier1 {
    caller: Caller,
}

static LOG: Line<Evidence1Proxy<'static>> = Line::to("evidence-log");

/// The log may just have been restarted by the action that is measured.
const LOG_AWAY: Duration = Duration::from_secs(30);

impl Verifier1 {
    pub(crate) fn new(caller: Caller) -> Self {
        Self { caller }
    }

    fn require(&self, verb: &str) -> fdo::Result<()> {
        self.caller.require("verifier", verb)
    }
}

#[zbus::interface(name = "org.aios.Verifier1")]
impl Verifier1 {
    /// What there is before the effect, to be handed back to `Measure` unread.
    async fn before(&self, envelope: &str) -> fdo::Result<String> {
        self.require("before")?;
        let envelope = parse(envelope)?;
        let snapshot = judge::before(&envelope).await;
        let snapshot = snapshot.map_err(|error| fdo::Error::Failed(error_chain(&error)))?;
        Ok(json!(snapshot).to_string())
    }

    /// Whether the post-condition holds; recorded as `outcome` before it is answered.
    async fn measure(&self, envelope: &str, before: &str) -> fdo::Result<String> {
        self.require("measure")?;
        let envelope = parse(envelope)?;
        let before = judge::Before::parse(before)
            .map_err(|error| fdo::Error::InvalidArgs(format!("the state before cannot be read: {error}")))?;
        // What cannot be seen does not hold.
        let judgement = judge::measure(&envelope, &before).await.unwrap_or_else(|error| Judgement {
            held: false,
            observed: json!({}),
            text: format!("the outcome could not be measured: {}", error_chain(&error)),
        });
        let evidence = record(&envelope, &judgement).await?;
        let Judgement { held, observed, text } = judgement;
        Ok(json!(Outcome { held, observed, text, evidence }).to_string())
    }
}

fn parse(envelope: &str) -> fdo::Result<Envelope> {
    let parsed = Envelope::parse(envelope).map_err(|error| fdo::Error::InvalidArgs(error_chain(&error)))?;
    Ok(parsed.0)
}

async fn record(envelope: &Envelope, judgement: &Judgement) -> fdo::Result<u64> {
    let payload = json!({
        "digest": envelope.digest(),
        "type": envelope.request.action_type,
        "held": judgement.held,
        "observed": judgement.observed,
        "text": judgement.text,
    })
    .to_string();
    let (action, payload) = (envelope.id.as_str(), payload.as_str());
    let until = tokio::time::Instant::now() + LOG_AWAY;
    loop {
        match LOG.ask(LOG_AWAY, |log| async move { log.append("outcome", action, payload).await }).await {
            Ok(index) => return Ok(index),
            Err(error) if error.is_answer() || tokio::time::Instant::now() >= until => {
                return Err(not_recorded(&error));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

fn not_recorded(error: &LineError) -> fdo::Error {
    fdo::Error::Failed(format!("the outcome was measured and cannot be recorded: {}", error_chain(error)))
}
