//! A bundle's own test cases: who asks for what, and what the answer must be. They travel inside the bundle and run each
//! time it is opened, so a policy that does not do what its author meant never decides anything.

use aios_action::{Constraints, Envelope, Request};
use aios_identity::{Peer, SessionStrength};
use aios_ids::ActionId;
use aios_wire::policy::{CaseReport, Times, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bundle::Bundle;
use crate::decide::decide_in;
use crate::terms::{Circumstances, Plan};
use crate::window::TimeOfDay;

/// More than this is not a small list any more.
const CASE_LIMIT: usize = 500;

/// Thirty days: who has not said by then has forgotten.
const MINUTES_LIMIT: u32 = 30 * 24 * 60;

/// One case.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// `operator:NAME`, `agent:NAME` or `service:NAME`.
    who: String,
    /// The action type.
    #[serde(rename = "type")]
    action_type: String,
    /// Its parameters.
    #[serde(default)]
    parameters: Map<String, Value>,
    /// The budget that it is asked with.
    #[serde(default, rename = "at-most", skip_serializing_if = "Constraints::is_empty")]
    at_most: Constraints,
    /// The time of day in UTC, as `HH:MM`; without it the clock was never set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    /// Whether it was planned before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    planned: bool,
    /// What the answer must be.
    expect: Expected,
    /// The reason code, where it matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Expected {
    Allowed,
    NeedsApproval,
    Denied,
}

/// How long requests for approval are good for, as `bundle.toml` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Approvals {
    /// How many minutes one waits for people.
    waits_min: u32,
    /// How many minutes a granted one can be used.
    lasts_min: u32,
}

impl Approvals {
    /// The times, if they are sensible.
    pub(crate) fn times(self) -> Result<Times, CaseError> {
        for minutes in [self.waits_min, self.lasts_min] {
            if !(1..=MINUTES_LIMIT).contains(&minutes) {
                return Err(CaseError::Minutes(minutes));
            }
        }
        Ok(Times { waits_ms: u64::from(self.waits_min) * 60_000, lasts_ms: u64::from(self.lasts_min) * 60_000 })
    }
}

/// What `bundle.toml` says beside the rules.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    /// The policy's number; it grows with each change.
    pub(crate) epoch: u64,
    /// How long approvals are good for; a day and an hour without it.
    #[serde(default)]
    pub(crate) approvals: Option<Approvals>,
    /// What the policy must say.
    #[serde(rename = "case")]
    pub(crate) cases: Vec<Case>,
}

/// The cases cannot be used or do not hold.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// Not the form.
    #[error("bundle.toml cannot be read")]
    Form(#[from] toml::de::Error),
    /// Too many.
    #[error("there are {0} cases; at most {CASE_LIMIT} are taken")]
    Count(usize),
    /// An approval that is good for nothing, or nearly for ever.
    #[error("an approval cannot be good for {0} minutes; say 1 to {MINUTES_LIMIT}")]
    Minutes(u32),
    /// A subject that cannot be.
    #[error("case {number}: '{who}' is no subject: write operator:NAME, agent:NAME or service:NAME")]
    Who {
        /// Which, from 1.
        number: usize,
        /// As written.
        who: String,
    },
    /// A time that cannot be.
    #[error("case {number}: '{at}' is no time of day: write HH:MM")]
    At {
        /// Which, from 1.
        number: usize,
        /// As written.
        at: String,
    },
    /// The policy answers otherwise.
    #[error("case {number} ({who}, {action_type}): expected {expected}, but the policy says {found}")]
    Otherwise {
        /// Which, from 1.
        number: usize,
        /// Who asks.
        who: String,
        /// For what.
        action_type: String,
        /// What the case wants.
        expected: String,
        /// What was decided, and why.
        found: String,
    },
}

/// Reads `bundle.toml`.
pub(crate) fn read(text: &str) -> Result<About, CaseError> {
    Ok(toml::from_str(text)?)
}

/// Runs the cases against the bundle.
pub(crate) fn run(bundle: &Bundle, cases: &[Case]) -> Result<(), CaseError> {
    if cases.len() > CASE_LIMIT {
        return Err(CaseError::Count(cases.len()));
    }
    cases.iter().zip(1..).try_for_each(|(case, number)| run_one(bundle, case, number))
}

/// What comes of each case.
pub(crate) fn report(bundle: &Bundle, cases: &[Case]) -> Vec<CaseReport> {
    let of = |(case, number): (&Case, usize)| CaseReport {
        asks: format!("{} asks for {} {}", case.who, case.action_type, Value::Object(case.parameters.clone())),
        expected: format!("{:?} {}", case.expect, case.reason.as_deref().unwrap_or("")).trim_end().to_lowercase(),
        wrong: run_one(bundle, case, number).err().map(|error| error.to_string()),
    };
    cases.iter().zip(1..).map(of).collect()
}

fn run_one(bundle: &Bundle, case: &Case, number: usize) -> Result<(), CaseError> {
    let subject = subject(&case.who).ok_or_else(|| CaseError::Who { number, who: case.who.clone() })?;
    let request =
        Request { constraints: case.at_most, ..Request::new(case.action_type.clone(), case.parameters.clone()) };
    let wrong_time = |at: &String| CaseError::At { number, at: at.escape_default().to_string() };
    let time = case.at.as_ref().map(|at| TimeOfDay::parse(at).ok_or_else(|| wrong_time(at))).transpose()?;
    let plan = if case.planned { Plan::Seen } else { Plan::Unseen };
    let circumstances = Circumstances { time, plan, ..Circumstances::default() };
    let envelope = Envelope::new(ActionId::new(0, [0; 10]), subject.to_string(), request);
    let decision = decide_in(Some(bundle), &envelope, &subject, &circumstances);
    let found = match decision.verdict {
        Verdict::Allowed => Expected::Allowed,
        Verdict::NeedsApproval { .. } => Expected::NeedsApproval,
        Verdict::Denied => Expected::Denied,
    };
    if found == case.expect && case.reason.as_ref().is_none_or(|reason| *reason == decision.reason) {
        return Ok(());
    }
    Err(CaseError::Otherwise {
        number,
        who: case.who.clone(),
        action_type: case.action_type.clone(),
        expected: format!("{:?} {}", case.expect, case.reason.as_deref().unwrap_or("")).trim_end().to_owned(),
        found: format!("{found:?} {}: {}", decision.reason, decision.text),
    })
}

fn subject(who: &str) -> Option<Peer> {
    let (kind, name) = who.split_once(':').filter(|(_, name)| !name.is_empty())?;
    let name = name.to_owned();
    match kind {
        "operator" => Some(Peer::Operator { name, strength: SessionStrength::PassPhrase }),
        "agent" => Some(Peer::Agent { name }),
        "service" => Some(Peer::Service { name }),
        _ => None,
    }
}
