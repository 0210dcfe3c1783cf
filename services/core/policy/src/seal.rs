//! The seal on a bundle: two lines of JSON, the first signs every byte of the second.
//!
//! Both lines have only one form, so that any changed byte is noticed: the first is compared with what this program
//! would have written, the second is covered by the signature.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

/// The largest bundle that is read.
pub const SIZE_LIMIT: usize = 1024 * 1024;

/// What is signed begins with this, so that no signature made for something else counts here.
const CONTEXT: &[u8] = b"aios policy bundle v1\n";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seal {
    signer: String,
    signature: String,
}

/// The bytes are not a bundle that the expected key signed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Longer than a bundle can be.
    #[error("the bundle has {0} bytes; at most {SIZE_LIMIT} are read")]
    Size(usize),
    /// Not two lines, or the first is not a seal.
    #[error("this is not a policy bundle: its first line must be its seal; 'cargo xtask' packs bundles")]
    Form,
    /// The expected key is not one.
    #[error("the public key for policy bundles is not an Ed25519 key in 64 lower-case hexadecimal digits")]
    Key,
    /// Another key.
    #[error("the bundle is signed by {found}; this system takes only {expected}")]
    Signer {
        /// Who says to have signed.
        found: String,
        /// Who must.
        expected: String,
    },
    /// The signature does not fit the bytes.
    #[error("the bundle's signature does not fit its content: it was changed after signing; get it again")]
    Signature,
}

/// The public key that belongs to a signing seed.
pub fn public_key(seed: &[u8; 32]) -> [u8; 32] {
    SigningKey::from_bytes(seed).verifying_key().to_bytes()
}

/// The public key in a file of one line of 64 hexadecimal digits.
pub fn read_key(text: &str) -> Result<[u8; 32], SealError> {
    unhex(text.strip_suffix('\n').unwrap_or(text)).ok_or(SealError::Key)
}

/// Why whoever holds the private key did not sign.
pub type SigningError = Box<dyn std::error::Error + Send + Sync>;

/// The signature of a seed's key.
pub(crate) fn sign(bytes: &[u8], seed: &[u8; 32]) -> [u8; 64] {
    SigningKey::from_bytes(seed).sign(bytes).to_bytes()
}

/// Has `content`, which must be one line, signed by `key`.
pub(crate) fn seal(
    content: &str,
    key: &[u8; 32],
    sign: impl FnOnce(&[u8]) -> Result<[u8; 64], SigningError>,
) -> Result<Vec<u8>, SigningError> {
    let signature = sign(&signed_bytes(content))?;
    let seal = Seal { signer: hex(key), signature: hex(&signature) };
    Ok(format!("{}\n{content}\n", line_of(&seal)).into_bytes())
}

/// The content of a sealed bundle, if `key` signed it.
pub(crate) fn open<'a>(bytes: &'a [u8], key: &[u8; 32]) -> Result<&'a str, SealError> {
    if bytes.len() > SIZE_LIMIT {
        return Err(SealError::Size(bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| SealError::Form)?;
    let (first, content) = text.strip_suffix('\n').and_then(|text| text.split_once('\n')).ok_or(SealError::Form)?;
    let seal: Seal = serde_json::from_str(first).map_err(|_| SealError::Form)?;
    if line_of(&seal) != first {
        return Err(SealError::Form);
    }
    let expected = VerifyingKey::from_bytes(key).map_err(|_| SealError::Key)?;
    if seal.signer != hex(key) {
        let found = seal.signer.chars().take(64).flat_map(char::escape_default).collect();
        return Err(SealError::Signer { found, expected: hex(key) });
    }
    let signature = Signature::from_bytes(&unhex(&seal.signature).ok_or(SealError::Form)?);
    expected.verify_strict(&signed_bytes(content), &signature).map_err(|_| SealError::Signature)?;
    Ok(content)
}

fn line_of(seal: &Seal) -> String {
    serde_json::to_string(seal).expect("a seal has only text keys")
}

fn signed_bytes(content: &str) -> Vec<u8> {
    [CONTEXT, content.as_bytes()].concat()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}
