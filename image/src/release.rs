//! A release: what belongs to it, under one signature.
//!
//! `release.json` names the version, the root hash and each file with size and digest; `release.json.sig` is the
//! Ed25519 signature over exactly those bytes. The installer, the updater and recovery get a [`Release`] from
//! [`Release::verify`] only, so having one proves that the release key signed it. It proves nothing of the files until
//! each has been compared with its [`FileEntry`].
//!
//! Freshness is not in it: whoever applies a release compares versions.

use aios_ids::Digest;
use aios_slots::Version;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

/// The signed description.
pub const NAME: &str = "release.json";
/// Its signature.
pub const SIGNATURE_NAME: &str = "release.json.sig";
/// The root file system.
pub const ROOT: &str = "root.erofs";
/// Its hash tree.
pub const TREE: &str = "root.verity";
/// The kernel image.
pub const UKI: &str = "aios.efi";
/// The recovery image.
pub const RECOVERY: &str = "recovery.efi";
/// The boot loader.
pub const LOADER: &str = "loader.efi";
/// What firmware starts first.
pub const SHIM: &str = "shim.efi";
/// Enrols the keys of a machine's owner.
pub const MOK_MANAGER: &str = "mok.efi";
/// The certificate that an owner enrols.
pub const CERTIFICATE: &str = "aios.cer";

/// The most that is read of a description.
pub const LIMIT: usize = 64 * 1024;

/// What this program understands.
const FORMAT: &str = "aios.release.v1";

/// A release that the release key signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release(Description);

/// The content of `release.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    format: String,
    /// The release.
    #[serde(with = "text")]
    pub version: Version,
    /// The oldest release that can be updated to this one directly.
    #[serde(with = "text")]
    pub min_from: Version,
    /// What the sealed command line of the kernel image names.
    pub root_hash: Digest,
    /// Blocks of the root.
    pub blocks: u64,
    /// Its files.
    pub files: Files,
}

/// The files of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// The root file system.
    #[serde(rename = "root.erofs")]
    pub root: FileEntry,
    /// Its hash tree.
    #[serde(rename = "root.verity")]
    pub tree: FileEntry,
    /// The kernel image.
    #[serde(rename = "aios.efi")]
    pub uki: FileEntry,
    /// The recovery image.
    #[serde(rename = "recovery.efi")]
    pub recovery: FileEntry,
    /// The boot loader.
    #[serde(rename = "loader.efi")]
    pub loader: FileEntry,
    /// What firmware starts first.
    #[serde(rename = "shim.efi")]
    pub shim: FileEntry,
    /// Enrols the keys of a machine's owner.
    #[serde(rename = "mok.efi")]
    pub mok_manager: FileEntry,
    /// The certificate that an owner enrols.
    #[serde(rename = "aios.cer")]
    pub certificate: FileEntry,
}

/// What one file has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Bytes.
    pub size: u64,
    /// Of all of them.
    pub sha256: Digest,
}

/// A description is not one of ours.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// Longer than [`LIMIT`].
    #[error("the release's description is longer than {LIMIT} bytes")]
    TooLong,
    /// The signature's text.
    #[error("the release's signature is not 128 hexadecimal digits")]
    SignatureForm,
    /// The key's text.
    #[error("the release key is not 64 hexadecimal digits of an Ed25519 key")]
    KeyForm,
    /// Another key signed, or the description was changed.
    #[error("the release key did not sign this release")]
    Signature,
    /// Not JSON of this form.
    #[error("the signed description of the release cannot be read")]
    Form(#[from] serde_json::Error),
    /// A later form.
    #[error("the release has the form '{}', and this system reads {FORMAT}", found.escape_default())]
    Format {
        /// What it says.
        found: String,
    },
    /// Sizes that contradict each other.
    #[error("the release says {blocks} blocks and a root of {root} bytes with a hash tree of {tree} bytes")]
    Sizes {
        /// Blocks.
        blocks: u64,
        /// Bytes of the root.
        root: u64,
        /// Bytes of the tree.
        tree: u64,
    },
    /// A file has another size or digest.
    #[error("'{name}' is not the file that the release names: it has {found} bytes, the release says {expected}")]
    File {
        /// The file.
        name: &'static str,
        /// Bytes it has.
        found: u64,
        /// Bytes it should have; equal when only the content differs.
        expected: u64,
    },
}

/// The public half of the release key, part of every image.
#[derive(Debug, Clone, Copy)]
pub struct ReleaseKey(VerifyingKey);

impl ReleaseKey {
    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, ReleaseError> {
        let bytes = hexadecimal::<32>(text).ok_or(ReleaseError::KeyForm)?;
        VerifyingKey::from_bytes(&bytes).map(Self).map_err(|_| ReleaseError::KeyForm)
    }
}

/// The text of `release.json.sig`.
#[must_use]
pub fn signature_text(signature: &[u8; 64]) -> String {
    signature.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n"
}

impl FileEntry {
    /// The entry of a file with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { size: bytes.len() as u64, sha256: Digest::of(bytes) }
    }

    /// Whether `bytes` are the file.
    pub fn check(&self, name: &'static str, bytes: &[u8]) -> Result<(), ReleaseError> {
        if Self::of(bytes) == *self {
            Ok(())
        } else {
            Err(ReleaseError::File { name, found: bytes.len() as u64, expected: self.size })
        }
    }
}

impl Description {
    /// The description of a release from its parts.
    pub fn new(version: Version, min_from: Version, root_hash: Digest, blocks: u64, files: Files) -> Self {
        Self { format: FORMAT.to_owned(), version, min_from, root_hash, blocks, files }
    }

    /// The bytes of `release.json`, which are what is signed.
    pub fn bytes(&self) -> Result<Vec<u8>, ReleaseError> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The bytes of `release.json` and of `release.json.sig`, for a key that is at hand.
    pub fn sign(&self, key: &SigningKey) -> Result<(Vec<u8>, String), ReleaseError> {
        let bytes = self.bytes()?;
        let signature = signature_text(&key.sign(&bytes).to_bytes());
        Ok((bytes, signature))
    }

    fn check(&self) -> Result<(), ReleaseError> {
        let (root, tree) = (self.files.root.size, self.files.tree.size);
        let blocks = self.blocks;
        let fits = (1..=aios_verity::BLOCKS_LIMIT).contains(&blocks)
            && root == blocks * aios_verity::BLOCK as u64
            && tree == aios_verity::tree_bytes(blocks);
        if fits { Ok(()) } else { Err(ReleaseError::Sizes { blocks, root, tree }) }
    }
}

impl Release {
    /// Checks the signature first and reads what it covers only then.
    pub fn verify(bytes: &[u8], signature: &str, key: &ReleaseKey) -> Result<Self, ReleaseError> {
        if bytes.len() > LIMIT {
            return Err(ReleaseError::TooLong);
        }
        let signature = hexadecimal::<64>(signature).ok_or(ReleaseError::SignatureForm)?;
        let signature = Signature::from_bytes(&signature);
        key.0.verify_strict(bytes, &signature).map_err(|_| ReleaseError::Signature)?;
        /// Read before the rest, so that a later form is named and not taken for a broken one.
        #[derive(Deserialize)]
        struct Form {
            format: String,
        }
        let Form { format } = serde_json::from_slice(bytes)?;
        if format != FORMAT {
            return Err(ReleaseError::Format { found: format.chars().take(40).collect() });
        }
        let description: Description = serde_json::from_slice(bytes)?;
        description.check()?;
        Ok(Self(description))
    }
}

impl std::ops::Deref for Release {
    type Target = Description;

    fn deref(&self) -> &Description {
        &self.0
    }
}

/// `N` bytes written as digits, with nothing around them but a line's end.
fn hexadecimal<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.strip_suffix('\n').unwrap_or(text).as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Types that are text in JSON.
mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
    use std::fmt::Display;
    use std::str::FromStr;

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
