//! The programs of the workspace, built for the image: release profile, static.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

use crate::error::{Error, OnFile, Result};
use crate::lock::Lock;
use crate::progress;
use crate::project;
use crate::tool::Tool;

/// Crates that build programs for the build machine only.
const NEVER_SHIP: [&str; 2] = ["xtask", "qa"];

/// Built programs.
pub(crate) struct Programs {
    folder: PathBuf,
    /// Another build does not replace them while this one reads them.
    _lock: Option<Lock>,
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
        let mut cargo = cargo().args(["build", "--release", "--target", project::TARGET]);
        if !progress::is_terminal() {
            cargo = cargo.arg("--quiet");
        }
        for (variable, _) in std::env::vars_os().filter(|(name, _)| changes_programs(name)) {
            cargo = cargo.without_env(&variable);
        }
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
        cargo = cargo.arg("--config").arg(path_free(&places()?));
        let lock = Lock::alone(&project::output()?.join(".programs"), "programs")?;
        cargo.shown()?;
        Ok(Self { folder: Self::folder(), _lock: Some(lock) })
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
        Self { folder: PathBuf::from("/nonexistent"), _lock: None }
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

/// Whether a variable of the environment would change what cargo makes: what ships is decided by the tree alone.
fn changes_programs(variable: &OsStr) -> bool {
    let name = variable.to_string_lossy();
    matches!(name.as_ref(), "RUSTFLAGS" | "CARGO_ENCODED_RUSTFLAGS" | "CARGO_BUILD_RUSTFLAGS" | "CARGO_INCREMENTAL")
        || name.starts_with("CARGO_PROFILE_")
        || (name.starts_with("CARGO_TARGET_") && name.ends_with("_RUSTFLAGS"))
}

/// Folders whose paths the compiler would write into programs, as texts of panics, and what it writes instead.
fn places() -> Result<Vec<(PathBuf, &'static str)>> {
    let mut places = vec![(project::root().to_owned(), "/aios"), (project::target(), "/aios/target")];
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    // Below it is one folder for each registry and mirror that the crates were fetched from.
    let sources = home.unwrap_or_default().join("registry/src");
    if sources.is_dir() {
        for entry in fs::read_dir(&sources).on("list", &sources)? {
            places.push((entry.on("list", &sources)?.path(), "/crates"));
        }
    }
    places.sort();
    Ok(places)
}

/// The setting of cargo that keeps these paths out of programs: two builds in different folders are to be equal.
fn path_free(places: &[(PathBuf, &str)]) -> String {
    let flag = |(from, to): &(PathBuf, &str)| format!("--remap-path-prefix={}={to}", from.display());
    let flags: Vec<toml::Value> = places.iter().map(|place| toml::Value::String(flag(place))).collect();
    format!("target.{}.rustflags={}", project::TARGET, toml::Value::Array(flags))
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Tool {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Tool::new(program).directory(project::root())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_given_to_cargo_as_toml_understands_them() {
        let text = path_free(&[(PathBuf::from("/home/a \"b\"/t"), "/aios"), (PathBuf::from("/c"), "/crates")]);
        let value: toml::Table = toml::from_str(&text).expect("a line of TOML");
        let flags = &value["target"][project::TARGET]["rustflags"];
        assert_eq!(flags[0].as_str(), Some("--remap-path-prefix=/home/a \"b\"/t=/aios"));
        assert_eq!(flags[1].as_str(), Some("--remap-path-prefix=/c=/crates"));
    }

    #[test]
    fn the_environment_does_not_change_what_ships() {
        for name in ["RUSTFLAGS", "CARGO_PROFILE_RELEASE_LTO", "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS"] {
            assert!(changes_programs(OsStr::new(name)), "{name}");
        }
        for name in ["CARGO_TARGET_DIR", "CARGO_HOME", "PATH", "CARGO_NET_OFFLINE"] {
            assert!(!changes_programs(OsStr::new(name)), "{name}");
        }
    }
}
