//! Which crate of the workspace uses which.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::programs::cargo;
use crate::project;

/// Crates that may use everything, and that nothing which ships may use.
const NEVER_SHIP: [&str; 2] = ["xtask", "qa"];

/// The crates of the workspace with their edges among each other.
#[derive(Debug, Default)]
pub(super) struct Crates(BTreeMap<String, Crate>);

#[derive(Debug)]
struct Crate {
    kind: Kind,
    uses: BTreeSet<String>,
}

/// What a crate is, by its place and its targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Decisions only.
    Core,
    /// A library that touches the machine.
    Library,
    /// Builds programs, perhaps with a library of its own.
    Program,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `null` for ordinary ones, else `dev` or `build`.
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

impl Crates {
    /// Asks cargo.
    pub(super) fn read() -> Result<Self> {
        let text = cargo().args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).output()?;
        let metadata: Metadata =
            serde_json::from_str(&text).map_err(|source| Error::library("cargo metadata is not understood", source))?;
        let ours: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
        let core = project::path("services/core");
        let crates = metadata.packages.iter().map(|package| {
            let has_program = package.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "bin"));
            let kind = if std::path::Path::new(&package.manifest_path).starts_with(&core) {
                Kind::Core
            } else if has_program {
                Kind::Program
            } else {
                Kind::Library
            };
            // Edges that only tests have do not ship, so they are not in the graph.
            let uses = package.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev"));
            let uses = uses.map(|dependency| dependency.name.as_str()).filter(|name| ours.contains(name));
            (package.name.clone(), Crate { kind, uses: uses.map(str::to_owned).collect() })
        });
        Ok(Self(crates.collect()))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The committed form: one line a crate.
    pub(super) fn text(&self) -> String {
        let mut text =
            "# Which crate uses which; tests' edges left out. `cargo xtask tidy --write` writes it.\n".to_owned();
        for line in self.lines() {
            text += &line;
            text.push('\n');
        }
        text
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(name, of)| {
            let uses: Vec<&str> = of.uses.iter().map(String::as_str).collect();
            format!("{name}: {}", uses.join(" ")).trim_end().to_owned()
        })
    }

    /// Lines that are only real or only committed.
    pub(super) fn differences(&self, committed: &str) -> Vec<String> {
        let committed: BTreeSet<&str> =
            committed.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        let real: BTreeSet<String> = self.lines().collect();
        let new =
            real.iter().filter(|line| !committed.contains(line.as_str())).map(|line| format!("not there: {line}"));
        let gone = committed.iter().filter(|line| !real.contains(**line)).map(|line| format!("no longer so: {line}"));
        gone.chain(new).collect()
    }

    /// Edges that point the wrong way.
    pub(super) fn broken_rules(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (name, of) in self.0.iter().filter(|(name, _)| !NEVER_SHIP.contains(&name.as_str())) {
            for used in &of.uses {
                let kind = self.0.get(used).map_or(Kind::Library, |used| used.kind);
                let rule = match (of.kind, kind) {
                    _ if NEVER_SHIP.contains(&used.as_str()) => "what ships does not use tools of the build",
                    (Kind::Core, Kind::Library | Kind::Program) => "core crates use only core crates",
                    (_, Kind::Program) => "nothing uses a program; programs talk over their sockets",
                    _ => continue,
                };
                broken.push(format!("{name} uses {used}: {rule}"));
            }
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crates(of: &[(&str, Kind, &[&str])]) -> Crates {
        let one = |(name, kind, uses): &(&str, Kind, &[&str])| {
            let uses = uses.iter().map(|used| (*used).to_owned()).collect();
            ((*name).to_owned(), Crate { kind: *kind, uses })
        };
        Crates(of.iter().map(one).collect())
    }

    #[test]
    fn edges_point_one_way() {
        let good = crates(&[
            ("ids", Kind::Core, &[]),
            ("linux", Kind::Library, &["ids"]),
            ("init", Kind::Program, &["ids", "linux"]),
            ("xtask", Kind::Program, &["qa", "init"]),
            ("qa", Kind::Library, &["ids"]),
        ]);
        assert!(good.broken_rules().is_empty(), "{:?}", good.broken_rules());
        let bad = crates(&[
            ("ids", Kind::Core, &["linux"]),
            ("linux", Kind::Library, &["qa"]),
            ("init", Kind::Program, &["launcher"]),
            ("launcher", Kind::Program, &[]),
            ("qa", Kind::Library, &[]),
        ]);
        assert_eq!(bad.broken_rules().len(), 3, "{:?}", bad.broken_rules());
    }

    #[test]
    fn a_new_edge_and_a_lost_one_are_seen() {
        let real = crates(&[("a", Kind::Library, &["b"]), ("b", Kind::Library, &[])]);
        assert!(real.differences(&real.text()).is_empty());
        assert_eq!(real.differences("a:\nb:\n"), ["no longer so: a:", "not there: a: b"]);
    }
}
