//! Signed notes (C2SP signed-note) with Ed25519: a text and the signatures under it, and the line that carries a key.
//!
//! A note's text means nothing until [`Note::verify`] has returned it; there is no other way to it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// The format's number of this kind of signature.
const ED25519: u8 = 1;

/// Notes are short texts; post-quantum signatures of witnesses are the largest part that is foreseen.
const NOTE_LIMIT: usize = 96 * 1024;

/// A note must be read with at least 16 signatures; nobody needs more than this.
const SIGNATURE_LIMIT: usize = 32;

/// A note or a key cannot be read or is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The bytes are no note.
    #[error("this is no signed note: {0}")]
    Form(&'static str),
    /// The line is no key.
    #[error("this is no verifier key: {0}")]
    Key(&'static str),
    /// The key did not sign.
    #[error("there is no signature of {0}")]
    Unsigned(String),
    /// The key's signature is wrong.
    #[error("the signature of {0} does not fit the text")]
    Signature(String),
}

/// The public half of a key: written `name+hash+base64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: VerifyingKey,
}

impl VerifierKey {
    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of the hash over name and key: tells keys apart, proves nothing.
    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([b'\n', ED25519])
            .chain_update(self.key.as_bytes())
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![ED25519];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{:08x}+{}", self.name, u32::from_be_bytes(self.id()), STANDARD.encode(bytes))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key("it must be name+hash+base64"));
        };
        if !is_name(name) {
            return Err(NoteError::Key("the name must be 1 to 200 characters without spaces"));
        }
        let bytes = STANDARD.decode(key).map_err(|_| NoteError::Key("the key is not base64"))?;
        let Some((&ED25519, key)) = bytes.split_first() else {
            return Err(NoteError::Key("only Ed25519 keys are known"));
        };
        let key = <[u8; 32]>::try_from(key).map_err(|_| NoteError::Key("an Ed25519 key has 32 bytes"))?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| NoteError::Key("the bytes are no point of the curve"))?;
        let key = Self { name: name.to_owned(), key };
        if format!("{:08x}", u32::from_be_bytes(key.id())) != id {
            return Err(NoteError::Key("its hash does not fit name and key"));
        }
        Ok(key)
    }
}

/// Signs notes.
pub struct SigningKey {
    public: VerifierKey,
    secret: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// The key of 32 random bytes, under a name made from its public half by `name`.
    pub fn from_seed(seed: &[u8; 32], name: impl FnOnce(&[u8; 32]) -> String) -> Result<Self, NoteError> {
        let secret = ed25519_dalek::SigningKey::from_bytes(seed);
        let key = secret.verifying_key();
        let name = name(key.as_bytes());
        if !is_name(&name) {
            return Err(NoteError::Key("the name must be 1 to 200 characters without spaces"));
        }
        Ok(Self { public: VerifierKey { name, key }, secret })
    }

    /// The half that checks.
    pub fn public(&self) -> &VerifierKey {
        &self.public
    }

    /// The note of `text`, which ends in a newline, with this key's signature.
    pub fn sign(&self, text: &str) -> String {
        let mut bytes = self.public.id().to_vec();
        bytes.extend_from_slice(&self.secret.sign(text.as_bytes()).to_bytes());
        format!("{text}\n— {} {}\n", self.public.name, STANDARD.encode(bytes))
    }
}

/// A text with signatures that nobody has checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<LineSignature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct LineSignature {
    name: String,
    id: [u8; 4],
    signature: Vec<u8>,
}

impl Note {
    /// Reads the form; says nothing about the signatures.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_LIMIT {
            return Err(NoteError::Form("it is longer than 96 KiB"));
        }
        let whole = str::from_utf8(bytes).map_err(|_| NoteError::Form("it is not UTF-8"))?;
        if whole.bytes().any(|byte| byte < b' ' && byte != b'\n') {
            return Err(NoteError::Form("it has control characters"));
        }
        let Some(split) = whole.rfind("\n\n") else {
            return Err(NoteError::Form("it has no empty line between text and signatures"));
        };
        let (text, lines) = (&whole[..split + 1], &whole[split + 2..]);
        let Some(lines) = lines.strip_suffix('\n') else {
            return Err(NoteError::Form("its last line does not end"));
        };
        let signatures = lines.split('\n').map(parse_signature).collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > SIGNATURE_LIMIT {
            return Err(NoteError::Form("it has more than 32 signatures"));
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The text, once `key` is known to have signed it. Signatures of other keys are of no concern.
    pub fn verify(&self, key: &VerifierKey) -> Result<&str, NoteError> {
        let (name, id) = (key.name(), key.id());
        let mut signed = false;
        for line in self.signatures.iter().filter(|line| line.name == name && line.id == id) {
            let good = Signature::from_slice(&line.signature)
                .and_then(|signature| key.key.verify_strict(self.text.as_bytes(), &signature));
            good.map_err(|_| NoteError::Signature(name.to_owned()))?;
            signed = true;
        }
        if signed { Ok(&self.text) } else { Err(NoteError::Unsigned(name.to_owned())) }
    }
}

fn parse_signature(line: &str) -> Result<LineSignature, NoteError> {
    let parts = line.strip_prefix("— ").and_then(|rest| rest.split_once(' '));
    let Some((name, base64)) = parts.filter(|(name, _)| is_name(name)) else {
        return Err(NoteError::Form("a signature line must be '— name base64'"));
    };
    let bytes = STANDARD.decode(base64).map_err(|_| NoteError::Form("a signature is not base64"))?;
    let Some((id, signature)) = bytes.split_first_chunk::<4>() else {
        return Err(NoteError::Form("a signature is shorter than its key's hash"));
    };
    Ok(LineSignature { name: name.to_owned(), id: *id, signature: signature.to_vec() })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 200 && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}
