//! What the vault answers. No message of it has a secret's value, but the one that brings it.

use aios_ids::Digest;
use serde::{Deserialize, Serialize};

/// A secret without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretView {
    /// Its name.
    pub name: String,
    /// Whether it can be used.
    #[serde(flatten)]
    pub state: SecretState,
}

/// Whether a secret can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum SecretState {
    /// It can.
    Kept {
        /// Whom it may be sent to.
        hosts: Vec<String>,
        /// The header it goes into, with `{}` in its place.
        header: String,
        /// The action that put it.
        action: String,
    },
    /// Its file was cut, altered or belongs to another key; nothing is read from it.
    Damaged {
        /// What is wrong and what to do.
        why: String,
    },
}

/// One request to another machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchAsk {
    /// Where.
    pub url: String,
    /// `GET`, `HEAD` or `POST`.
    pub method: String,
    /// What is handed over, with its media type.
    pub body: Option<(String, String)>,
    /// The secret that goes with it.
    pub secret: Option<String>,
    /// The object that the answer becomes a version of.
    pub object: String,
}

/// What came back and where it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// The address that answered in the end.
    pub url: String,
    /// Its status.
    pub status: u16,
    /// The object that it was kept as.
    pub object: String,
    /// The object's version.
    pub version: u64,
    /// The digest of what was kept.
    pub sha256: Digest,
    /// Its size.
    pub size: u64,
    /// In how many places the secret was taken out of it.
    pub redacted: u64,
}
