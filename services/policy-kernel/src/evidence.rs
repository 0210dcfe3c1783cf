//! Writing to the evidence log. A record is durable before [`Evidence::append`] returns; when it cannot be written,
//! nothing that depends on it happens.

use std::time::Duration;

use aios_daemon::proxy::Evidence1Proxy;
use aios_wire::evidence::{Room, RoomState};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use zbus::fdo;

/// An append takes milliseconds; a log that is silent for this long counts as gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// The connection to the log, made when it is first needed and again after it was lost. Questions share it: nobody waits for
/// the answer to another one's.
pub(crate) struct Evidence(Mutex<Kept>);

/// The connection that is in use, and how many were made before it.
#[derive(Default)]
struct Kept {
    log: Option<Evidence1Proxy<'static>>,
    before: u64,
}

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
        Self(Mutex::default())
    }

    /// Appends one record and returns its index.
    pub(crate) async fn append(
        &self,
        kind: &'static str,
        action: &str,
        payload: &impl Serialize,
    ) -> Result<u64, EvidenceError> {
        let payload = serde_json::to_string(payload).expect("records have only text keys");
        let action = action.to_owned();
        let question = |log: Evidence1Proxy<'static>| {
            let (action, payload) = (action.clone(), payload.clone());
            async move { log.append(kind, &action, &payload).await }
        };
        let result = self.ask(question).await?;
        result.map_err(|source| EvidenceError::Append { kind, source })
    }

    /// The payload of the newest record of a kind, if there is one.
    pub(crate) async fn newest(&self, kind: &'static str) -> Result<Option<Value>, EvidenceError> {
        let filter = json!({"kind": kind, "limit": 1}).to_string();
        let question = |log: Evidence1Proxy<'static>| {
            let filter = filter.clone();
            async move { log.query(&filter).await }
        };
        let records = self.ask(question).await?;
        let records = records.map_err(|source| EvidenceError::Query { kind, source })?;
        let records: Vec<Value> =
            serde_json::from_str(&records).map_err(|source| EvidenceError::Answer { kind, source })?;
        Ok(records.into_iter().next_back().map(|mut record| record["payload"].take()))
    }

    /// Asks the log, on a new connection if the old one was lost. At worst a record is there twice.
    async fn ask<T, Answer: Future<Output = zbus::Result<T>>>(
        &self,
        question: impl Fn(Evidence1Proxy<'static>) -> Answer,
    ) -> Result<zbus::Result<T>, EvidenceError> {
        match tokio::time::timeout(PATIENCE, self.ask_again_if_lost(question)).await {
            Ok(result) => Ok(result),
            // Whether the record was written is unknown, and an answer may still come: the connection is not used again.
            Err(_) => {
                let mut kept = self.0.lock().await;
                *kept = Kept { log: None, before: kept.before + 1 };
                Err(EvidenceError::Silent)
            }
        }
    }

    async fn ask_again_if_lost<T, Answer: Future<Output = zbus::Result<T>>>(
        &self,
        question: impl Fn(Evidence1Proxy<'static>) -> Answer,
    ) -> zbus::Result<T> {
        let (log, before) = self.connected().await?;
        match question(log).await {
            Ok(answer) => Ok(answer),
            Err(error) if is_refusal(&error) => Err(error),
            // The log was restarted since.
            Err(_) => {
                self.lost(before).await;
                let (log, _) = self.connected().await?;
                question(log).await
            }
        }
    }

    /// The connection, and how many were before it.
    async fn connected(&self) -> zbus::Result<(Evidence1Proxy<'static>, u64)> {
        let mut kept = self.0.lock().await;
        let log = match &kept.log {
            Some(log) => log.clone(),
            None => {
                let connection = aios_daemon::connect("evidence-log").await?;
                kept.log.insert(Evidence1Proxy::new(&connection).await?).clone()
            }
        };
        Ok((log, kept.before))
    }

    /// Forgets the connection that had so many before it; another asker may have made a new one by now.
    async fn lost(&self, before: u64) {
        let mut kept = self.0.lock().await;
        if kept.before == before {
            *kept = Kept { log: None, before: before + 1 };
        }
    }
}

impl Evidence {
    /// Why the log takes no records at all, if it says so itself: one that is silent or full does not.
    pub(crate) async fn read_only(&self) -> Option<String> {
        let room = self.ask(|log: Evidence1Proxy<'static>| async move { log.room().await }).await;
        let room: Room = serde_json::from_str(&room.ok()?.ok()?).ok()?;
        match room.state {
            RoomState::ReadOnly(why) => Some(why),
            RoomState::Ample | RoomState::NearEnd | RoomState::Full => None,
        }
    }
}

/// Whether the log itself answered, in one of the ways our services do.
fn is_refusal(error: &zbus::Error) -> bool {
    let zbus::Error::FDO(error) = error else { return false };
    matches!(**error, fdo::Error::AccessDenied(_) | fdo::Error::InvalidArgs(_) | fdo::Error::Failed(_))
}

#[cfg(test)]
impl Evidence {
    /// A log at the other end of this connection.
    pub(crate) async fn over(connection: &zbus::Connection) -> Self {
        let log = Evidence1Proxy::new(connection).await.expect("a proxy needs no answer");
        Self(Mutex::new(Kept { log: Some(log), before: 0 }))
    }
}
