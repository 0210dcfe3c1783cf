//! Writing to the evidence log. A record is durable before [`Evidence::append`] returns; when it cannot be written,
//! nothing that depends on it happens.

use std::time::Duration;

use aios_daemon::proxy::Evidence1Proxy;
use aios_wire::evidence::{Room, RoomState};
use serde_json::Value;
use tokio::sync::Mutex;
use zbus::fdo;

/// An append takes milliseconds; a log that is silent for this long counts as gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// The connection to the log, made when it is first needed and again after it was lost.
pub(crate) struct Evidence(Mutex<Option<Evidence1Proxy<'static>>>);

/// The record is not known to be durable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EvidenceError {
    #[error("the evidence log did not take a record of kind '{kind}'")]
    Append {
        kind: &'static str,
        #[source]
        source: zbus::Error,
    },
    #[error("the evidence log did not answer for {} seconds", PATIENCE.as_secs())]
    Silent,
}

impl Evidence {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Appends one record and returns its index.
    pub(crate) async fn append(&self, kind: &'static str, action: &str, payload: &Value) -> Result<u64, EvidenceError> {
        let mut kept = self.0.lock().await;
        let result = tokio::time::timeout(PATIENCE, append_on(&mut kept, kind, action, &payload.to_string())).await;
        match result {
            Ok(result) => result.map_err(|source| EvidenceError::Append { kind, source }),
            // Whether the record was written is unknown, and an answer may still come: the connection is not used again.
            Err(_) => {
                *kept = None;
                Err(EvidenceError::Silent)
            }
        }
    }
}

impl Evidence {
    /// Why the log takes no records at all, if it says so itself: one that is silent or full does not.
    pub(crate) async fn read_only(&self) -> Option<String> {
        let mut kept = self.0.lock().await;
        let room = tokio::time::timeout(PATIENCE, async {
            let log = match kept.as_ref() {
                Some(log) => log,
                None => kept.insert(Evidence1Proxy::new(&aios_daemon::connect("evidence-log").await?).await?),
            };
            log.room().await
        });
        let room: Room = serde_json::from_str(&room.await.ok()?.ok()?).ok()?;
        match room.state {
            RoomState::ReadOnly(why) => Some(why),
            RoomState::Ample | RoomState::NearEnd | RoomState::Full => None,
        }
    }
}

async fn append_on(
    kept: &mut Option<Evidence1Proxy<'static>>,
    kind: &str,
    action: &str,
    payload: &str,
) -> zbus::Result<u64> {
    if let Some(log) = kept.as_ref() {
        match log.append(kind, action, payload).await {
            Ok(index) => return Ok(index),
            Err(error) if is_refusal(&error) => return Err(error),
            // The log was restarted since: once more on a new connection. At worst a record is there twice.
            Err(_) => *kept = None,
        }
    }
    let connection = aios_daemon::connect("evidence-log").await?;
    let log = kept.insert(Evidence1Proxy::new(&connection).await?);
    log.append(kind, action, payload).await
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
        Self(Mutex::new(Some(Evidence1Proxy::new(connection).await.expect("a proxy needs no answer"))))
    }
}
