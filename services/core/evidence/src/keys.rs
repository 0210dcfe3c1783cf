//! The two keys of a log under one name. A head counts only with the signatures of both.

use std::fmt;
use std::str::FromStr;

use crate::checkpoint::Checkpoint;
use crate::cosignature::{MlDsaKey, MlDsaSecret};
use crate::note::{Ed25519Key, Ed25519Secret, NoteError, signature_line};

/// The public halves, written as two lines.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifierKey {
    pub(crate) ed25519: Ed25519Key,
    pub(crate) ml_dsa: MlDsaKey,
}

impl VerifierKey {
    /// The two keys, which must have one name.
    pub fn new(ed25519: Ed25519Key, ml_dsa: MlDsaKey) -> Result<Self, NoteError> {
        if ed25519.name() == ml_dsa.name() {
            Ok(Self { ed25519, ml_dsa })
        } else {
            Err(NoteError::Key("the two keys have different names"))
        }
    }

    /// The log's name.
    pub fn name(&self) -> &str {
        self.ed25519.name()
    }

    /// The first line: the one that people compare and pin.
    pub fn ed25519_line(&self) -> String {
        self.ed25519.to_string()
    }

    /// The second line.
    pub fn ml_dsa_line(&self) -> String {
        self.ml_dsa.to_string()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.ed25519, self.ml_dsa)
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let Some((ed25519, ml_dsa)) = text.split_once('\n') else {
            return Err(NoteError::Key("it must be two lines; logs of earlier builds had one and are not read"));
        };
        Self::new(ed25519.parse()?, ml_dsa.parse()?)
    }
}

/// The secret halves.
pub struct SigningKey {
    public: VerifierKey,
    ed25519: Ed25519Secret,
    ml_dsa: MlDsaSecret,
}

impl SigningKey {
    /// The keys of 64 random bytes, half for each, under a name made from the public half of the first by `name`.
    pub fn from_seed(seed: &[u8; 64], name: impl FnOnce(&[u8; 32]) -> String) -> Result<Self, NoteError> {
        let (mut first, mut second) = ([0; 32], [0; 32]);
        first.copy_from_slice(&seed[..32]);
        second.copy_from_slice(&seed[32..]);
        let ed25519 = Ed25519Secret::from_seed(&first, name)?;
        let ml_dsa = MlDsaSecret::from_seed(&second, ed25519.public().name());
        let public = VerifierKey::new(ed25519.public().clone(), ml_dsa.public().clone())?;
        Ok(Self { public, ed25519, ml_dsa })
    }

    /// The halves that check.
    pub fn public(&self) -> &VerifierKey {
        &self.public
    }

    /// The head as a note with both signatures.
    pub(crate) fn sign(&self, head: &Checkpoint) -> String {
        let mut note = self.ed25519.sign(&head.text());
        note.push_str(&signature_line(self.public.name(), &self.ml_dsa.sign(head)));
        note
    }
}
