//! A proof that an entry is in the log, as one text that needs nothing else (C2SP tlog-proof).

use aios_ids::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::keys::VerifierKey;
use crate::tree::{TreeError, leaf_hash, verify_inclusion};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// Which entry, the path to the root, and the signed head with that root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionBundle {
    /// The entry's place.
    pub index: u64,
    /// From the leaf's neighbour to the root's child.
    pub path: Vec<Digest>,
    /// The head, as signed.
    pub checkpoint: String,
}

/// The text proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not the format's text.
    #[error("this is no proof: {0}")]
    Form(&'static str),
    /// The head in it is wrong.
    #[error("the proof's checkpoint is wrong")]
    Checkpoint(#[from] CheckpointError),
    /// The path does not lead to the head.
    #[error("the proof does not fit entry {index}")]
    Path {
        /// Which entry it claims.
        index: u64,
        /// Why.
        #[source]
        source: TreeError,
    },
}

impl InclusionBundle {
    /// The text.
    pub fn text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\nindex {}\n", self.index);
        for hash in &self.path {
            text.push_str(&STANDARD.encode(hash.as_bytes()));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads the text; extra data is refused because no log of ours writes any.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let rest = text.strip_prefix(FIRST_LINE).and_then(|rest| rest.strip_prefix("\nindex "));
        let rest = rest.ok_or(ProofError::Form("it must begin with c2sp.org/tlog-proof@v1 and an index"))?;
        let (head, checkpoint) = rest.split_once("\n\n").ok_or(ProofError::Form("it has no checkpoint"))?;
        let mut lines = head.split('\n');
        let index_text = lines.next().unwrap_or_default();
        let index: u64 = index_text.parse().map_err(|_| ProofError::Form("the index is no number"))?;
        if index.to_string() != index_text {
            return Err(ProofError::Form("the index is not written plainly"));
        }
        let mut path = Vec::new();
        for line in lines {
            let hash = STANDARD.decode(line).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            path.push(Digest::from_bytes(hash.ok_or(ProofError::Form("a hash is not the base64 of 32 bytes"))?));
            if path.len() > 64 {
                return Err(ProofError::Form("no tree is so high"));
            }
        }
        Ok(Self { index, path, checkpoint: checkpoint.to_owned() })
    }

    /// Whether `entry` is in the log that `key` signs; gives the head that it was proved against.
    pub fn verify(&self, entry: &[u8], key: &VerifierKey) -> Result<Checkpoint, ProofError> {
        let head = Checkpoint::open(self.checkpoint.as_bytes(), key)?;
        verify_inclusion(leaf_hash(entry), self.index, head.size, &self.path, &head.root)
            .map_err(|source| ProofError::Path { index: self.index, source })?;
        Ok(head)
    }
}
