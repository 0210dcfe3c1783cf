//! `org.aios.Workflows1`: what callers may ask about runs, and the words they get when it fails.

use std::sync::Arc;

use action_runtime::runs::RunsError;
use aios_daemon::{Caller, error_chain};
use aios_ids::{IdError, RunId};
use aios_workflow::Answer;
use serde::Serialize;
use zbus::fdo;

use super::{WorkflowError, Workflows};

/// The runs as one caller sees them.
pub(crate) struct Workflows1 {
    caller: Caller,
    workflows: Arc<Workflows>,
}

impl Workflows1 {
    pub(crate) fn new(caller: Caller, workflows: Arc<Workflows>) -> Self {
        Self { caller, workflows }
    }

    fn require(&self, verb: &str) -> fdo::Result<()> {
        self.caller.require("action-runtime", verb)
    }
}

#[zbus::interface(name = "org.aios.Workflows1")]
impl Workflows1 {
    /// Begins a run of a definition. It speaks for the process behind `subject`, which must be the caller's own.
    async fn run(&self, definition: &str, subject: zbus::OwnedFd) -> fdo::Result<String> {
        self.require("workflow-run")?;
        json(self.workflows.run(&self.caller.peer, subject.into(), definition).await)
    }

    /// The newest runs, oldest of them first.
    async fn list(&self) -> fdo::Result<String> {
        self.require("workflow-list")?;
        json(self.workflows.list())
    }

    /// One run.
    async fn show(&self, id: &str) -> fdo::Result<String> {
        self.require("workflow-show")?;
        json(self.workflows.show(&run(id)?))
    }

    /// One run, as soon as its mark is another one than `seen`, or after a while.
    async fn watch(&self, id: &str, seen: &str) -> fdo::Result<String> {
        self.require("workflow-watch")?;
        json(self.workflows.watch(&run(id)?, seen).await)
    }

    /// Goes on with a run of the caller.
    async fn resume(&self, id: &str, subject: zbus::OwnedFd) -> fdo::Result<String> {
        self.require("workflow-resume")?;
        json(self.workflows.resume(&self.caller.peer, subject.into(), &run(id)?).await)
    }

    /// Ends a run where it stands.
    async fn cancel(&self, id: &str) -> fdo::Result<()> {
        self.require("workflow-cancel")?;
        self.workflows.cancel(&self.caller.peer, &run(id)?).await.map_err(told)
    }

    /// Answers the question of a step with `yes` or `no`.
    async fn answer(&self, id: &str, step: &str, answer: &str) -> fdo::Result<()> {
        self.require("workflow-answer")?;
        let answer = match answer {
            "yes" => Answer::Yes,
            "no" => Answer::No,
            _ => return Err(fdo::Error::InvalidArgs("an answer is yes or no".into())),
        };
        let step = step.parse().map_err(|error: IdError| fdo::Error::InvalidArgs(error.to_string()))?;
        self.workflows.answer(&self.caller.peer, &run(id)?, &step, answer).await.map_err(told)
    }

    /// A run with its definition and its journal, to decide it again.
    async fn journal(&self, id: &str) -> fdo::Result<String> {
        self.require("workflow-journal")?;
        json(self.workflows.journal(&run(id)?))
    }
}

fn run(id: &str) -> fdo::Result<RunId> {
    id.parse().map_err(|error| fdo::Error::InvalidArgs(format!("{error}; 'aios workflow list' shows all")))
}

fn json(result: Result<impl Serialize, WorkflowError>) -> fdo::Result<String> {
    let value = result.map_err(told)?;
    Ok(serde_json::to_string(&value).expect("the messages have only text keys"))
}

fn told(error: WorkflowError) -> fdo::Error {
    let text = error_chain(&error);
    match error {
        WorkflowError::NotYourself { .. } | WorkflowError::NotYours { .. } | WorkflowError::NotAPerson(_) => {
            fdo::Error::AccessDenied(text)
        }
        WorkflowError::Definition(_) | WorkflowError::Runs(RunsError::Unknown(_)) => fdo::Error::InvalidArgs(text),
        _ => fdo::Error::Failed(text),
    }
}
