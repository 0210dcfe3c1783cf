//! The crates that are linked into what ships: from cargo's own tree, with the licence and the checksum of each.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::licence;
use crate::error::{Error, Result};
use crate::programs::cargo;
use crate::project;

/// A crate by name and version, such as `serde 1.0.229`.
pub(crate) type CrateId = (String, String);

/// One crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Crate {
    /// As an expression of SPDX; empty when the crate says none.
    pub(crate) licence: String,
    /// Of the archive in the registry; none for a crate of this tree.
    pub(crate) sha256: Option<String>,
    pub(crate) uses: BTreeSet<CrateId>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// All crates in programs of these packages, and what each uses. Crates that only run at build time are not in it.
pub(crate) fn linked(packages: &BTreeSet<&str>) -> Result<BTreeMap<CrateId, Crate>> {
    let mut tree = cargo().args(["tree", "--offline", "--locked", "--edges", "normal,no-proc-macro"]).args([
        "--target",
        project::TARGET,
        "--prefix",
        "depth",
        "--format",
        "|{p}|{l}",
    ]);
    for package in packages {
        tree = tree.args(["--package", package]);
    }
    let lock: Lock = toml::from_str(&project::read("Cargo.lock")?)
        .map_err(|source| Error::library("Cargo.lock is not understood", source))?;
    let checksums: BTreeMap<CrateId, String> =
        lock.package.into_iter().filter_map(|locked| Some(((locked.name, locked.version), locked.checksum?))).collect();
    let mut crates = parse(&tree.output()?)
        .map_err(|line| Error::refused(format!("`cargo tree` said what is not understood: {line}"), ""))?;
    for (id, found) in &mut crates {
        found.sha256 = checksums.get(id).cloned();
    }
    Ok(crates)
}

/// Reads lines such as `2|serde v1.0.229|MIT OR Apache-2.0 (*)`. The error is the first line of another form.
fn parse(text: &str) -> Result<BTreeMap<CrateId, Crate>, String> {
    let mut crates: BTreeMap<CrateId, Crate> = BTreeMap::new();
    let mut path: Vec<CrateId> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let wrong = || line.chars().take(120).collect::<String>();
        let (depth, rest) = line.split_once('|').ok_or_else(wrong)?;
        let (package, licence) = rest.split_once('|').ok_or_else(wrong)?;
        let depth: usize = depth.parse().ok().filter(|depth| *depth <= path.len()).ok_or_else(wrong)?;
        let mut words = package.split_ascii_whitespace();
        let (name, version) = words.next().zip(words.next()).ok_or_else(wrong)?;
        let version = version.strip_prefix('v').ok_or_else(wrong)?;
        let id = (name.to_owned(), version.to_owned());
        path.truncate(depth);
        if let Some(user) = path.last().and_then(|user| crates.get_mut(user)) {
            user.uses.insert(id.clone());
        }
        let licence = licence::expression(licence.trim_end_matches(" (*)"));
        crates.entry(id.clone()).or_insert(Crate { licence, sha256: None, uses: BTreeSet::new() });
        path.push(id);
    }
    Ok(crates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_tree_becomes_a_graph() {
        let text = "0|a v0.1.0 (/x/a)|MIT\n1|b v1.0.0|MIT/Apache-2.0\n2|c v2.0.0+x|ISC\n1|c v2.0.0+x|ISC\n\n\
                    0|d v0.1.0 (/x/d)|MIT\n1|b v1.0.0|MIT/Apache-2.0 (*)\n";
        let crates = parse(text).expect("a tree");
        let id = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        assert_eq!(crates.len(), 4);
        assert_eq!(crates[&id("a", "0.1.0")].uses, [id("b", "1.0.0"), id("c", "2.0.0+x")].into());
        assert_eq!(crates[&id("b", "1.0.0")].licence, "MIT OR Apache-2.0");
        assert_eq!(crates[&id("b", "1.0.0")].uses, [id("c", "2.0.0+x")].into());
        assert_eq!(crates[&id("d", "0.1.0")].uses, [id("b", "1.0.0")].into());
    }

    #[test]
    fn another_form_is_named() {
        for text in ["a v1", "1|a v1.0|MIT", "x|a v1.0|MIT", "0|a|MIT", "0|a 1.0|MIT"] {
            assert_eq!(parse(text), Err(text.to_owned()));
        }
    }

    #[test]
    fn pid_1_is_what_it_links() {
        let crates = linked(&["init"].into()).expect("cargo tree");
        let named = |wanted: &str| crates.iter().find(|((name, _), _)| name == wanted);
        let (_, rustix) = named("rustix").expect("PID 1 makes system calls");
        assert_eq!(rustix.sha256.as_ref().map(String::len), Some(64));
        assert!(rustix.licence.contains("MIT"), "{}", rustix.licence);
        let (_, linux) = named("aios-linux").expect("a crate of this tree");
        assert_eq!(linux.sha256, None);
        assert!(named("tokio").is_none() && named("syn").is_none() && named("xtask").is_none());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([0-3]\\|?(a|b)? ?v?1?\\|?(MIT)?( \\(\\*\\))?\n?){0,12}.{0,20}") {
            let _ = parse(&text);
        }
    }
}
