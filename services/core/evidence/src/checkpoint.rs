//! The signed head of the tree (C2SP tlog-checkpoint): whose log, how many entries, which root.

use aios_ids::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::keys::{SigningKey, VerifierKey};
use crate::note::{Note, NoteError};

/// The head of the tree at one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log this is the head of; the same as the key's name.
    pub origin: String,
    /// How many entries the tree has.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
}

/// The note is no checkpoint of this log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note around it is wrong.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text is not a checkpoint's.
    #[error("the signed text is no checkpoint: {0}")]
    Form(&'static str),
    /// It is the head of another log.
    #[error("it is the head of '{found}', not of '{expected}'")]
    Origin {
        /// What it says.
        found: String,
        /// The key's name.
        expected: String,
    },
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.as_bytes()))
    }

    /// The head as a note with the log's two signatures.
    pub fn sign(&self, key: &SigningKey) -> String {
        key.sign(self)
    }

    /// Reads a note that both keys of the log have signed; one signature is not enough.
    pub fn open(note: &[u8], key: &VerifierKey) -> Result<Self, CheckpointError> {
        let note = Note::parse(note)?;
        let checkpoint = Self::parse(note.verify(&key.ed25519)?)?;
        let second = &key.ml_dsa;
        note.check(second.name(), second.id(), "ML-DSA-44", |signature| second.accepts(&checkpoint, signature))?;
        if checkpoint.origin != key.name() {
            return Err(CheckpointError::Origin { found: checkpoint.origin, expected: key.name().to_owned() });
        }
        Ok(checkpoint)
    }

    /// What a note says of itself, for people: whether anybody signed it is not looked at.
    pub fn unverified(note: &[u8]) -> Result<Self, CheckpointError> {
        Self::parse(Note::parse(note)?.unverified_text())
    }

    fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.split('\n');
        let (Some(origin), Some(size_text), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Form("it has fewer than three lines"));
        };
        // Extension lines are allowed by the format and written by nobody here; what is not understood is refused.
        if lines.next() != Some("") || lines.next().is_some() {
            return Err(CheckpointError::Form("it does not end after three lines"));
        }
        if origin.is_empty() {
            return Err(CheckpointError::Form("it names no log"));
        }
        let size: u64 = size_text.parse().map_err(|_| CheckpointError::Form("the size is no number"))?;
        if size.to_string() != size_text {
            return Err(CheckpointError::Form("the size is not written plainly"));
        }
        let root = STANDARD.decode(root).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let root = root.ok_or(CheckpointError::Form("the root is not the base64 of 32 bytes"))?;
        Ok(Self { origin: origin.to_owned(), size, root: Digest::from_bytes(root) })
    }
}
