//! `cargo xtask sources`: the sources that licences ask for, collected into a folder; and the lists of them beside the
//! ISO, `sources.json` for programs and `SOURCES.md` for people.

mod archive;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use aios_ids::Digest;
use serde::Serialize;

use crate::cache::{Cache, digest_of};
use crate::error::{Error, OnFile, Result};
use crate::kernel::{self, Kernel};
use crate::manifest::commit;
use crate::programs::cargo;
use crate::project;
use crate::sbom::Materials;
use crate::sbom::crates::CrateId;
use crate::shipped::{MadeFrom, Shipped};
use crate::system::System;
use crate::tool::Tool;

const LIST: &str = "sources.json";
const TEXT: &str = "SOURCES.md";

/// The offer that the GPL and LGPL ask for where sources do not come along with the programs.
const OFFER: &str = "\
Whoever hands on this image also hands on this offer, which holds for at least three years from then and for as long as
spare parts or support are offered: everybody who has the image gets the complete corresponding source of every program
named below, with what is needed to build and install it, for no more than the cost of copying, from whoever handed the
image on. `cargo xtask sources --out DIR`, in the tree of the same version, collects all of it into one folder.
";

/// One work whose licence asks for its source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Source {
    name: String,
    version: String,
    /// Where it comes from.
    from: String,
    /// Of the source archive where there is one file of it; each of Debian's is in the index of the archive.
    sha256: Option<String>,
    /// What ships and was made from it.
    made: Vec<String>,
}

/// All of them.
pub(crate) struct Sources {
    /// Of this tree.
    commit: String,
    list: Vec<Source>,
    /// Source packages of Debian: name and version.
    debian: Vec<(String, String)>,
    crates: BTreeMap<CrateId, String>,
}

/// What a folder of collected sources says about itself.
#[derive(Serialize)]
struct Index<'a> {
    version: &'a str,
    commit: &'a str,
    sources: &'a [Source],
    /// Collected files; none in the list beside the ISO.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<Collected>,
}

#[derive(Serialize)]
struct Collected {
    path: String,
    size: u64,
    sha256: Digest,
}

impl Sources {
    /// The sources of these files.
    pub(crate) fn of(commit: &str, kernel: &Kernel, materials: &Materials, shipped: &[Shipped]) -> Self {
        let made = |wanted: &dyn Fn(&MadeFrom) -> bool| {
            let made = shipped.iter().filter(|file| file.made_from.iter().any(wanted));
            made.map(|file| file.path.clone()).collect::<Vec<_>>()
        };
        let mut list = vec![Source {
            name: "linux".to_owned(),
            version: kernel.origin.version.clone(),
            from: "the archive with the kernel's source in Debian's package of it, or the one that was given to the build; \
                   configured by kernel-config/ of the tree"
                .to_owned(),
            sha256: Some(kernel.origin.sha256.clone()),
            made: made(&|source| *source == MadeFrom::Kernel),
        }];
        let mut debian = BTreeMap::new();
        for package in materials.debian() {
            let files = made(&|source| materials.is_from(package, source));
            let own = (package.source.clone(), package.source_version.clone());
            for id in package.built_using.iter().chain([&own]) {
                debian.entry(id.clone()).or_insert_with(Vec::new).extend(files.clone());
            }
        }
        list.extend(debian.iter().map(|((name, version), made)| {
            let mut made = made.clone();
            made.sort();
            made.dedup();
            let from = format!("Debian's source package {name} {version}");
            Source { name: name.clone(), version: version.clone(), from, sha256: None, made }
        }));
        list.sort();
        let crates = materials.crates.iter();
        let crates = crates.filter_map(|(id, found)| Some((id.clone(), found.sha256.clone()?))).collect();
        Self { commit: commit.to_owned(), list, debian: debian.into_keys().collect(), crates }
    }

    /// Writes both lists into `folder`.
    pub(crate) fn write(&self, version: &str, folder: &Path) -> Result<[PathBuf; 2]> {
        self.write_with(version, Vec::new(), folder)
    }

    fn write_with(&self, version: &str, files: Vec<Collected>, folder: &Path) -> Result<[PathBuf; 2]> {
        let text = self.text(version, &files);
        let index = Index { version, commit: &self.commit, sources: &self.list, files };
        let json = serde_json::to_string_pretty(&index)
            .map_err(|source| Error::library("the list of sources cannot be written", source))?;
        let write = |name: &str, content: String| {
            let path = folder.join(name);
            fs::write(&path, content).on("write", &path)?;
            Ok(path)
        };
        Ok([write(LIST, json + "\n")?, write(TEXT, text)?])
    }

    fn text(&self, version: &str, files: &[Collected]) -> String {
        let mut text = format!(
            "# Sources of AIOS {version}\n\n{OFFER}\n| name | version | where it comes from |\n|---|---|---|\n"
        );
        for Source { name, version, from, sha256, .. } in &self.list {
            let digest = sha256.as_ref().map_or_else(String::new, |digest| format!(", SHA-256 `{digest}`"));
            // Writing to a string does not fail.
            let _ = writeln!(text, "| {name} | {version} | {from}{digest} |");
        }
        let crates = self.crates.len();
        let _ = writeln!(
            text,
            "| aios | {version} | this tree, commit {} |\n| {crates} crates | | crates.io; `sbom.spdx.json` names each \
             with its licence and SHA-256 |",
            self.commit
        );
        if !files.is_empty() {
            text += "\n| file | bytes | SHA-256 |\n|---|---|---|\n";
            for Collected { path, size, sha256 } in files {
                let _ = writeln!(text, "| {path} | {size} | `{sha256}` |");
            }
        }
        text
    }

    /// Puts every source into `out`, each checked, and the lists beside them.
    fn collect(&self, cache: &Cache, version: &str, out: &Path) -> Result<()> {
        let folder = |name: &str| {
            let path = out.join(name);
            fs::create_dir_all(&path).on("make", &path)?;
            Ok::<_, Error>(path)
        };
        eprintln!("the kernel's source");
        let tarball = kernel::source_archive(cache)?;
        let to = folder("linux")?.join("source.tar.xz");
        fs::copy(&tarball, &to).on("copy", &tarball)?;
        let debian = folder("debian")?;
        let missing = archive::fetch(&cache.scratch("apt-sources")?, &self.debian, &debian)?;
        eprintln!("{} crates", self.crates.len());
        copy_crates(&self.crates, &folder("crates")?)?;
        eprintln!("this tree");
        let own = out.join(format!("aios-{version}.tar"));
        let prefix = format!("--prefix=aios-{version}/");
        Tool::new("git")
            .args(["archive", &prefix, "--output"])
            .arg(&own)
            .arg(self.commit.trim_end_matches("-dirty"))
            .directory(project::root())
            .run()?;
        let mut files = Vec::new();
        collected(out, "", &mut files)?;
        self.write_with(version, files, out)?;
        if missing.is_empty() {
            return Ok(());
        }
        let missing: Vec<String> = missing.iter().map(|(name, version)| format!("{name} {version}")).collect();
        Err(Error::refused(
            format!("everything was collected but what the archive does not have: {}", missing.join(", ")),
            "Debian keeps every version in its snapshot archive; or update the packages of this machine and build again",
        ))
    }
}

/// Builds what is missing, to know what ships, and collects its sources.
pub(crate) fn run(cache: &Cache, system: &System, shipped: &[Shipped], out: &Path) -> Result<()> {
    fs::create_dir_all(out).on("make", out)?;
    let commit = commit();
    if commit.ends_with("-dirty") {
        eprintln!("NOTE: the tree has changes beyond its commit; the archive of the tree is that of the commit");
    }
    Sources::of(&commit, &system.kernel, &Materials::of(shipped)?, shipped).collect(cache, &system.version, out)
}

/// Copies the archives of crates out of cargo's own folder, each compared with its checksum.
fn copy_crates(crates: &BTreeMap<CrateId, String>, out: &Path) -> Result<()> {
    cargo().args(["fetch", "--locked", "--target", project::TARGET]).run()?;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default();
    let registries = home.join("registry/cache");
    let mut folders = Vec::new();
    for entry in fs::read_dir(&registries).on("list", &registries)? {
        folders.push(entry.on("list", &registries)?.path());
    }
    for ((name, version), sha256) in crates {
        let file = format!("{name}-{version}.crate");
        let mut found = folders.iter().map(|folder| folder.join(&file)).filter(|path| path.is_file());
        let whole = found.find(|path| digest_of(path).is_ok_and(|digest| digest.to_string() == *sha256));
        let Some(path) = whole else {
            return Err(Error::refused(
                format!("{file} with SHA-256 {sha256} is not in {}", registries.display()),
                "remove a damaged one there and start again: cargo fetches it anew",
            ));
        };
        fs::copy(&path, out.join(&file)).on("copy", &path)?;
    }
    Ok(())
}

/// Every file below `out`, sorted.
fn collected(out: &Path, below: &str, files: &mut Vec<Collected>) -> Result<()> {
    let folder = out.join(below);
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).on("list", &folder)? {
        names.push(entry.on("list", &folder)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    for name in names.into_iter().filter(|name| ![LIST, TEXT].contains(&name.as_str())) {
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        let place = out.join(&path);
        if place.is_dir() {
            collected(out, &path, files)?;
        } else {
            let size = fs::metadata(&place).on("look at", &place)?.len();
            files.push(Collected { path, size, sha256: digest_of(&place)? });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        let source = |name: &str, sha256: Option<&str>| Source {
            name: name.to_owned(),
            version: "1".to_owned(),
            from: "somewhere".to_owned(),
            sha256: sha256.map(str::to_owned),
            made: vec!["root/x".to_owned()],
        };
        Sources {
            commit: "commit".to_owned(),
            list: vec![source("linux", Some("00ff")), source("busybox", None)],
            debian: Vec::new(),
            crates: BTreeMap::new(),
        }
    }

    #[test]
    fn the_lists_name_every_source_and_the_offer() {
        let folder = tempfile::tempdir().expect("a folder");
        let [list, text] = sources().write("0.1", folder.path()).expect("written");
        let list: serde_json::Value = serde_json::from_slice(&fs::read(list).expect("there")).expect("JSON");
        assert_eq!(list["sources"][0]["sha256"], "00ff");
        assert_eq!(list["sources"][1]["name"], "busybox");
        assert!(list.get("files").is_none(), "nothing was collected");
        let text = fs::read_to_string(text).expect("there");
        for part in ["three years", "| linux | 1 | somewhere, SHA-256 `00ff` |", "| busybox | 1 | somewhere |"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn what_was_collected_is_listed_with_digests_and_without_the_lists() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("debian")).expect("made");
        fs::write(folder.path().join("debian/x.dsc"), "abc").expect("written");
        fs::write(folder.path().join(LIST), "old").expect("written");
        let mut files = Vec::new();
        collected(folder.path(), "", &mut files).expect("listed");
        let [file] = files.as_slice() else { panic!("one file") };
        assert_eq!((file.path.as_str(), file.size, file.sha256), ("debian/x.dsc", 3, Digest::of(b"abc")));
    }

    #[test]
    fn a_crate_with_another_checksum_is_not_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let crates = crate::sbom::crates::linked(&["aios-ids"].into()).expect("cargo tree");
        let (id, found) = crates.into_iter().find(|(_, found)| found.sha256.is_some()).expect("it uses some crate");
        let sha256 = found.sha256.expect("looked for");
        copy_crates(&[(id.clone(), sha256)].into(), folder.path()).expect("cargo has it");
        let file = folder.path().join(format!("{}-{}.crate", id.0, id.1));
        assert!(file.is_file());
        let error = copy_crates(&[(id, "00".repeat(32))].into(), folder.path()).expect_err("another");
        assert!(error.to_string().contains("SHA-256 0000"), "{error}");
    }
}
