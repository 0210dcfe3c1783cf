//! The interface `org.aios.Evidence1`, one object for each caller: checks the caller, limits the question, asks the log.

use std::sync::Arc;

use aios_daemon::{Caller, error_chain};
use aios_evidence::{Filter, Kind, ResourcePath};
use zbus::fdo::Error;
use zbus::interface;

use crate::log::{AppendRefused, Draft, Log};
use crate::writer::Appends;

const SERVICE: &str = "evidence-log";

/// The longest action id or filter that is looked at.
const TEXT_LIMIT: usize = 4096;

/// Answers one caller.
pub(crate) struct Door {
    caller: Caller,
    log: Arc<Log>,
    appends: Appends,
}

impl Door {
    pub(crate) fn new(caller: Caller, log: Arc<Log>, appends: Appends) -> Self {
        Self { caller, log, appends }
    }

    /// Answers from the log on a thread that may wait for the disk.
    async fn ask<T: Send + 'static>(
        &self,
        verb: &str,
        question: impl FnOnce(&Log) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.caller.require(SERVICE, verb)?;
        let log = Arc::clone(&self.log);
        let answer = tokio::task::spawn_blocking(move || question(&log)).await;
        answer.map_err(|error| Error::Failed(format!("the question was not answered: {error}")))?
    }
}

#[interface(name = "org.aios.Evidence1")]
impl Door {
    /// Writes a record; its index means that it is durable.
    async fn append(&self, kind: &str, action: &str, payload: &str) -> Result<u64, Error> {
        let kind: Kind = kind.parse().map_err(|error| invalid("the kind", &error))?;
        self.caller.require(SERVICE, &format!("append:{kind}"))?;
        if action.len() > TEXT_LIMIT {
            return Err(Error::InvalidArgs(format!(
                "the action: {} bytes is no id; give an action's id",
                action.len()
            )));
        }
        let writer = self.caller.peer.to_string();
        let draft = Draft { kind, action: action.to_owned(), writer, payload: payload.to_owned() };
        self.appends.append(draft).await.map_err(|refused| match &refused {
            AppendRefused::Record(_) => invalid("the record", &refused),
            AppendRefused::Closed(_) | AppendRefused::Disk(_) => Error::Failed(error_chain(&refused)),
        })
    }

    /// The records that a filter asks for, as a JSON array.
    async fn query(&self, filter: &str) -> Result<String, Error> {
        let filter = match filter {
            long if long.len() > TEXT_LIMIT => {
                return Err(Error::InvalidArgs(format!(
                    "the filter: it has {} bytes; ask a shorter question",
                    long.len()
                )));
            }
            "" => Filter::default(),
            text => serde_json::from_str(text).map_err(|error| invalid("the filter", &error))?,
        };
        self.ask("query", move |log| {
            let lines = log.query(&filter).map_err(|error| failed(&error))?;
            Ok(format!("[{}]", lines.join(",")))
        })
        .await
    }

    /// One record.
    async fn show(&self, index: u64) -> Result<String, Error> {
        self.ask("show", move |log| log.record_line(index).map_err(|error| failed(&error))).await
    }

    /// A proof that one record is under the newest head.
    async fn prove(&self, index: u64) -> Result<String, Error> {
        self.ask("prove", move |log| log.prove(index).map_err(|error| failed(&error))).await
    }

    /// The newest head.
    async fn checkpoint(&self) -> Result<String, Error> {
        self.ask("checkpoint", |log| Ok(log.checkpoint())).await
    }

    /// A file of the log as an export has it.
    async fn resource(&self, path: &str) -> Result<Vec<u8>, Error> {
        let path: ResourcePath = path.parse().map_err(|error| invalid("the path", &error))?;
        self.ask("resource", move |log| log.resource(path).map_err(|error| failed(&error))).await
    }

    /// Reads and checks the whole stored log; an error names the first wrong entry.
    async fn verify(&self) -> Result<String, Error> {
        self.ask("verify", |log| {
            if let Some(reason) = log.closed() {
                return Err(Error::Failed(format!("the log is not sound: {reason}; start recovery")));
            }
            let report = log.verify().map_err(|fault| failed(&fault))?;
            serde_json::to_string(&report).map_err(|error| failed(&error))
        })
        .await
    }
}

fn invalid(what: &str, error: &dyn std::error::Error) -> Error {
    Error::InvalidArgs(format!("{what}: {}", error_chain(error)))
}

fn failed(error: &dyn std::error::Error) -> Error {
    Error::Failed(error_chain(error))
}
