//! Firmware that a user adds: what lies in `kernel-config/firmware` becomes part of the kernel.
//!
//! A file is built in under its path below that folder, which is the name that a driver asks for. We ship none: the files
//! belong to the makers of the devices. What was added decides the kernel's bytes and stands in the manifest.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cache::digest_of;
use crate::error::{Error, OnFile, Result};

/// Where the files lie in the tree.
const FOLDER: &str = "kernel-config/firmware";

/// Where they lie in the kernel's source while it is built. Relative, since the kernel keeps its own configuration.
const IN_SOURCE: &str = "aios-firmware";

/// The most that may be added: it is unpacked into memory at each start, and firmware loads the image as a whole.
const LIMIT: u64 = 32 << 20;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Blob {
    /// What a driver calls it.
    pub(crate) name: String,
    size: u64,
    sha256: String,
    #[serde(skip)]
    path: PathBuf,
}

/// What was added, by name.
pub(super) fn blobs() -> Result<Vec<Blob>> {
    blobs_in(&crate::project::path(FOLDER))
}

fn blobs_in(folder: &Path) -> Result<Vec<Blob>> {
    let mut blobs = Vec::new();
    collect(folder, folder, &mut blobs)?;
    blobs.sort_by(|one, other| one.name.cmp(&other.name));
    let size: u64 = blobs.iter().map(|blob| blob.size).sum();
    if size > LIMIT {
        return Err(Error::refused(
            format!("{} holds {size} bytes; {LIMIT} are the most", folder.display()),
            "keep the files of the devices that you have",
        ));
    }
    Ok(blobs)
}

fn collect(top: &Path, folder: &Path, blobs: &mut Vec<Blob>) -> Result<()> {
    for entry in fs::read_dir(folder).on("list", folder)? {
        let path = entry.on("list", folder)?.path();
        if path.is_dir() {
            collect(top, &path, blobs)?;
        } else if path != top.join("README.md") {
            let name = path.strip_prefix(top).unwrap_or(&path).to_string_lossy().into_owned();
            // The kernel's build separates names by spaces and puts them into a configuration and a makefile.
            let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-+/".contains(letter);
            if !name.chars().all(plain) {
                return Err(Error::refused(
                    format!("firmware file {name:?} has a name that the kernel's build cannot carry"),
                    "letters, digits and . _ - + are fine",
                ));
            }
            let size = fs::metadata(&path).on("look at", &path)?.len();
            blobs.push(Blob { name, size, sha256: digest_of(&path)?.to_string(), path });
        }
    }
    Ok(())
}

/// The lines of the configuration that build them in.
pub(super) fn fragment(blobs: &[Blob]) -> String {
    if blobs.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = blobs.iter().map(|blob| blob.name.as_str()).collect();
    format!("CONFIG_EXTRA_FIRMWARE=\"{}\"\nCONFIG_EXTRA_FIRMWARE_DIR=\"{IN_SOURCE}\"\n", names.join(" "))
}

/// Every name and content in one text, for the kernel's key.
pub(super) fn summary(blobs: &[Blob]) -> String {
    blobs.iter().map(|blob| format!("{} {}\n", blob.sha256, blob.name)).collect()
}

/// Puts the files where the kernel's build looks.
pub(super) fn place(blobs: &[Blob], source: &Path) -> Result<()> {
    for blob in blobs {
        let to = source.join(IN_SOURCE).join(&blob.name);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).on("make", folder)?;
        }
        fs::copy(&blob.path, &to).on("copy", &blob.path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Vec<Blob>>) {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("in the folder")).expect("room");
            fs::write(path, content).expect("room");
        }
        let blobs = blobs_in(folder.path());
        (folder, blobs)
    }

    #[test]
    fn files_are_built_in_under_their_names() {
        let (_folder, blobs) = with(&[("README.md", "x"), ("tigon/tg3.bin", "b"), ("bnx2/a.fw", "a")]);
        let blobs = blobs.expect("read");
        let lines = fragment(&blobs);
        assert!(lines.contains("CONFIG_EXTRA_FIRMWARE=\"bnx2/a.fw tigon/tg3.bin\"\n"), "{lines}");
        let source = tempfile::tempdir().expect("a folder");
        place(&blobs, source.path()).expect("room");
        assert_eq!(fs::read(source.path().join("aios-firmware/tigon/tg3.bin")).expect("placed"), b"b");
        assert_eq!(fragment(&[]), "");
    }

    #[test]
    fn another_content_is_another_kernel() {
        let key = |content: &str| {
            let (_folder, blobs) = with(&[("a.bin", content)]);
            summary(&blobs.expect("read"))
        };
        assert_eq!(key("a"), key("a"));
        assert_ne!(key("a"), key("b"));
    }

    #[test]
    fn names_that_would_be_two_are_refused() {
        let (_folder, blobs) = with(&[("a b.bin", "")]);
        assert!(blobs.expect_err("a space").to_string().contains("a b.bin"));
    }
}
