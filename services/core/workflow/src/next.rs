//! What a run decides: the one thing that is next.

use aios_action::Request;
use aios_ids::{Digest, StepId};
use serde::{Deserialize, Serialize};

/// What a run does next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Submit this and tell how it ended.
    Submit(Box<Submission>),
    /// Ask a person.
    Ask {
        /// The step.
        step: StepId,
        /// The question.
        question: String,
        /// When its time is over, in milliseconds that the run has taken.
        until_ms: u64,
    },
    /// Nothing any more.
    End(Outcome),
}

/// A submission of a step. The same one always has the same key.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// The step.
    pub step: StepId,
    /// Which submission of it, from 0.
    pub number: u32,
    /// What for.
    pub purpose: Purpose,
    /// Milliseconds to wait before.
    pub wait_ms: u64,
    /// When the step's time is over, in milliseconds that the run has taken; none when it already was.
    pub until_ms: Option<u64>,
    /// Digest of what the step is for, which no repair changes.
    pub goal: Digest,
    /// The request.
    pub request: Request,
}

impl Submission {
    /// The request's idempotency key.
    pub fn key(&self) -> &str {
        self.request.idempotency_key.as_deref().unwrap_or_default()
    }
}

/// Why something is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To reach what the step is for; this many tries failed before.
    Try(u32),
    /// To mend what made it fail.
    Repair {
        /// Which round, from 1.
        round: u32,
        /// Which action of the round, from 1.
        action: u32,
    },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// Every step succeeded, was passed over, or failed and had its failure dealt with by another step.
    Succeeded,
    /// A step failed, or the budget was spent.
    Failed {
        /// The first step that failed or could not begin.
        step: StepId,
        /// Why.
        text: String,
    },
    /// A person ended it.
    Cancelled {
        /// Who.
        by: String,
    },
}

impl Next {
    /// The step it is about; the end is about none.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::Submit(submission) => Some(&submission.step),
            Self::Ask { step, .. } => Some(step),
            Self::End(_) => None,
        }
    }

    /// What it is, in words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Submit(submission) => format!("step '{}' submits its number {}", submission.step, submission.number),
            Self::Ask { step, .. } => format!("step '{step}' asks a person"),
            Self::End(_) => "the run has ended".into(),
        }
    }
}
