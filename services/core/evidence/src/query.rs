//! What a reader of the log asks for.

use serde::{Deserialize, Serialize};

use crate::kind::Kind;
use crate::record::{Line, Record, Spelled, spelled};

/// Which records to give, oldest first. Without `after` the newest that match are given, with it the next ones after that
/// index, so that a reader can walk the whole log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Only this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Only records about or from this process, such as `agent:example`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Only records of this action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Only records that ended so, such as `denied` or `held`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Only records with a greater index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Not before this time, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Not after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
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
    pub fn matches(&self, text: &str) -> Option<bool> {
        if self.text.as_ref().is_some_and(|wanted| !text.contains(wanted.as_str())) {
            return Some(false);
        }
        let Line { index, parts } = Line::parse(text.as_bytes()).ok()?;
        let is = |wanted: &String, inside: Spelled<'_>| spelled(wanted) == inside.as_str();
        let plain = self.kind.is_none_or(|kind| kind == parts.kind)
            && self.subject.as_ref().is_none_or(|wanted| is(wanted, parts.subject) || is(wanted, parts.writer))
            && self.action.as_ref().is_none_or(|wanted| is(wanted, parts.action))
            && self.after.is_none_or(|after| index > after)
            && self.from.is_none_or(|from| parts.wall >= from)
            && self.until.is_none_or(|until| parts.wall <= until);
        let Some(outcome) = self.outcome.as_deref().filter(|_| plain) else { return Some(plain) };
        Some(Record::decode(text.as_bytes()).ok()?.outcome() == Some(outcome))
    }
}
