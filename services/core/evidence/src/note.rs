//! Signed notes (C2SP signed-note): a text and the signatures under it; Ed25519 keys, and the line that carries one.
//!
//! A note's text means nothing until [`Note::verify`] has returned it; the other way to it says so in its name.

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
    #[error("there is no {kind} signature of {name}")]
    Unsigned {
        /// The key's name.
        name: String,
        /// The kind of signature that is missing.
        kind: &'static str,
    },
    /// The key's signature is wrong.
    #[error("the {kind} signature of {name} does not fit the text")]
    Signature {
        /// The key's name.
        name: String,
        /// The kind of signature that is wrong.
        kind: &'static str,
    },
}

/// The public half of a key: written `name+hash+base64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ed25519Key {
    name: String,
    key: VerifyingKey,
}

impl Ed25519Key {
    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of the hash over name and key: tells keys apart, proves nothing.
    pub(crate) fn id(&self) -> [u8; 4] {
        key_id(&self.name, ED25519, self.key.as_bytes())
    }
}

/// Tells keys apart: the first four bytes of the hash over name, kind of signature and key.
pub(crate) fn key_id(name: &str, kind: u8, key: &[u8]) -> [u8; 4] {
    let hash = Sha256::new().chain_update(name.as_bytes()).chain_update([b'\n', kind]).chain_update(key).finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

/// Takes `name+hash+base64` apart; the hash is not yet compared.
pub(crate) fn read_key_line(text: &str) -> Result<(String, [u8; 4], Vec<u8>), NoteError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(NoteError::Key("it must be name+hash+base64"));
    };
    if !is_name(name) {
        return Err(NoteError::Key("the name must be 1 to 200 characters without spaces"));
    }
    let bytes = STANDARD.decode(key).map_err(|_| NoteError::Key("the key is not base64"))?;
    let number = u32::from_str_radix(id, 16).ok().filter(|number| format!("{number:08x}") == id);
    let number = number.ok_or(NoteError::Key("its hash is not eight lower-case hexadecimal digits"))?;
    Ok((name.to_owned(), number.to_be_bytes(), bytes))
}

impl fmt::Display for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![ED25519];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{:08x}+{}", self.name, u32::from_be_bytes(self.id()), STANDARD.encode(bytes))
    }
}

impl FromStr for Ed25519Key {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let (name, id, bytes) = read_key_line(text)?;
        let Some((&ED25519, key)) = bytes.split_first() else {
            return Err(NoteError::Key("only Ed25519 keys are known"));
        };
        let key = <[u8; 32]>::try_from(key).map_err(|_| NoteError::Key("an Ed25519 key has 32 bytes"))?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| NoteError::Key("the bytes are no point of the curve"))?;
        let key = Self { name, key };
        if key.id() == id { Ok(key) } else { Err(NoteError::Key("its hash does not fit name and key")) }
    }
}

/// Signs notes.
pub(crate) struct Ed25519Secret {
    public: Ed25519Key,
    secret: ed25519_dalek::SigningKey,
}

impl Ed25519Secret {
    /// The key of 32 random bytes, under a name made from its public half by `name`.
    pub(crate) fn from_seed(seed: &[u8; 32], name: impl FnOnce(&[u8; 32]) -> String) -> Result<Self, NoteError> {
        let secret = ed25519_dalek::SigningKey::from_bytes(seed);
        let key = secret.verifying_key();
        let name = name(key.as_bytes());
        if !is_name(&name) {
            return Err(NoteError::Key("the name must be 1 to 200 characters without spaces"));
        }
        Ok(Self { public: Ed25519Key { name, key }, secret })
    }

    /// The half that checks.
    pub(crate) fn public(&self) -> &Ed25519Key {
        &self.public
    }

    /// The note of `text`, which ends in a newline, with this key's signature.
    pub(crate) fn sign(&self, text: &str) -> String {
        let mut bytes = self.public.id().to_vec();
        bytes.extend_from_slice(&self.secret.sign(text.as_bytes()).to_bytes());
        format!("{text}\n{}", signature_line(&self.public.name, &bytes))
    }
}

/// The line of one signature: the key's hash and what the key made.
pub(crate) fn signature_line(name: &str, bytes: &[u8]) -> String {
    format!("— {name} {}\n", STANDARD.encode(bytes))
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

    /// The text, whoever wrote it.
    pub(crate) fn unverified_text(&self) -> &str {
        &self.text
    }

    /// The text, once `key` is known to have signed it. Signatures of other keys are of no concern.
    pub fn verify(&self, key: &Ed25519Key) -> Result<&str, NoteError> {
        self.check(key.name(), key.id(), "Ed25519", |signature| {
            let good = Signature::from_slice(signature)
                .and_then(|signature| key.key.verify_strict(self.text.as_bytes(), &signature));
            good.is_ok()
        })?;
        Ok(&self.text)
    }

    /// Whether there is a signature of a key, and `accepts` takes each that there is.
    pub(crate) fn check(
        &self,
        name: &str,
        id: [u8; 4],
        kind: &'static str,
        accepts: impl Fn(&[u8]) -> bool,
    ) -> Result<(), NoteError> {
        let mut lines = self.signatures.iter().filter(|line| line.name == name && line.id == id).peekable();
        if lines.peek().is_none() {
            return Err(NoteError::Unsigned { name: name.to_owned(), kind });
        }
        match lines.all(|line| accepts(&line.signature)) {
            true => Ok(()),
            false => Err(NoteError::Signature { name: name.to_owned(), kind }),
        }
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
