//! `SHA256SUMS` and its signature, which a person can check with what every system has:
//!
//! `openssl pkeyutl -verify -pubin -inkey aios-release.pem -rawin -in SHA256SUMS -sigfile SHA256SUMS.sig`

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::error::{OnFile, Result};
use crate::keys::{Keys, Name};

/// The sums.
pub(crate) const SUMS: &str = "SHA256SUMS";
/// The release key's 64 bytes over them.
const SIGNATURE: &str = "SHA256SUMS.sig";
/// The release key's public half. Who checks takes it from a place that is not the download.
const KEY: &str = "aios-release.pem";

/// What every public Ed25519 key of this form begins with.
const HEADER: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Writes the three files into `folder`.
pub(crate) fn write(keys: &Keys, sums: &str, folder: &Path) -> Result<()> {
    let signature = keys.sign_ed25519(Name::Release, sums.as_bytes())?;
    let key = BASE64_STANDARD.encode([&HEADER[..], keys.ed25519(Name::Release)?.as_bytes()].concat());
    let key = format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n");
    for (name, content) in [(SUMS, sums.as_bytes()), (SIGNATURE, &signature), (KEY, key.as_bytes())] {
        let path = folder.join(name);
        fs::write(&path, content).on("write", &path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// The command of README.md, in the folder of a download.
    fn check(folder: &Path) -> bool {
        let readme = include_str!("../../README.md");
        let command = readme.lines().map(str::trim).find(|line| line.starts_with("openssl pkeyutl -verify"));
        let words: Vec<&str> = command.expect("README.md says how sums are checked").split_whitespace().collect();
        let output = Command::new(words[0]).args(&words[1..]).current_dir(folder).output().expect("openssl starts");
        output.status.success()
    }

    #[test]
    fn the_command_of_the_readme_accepts_ours_and_nothing_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = Keys::for_tests(&folder.path().join("keys"));
        write(&keys, "00  aios.iso\n", folder.path()).expect("written");
        assert!(check(folder.path()));
        fs::write(folder.path().join(SUMS), "01  aios.iso\n").expect("changed");
        assert!(!check(folder.path()), "other sums");
        write(&keys, "00  aios.iso\n", folder.path()).expect("written");
        let mut signature = fs::read(folder.path().join(SIGNATURE)).expect("there");
        signature[10] ^= 1;
        fs::write(folder.path().join(SIGNATURE), signature).expect("changed");
        assert!(!check(folder.path()), "another signature");
    }
}
