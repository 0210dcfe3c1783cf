//! What an action would be, told before anybody asks for it.

use serde::{Deserialize, Serialize};

use crate::policy::Decision;

/// The answer to `Plan`. Nothing has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The action's type.
    pub action_type: String,
    /// What it does.
    pub summary: String,
    /// What it may touch.
    pub rights: Vec<String>,
    /// The risk that follows from that.
    pub risk: String,
    /// What policy would say; it names no approval and no record, because there is none.
    pub decision: Decision,
    /// What the file is that it is about.
    pub target: Option<String>,
    /// What the verifier would have to see.
    pub afterwards: String,
    /// What there would be again if it did not; nothing where it cannot be undone.
    pub undone: Option<String>,
    /// Why it could not begin now.
    pub obstacle: Option<String>,
}
