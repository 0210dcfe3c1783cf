//! What the object store answers: named objects with versions, and store paths with what vouches for them.

use aios_ids::{Digest, UnitName};
use serde::{Deserialize, Serialize};

/// One version of a named object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectVersion {
    /// The object's name.
    pub name: String,
    /// Counts from 1 for each name.
    pub version: u64,
    /// The content's SHA-256.
    pub digest: Digest,
    /// The content's size in bytes.
    pub size: u64,
    /// When it was put, in milliseconds since 1970, by the machine's clock.
    pub at_ms: u64,
}

/// A name that a version of an object has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectTag {
    /// The object's name.
    pub name: String,
    /// The tag.
    pub tag: String,
    /// The version it is at.
    pub version: u64,
}

/// One version of an app, as a person approved it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppVersion {
    /// The app.
    pub name: UnitName,
    /// Counts from 1 for each name.
    pub version: u64,
    /// Its manifest as canonical JSON.
    pub manifest: String,
    /// The manifest's SHA-256.
    pub manifest_sha256: Digest,
    /// The program's SHA-256.
    pub program_sha256: Digest,
    /// The program's size in bytes.
    pub size: u64,
    /// When it was installed, in milliseconds since 1970, by the machine's clock.
    pub at_ms: u64,
}

/// An app that there is or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its name.
    pub name: UnitName,
    /// The version in use; none when it was removed.
    pub current: Option<u64>,
    /// Every version, oldest first.
    pub versions: Vec<AppVersion>,
    /// What it is as a service, while it is one.
    #[serde(default)]
    pub service: Option<AppService>,
}

/// An app that is a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppService {
    /// The number of the user that only this app is.
    pub user: u32,
    /// The file that holds its program.
    pub program: String,
}

/// A tree under `/nix/store` that the object store verified and keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPath {
    /// The whole path, `/nix/store/<hash>-<name>`.
    pub path: String,
    /// The digest of its NAR serialization.
    pub nar_hash: Digest,
    /// The size of its NAR serialization.
    pub nar_size: u64,
    /// The paths it may refer to, itself perhaps among them.
    pub references: Vec<String>,
    /// The name of the trusted key whose signature vouched for it.
    pub signed_by: String,
    /// The cache it came from.
    pub cache: String,
    /// When it was added, in milliseconds since 1970, by the machine's clock.
    pub at_ms: u64,
}

/// The answer to `StoreAdd`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreAdded {
    /// The path that was asked for.
    pub path: String,
    /// The paths that were fetched now, each after those it refers to.
    pub added: Vec<String>,
    /// The paths of the closure that were there already.
    pub present: Vec<String>,
    /// How many bytes of NAR were unpacked now.
    pub bytes: u64,
}

/// The answer to `StoreVerify`: a path read again from the disk and compared with what was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreVerified {
    /// The path.
    pub path: String,
    /// Whether the disk still holds what was signed.
    pub intact: bool,
    /// The digest that was signed.
    pub expected: Digest,
    /// The digest of what is on the disk; absent when it cannot be read as a tree.
    pub found: Option<Digest>,
    /// What is wrong, for people; empty when nothing is.
    pub text: String,
}
