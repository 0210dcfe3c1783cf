//! What is kept and what is told of a run; the same types on both ends of the socket.

use aios_ids::{ActionId, ApprovalId, Digest, RunId, StepId, WorkflowName};
use serde::{Deserialize, Serialize};

use crate::definition::Definition;
use crate::next::{Next, Outcome};
use crate::progress::{Progress, StepEnd};
use crate::trace::{Chain, Row};

/// A run with its journal: everything that deciding it again needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Which.
    pub id: RunId,
    /// Of which workflow.
    pub name: WorkflowName,
    /// The definition's canonical text.
    pub definition: String,
    /// Its digest, which is in the evidence log since before the first step.
    pub digest: Digest,
    /// Who runs it, as the kernel attests.
    pub subject: String,
    /// The record of its beginning.
    pub evidence: u64,
    /// How it ended.
    pub closed: Option<Closed>,
    /// What came of its decisions.
    pub rows: Vec<Row>,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// How.
    pub outcome: Outcome,
    /// The trace's last chain value.
    pub trace: Chain,
    /// The record of its end.
    pub evidence: u64,
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLine {
    /// Which.
    pub id: RunId,
    /// Of which workflow.
    pub name: WorkflowName,
    /// Who runs it.
    pub subject: String,
    /// What goes on, in a word.
    pub state: String,
}

/// A run as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// Which.
    pub id: RunId,
    /// Of which workflow.
    pub name: WorkflowName,
    /// Digest of its definition.
    pub digest: Digest,
    /// Who runs it.
    pub subject: String,
    /// What goes on.
    pub now: Now,
    /// Milliseconds that it has taken.
    pub spent_ms: u64,
    /// Actions that it has submitted.
    pub submitted: u32,
    /// Its steps, in their order.
    pub steps: Vec<StepView>,
    /// Its records in the evidence log: of its beginning, and of its end.
    pub evidence: Vec<u64>,
    /// Another one than before when something has changed; a watcher gives it back.
    pub mark: String,
}

/// What goes on with a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "now", rename_all = "kebab-case")]
pub enum Now {
    /// It runs.
    Running {
        /// The action that has not ended.
        action: Option<ActionId>,
    },
    /// Its action waits for a person.
    Approval {
        /// The action.
        action: ActionId,
        /// What the person approves.
        approval: ApprovalId,
    },
    /// It has a question.
    Question {
        /// Which.
        question: String,
    },
    /// Nobody's process speaks for it: whoever started it resumes it.
    Suspended {
        /// Why.
        why: String,
    },
    /// It has ended.
    Ended(Outcome),
}

impl Now {
    /// The word for people.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Running { .. } => "running",
            Self::Approval { .. } => "waits-for-approval",
            Self::Question { .. } => "waits-for-answer",
            Self::Suspended { .. } => "suspended",
            Self::Ended(Outcome::Succeeded) => "succeeded",
            Self::Ended(Outcome::Failed { .. }) => "failed",
            Self::Ended(Outcome::Cancelled { .. }) => "cancelled",
        }
    }
}

/// A step as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepView {
    /// Which.
    pub id: StepId,
    /// `succeeded`, `failed`, `skipped`, `now` or `later`.
    pub state: String,
    /// Why, where there is a reason.
    pub text: String,
}

impl StepView {
    /// The steps of a run.
    pub fn all(definition: &Definition, progress: &Progress<'_>) -> Vec<Self> {
        let next = progress.next();
        let of = |(place, step): (usize, &crate::definition::Step)| {
            let (state, text) = match progress.ends().get(place) {
                Some(StepEnd::Succeeded(_)) => ("succeeded", String::new()),
                Some(StepEnd::Failed(text)) => ("failed", text.clone()),
                Some(StepEnd::Skipped(text)) => ("skipped", text.clone()),
                None if next.step() == Some(&step.id) => ("now", String::new()),
                None if matches!(next, Next::End(_)) => ("skipped", "the run ended before".into()),
                None => ("later", String::new()),
            };
            Self { id: step.id.clone(), state: state.into(), text }
        };
        definition.steps.iter().enumerate().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use aios_ids::{ActionId, ApprovalId};

    use super::*;

    #[test]
    fn both_ends_of_the_socket_read_the_same() {
        let (action, approval) = (ActionId::new(0, [0; 10]), ApprovalId::new(0, [0; 10]));
        let failed = Outcome::Failed { step: "a".parse().expect("an id"), text: "why".into() };
        let all = [
            (Now::Running { action: None }, "running"),
            (Now::Running { action: Some(action.clone()) }, "running"),
            (Now::Approval { action, approval }, "approval"),
            (Now::Question { question: "good?".into() }, "question"),
            (Now::Suspended { why: "gone".into() }, "suspended"),
            (Now::Ended(Outcome::Succeeded), "ended"),
            (Now::Ended(failed), "ended"),
            (Now::Ended(Outcome::Cancelled { by: "operator:ada".into() }), "ended"),
        ];
        for (now, word) in all {
            let text = serde_json::to_string(&now).expect("it is JSON");
            assert!(text.contains(&format!("\"now\":\"{word}\"")), "{text}");
            assert_eq!(serde_json::from_str::<Now>(&text).expect("it reads back"), now);
        }
    }
}
