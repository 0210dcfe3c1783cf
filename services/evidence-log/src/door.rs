//! The interface `org.aios.Evidence1`, one object for each caller: checks the caller, limits the question, asks the log.

use std::sync::Arc;
use std::time::Duration;

use aios_daemon::{Caller, error_chain};
use aios_evidence::{Filter, Kind, ResourcePath};
use aios_wire::evidence::Exported;
use zbus::fdo::Error;
use zbus::interface;

use crate::export;
use crate::log::{AppendRefused, Draft, Entry, Log};
use crate::subscribe::next_records;
use crate::writer::Appends;

const SERVICE: &str = "evidence-log";

/// The longest action id or filter that is looked at.
const TEXT_LIMIT: usize = 4096;

/// How many records one call may append.
const MOST_APPENDS: usize = 1000;

/// How long a subscriber's call waits for the next record before it is told that there is none yet.
const SUBSCRIBE_FOR: Duration = Duration::from_secs(20);

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

impl Door {
    /// A record of this caller, if it may write one of that kind.
    fn entry(&self, kind: &str, action: &str, payload: String) -> Result<Entry, Error> {
        let kind: Kind = kind.parse().map_err(|error| invalid("the kind", &error))?;
        self.caller.require(SERVICE, &format!("append:{kind}"))?;
        if action.len() > TEXT_LIMIT {
            return Err(Error::InvalidArgs(format!(
                "the action: {} bytes is no id; give an action's id",
                action.len()
            )));
        }
        let draft = Draft { kind, action: action.to_owned(), writer: self.caller.peer.to_string(), payload };
        self.log.clear(&draft).map_err(|error| invalid("the record", &error))
    }

    /// The indices of entries once all of them are durable.
    async fn written(&self, entries: Vec<Entry>) -> Result<Vec<u64>, Error> {
        let answers = self.appends.append(entries).await.and_then(|answers| answers.into_iter().collect());
        answers.map_err(|refused: AppendRefused| match &refused {
            AppendRefused::Record(_) => invalid("the record", &refused),
            _ => Error::Failed(error_chain(&refused)),
        })
    }
}

fn read_filter(text: &str) -> Result<Filter, Error> {
    match text {
        long if long.len() > TEXT_LIMIT => {
            Err(Error::InvalidArgs(format!("the filter: it has {} bytes; ask a shorter question", long.len())))
        }
        "" => Ok(Filter::default()),
        text => serde_json::from_str(text).map_err(|error| invalid("the filter", &error)),
    }
}

fn array(lines: &[String]) -> String {
    format!("[{}]", lines.join(","))
}

#[interface(name = "org.aios.Evidence1")]
impl Door {
    /// Writes a record; its index means that it is durable.
    async fn append(&self, kind: &str, action: &str, payload: &str) -> Result<u64, Error> {
        let entry = self.entry(kind, action, payload.to_owned())?;
        let mut answers = self.written(vec![entry]).await?;
        answers.pop().ok_or_else(|| Error::Failed("the writer gave no answer".into()))
    }

    /// Writes records in order, all or none of them checked good; their indices mean that all are durable.
    async fn append_all(&self, records: Vec<(String, String, String)>) -> Result<Vec<u64>, Error> {
        if records.len() > MOST_APPENDS {
            let text = format!("{} records are too many for one call; send at most {MOST_APPENDS}", records.len());
            return Err(Error::InvalidArgs(text));
        }
        let entry = |(kind, action, payload): (String, String, String)| self.entry(&kind, &action, payload);
        let entries = records.into_iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        self.written(entries).await
    }

    /// How much room there is for more, as JSON.
    async fn room(&self) -> Result<String, Error> {
        self.ask("room", |log| {
            let room = log.room().map_err(|error| failed(&error))?;
            serde_json::to_string(&room).map_err(|error| failed(&error))
        })
        .await
    }

    /// The next records that a filter asks for, which must say after which; waits a while for the first one.
    async fn subscribe(&self, filter: &str) -> Result<String, Error> {
        self.caller.require(SERVICE, "query")?;
        let filter = read_filter(filter)?;
        let after = filter.after.ok_or_else(|| Error::InvalidArgs("the filter: say after which record".into()))?;
        let lines = next_records(&self.log, filter, after, SUBSCRIBE_FOR).await;
        Ok(array(&lines.map_err(|error| failed(&error))?))
    }

    /// The records that a filter asks for, as a JSON array.
    async fn query(&self, filter: &str) -> Result<String, Error> {
        let filter = read_filter(filter)?;
        self.ask("query", move |log| {
            let lines = log.query(&filter).map_err(|error| failed(&error))?;
            Ok(array(&lines))
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

    /// Puts the whole log, up to the newest head, into the store as the next version of `object`; answers with an
    /// `Exported`.
    async fn export(&self, object: &str) -> Result<String, Error> {
        let (made, records) = self.ask("export", |log| export::made(log).map_err(|error| failed(&error))).await?;
        let version = export::put(object, &made).await.map_err(|error| failed(&error))?;
        serde_json::to_string(&Exported { version, records }).map_err(|error| failed(&error))
    }

    /// Reads and checks the whole stored log; an error names the first wrong entry.
    async fn verify(&self) -> Result<String, Error> {
        self.ask("verify", |log| {
            let report = log.verify().map_err(|fault| failed(&fault))?;
            // What is there may be whole, and still not all that there was: a release is not marked good by that.
            if let Some(why) = log.closed() {
                let text = format!("what is there holds, {} records, and the log is read-only: {why}", report.size);
                return Err(Error::Failed(text));
            }
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
