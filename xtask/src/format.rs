//! `cargo xtask iso --format`: other forms of the live system, written beside the ISO.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::Cache;
use crate::error::{Error, OnFile, Result};
use crate::files_list::{Content, Staged};
use crate::keys::Keys;
use crate::system::System;
use crate::uki;

/// More is slow to fetch over a network and does not leave 512 MiB of memory enough to work with.
const STANDALONE_BUDGET: u64 = 96 << 20;

/// A form of the live system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Format {
    /// The hybrid image, for CD and stick; always made
    Iso,
    /// One EFI program that carries its own root: HTTP boot, PXE, a file on any stick
    Uki,
}

/// The kernel image that carries its own root, as `aios-<version>-x86_64.efi` in this folder.
pub(crate) fn standalone(cache: &Cache, keys: &Keys, system: &System, folder: &Path) -> Result<PathBuf> {
    let mut files = system.initramfs_files.clone();
    files.push(Staged { path: "aios".into(), mode: 0o755, content: Content::Directory, made_from: String::new() });
    for (path, image) in [("aios/root.erofs", &system.root.image), ("aios/root.verity", &system.root.tree)] {
        let content = Content::File(fs::read(image).on("read", image)?);
        files.push(Staged { path: path.into(), mode: 0o444, content, made_from: "the root".into() });
    }
    let line = uki::release_line(&system.root, &system.version);
    let os_release = uki::os_release(&system.version, keys.purpose());
    let initramfs = uki::initramfs(&files)?;
    let image = uki::seal(cache, keys, &uki::STANDALONE, &system.kernel, &line, &initramfs, &os_release)?;
    let size = fs::metadata(&image).on("look at", &image)?.len();
    if size > STANDALONE_BUDGET {
        return Err(Error::refused(
            format!("the kernel image with its own root has {size} bytes, the budget is {STANDALONE_BUDGET}"),
            "manifest.json of an earlier build shows what grew",
        ));
    }
    let path = folder.join(format!("aios-{}-x86_64.efi", system.version));
    fs::copy(&image, &path).on("write", &path)?;
    Ok(path)
}
