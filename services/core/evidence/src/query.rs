//! What a reader of the log asks for.

use serde::{Deserialize, Serialize};

use crate::record::{Kind, Record};

/// Which records to give, oldest first. Without `after` the newest that match are given, with it the next ones after that
/// index, so that a reader can walk the whole log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Only this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Only records of this action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Only records with a greater index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// At most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only records whose line contains this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Filter {
    /// Whether the record of this line is asked for; absent when the line is no record. Looks at nothing outside the line,
    /// so `limit` has no part in it.
    pub fn matches(&self, line: &str) -> Option<bool> {
        if self.text.as_ref().is_some_and(|text| !line.contains(text.as_str())) {
            return Some(false);
        }
        let record = Record::decode(line.as_bytes()).ok()?;
        Some(
            self.kind.is_none_or(|kind| kind == record.kind)
                && self.action.as_ref().is_none_or(|action| *action == record.action)
                && self.after.is_none_or(|after| record.index > after),
        )
    }
}
