//! Who holds the private halves of our keys: files of this machine, or a program that asks something safer.
//!
//! A signature is made from a key's name and the bytes to be signed, and nothing else, so the same bytes give the same
//! signature. What a signer answers is worth nothing until the public half has confirmed it; [`crate::keys`] does that.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ed25519_dalek::{Signer as _, SigningKey};

use crate::error::{Error, OnFile, Result};
use crate::tool::Tool;

/// Names the program that signs.
pub(crate) const VARIABLE: &str = "AIOS_SIGNER";

/// No signature of ours is longer.
const LIMIT: u64 = 4096;

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// RSA over SHA-256, as in PKCS #1 1.5: what firmware and TPMs check.
    Rsa,
    /// Ed25519 over the bytes themselves.
    Ed25519,
}

/// What has the private keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signer {
    /// `NAME.key` in this folder.
    Files(PathBuf),
    /// This program, called as `PROGRAM NAME`: bytes on its standard input, the plain signature on its output.
    Program(PathBuf),
}

impl Signer {
    /// The program that the user named, else the files beside the public halves.
    pub(crate) fn of_user(folder: &Path) -> Self {
        match std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
            Some(program) => Self::Program(program.into()),
            None => Self::Files(folder.to_owned()),
        }
    }

    /// The signature of a key over these bytes.
    pub(crate) fn sign(&self, name: &str, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
        match (self, algorithm) {
            (Self::Program(program), _) => ask(program, name, message),
            (Self::Files(folder), Algorithm::Rsa) => with_openssl(&folder.join(format!("{name}.key")), message),
            (Self::Files(folder), Algorithm::Ed25519) => {
                let seed = crate::keys::read_hex(&folder.join(format!("{name}.key")))?;
                Ok(SigningKey::from_bytes(&seed).sign(message).to_bytes().to_vec())
            }
        }
    }
}

/// RSA stays with openssl: its arithmetic with secrets has had more eyes than any we could take.
fn with_openssl(key: &Path, message: &[u8]) -> Result<Vec<u8>> {
    if !key.is_file() {
        return Err(Error::refused(
            format!("the private key {} is missing", key.display()),
            format!("put it there, or set {VARIABLE} to a program that signs"),
        ));
    }
    let work = tempfile::tempdir().on("make a folder in", &std::env::temp_dir())?;
    let (input, output) = (work.path().join("message"), work.path().join("signature"));
    fs::write(&input, message).on("write", &input)?;
    Tool::new("openssl").args(["dgst", "-sha256", "-sign"]).arg(key).arg("-out").arg(&output).arg(&input).run()?;
    fs::read(&output).on("read", &output)
}

fn ask(program: &Path, name: &str, message: &[u8]) -> Result<Vec<u8>> {
    let shown = || format!("{} {name}", program.display());
    let failed = |status: String| Error::Tool { command: shown(), status, output: String::new() };
    let start = |source| Error::Start { program: shown(), source };
    let mut child = Command::new(AsRef::<OsStr>::as_ref(program))
        .arg(name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(start)?;
    // The messages are shorter than a pipe holds, or the program reads them; one that ends early is told by its status.
    let sent = child.stdin.take().expect("set to a pipe above").write_all(message);
    let mut signature = Vec::new();
    let output = child.stdout.take().expect("set to a pipe above");
    let received = output.take(LIMIT + 1).read_to_end(&mut signature);
    let status = child.wait().map_err(start)?;
    if !status.success() {
        return Err(failed(status.to_string()));
    }
    sent.map_err(|error| failed(format!("it does not read what it is to sign: {error}")))?;
    received.map_err(|error| failed(format!("its answer cannot be read: {error}")))?;
    if signature.is_empty() || signature.len() as u64 > LIMIT {
        return Err(failed(format!("its answer is no signature: {} bytes", signature.len())));
    }
    Ok(signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn program(folder: &Path, text: &str) -> Signer {
        let path = folder.join("signer");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("made a program");
        Signer::Program(path)
    }

    #[test]
    fn a_program_gets_the_name_and_the_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let signer = program(folder.path(), "printf '%s ' \"$1\"; cat");
        assert_eq!(signer.sign("db", Algorithm::Rsa, b"bytes").expect("answered"), b"db bytes");
    }

    #[test]
    fn an_answer_that_is_no_signature_is_an_error_that_names_the_program() {
        let folder = tempfile::tempdir().expect("a folder");
        for (text, expected) in [
            ("cat > /dev/null; exit 3", "exit status: 3"),
            ("cat > /dev/null", "0 bytes"),
            ("cat > /dev/null; head -c 5000 /dev/zero", "no signature"),
        ] {
            let error = program(folder.path(), text).sign("db", Algorithm::Rsa, b"").expect_err(text).to_string();
            assert!(error.contains(expected) && error.contains("signer db"), "{error}");
        }
        let absent = Signer::Program(folder.path().join("absent"));
        assert!(absent.sign("db", Algorithm::Rsa, b"").expect_err("absent").to_string().contains("cannot start"));
    }

    #[test]
    fn a_missing_private_key_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let signer = Signer::Files(folder.path().to_owned());
        for algorithm in [Algorithm::Rsa, Algorithm::Ed25519] {
            let error = signer.sign("release", algorithm, b"").expect_err("missing").to_string();
            assert!(error.contains("release.key"), "{error}");
        }
    }
}
