//! What the evidence log says of itself.

use serde::{Deserialize, Serialize};

use crate::objects::ObjectVersion;

/// How the log stands to the most it may hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoomState {
    /// There is enough.
    Ample,
    /// A tenth of it is left.
    NearEnd,
    /// Nothing new may begin.
    Full,
    /// There may be enough, and nothing is taken: why, and what to do.
    ReadOnly(String),
}

/// The answer to the question for room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Room {
    /// In one word.
    pub state: RoomState,
    /// What the log takes, in bytes.
    pub used: u64,
    /// What it may take.
    pub limit: u64,
}

/// An export in one object has at most so many bytes: the log makes it and the verifier reads it in memory.
pub const EXPORT_LIMIT: u64 = 32 * 1024 * 1024;

/// What was exported into an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exported {
    /// The object's version.
    pub version: ObjectVersion,
    /// How many records it holds.
    pub records: u64,
}
