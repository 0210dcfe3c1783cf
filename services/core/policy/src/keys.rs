//! People's public keys, and answers that they sign elsewhere.
//!
//! A key is the line that OpenSSH writes into a `.pub` file, an answer is what `ssh-keygen -Y sign` makes of
//! [`text_to_sign`]. Nothing here knows whose key it is or whether a request waits: the list of operators says the one, the
//! life of an approval the other.
//!
//! The rule to remember: a signature is good for one request under one policy in one boot, because the text names them.

use std::fmt;
use std::str::FromStr;

use aios_action::KEY_ALGORITHMS;
use aios_wire::policy::Approval;
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use ssh_key::public::{Ed25519PublicKey, KeyData};
use ssh_key::{Error as SshError, HashAlg, SshSig};

/// What keeps signatures for anything else, of files or commits, from counting here: `ssh-keygen -Y sign -n` names it.
pub const NAMESPACE: &str = "aios-approval";

/// The longest line of a key.
pub const LINE_LIMIT: usize = 1024;

/// The longest signature; one of the kinds that are taken has some four hundred bytes.
pub const SIGNATURE_LIMIT: usize = 4096;

/// In the byte that a security key signs along: somebody touched it.
const TOUCHED: u8 = 1;

/// How many bytes of a security key's signature are that byte and a counter.
const TRAILER: usize = 5;

/// A person's public key. Having one proves its form and that it is of a kind whose signatures are checked here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(ssh_key::PublicKey);

/// The SHA-256 of a public key, as `ssh-keygen -l` writes it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(ssh_key::Fingerprint);

/// What somebody signed. Having one proves its form; [`PublicKey::has_signed`] proves the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature(SshSig);

/// The line is no key that is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Longer than a line can be, or with characters that no terminal should be sent.
    #[error("KeyUnusable: a key is one line of at most {LINE_LIMIT} printable ASCII characters")]
    Line,
    /// Another algorithm, or the options of a file of authorized keys.
    #[error(
        "KeyUnusable: '{found}' is no kind of key that is taken; those are {}; 'ssh-keygen -t ed25519' makes one",
        KEY_ALGORITHMS.join(", ")
    )]
    Kind {
        /// The first word of the line.
        found: String,
    },
    /// The second word is not such a key.
    #[error("KeyUnusable: the line cannot be read as a key of OpenSSH ({0}); give the whole line of the .pub file")]
    Form(SshError),
    /// A key that anybody can sign for.
    #[error("KeyUnusable: this is a point of small order and no key: anybody could sign for it")]
    Weak,
}

/// The text is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is SHA256: and 43 characters, as 'ssh-keygen -l' and 'aios user key list' write it")]
pub struct NoFingerprint;

/// The signature is no answer to this request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Too long to be one.
    #[error("SignatureUnreadable: a signature has at most {SIGNATURE_LIMIT} bytes; this one has {0}")]
    Size(usize),
    /// Not what `ssh-keygen` writes.
    #[error(
        "SignatureUnreadable: this is not what 'ssh-keygen -Y sign' writes ({0}); give all of it, from -----BEGIN SSH \
         SIGNATURE----- to -----END SSH SIGNATURE-----"
    )]
    Form(SshError),
    /// Made for something else.
    #[error("SignatureForOther: it was made for '{found}'; sign with 'ssh-keygen -Y sign -n {NAMESPACE} -f KEY FILE'")]
    Namespace {
        /// What the signature says that it is for.
        found: String,
    },
    /// Not over this text by this key.
    #[error(
        "SignatureWrong: it does not fit this request as it stands in this boot under this policy; sign what 'aios \
         approval show ID --to-sign' prints, to the letter"
    )]
    Wrong,
    /// A security key that nobody touched.
    #[error(
        "NobodyTouchedIt: nobody was at the security key when it signed; sign again with a key that asks for a touch"
    )]
    Untouched,
}

/// What a person signs to say yes to a request: a few lines, the same on every machine, none of them chosen by who asks.
///
/// The digest stands for everything that will run, so the text is short and no parameter can change how it looks.
pub fn text_to_sign(approval: &Approval, boot: &str) -> String {
    format!(
        "aios approval v1\nanswer approve\nrequest {}\naction {}\ntype {}\nasked by {}\nenvelope {}\npolicy {}\nboot {boot}\n",
        approval.id, approval.action, approval.action_type, approval.subject, approval.digest, approval.epoch
    )
}

impl PublicKey {
    /// The key's SHA-256.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.0.fingerprint(HashAlg::Sha256))
    }

    /// What its owner wrote beside it; it proves nothing.
    pub fn comment(&self) -> &str {
        self.0.comment()
    }

    /// The kind of key, in the word of OpenSSH.
    pub fn algorithm(&self) -> String {
        self.0.algorithm().to_string()
    }

    /// Whether the key signed exactly this text, for an approval, with somebody at it where it can tell.
    pub fn has_signed(&self, text: &str, signature: &Signature) -> Result<(), SignatureError> {
        let found = signature.0.namespace();
        if found != NAMESPACE {
            let found = found.chars().take(64).flat_map(char::escape_default).collect();
            return Err(SignatureError::Namespace { found });
        }
        if signature.0.algorithm() != self.0.algorithm() {
            return Err(SignatureError::Wrong);
        }
        self.0.verify(NAMESPACE, text.as_bytes(), &signature.0).map_err(|_| SignatureError::Wrong)?;
        match self.0.key_data() {
            KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) if !signature.was_touched() => {
                Err(SignatureError::Untouched)
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(line: &str) -> Result<Self, KeyError> {
        let line = line.trim();
        if line.len() > LINE_LIMIT || !line.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(KeyError::Line);
        }
        let first = line.split(' ').next().unwrap_or_default();
        if !KEY_ALGORITHMS.contains(&first) {
            return Err(KeyError::Kind { found: first.chars().take(64).flat_map(char::escape_default).collect() });
        }
        let key = ssh_key::PublicKey::from_openssh(line).map_err(KeyError::Form)?;
        match key.key_data() {
            KeyData::Ed25519(point) => must_be_strong(point)?,
            KeyData::SkEd25519(key) => must_be_strong(key.public_key())?,
            _ => {}
        }
        Ok(Self(key))
    }
}

/// Of a few points, the signatures are easily made up for any text: such a key would be everybody's.
fn must_be_strong(point: &Ed25519PublicKey) -> Result<(), KeyError> {
    let key = VerifyingKey::from_bytes(point.as_ref()).map_err(|_| KeyError::Form(SshError::Crypto))?;
    if key.is_weak() { Err(KeyError::Weak) } else { Ok(()) }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_openssh().map_err(|_| fmt::Error)?)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;

    fn try_from(line: String) -> Result<Self, KeyError> {
        line.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        match text.parse() {
            Ok(fingerprint @ ssh_key::Fingerprint::Sha256(_)) => Ok(Self(fingerprint)),
            _ => Err(NoFingerprint),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Signature {
    /// The key that claims to have signed.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.0.public_key().fingerprint(HashAlg::Sha256))
    }

    fn was_touched(&self) -> bool {
        let bytes = self.0.signature_bytes();
        bytes.len().checked_sub(TRAILER).is_some_and(|place| bytes[place] & TOUCHED != 0)
    }
}

impl FromStr for Signature {
    type Err = SignatureError;

    /// Reads the armoured text, as a terminal may have changed it: ends of lines and what is empty around it do not count.
    fn from_str(text: &str) -> Result<Self, SignatureError> {
        if text.len() > SIGNATURE_LIMIT {
            return Err(SignatureError::Size(text.len()));
        }
        let mut lines: String = text.trim().lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        lines.push('\n');
        let signature = SshSig::from_pem(lines).map_err(SignatureError::Form)?;
        // The number is not signed along, so any other one would be a second form of the same signature.
        match signature.version() {
            SshSig::VERSION => Ok(Self(signature)),
            number => Err(SignatureError::Form(SshError::Version { number })),
        }
    }
}

#[cfg(test)]
mod tests;
