//! The interface `org.aios.Logs1`, one object for each caller: checks the caller, limits the question, reads the files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aios_daemon::{Caller, error_chain};
use aios_wire::logs::{Page, Question};
use tokio::time::{Instant, timeout_at};
use zbus::fdo::Error;
use zbus::interface;

use crate::intake::Shared;
use crate::{boots, search};

const SERVICE: &str = "logbook";
/// The longest question that is looked at.
const TEXT_LIMIT: usize = 4096;
/// How long a call waits for the next line before it is told that there is none yet.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers one caller.
pub(crate) struct Door {
    caller: Caller,
    folder: PathBuf,
    shared: Arc<Shared>,
}

impl Door {
    pub(crate) fn new(caller: Caller, folder: &Path, shared: Arc<Shared>) -> Self {
        Self { caller, folder: folder.to_owned(), shared }
    }

    /// Works on a thread that may wait for the disk.
    async fn work<T: Send + 'static>(&self, work: impl FnOnce(&Path) -> T + Send + 'static) -> Result<T, Error> {
        let folder = self.folder.clone();
        let done = tokio::task::spawn_blocking(move || work(&folder)).await;
        done.map_err(|error| Error::Failed(format!("the question was not answered: {error}")))
    }

    async fn search(&self, question: Question) -> Result<Page, Error> {
        let page = self.work(move |folder| search::search(folder, &question)).await?;
        page.map_err(|error| Error::Failed(error_chain(&error)))
    }
}

fn read_question(text: &str) -> Result<Question, Error> {
    if text.len() > TEXT_LIMIT {
        return Err(Error::InvalidArgs(format!("the question has {} bytes; ask a shorter one", text.len())));
    }
    serde_json::from_str(text).map_err(|error| Error::InvalidArgs(format!("the question cannot be read: {error}")))
}

fn answer<T: serde::Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Failed(format!("the answer cannot be written: {error}")))
}

#[interface(name = "org.aios.Logs1")]
impl Door {
    /// The newest lines that match a question, as JSON.
    async fn query(&self, question: &str) -> Result<String, Error> {
        self.caller.require(SERVICE, "query")?;
        answer(&self.search(read_question(question)?).await?)
    }

    /// The lines after the question's `after` that match, as soon as there is one; none after a while without.
    async fn follow(&self, question: &str) -> Result<String, Error> {
        self.caller.require(SERVICE, "query")?;
        let question = read_question(question)?;
        let mut grown = self.shared.subscribe();
        let until = Instant::now() + PATIENCE;
        loop {
            grown.mark_unchanged();
            let page = self.search(question.clone()).await?;
            if !page.lines.is_empty() || !matches!(timeout_at(until, grown.changed()).await, Ok(Ok(()))) {
                return answer(&page);
            }
        }
    }

    /// How long the boots of this machine took, as JSON.
    async fn boots(&self) -> Result<String, Error> {
        self.caller.require(SERVICE, "boots")?;
        answer(&self.work(|folder| boots::judged(boots::read(folder))).await?)
    }
}
