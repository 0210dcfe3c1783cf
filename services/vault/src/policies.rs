//! For which states of the TPM's register a start was signed, and by which key: two files that come with the kernel image.
//!
//! The loader's stub takes them out of the image (`.pcrsig`, `.pcrpkey`) and PID 1 keeps them for whoever seals something. They
//! are not trusted: the TPM itself checks a signature against the key for which something was sealed.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use aios_ids::Digest;
use aios_linux::tpm::{Signed, SigningKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

/// The signed policies, as systemd-measure writes them.
const SIGNATURES: &str = "tpm2-pcr-signature.json";

/// The public half of the key of installed systems.
const KEY: &str = "tpm2-pcr-public-key.pem";

/// No such file is longer.
const LIMIT: u64 = 64 * 1024;

/// The register that the policies are for.
const REGISTER: u32 = 11;

/// What came with the image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PoliciesError {
    /// The image has none, or it was not started by the loader's stub.
    #[error("this start has no signed policy for a TPM: there is no {}", .0.display())]
    None(PathBuf),
    /// The file system.
    #[error("cannot read {}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another form.
    #[error("{} has another form than those that this release writes", .0.display())]
    Form(PathBuf),
}

#[derive(Deserialize)]
struct Signatures {
    sha256: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    pcrs: Vec<u32>,
    pkfp: Digest,
    pol: Digest,
    sig: String,
}

/// The key of this image and what it signed.
pub fn read(folder: &Path) -> Result<(SigningKey, Vec<Signed>), PoliciesError> {
    let (of_key, of_signatures) = (folder.join(KEY), folder.join(SIGNATURES));
    let (pem, text) = (content(&of_key)?, content(&of_signatures)?);
    let (key, fingerprint) = key(&pem).ok_or(PoliciesError::Form(of_key))?;
    let signed = signatures(&text, &fingerprint).ok_or(PoliciesError::Form(of_signatures))?;
    Ok((key, signed))
}

fn content(path: &Path) -> Result<String, PoliciesError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LIMIT).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(PoliciesError::None(path.to_owned())),
        Err(source) => Err(PoliciesError::Read { path: path.to_owned(), source }),
    }
}

/// The policies for our register that this key signed; other keys sign other ways to run.
fn signatures(text: &str, fingerprint: &Digest) -> Option<Vec<Signed>> {
    let all: Signatures = serde_json::from_str(text).ok()?;
    let own = all.sha256.into_iter().filter(|entry| entry.pcrs == [REGISTER] && entry.pkfp == *fingerprint);
    own.map(|entry| Some(Signed { policy: entry.pol, signature: BASE64_STANDARD.decode(entry.sig).ok()? })).collect()
}

/// The key and its fingerprint, which is the digest of its PKCS #1 form.
fn key(pem: &str) -> Option<(SigningKey, Digest)> {
    let body = pem.trim().strip_prefix("-----BEGIN PUBLIC KEY-----")?.strip_suffix("-----END PUBLIC KEY-----")?;
    let body: String = body.split_ascii_whitespace().collect();
    let der = BASE64_STANDARD.decode(body).ok()?;
    let (mut outer, []) = part(&der, SEQUENCE)? else { return None };
    let (algorithm, rest) = part(outer, SEQUENCE)?;
    outer = rest;
    if algorithm != RSA_ENCRYPTION {
        return None;
    }
    let (bits, []) = part(outer, BIT_STRING)? else { return None };
    let pkcs1 = bits.strip_prefix(&[0])?;
    let (numbers, []) = part(pkcs1, SEQUENCE)? else { return None };
    let (modulus, rest) = part(numbers, INTEGER)?;
    let (exponent, []) = part(rest, INTEGER)? else { return None };
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus).to_vec();
    if !(256..=512).contains(&modulus.len()) || !(1..=4).contains(&exponent.len()) {
        return None;
    }
    let exponent = exponent.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    Some((SigningKey { modulus, exponent }, Digest::of(pkcs1)))
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;

/// The object identifier of RSA, and no parameters.
const RSA_ENCRYPTION: [u8; 13] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// The content of the first element, which must be of this kind, and what follows it.
fn part(der: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    if *found != kind {
        return None;
    }
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => rest.split_first_chunk().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_there_is_said_and_what_is_no_key_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(read(folder.path()), Err(PoliciesError::None(path)) if path.ends_with(KEY)));
        std::fs::write(folder.path().join(KEY), "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
            .expect("written");
        std::fs::write(folder.path().join(SIGNATURES), "{}").expect("written");
        assert!(matches!(read(folder.path()), Err(PoliciesError::Form(path)) if path.ends_with(KEY)));
    }

    #[test]
    fn only_policies_of_this_key_for_this_register_are_taken() {
        let (own, other) = (Digest::of(b"own"), Digest::of(b"other"));
        let entry = |register: u32, key: &Digest, policy: &str| {
            let policy = Digest::of(policy.as_bytes());
            format!("{{\"pcrs\":[{register}],\"pkfp\":\"{key}\",\"pol\":\"{policy}\",\"sig\":\"AAEC\"}}")
        };
        let entries = [entry(11, &own, "a"), entry(11, &other, "b"), entry(4, &own, "c"), entry(11, &own, "d")];
        let text = format!("{{\"sha256\":[{}]}}", entries.join(","));
        let found = signatures(&text, &own).expect("of the form");
        let expected = ["a", "d"].map(|text| Signed { policy: Digest::of(text.as_bytes()), signature: vec![0, 1, 2] });
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn no_key_panics(der in prop::collection::vec(any::<u8>(), 0..80), start in any::<bool>()) {
            let der = if start { [&[SEQUENCE, 0x20, SEQUENCE, 13][..], &RSA_ENCRYPTION, &der].concat() } else { der };
            let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", BASE64_STANDARD.encode(der));
            let _ = key(&pem);
        }

        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = (key(&text), signatures(&text, &Digest::of(b"")));
        }
    }
}
