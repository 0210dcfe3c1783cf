//! The inputs of a run: what its journal holds.

use std::collections::BTreeMap;

use aios_ids::{ActionId, StepId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An input of a run: everything that the definition does not say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// A submission came to its end.
    Ended {
        /// The step.
        step: StepId,
        /// Which submission of it.
        number: u32,
        /// The action, if one was taken.
        action: Option<ActionId>,
        /// How.
        end: Ending,
        /// The parts of its output that the definition looks at.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        output: BTreeMap<String, Value>,
        /// Milliseconds that the run had taken.
        spent_ms: u64,
    },
    /// The step's time was over, and its action or its question had not ended.
    TimeOver {
        /// The step.
        step: StepId,
        /// Milliseconds that the run had taken.
        spent_ms: u64,
    },
    /// A person answered a question.
    Answered {
        /// The step.
        step: StepId,
        /// Who.
        by: String,
        /// What.
        answer: Answer,
        /// Milliseconds that the run had taken.
        spent_ms: u64,
    },
    /// A person ended the run.
    Cancelled {
        /// Who.
        by: String,
        /// Milliseconds that the run had taken.
        spent_ms: u64,
    },
}

/// A person's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Go on.
    Yes,
    /// The step has failed.
    No,
}

/// How a submission ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ending {
    /// The verifier measured what was promised.
    Succeeded,
    /// It did not do what was promised.
    Failed {
        /// Why.
        text: String,
    },
    /// It failed, and the state from before is back.
    RolledBack {
        /// Why it failed.
        text: String,
    },
    /// Policy or a person said no.
    Denied {
        /// A stable code.
        reason: String,
    },
    /// It was taken back while it waited for a person.
    Cancelled,
    /// The runtime did not take it.
    NotTaken {
        /// Why.
        text: String,
    },
    /// Nothing happened and nobody said no: what decides or records was away.
    Void {
        /// What was away.
        text: String,
    },
    /// The runtime ended while it ran: nobody knows whether it had its effect.
    Interrupted,
}

impl Event {
    /// The step it is about; a cancellation is about none.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::Ended { step, .. } | Self::TimeOver { step, .. } | Self::Answered { step, .. } => Some(step),
            Self::Cancelled { .. } => None,
        }
    }

    /// What the run had taken, in milliseconds.
    pub fn spent_ms(&self) -> u64 {
        match self {
            Self::Ended { spent_ms, .. }
            | Self::TimeOver { spent_ms, .. }
            | Self::Answered { spent_ms, .. }
            | Self::Cancelled { spent_ms, .. } => *spent_ms,
        }
    }

    /// What it is, in words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Ended { step, number, .. } => format!("the end of number {number} of step '{step}'"),
            Self::TimeOver { step, .. } => format!("the end of the time of step '{step}'"),
            Self::Answered { step, .. } => format!("the answer to step '{step}'"),
            Self::Cancelled { by, .. } => format!("the cancellation by {by}"),
        }
    }
}

impl Ending {
    /// The same in words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Succeeded => "succeeded".into(),
            Self::Failed { text } => format!("failed: {text}"),
            Self::RolledBack { text } => format!("failed, and the state from before is back: {text}"),
            Self::Denied { reason } => format!("denied ({reason})"),
            Self::Cancelled => "cancelled".into(),
            Self::NotTaken { text } => format!("not taken: {text}"),
            Self::Void { text } => format!("nothing happened: {text}"),
            Self::Interrupted => {
                "the runtime ended while it ran: its effect may have happened, and it is not run again; look before you \
                 run the workflow again"
                    .into()
            }
        }
    }
}
