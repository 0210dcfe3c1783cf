//! Writing to the evidence log. A record is durable before [`Evidence::append`] returns; when it cannot be written,
//! nothing that depends on it happens.

use std::time::Duration;

use aios_daemon::proxy::Evidence1Proxy;
use aios_daemon::{Line, LineError};
use aios_wire::evidence::{Room, RoomState};
use serde::Serialize;
use serde_json::{Value, json};

/// An append takes milliseconds; a log that is silent for this long counts as gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// The line to the log.
pub(crate) struct Evidence(Line<Evidence1Proxy<'static>>);

/// The record is not known to be durable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EvidenceError {
    #[error("the evidence log did not take a record of kind '{kind}'")]
    Append {
        kind: &'static str,
        #[source]
        source: zbus::Error,
    },
    #[error("the evidence log did not tell the newest record of kind '{kind}'")]
    Query {
        kind: &'static str,
        #[source]
        source: zbus::Error,
    },
    #[error("what the evidence log told of kind '{kind}' cannot be read")]
    Answer {
        kind: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("the evidence log did not answer for {} seconds", PATIENCE.as_secs())]
    Silent,
}

impl Evidence {
    pub(crate) fn new() -> Self {
        Self(Line::to("evidence-log"))
    }

    /// Appends one record and returns its index. At worst it is there twice.
    pub(crate) async fn append(
        &self,
        kind: &'static str,
        action: &str,
        payload: &impl Serialize,
    ) -> Result<u64, EvidenceError> {
        let payload = serde_json::to_string(payload).expect("records have only text keys");
        let payload = payload.as_str();
        let appended = self.0.ask(PATIENCE, |log| async move { log.append(kind, action, payload).await }).await;
        appended.map_err(|error| unanswered(error, |source| EvidenceError::Append { kind, source }))
    }

    /// The payload of the newest record of a kind, if there is one.
    pub(crate) async fn newest(&self, kind: &'static str) -> Result<Option<Value>, EvidenceError> {
        let filter = json!({"kind": kind, "limit": 1}).to_string();
        let filter = filter.as_str();
        let records = self.0.ask(PATIENCE, |log| async move { log.query(filter).await }).await;
        let records = records.map_err(|error| unanswered(error, |source| EvidenceError::Query { kind, source }))?;
        let records: Vec<Value> =
            serde_json::from_str(&records).map_err(|source| EvidenceError::Answer { kind, source })?;
        Ok(records.into_iter().next_back().map(|mut record| record["payload"].take()))
    }
}

impl Evidence {
    /// Why the log takes no records at all, if it says so itself: one that is silent or full does not.
    pub(crate) async fn read_only(&self) -> Option<String> {
        let room = self.0.ask(PATIENCE, |log| async move { log.room().await }).await;
        let room: Room = serde_json::from_str(&room.ok()?).ok()?;
        match room.state {
            RoomState::ReadOnly(why) => Some(why),
            RoomState::Ample | RoomState::NearEnd | RoomState::Full => None,
        }
    }
}

fn unanswered(error: LineError, refused: impl FnOnce(zbus::Error) -> EvidenceError) -> EvidenceError {
    match error {
        LineError::Call(source) => refused(source),
        LineError::Late => EvidenceError::Silent,
    }
}

#[cfg(test)]
impl Evidence {
    /// A log at the other end of this connection.
    pub(crate) async fn over(connection: &zbus::Connection) -> Self {
        let log = Evidence1Proxy::new(connection).await.expect("a proxy needs no answer");
        Self(Line::over("evidence-log", log))
    }
}
