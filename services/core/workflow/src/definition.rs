//! A definition after it was checked: the steps in the order in which they run.

use aios_action::{Constraints, canonical};
use aios_ids::{Digest, StepId, WorkflowName};
use serde_json::{Map, Value};

use crate::written::Written;

/// A workflow that can run.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    pub(crate) written: Written,
    /// The most that a run may take.
    pub budget: Budget,
    /// In the order in which they run: each comes after everything that it waits for, and otherwise as it was written.
    pub steps: Vec<Step>,
}

/// The most that a run may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Actions submitted, retries and repairs included.
    pub actions: u32,
    /// Milliseconds in which somebody runs it; what lies between a reboot and `resume` does not count.
    pub time_ms: u64,
}

/// One step. Other steps are named by their place in [`Definition::steps`].
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its name.
    pub id: StepId,
    /// What is done.
    pub work: Work,
    /// Steps that must have succeeded; otherwise this one is passed over.
    pub after: Vec<usize>,
    /// What else must be so; otherwise this one is passed over.
    pub when: Vec<Condition>,
    /// How long it may take with everything that is tried.
    pub timeout_ms: u64,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// An action.
    Act(Act),
    /// A question to a person, who says yes or no.
    Ask {
        /// The question.
        question: String,
    },
}

/// An action of a step and what is done when it fails.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    /// What the step is for. It never changes, whatever is repaired.
    pub goal: Typed,
    /// How often it is tried again.
    pub retry: Retry,
    /// What is done when trying again was not enough.
    pub repair: Repair,
}

/// One typed action of the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct Typed {
    /// Its type.
    pub action_type: String,
    /// Its parameters, as the catalogue wants them.
    pub parameters: Map<String, Value>,
    /// Why, in the words of the definition.
    pub reason: String,
    /// What it may use up at most.
    pub constraints: Constraints,
}

/// How often an action that failed is tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retry {
    /// Further tries.
    pub times: u32,
    /// Milliseconds before each.
    pub wait_ms: u64,
}

/// Typed actions that may mend what made a step fail.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Repair {
    /// How often at most; after each the step is tried once more.
    pub rounds: u32,
    /// What is done in each round, in this order.
    pub actions: Vec<Typed>,
}

/// Something that must be so of an earlier step.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// It ended like this.
    Succeeded(usize),
    /// It ended like this.
    Failed(usize),
    /// It was passed over.
    Skipped(usize),
    /// It succeeded, and this part of what was measured is this value.
    Output {
        /// The step.
        step: usize,
        /// A JSON pointer into what the action observed.
        pointer: String,
        /// Text, a whole number, or true or false.
        equals: Value,
    },
}

impl Condition {
    /// The step it is about.
    pub fn step(&self) -> usize {
        match self {
            Self::Succeeded(step) | Self::Failed(step) | Self::Skipped(step) | Self::Output { step, .. } => *step,
        }
    }
}

impl Definition {
    /// The workflow's name.
    pub fn name(&self) -> &WorkflowName {
        &self.written.name
    }

    /// What it is for, in its author's words.
    pub fn description(&self) -> &str {
        self.written.description.as_deref().unwrap_or_default()
    }

    /// The one text of this definition (RFC 8785), whichever format it was written in.
    pub fn canonical(&self) -> String {
        canonical::write(&serde_json::to_value(&self.written).expect("a definition has only text keys"))
    }

    /// SHA-256 of the canonical text.
    pub fn digest(&self) -> Digest {
        Digest::of(self.canonical().as_bytes())
    }

    /// The parts of the output of the step at `place` that conditions of other steps look at: nothing else of it is an
    /// input of the run.
    pub fn asked_of(&self, place: usize) -> impl Iterator<Item = &str> {
        self.steps.iter().flat_map(|step| &step.when).filter_map(move |condition| match condition {
            Condition::Output { step, pointer, .. } if *step == place => Some(pointer.as_str()),
            _ => None,
        })
    }

    /// The place of the step with this id.
    pub fn place_of(&self, id: &StepId) -> Option<usize> {
        self.steps.iter().position(|step| step.id == *id)
    }
}

impl Typed {
    /// SHA-256 of type and parameters in canonical form: what is to be done, whoever asks and however often.
    pub fn digest(&self) -> Digest {
        let value = serde_json::json!({"type": self.action_type, "parameters": self.parameters});
        Digest::of(canonical::write(&value).as_bytes())
    }
}
