//! Where the kernel's source comes from: the archive's package, fetched with a private apt state, or a given tarball.
//!
//! Trust: the archive's signature (the host's keyring) covers the package, our pin covers the tarball inside. A pinned
//! version that has left the archive is replaced by the newest of its series, which is said and recorded; a pinned
//! version with other content is an error. The host's apt configuration is read and never changed.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Pin;
use crate::cache::{Cache, Key, digest_of};
use crate::error::{Error, OnFile, Result};
use crate::tool::Tool;

/// Names a tarball to use in place of the archive's.
const GIVEN: &str = "AIOS_KERNEL_SOURCE";

/// Which source a kernel was made from, for the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) version: String,
    pub(crate) sha256: String,
}

/// A source tarball at hand.
pub(super) struct Source {
    pub(super) tarball: PathBuf,
    pub(super) origin: Origin,
}

impl Origin {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).on("read", path)?;
        serde_json::from_str(&text).map_err(|source| Error::library(format!("{} is damaged", path.display()), source))
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("two strings can be written");
        fs::write(path, text).on("write", path)
    }

    /// Says so when this is not the pinned source.
    pub(super) fn announce(&self, pin: &Pin) {
        if self.sha256 != pin.sha256 {
            eprintln!(
                "NOTE: the kernel is made from {}, not from the pinned {}: the archive no longer has that one, or \
                 {GIVEN} is set. The manifest says so. `cargo xtask kernel bump` moves the pin.",
                self.version, pin.version
            );
        }
    }
}

/// The tarball that the user named.
pub(super) fn given() -> Option<PathBuf> {
    std::env::var_os(GIVEN).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The pinned source, or what stands in for it.
pub(super) fn obtain(cache: &Cache, pin: &Pin) -> Result<Source> {
    if let Some(tarball) = given() {
        let sha256 = digest_of(&tarball)?.to_string();
        let version = format!("the tarball {}", tarball.file_name().unwrap_or_default().to_string_lossy());
        return Ok(Source { tarball, origin: Origin { version, sha256 } });
    }
    let key = Key::new("kernel source 1").text("version", &pin.version).text("sha256", &pin.sha256);
    let place = cache.step("kernel-source", &key, |out| {
        let version = fetch(cache, &pin.series, Some(&pin.version), out)?;
        let sha256 = digest_of(&out.join("source.tar.xz"))?.to_string();
        if version == pin.version && sha256 != pin.sha256 {
            return Err(Error::refused(
                format!("the source of linux {version} has SHA-256 {sha256}; kernel.toml pins {}", pin.sha256),
                "do not build this; compare with another mirror before you change the pin",
            ));
        }
        Origin { version, sha256 }.write(&out.join("origin.json"))
    })?;
    Ok(Source { tarball: place.join("source.tar.xz"), origin: Origin::read(&place.join("origin.json"))? })
}

/// The newest source of a series, whatever is pinned.
pub(super) fn newest(cache: &Cache, series: &str) -> Result<Source> {
    let out = cache.scratch("newest-source")?;
    let version = fetch(cache, series, None, &out)?;
    let tarball = out.join("source.tar.xz");
    let sha256 = digest_of(&tarball)?.to_string();
    Ok(Source { tarball, origin: Origin { version, sha256 } })
}

/// Puts `source.tar.xz` into `out` and gives its version.
fn fetch(cache: &Cache, series: &str, wanted: Option<&str>, out: &Path) -> Result<String> {
    let work = cache.scratch("apt")?;
    for folder in ["state/lists/partial", "cache/archives/partial"] {
        let path = work.join(folder);
        fs::create_dir_all(&path).on("make", &path)?;
    }
    let sources = work.join("sources.list");
    let mirror = host_mirror()?;
    fs::write(&sources, format!("deb {mirror} testing main\n")).on("write", &sources)?;
    let option = |name: &str, value: &Path| format!("{name}={}", value.display());
    let options = [
        option("Dir::State", &work.join("state")),
        option("Dir::Cache", &work.join("cache")),
        option("Dir::Etc::SourceList", &sources),
        "Dir::Etc::SourceParts=-".to_owned(),
        "Acquire::Languages=none".to_owned(),
        // The private folders belong to this user, which apt's own download user cannot enter.
        "APT::Sandbox::User=".to_owned(),
    ];
    let apt = |program: &str| Tool::new(program).directory(&work).args(options.iter().flat_map(|o| ["-o", o]));
    apt("apt-get").arg("update").run()?;
    let package = format!("linux-source-{series}");
    let known = apt("apt-cache").args(["madison", &package]).output()?;
    let versions: Vec<&str> = known.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim).collect();
    let version = wanted.filter(|wanted| versions.contains(wanted)).or(versions.first().copied());
    let Some(version) = version else {
        return Err(Error::refused(
            format!("the archive of this machine has no package {package}"),
            format!("set {GIVEN} to a tarball of linux {series}"),
        ));
    };
    apt("apt-get").arg("download").arg(format!("{package}={version}")).run()?;
    let package_file = fs::read_dir(&work)
        .on("list", &work)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| Error::refused(format!("apt-get download left no package in {}", work.display()), ""))?;
    let unpacked = work.join("unpacked");
    Tool::new("dpkg-deb").arg("-x").arg(&package_file).arg(&unpacked).run()?;
    let tarball = unpacked.join(format!("usr/src/{package}.tar.xz"));
    fs::rename(&tarball, out.join("source.tar.xz")).on("move", &tarball)?;
    crate::cache::remove_tree(&work)?;
    Ok(version.to_owned())
}

/// The Debian archive that this machine is configured with.
fn host_mirror() -> Result<String> {
    let mut texts = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        let mut more: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        more.sort();
        texts.extend(more);
    }
    let mirror = texts.iter().filter_map(|path| fs::read_to_string(path).ok()).find_map(|text| mirror_in(&text));
    mirror.ok_or_else(|| {
        Error::refused(
            "this machine's apt has no Debian archive configured",
            format!("set {GIVEN} to a tarball of the kernel"),
        )
    })
}

/// The first archive with component `main` whose path is Debian's, in either format of apt.
fn mirror_in(text: &str) -> Option<String> {
    let is_debian = |address: &str| address.trim_end_matches('/').ends_with("/debian");
    let one_line = text.lines().map(str::trim).filter(|line| line.starts_with("deb ")).find_map(|line| {
        let address = line.split_whitespace().find(|word| word.contains("://"))?;
        (is_debian(address) && line.split_whitespace().any(|word| word == "main")).then(|| address.to_owned())
    });
    one_line.or_else(|| {
        text.split("\n\n").find_map(|stanza| {
            let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name));
            let has = |name: &str, value: &str| field(name)?.split_whitespace().any(|word| word == value).then_some(());
            has("Types:", "deb")?;
            has("Components:", "main")?;
            field("URIs:")?.split_whitespace().find(|address| is_debian(address)).map(str::to_owned)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(mirror_in(text).as_deref(), expected, "{text}");
    }

    #[test]
    fn the_archive_is_found_in_both_formats() {
        check("deb http://example.org/debian bookworm main\n", Some("http://example.org/debian"));
        check("# deb http://example.org/debian bookworm main\n", None);
        check(
            "deb [signed-by=/k] https://example.org/debian/ bookworm main non-free\n",
            Some("https://example.org/debian/"),
        );
        check("deb http://example.org/debian-security bookworm-security main\n", None);
        check("deb http://example.org/cloud sdk main\n", None);
        check(
            "Types: deb\nURIs: http://example.org/tools\nComponents: main\n\nTypes: deb\n# a comment\nURIs: \
             http://example.org/debian\nSuites: bookworm\nComponents: main\n",
            Some("http://example.org/debian"),
        );
        check("Types: deb-src\nURIs: http://example.org/debian\nComponents: main\n", None);
    }
}
