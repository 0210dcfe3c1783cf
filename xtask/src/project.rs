//! Where things are in the tree, and what the tree says about itself.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::error::{OnFile, Result};

/// The one time that images carry: 2026-01-01. A constant, so that a rebuild years later gives the same bytes.
pub(crate) const EPOCH: u64 = 1_767_225_600;

/// The version of a build that is not a release.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The triple that everything that ships is built for.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Names another tree to work on: a copy that `cargo xtask reproduce` made.
pub(crate) const TREE: &str = "AIOS_TREE";

/// The tree.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        // The manifest of this program is in `<root>/xtask`.
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let own = own.expect("a crate's folder has a parent in this workspace");
        std::env::var_os(TREE).map_or_else(|| own.to_owned(), PathBuf::from)
    });
    &ROOT
}

/// A path in the tree.
pub(crate) fn path(relative: impl AsRef<Path>) -> PathBuf {
    root().join(relative)
}

/// Where cargo puts its results.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| path("target"), |folder| path(PathBuf::from(folder)))
}

/// `target/aios`, made if needed.
pub(crate) fn output() -> Result<PathBuf> {
    let path = target().join("aios");
    std::fs::create_dir_all(&path).on("make", &path)?;
    Ok(path)
}

/// A text file of the tree.
pub(crate) fn read(relative: &str) -> Result<String> {
    let path = path(relative);
    std::fs::read_to_string(&path).on("read", &path)
}

/// The names of the files in a folder of the tree, sorted.
pub(crate) fn list(relative: &str) -> Result<Vec<String>> {
    let folder = path(relative);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).on("list", &folder)? {
        names.push(entry.on("list", &folder)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
