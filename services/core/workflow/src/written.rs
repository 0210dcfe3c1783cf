//! A definition as it is written, in TOML or JSON: one form, unknown keys refused.

use aios_action::Constraints;
use aios_action::canonical::Strict;
use aios_ids::{StepId, WorkflowName};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::place::{Format, Place};
use crate::problem::{DefinitionError, Problem};

/// The file as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Written {
    pub(crate) name: WorkflowName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) budget: Option<WrittenBudget>,
    pub(crate) steps: Vec<WrittenStep>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct WrittenBudget {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) actions: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seconds: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct WrittenStep {
    pub(crate) id: StepId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) action: Option<String>,
    #[serde(default, skip_serializing_if = "Map::is_empty", deserialize_with = "strict_map")]
    pub(crate) parameters: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Constraints::is_empty")]
    pub(crate) constraints: Constraints,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ask: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) after: Vec<StepId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) when: Vec<WrittenCondition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_s: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry: Option<WrittenRetry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) repair: Option<WrittenRepair>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct WrittenCondition {
    pub(crate) step: StepId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) is: Option<WrittenEnd>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "strict_value")]
    pub(crate) equals: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WrittenEnd {
    Succeeded,
    Failed,
    Skipped,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct WrittenRetry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) times: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) wait_s: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct WrittenRepair {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rounds: Option<u32>,
    pub(crate) actions: Vec<WrittenTyped>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct WrittenTyped {
    pub(crate) action: String,
    #[serde(default, skip_serializing_if = "Map::is_empty", deserialize_with = "strict_map")]
    pub(crate) parameters: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Constraints::is_empty")]
    pub(crate) constraints: Constraints,
}

fn strict_map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    match Strict::deserialize(deserializer)?.0 {
        Value::Object(map) => Ok(map),
        _ => Err(serde::de::Error::custom("parameters are a table of names and values")),
    }
}

fn strict_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Strict::deserialize(deserializer).map(|value| Some(value.0))
}

/// Reads the form; whether it makes sense is not asked here.
pub(crate) fn read(format: Format, text: &str) -> Result<Written, DefinitionError> {
    match format {
        Format::Toml => toml::from_str(text).map_err(|error| DefinitionError {
            place: error.span().map(|span| Place::at(text, span.start)),
            problem: Box::new(Problem::Form(error.message().to_owned())),
        }),
        Format::Json => serde_json::from_str(text).map_err(|error| {
            let said = error.to_string();
            // The place has its own form.
            let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said).to_owned();
            let place = (error.line() > 0).then(|| Place::counted(text, error.line(), error.column()));
            DefinitionError { problem: Box::new(Problem::Form(said)), place }
        }),
    }
}
