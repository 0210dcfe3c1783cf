//! `org.aios.Vault1`: what callers may ask, and the words they get when it fails. No method answers with a secret.

use std::sync::Arc;
use std::time::Duration;

use aios_daemon::{Caller, error_chain};
use aios_identity::Peer;
use aios_wire::vault::FetchAsk;
use serde::Serialize;
use serde_json::{Value, json};
use zbus::fdo;
use zeroize::Zeroizing;

use crate::desk::{Desk, DeskError};
use crate::peers;

/// An agent that tries waits so long for its answer, so that records of attempts do not fill the log.
const AFTER_AN_ATTEMPT: Duration = Duration::from_secs(1);

/// The code of a refusal that no table lifts.
const REFUSED: &str = "SubjectKindRejectedForVault";

/// The vault as one caller sees it.
pub(crate) struct Vault1 {
    caller: Caller,
    desk: Arc<Desk>,
}

impl Vault1 {
    pub(crate) fn new(caller: Caller, desk: Arc<Desk>) -> Self {
        Self { caller, desk }
    }

    /// Site 1: agents have no business here, whatever the table says, and each attempt is a record before its answer.
    async fn require(&self, verb: &str) -> fdo::Result<()> {
        let Some(attempt) = Attempt::of(&self.caller.peer, verb) else {
            return self.caller.require("vault", verb);
        };
        if let Err(error) = peers::record("secret-refused", None, &attempt.payload).await {
            eprintln!("an agent's attempt cannot be recorded: {}", error_chain(&error));
        }
        tokio::time::sleep(AFTER_AN_ATTEMPT).await;
        Err(attempt.refusal)
    }
}

/// An agent's call: what is recorded of it, and what it is told.
struct Attempt {
    payload: Value,
    refusal: fdo::Error,
}

impl Attempt {
    fn of(peer: &Peer, verb: &str) -> Option<Self> {
        if !peer.is_ai() {
            return None;
        }
        let payload = json!({"subject": peer, "verb": verb, "reason": REFUSED});
        let refusal = fdo::Error::AccessDenied(format!(
            "{REFUSED}: {peer} is an agent, and agents neither read, put nor remove secrets; 'http.fetch' with \
             'secret=NAME' uses one after a person has said yes"
        ));
        Some(Self { payload, refusal })
    }
}

#[zbus::interface(name = "org.aios.Vault1")]
impl Vault1 {
    /// Keeps a value for an action `secret.put` that names it by what this answers.
    async fn offer(&self, value: String) -> fdo::Result<String> {
        let value = Zeroizing::new(value);
        self.require("offer").await?;
        Ok(self.desk.offer(&value).map_err(told)?.to_string())
    }

    /// Seals the value that was handed over under `name`, for the action of this id; answers with a `SecretView`.
    async fn put(
        &self,
        name: &str,
        hosts: Vec<String>,
        header: &str,
        offer: &str,
        action: &str,
    ) -> fdo::Result<String> {
        self.require("put").await?;
        json(self.desk.put(name, &hosts, header, offer, action).await)
    }

    /// Forgets the secret of this name, for the action of this id.
    async fn remove(&self, name: &str, action: &str) -> fdo::Result<()> {
        self.require("remove").await?;
        self.desk.remove(name, action).await.map_err(told)
    }

    /// Every secret, as an array of `SecretView`.
    async fn list(&self) -> fdo::Result<String> {
        self.require("list").await?;
        json(self.desk.list())
    }

    /// Does what a `FetchAsk` says, for the action of this id; answers with a `Fetched`.
    async fn fetch(&self, ask: &str, action: &str) -> fdo::Result<String> {
        self.require("fetch").await?;
        let ask: FetchAsk = serde_json::from_str(ask)
            .map_err(|error| fdo::Error::InvalidArgs(format!("the request cannot be read: {error}")))?;
        json(self.desk.fetch(&ask, action).await)
    }

    /// What came of the action of this id, as a `Fetched`.
    async fn fetched(&self, action: &str) -> fdo::Result<String> {
        self.require("fetched").await?;
        json(self.desk.fetched(action))
    }
}

fn json(result: Result<impl Serialize, DeskError>) -> fdo::Result<String> {
    let value = result.map_err(told)?;
    Ok(serde_json::to_string(&value).expect("the messages have only text keys"))
}

fn told(error: DeskError) -> fdo::Error {
    let text = error_chain(&error);
    match error {
        DeskError::Value(_)
        | DeskError::Binding(_)
        | DeskError::Id(_)
        | DeskError::Url(_)
        | DeskError::Ask(_)
        | DeskError::NotOffered => fdo::Error::InvalidArgs(text),
        DeskError::Sealed(_)
        | DeskError::Peer(_)
        | DeskError::Fetch(_)
        | DeskError::Unknown(_)
        | DeskError::Random(_) => fdo::Error::Failed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_asks_the_vault_is_refused_and_recorded() {
        let agent = Peer::Agent { name: "helper".into() };
        for verb in ["offer", "put", "remove", "list", "fetch", "fetched", "reveal"] {
            let attempt = Attempt::of(&agent, verb).expect("an attempt");
            assert!(attempt.refusal.to_string().contains("SubjectKindRejectedForVault"), "{}", attempt.refusal);
            assert_eq!((&attempt.payload["verb"], &attempt.payload["subject"]), (&json!(verb), &json!(agent)));
        }
        assert!(Attempt::of(&Peer::Service { name: "action-runtime".into() }, "fetch").is_none());
    }
}
