//! Why a definition is refused, and where.

use std::error::Error as _;

use aios_action::EnvelopeError;
use aios_ids::StepId;

use crate::load::{FILE_LIMIT, STEPS_LIMIT};
use crate::place::Place;

/// A definition cannot be used.
#[derive(Debug, thiserror::Error)]
pub struct DefinitionError {
    /// What is wrong.
    pub problem: Box<Problem>,
    /// Where, when it is one place.
    pub place: Option<Place>,
}

impl std::fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.problem)?;
        match &self.place {
            Some(place) => write!(f, "\n{place}"),
            None => Ok(()),
        }
    }
}

/// What is wrong with a definition.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file is longer than any workflow needs.
    #[error("the definition has {0} bytes; at most {FILE_LIMIT} are read")]
    Size(usize),
    /// It is neither TOML nor JSON of this form.
    #[error("the definition cannot be read: {0}")]
    Form(String),
    /// A workflow without steps, or with too many.
    #[error("the definition has {0} steps; it must have 1 to {STEPS_LIMIT}")]
    Steps(usize),
    /// Two steps with one name.
    #[error("two steps are called '{0}'; give each its own id")]
    Duplicate(StepId),
    /// A step that is not there.
    #[error("step '{step}' waits for '{on}', and there is no such step")]
    Missing {
        /// Who waits.
        step: StepId,
        /// For whom.
        on: StepId,
    },
    /// Steps that wait for each other's success.
    #[error("these steps wait for each other, so none could begin: {}", circle(.0))]
    Cycle(Vec<StepId>),
    /// A condition on a step that itself comes later.
    #[error("step '{step}' looks at '{on}', which runs after it ({}); a workflow never goes back", circle(.way))]
    Backward {
        /// Who looks.
        step: StepId,
        /// At whom.
        on: StepId,
        /// How the one leads to the other.
        way: Vec<StepId>,
    },
    /// Trying again without an end.
    #[error("step '{step}' is tried again without a bound; write {key} from 1 to {most}")]
    Unbounded {
        /// Which.
        step: StepId,
        /// What is missing or too large.
        key: &'static str,
        /// The most.
        most: u32,
    },
    /// An action that the catalogue does not have, or not like this.
    #[error("step '{step}': {}", chain(.why))]
    Action {
        /// Which.
        step: StepId,
        /// What the catalogue says.
        why: EnvelopeError,
    },
    /// A value that makes no sense.
    #[error("{}{key} {why}", of(.step))]
    Value {
        /// In which step, if in one.
        step: Option<StepId>,
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

fn circle(steps: &[StepId]) -> String {
    let first = steps.first().map(StepId::as_str);
    steps.iter().map(StepId::as_str).chain(first).collect::<Vec<_>>().join(" -> ")
}

fn of(step: &Option<StepId>) -> String {
    step.as_ref().map_or_else(String::new, |step| format!("step '{step}': "))
}

fn chain(error: &EnvelopeError) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
