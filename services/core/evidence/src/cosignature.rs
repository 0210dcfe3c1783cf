//! The checkpoint's second signature: ML-DSA-44 (FIPS 204) in the form of C2SP tlog-cosignature, without a time.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ml_dsa::{EncodedVerifyingKey, Keypair as _, MlDsa44, Signature};

use crate::checkpoint::Checkpoint;
use crate::note::{NoteError, key_id, read_key_line};

/// The format's number of this kind of signature.
const ML_DSA_44: u8 = 6;

/// A time of 0 says nothing about time.
const NO_TIME: [u8; 8] = [0; 8];

/// The public half of an ML-DSA-44 key under a name: written `name+hash+base64`.
#[derive(Debug, Clone, PartialEq)]
pub struct MlDsaKey {
    name: String,
    key: ml_dsa::VerifyingKey<MlDsa44>,
}

impl MlDsaKey {
    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn id(&self) -> [u8; 4] {
        key_id(&self.name, ML_DSA_44, &self.key.encode())
    }

    /// Whether `signature`, as it stands behind the key's hash in a signature line, is of this head.
    pub(crate) fn accepts(&self, head: &Checkpoint, signature: &[u8]) -> bool {
        let Some((time, signature)) = signature.split_first_chunk::<8>() else { return false };
        let (Some(message), Ok(signature)) = (message(&self.name, time, head), Signature::try_from(signature)) else {
            return false;
        };
        self.key.verify_with_context(&message, b"", &signature)
    }
}

impl fmt::Display for MlDsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![ML_DSA_44];
        bytes.extend_from_slice(&self.key.encode());
        write!(f, "{}+{:08x}+{}", self.name, u32::from_be_bytes(self.id()), STANDARD.encode(bytes))
    }
}

impl FromStr for MlDsaKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let (name, id, bytes) = read_key_line(text)?;
        let Some((&ML_DSA_44, key)) = bytes.split_first() else {
            return Err(NoteError::Key("the second key must be an ML-DSA-44 key"));
        };
        let key = EncodedVerifyingKey::<MlDsa44>::try_from(key)
            .map_err(|_| NoteError::Key("an ML-DSA-44 key has 1312 bytes"))?;
        let key = Self { name, key: ml_dsa::VerifyingKey::decode(&key) };
        if key.id() == id { Ok(key) } else { Err(NoteError::Key("its hash does not fit name and key")) }
    }
}

/// Signs heads.
pub(crate) struct MlDsaSecret {
    public: MlDsaKey,
    /// Boxed because it holds a matrix of 16 KiB.
    secret: Box<ml_dsa::SigningKey<MlDsa44>>,
}

impl MlDsaSecret {
    pub(crate) fn from_seed(seed: &[u8; 32], name: &str) -> Self {
        let secret = Box::new(ml_dsa::SigningKey::<MlDsa44>::from_seed(&(*seed).into()));
        Self { public: MlDsaKey { name: name.to_owned(), key: secret.verifying_key() }, secret }
    }

    pub(crate) fn public(&self) -> &MlDsaKey {
        &self.public
    }

    /// The key's hash, the time, and the signature.
    pub(crate) fn sign(&self, head: &Checkpoint) -> Vec<u8> {
        let message = message(&self.public.name, &NO_TIME, head).expect("names were checked to be short");
        let signature = self.secret.expanded_key().sign_deterministic(&message, b"");
        let mut bytes = self.public.id().to_vec();
        bytes.extend_from_slice(&NO_TIME);
        bytes.extend_from_slice(&signature.expect("an empty context is never too long").encode());
        bytes
    }
}

/// What is signed: the `cosigned_message` of the format for the tree from its first entry to its last.
fn message(cosigner: &str, time: &[u8; 8], head: &Checkpoint) -> Option<Vec<u8>> {
    let mut message = b"subtree/v1\n\0".to_vec();
    message.push(u8::try_from(cosigner.len()).ok()?);
    message.extend_from_slice(cosigner.as_bytes());
    message.extend_from_slice(time);
    message.push(u8::try_from(head.origin.len()).ok()?);
    message.extend_from_slice(head.origin.as_bytes());
    message.extend_from_slice(&0u64.to_be_bytes());
    message.extend_from_slice(&head.size.to_be_bytes());
    message.extend_from_slice(head.root.as_bytes());
    Some(message)
}

#[cfg(test)]
mod tests {
    use aios_ids::Digest;
    use fips204::traits::{KeyGen as _, SerDes as _, Signer as _, Verifier as _};
    use proptest::prelude::*;

    use super::*;

    fn head(size: u64) -> Checkpoint {
        Checkpoint { origin: "example.internal/log".into(), size, root: Digest::of(b"root") }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// A second implementation makes the same key of the same seed, accepts our signatures, and we accept its.
        #[test]
        fn another_implementation_agrees(seed in any::<[u8; 32]>(), size in any::<u64>()) {
            let ours = MlDsaSecret::from_seed(&seed, "example.internal/log");
            let (their_key, their_secret) = fips204::ml_dsa_44::KG::keygen_from_seed(&seed);
            prop_assert_eq!(&their_key.clone().into_bytes()[..], &ours.public().key.encode()[..]);

            let bytes = ours.sign(&head(size));
            let message = message("example.internal/log", &NO_TIME, &head(size)).expect("short");
            let signature: [u8; 2420] = bytes[12..].try_into().expect("the length of the parameter set");
            prop_assert!(their_key.verify(&message, &signature, b""));

            let theirs = their_secret.try_sign_with_seed(&[1; 32], &message, b"").expect("signed");
            let with_time = [&NO_TIME[..], &theirs].concat();
            prop_assert!(ours.public().accepts(&head(size), &with_time));
            prop_assert!(!ours.public().accepts(&head(size ^ 1), &with_time));
        }
    }

    #[test]
    fn the_key_is_written_and_read_and_its_hash_is_checked() {
        let key = MlDsaSecret::from_seed(&[7; 32], "example.internal/log").public().clone();
        let line = key.to_string();
        assert_eq!(line.parse::<MlDsaKey>(), Ok(key));
        assert!(line.replace("log+", "lag+").parse::<MlDsaKey>().is_err());
        assert!(line[..line.len() - 4].parse::<MlDsaKey>().is_err());
    }
}
