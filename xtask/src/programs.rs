//! The programs of the workspace, built for the image: release profile, static.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::project;
use crate::tool::Tool;

/// Crates that build programs for the build machine only.
const NEVER_SHIP: [&str; 2] = ["xtask", "qa"];

/// Built programs.
pub(crate) struct Programs {
    folder: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Programs {
    /// Builds these programs.
    pub(crate) fn build(wanted: &BTreeSet<&str>) -> Result<Self> {
        let known = names()?;
        let mut cargo = cargo().args(["build", "--quiet", "--release", "--target", project::TARGET]);
        let mut packages = BTreeSet::new();
        for name in wanted {
            let package = known.get(*name).ok_or_else(|| {
                Error::refused(format!("a list in rootfs/ names program {name}, which no crate builds"), "")
            })?;
            packages.insert(package);
            cargo = cargo.arg("--bin").arg(name);
        }
        for package in packages {
            cargo = cargo.arg("--package").arg(package);
        }
        cargo.shown()?;
        Ok(Self { folder: Self::folder() })
    }

    /// Where they are.
    pub(crate) fn folder() -> PathBuf {
        project::target().join(project::TARGET).join("release")
    }

    /// One of them.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { folder: PathBuf::from("/nonexistent") }
    }
}

/// Every program that may ship, with the package that builds it.
pub(crate) fn names() -> Result<BTreeMap<String, String>> {
    let text = cargo().args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).output()?;
    let metadata: Metadata =
        serde_json::from_str(&text).map_err(|source| Error::library("cargo metadata is not understood", source))?;
    let mut names = BTreeMap::new();
    for package in metadata.packages.into_iter().filter(|package| !NEVER_SHIP.contains(&package.name.as_str())) {
        for target in package.targets.into_iter().filter(|target| target.kind.iter().any(|kind| kind == "bin")) {
            names.insert(target.name, package.name.clone());
        }
    }
    Ok(names)
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Tool {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Tool::new(program).directory(project::root())
}
