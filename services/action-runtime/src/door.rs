//! `org.aios.Actions1`: what callers may ask, and the words they get when it fails.

use std::os::fd::AsFd;
use std::sync::Arc;

use action_runtime::journal::JournalError;
use aios_daemon::{Caller, error_chain, identify};
use aios_ids::ActionId;
use serde_json::json;
use zbus::fdo;

use crate::plan;
use crate::runtime::{Runtime, SubmitError};

/// The runtime as one caller sees it.
pub(crate) struct Actions1 {
    caller: Caller,
    runtime: Arc<Runtime>,
}

impl Actions1 {
    pub(crate) fn new(caller: Caller, runtime: Arc<Runtime>) -> Self {
        Self { caller, runtime }
    }

    fn require(&self, verb: &str) -> fdo::Result<()> {
        self.caller.require("action-runtime", verb)
    }
}

#[zbus::interface(name = "org.aios.Actions1")]
impl Actions1 {
    /// Takes a request of the caller; answers with the action once it is decided: denied, waiting, or on its way.
    async fn submit(&self, request: &str) -> fdo::Result<String> {
        self.require("submit")?;
        let view = self.runtime.submit(&self.caller.peer, self.caller.pidfd(), request).await.map_err(told)?;
        Ok(json!(view).to_string())
    }

    /// The same for the process behind `subject`: the agents' door speaks for agents, by a handle and never by name.
    async fn submit_for(&self, request: &str, subject: zbus::OwnedFd) -> fdo::Result<String> {
        self.require("submit-for")?;
        let peer = identify(subject.as_fd()).map_err(|error| fdo::Error::AccessDenied(error_chain(&error)))?;
        let view = self.runtime.submit(&peer, subject.as_fd(), request).await.map_err(told)?;
        Ok(json!(view).to_string())
    }

    /// What would become of a request of the caller, as a `Plan`; nothing does.
    async fn plan(&self, request: &str) -> fdo::Result<String> {
        self.require("plan")?;
        let plan = plan::plan(&self.caller.peer, self.caller.pidfd(), request).await.map_err(told)?;
        Ok(json!(plan).to_string())
    }

    /// The newest actions, oldest of them first.
    async fn list(&self) -> fdo::Result<String> {
        self.require("list")?;
        Ok(json!(self.runtime.list().map_err(unknown)?).to_string())
    }

    /// One action.
    async fn show(&self, id: &str) -> fdo::Result<String> {
        self.require("show")?;
        Ok(json!(self.runtime.show(&action(id)?).map_err(unknown)?).to_string())
    }

    /// One action, at its next change; at once when nothing more will happen to it.
    async fn watch(&self, id: &str) -> fdo::Result<String> {
        self.require("watch")?;
        Ok(json!(self.runtime.watch(&action(id)?).await.map_err(unknown)?).to_string())
    }

    /// Takes an action back that still waits for a person.
    async fn cancel(&self, id: &str) -> fdo::Result<()> {
        self.require("cancel")?;
        self.runtime.cancel(&action(id)?, &self.caller.peer).await.map_err(unknown)
    }
}

fn action(id: &str) -> fdo::Result<ActionId> {
    id.parse().map_err(|error| fdo::Error::InvalidArgs(format!("{error}; 'aios action list' shows all")))
}

fn told(error: SubmitError) -> fdo::Error {
    let text = error_chain(&error);
    match error {
        SubmitError::Request(_) | SubmitError::KeyTaken(_) => fdo::Error::InvalidArgs(text),
        SubmitError::TooMany { .. } | SubmitError::UsedUp(_) => fdo::Error::LimitsExceeded(text),
        SubmitError::NotContained(_)
        | SubmitError::Journal(_)
        | SubmitError::Trial(_)
        | SubmitError::NotDecided(_)
        | SubmitError::Random(_) => fdo::Error::Failed(text),
    }
}

fn unknown(error: JournalError) -> fdo::Error {
    let text = error_chain(&error);
    match error {
        JournalError::Unknown(_) => fdo::Error::InvalidArgs(text),
        JournalError::Transition(_) => {
            fdo::Error::Failed(format!("{text}; only what waits for a person can be cancelled"))
        }
        _ => fdo::Error::Failed(text),
    }
}
