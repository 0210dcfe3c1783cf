//! `manifest.json`, `SHA256SUMS` and its signature: what was built, and from what.

use std::fs;
use std::path::{Path, PathBuf};

use aios_ids::Digest;
use serde::Serialize;

use crate::cache::digest_of;
use crate::error::{Error, OnFile, Result};
use crate::kernel::{Blob, Origin};
use crate::keys::{Keys, Purpose};
use crate::shipped::Shipped;
use crate::system::System;
use crate::tool::Tool;
use crate::{pcr::Prediction, sums};

/// What `manifest.json` says.
#[derive(Serialize)]
pub(crate) struct Manifest {
    version: String,
    /// The commit, with a mark when the tree had changes beyond it.
    commit: String,
    development_keys: bool,
    root_hash: Digest,
    kernel_release: String,
    kernel_source: Origin,
    /// The firmware files that the builder added to the kernel.
    kernel_firmware: Vec<Blob>,
    /// What register 11 of a TPM holds when each kernel image has started.
    measured: Vec<Prediction>,
    /// The published files.
    outputs: Vec<Line>,
    /// Every file in them.
    files: Vec<Shipped>,
}

#[derive(Serialize)]
struct Line {
    path: String,
    size: u64,
    sha256: Digest,
    made_from: &'static str,
}

/// A published file and what it was made from.
pub(crate) type Output = (PathBuf, &'static str);

/// The commit that is built, with a mark when the tree had changes beyond it. Asked once for a build: it may move.
pub(crate) fn commit() -> String {
    Tool::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=40"])
        .directory(crate::project::root())
        .output()
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

impl Manifest {
    pub(crate) fn of(
        system: &System,
        keys: &Keys,
        outputs: &[Output],
        commit: &str,
        files: Vec<Shipped>,
    ) -> Result<Self> {
        Ok(Self {
            version: system.version.clone(),
            commit: commit.to_owned(),
            development_keys: keys.purpose() == Purpose::Development,
            root_hash: system.root.hash,
            kernel_release: system.kernel.release.clone(),
            kernel_source: system.kernel.origin.clone(),
            kernel_firmware: system.kernel.firmware.clone(),
            measured: system.predictions()?,
            outputs: outputs.iter().map(Line::of).collect::<Result<_>>()?,
            files,
        })
    }

    /// Writes the files into `folder`; the signature is the release key's, over the sums' bytes.
    pub(crate) fn write(&self, keys: &Keys, folder: &Path) -> Result<()> {
        let path = folder.join("manifest.json");
        let text = serde_json::to_string_pretty(self)
            .map_err(|source| Error::library("the manifest cannot be written", source))?;
        fs::write(&path, text + "\n").on("write", &path)?;
        let own = Line::of(&(path, "the build"))?;
        let lines = self.outputs.iter().chain([&own]);
        let sums: String = lines.map(|line| format!("{}  {}\n", line.sha256, line.path)).collect();
        sums::write(keys, &sums, folder)
    }
}

impl Line {
    fn of((path, made_from): &Output) -> Result<Self> {
        let size = fs::metadata(path).on("look at", path)?.len();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { path: name, size, sha256: digest_of(path)?, made_from })
    }
}
