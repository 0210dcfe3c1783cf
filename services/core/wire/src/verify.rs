//! What the verifier answers: whether an action did what its type promises.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A measured outcome. Only the verifier makes one, from what it observed itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether the post-condition holds.
    pub held: bool,
    /// What was seen.
    pub observed: Value,
    /// The same in a sentence for people.
    pub text: String,
    /// The outcome's place in the evidence log.
    pub evidence: u64,
}
