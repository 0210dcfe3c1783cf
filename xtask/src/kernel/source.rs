//! Which source a kernel is made from: the pinned one of the archive, what stands in for it, or a tarball that was given.
//!
//! Our pin covers the tarball inside the archive's package. A pinned version that has left the archive is replaced by the
//! newest of its series, which is said and recorded, and which no release is made from; a pinned version with other
//! content is an error.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Pin;
use super::apt::Archive;
use crate::cache::{Cache, Key, digest_of};
use crate::error::{Error, OnFile, Result};
use crate::tool::Tool;

/// Names a tarball to use in place of the archive's.
pub(super) const GIVEN: &str = "AIOS_KERNEL_SOURCE";

/// Which source a kernel was made from, for the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) version: String,
    pub(crate) sha256: String,
    pub(crate) standing: Standing,
}

/// How a source stands to the pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Standing {
    /// It is the pinned one, byte for byte.
    Pinned,
    /// The archive no longer has the pinned one; this was the newest of its series.
    Newest,
    /// The builder named a tarball.
    Given,
}

/// A source tarball at hand.
pub(super) struct Source {
    pub(super) tarball: PathBuf,
    pub(super) origin: Origin,
}

impl Origin {
    /// A source with this version and hash, unless it claims to be the pinned one and is not.
    fn of_archive(version: String, sha256: String, pin: &Pin) -> Result<Self> {
        let standing = match (version == pin.version, sha256 == pin.sha256) {
            (_, true) => Standing::Pinned,
            (false, false) => Standing::Newest,
            (true, false) => {
                return Err(Error::refused(
                    format!("the source of linux {version} has SHA-256 {sha256}; kernel.toml pins {}", pin.sha256),
                    "do not build this; compare with another mirror before you change the pin",
                ));
            }
        };
        Ok(Self { version, sha256, standing })
    }

    fn of_given(tarball: &Path, pin: &Pin) -> Result<Self> {
        let sha256 = digest_of(tarball)?.to_string();
        if sha256 == pin.sha256 {
            return Ok(Self { version: pin.version.clone(), sha256, standing: Standing::Pinned });
        }
        let version = format!("the tarball {}", tarball.file_name().unwrap_or_default().to_string_lossy());
        Ok(Self { version, sha256, standing: Standing::Given })
    }

    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).on("read", path)?;
        serde_json::from_str(&text).map_err(|source| Error::library(format!("{} is damaged", path.display()), source))
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("three texts can be written");
        fs::write(path, text).on("write", path)
    }

    /// Says so when this is not the pinned source.
    pub(super) fn announce(&self, pin: &Pin) {
        let why = match self.standing {
            Standing::Pinned => return,
            Standing::Newest => "the archive no longer has that one",
            Standing::Given => "a tarball was named",
        };
        eprintln!(
            "NOTE: the kernel is made from {}, not from the pinned {}: {why}. The manifest says so, and no release is \
             made from it. `cargo xtask kernel bump` moves the pin.",
            self.version, pin.version
        );
    }

    /// Refuses every source but the pinned one: who installs a release can compare it with the pin.
    pub(super) fn must_be_pinned(&self, pin: &Pin) -> Result<()> {
        match self.standing {
            Standing::Pinned => Ok(()),
            Standing::Newest | Standing::Given => Err(Error::refused(
                format!("a release is made from linux {}, and the source at hand is {}", pin.version, self.version),
                "`cargo xtask kernel bump` moves the pin; commit it, then make the release",
            )),
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
        let origin = Origin::of_given(&tarball, pin)?;
        return Ok(Source { tarball, origin });
    }
    let key = Key::new("kernel source 2").text("version", &pin.version).text("sha256", &pin.sha256);
    let place = cache.step("kernel-source", &key, |out| {
        let version = fetch(cache, &pin.series, Some(&pin.version), out)?;
        let sha256 = digest_of(&out.join("source.tar.xz"))?.to_string();
        Origin::of_archive(version, sha256, pin)?.write(&out.join("origin.json"))
    })?;
    Ok(Source { tarball: place.join("source.tar.xz"), origin: Origin::read(&place.join("origin.json"))? })
}

/// The version and hash of the newest source of a series, whatever is pinned.
pub(super) fn newest(cache: &Cache, series: &str) -> Result<(String, String)> {
    let out = cache.scratch("newest-source")?;
    let version = fetch(cache, series, None, &out)?;
    let sha256 = digest_of(&out.join("source.tar.xz"))?.to_string();
    crate::cache::remove_tree(&out)?;
    Ok((version, sha256))
}

/// Unpacks a tarball into an empty folder.
pub(super) fn unpack(tarball: &Path, into: &Path) -> Result<()> {
    let tar = Tool::new("tar").arg("-xf").arg(tarball).args(["--strip-components=1", "-C"]).arg(into);
    tar.run().map_err(|error| {
        Error::refused(
            format!("the kernel's source {} cannot be unpacked: {error}", tarball.display()),
            "it is truncated or no tarball; fetch it again",
        )
    })?;
    if into.join("Kconfig").is_file() {
        return Ok(());
    }
    Err(Error::refused(
        format!("{} holds no kernel: it has no Kconfig at its top", tarball.display()),
        "name the tarball that kernel.org or the archive publishes",
    ))
}

/// Puts `source.tar.xz` into `out` and gives its version.
fn fetch(cache: &Cache, series: &str, wanted: Option<&str>, out: &Path) -> Result<String> {
    let archive = Archive::open(cache)?;
    let package = format!("linux-source-{series}");
    let versions = archive.versions(&package)?;
    let Some(version) = choose(&versions, wanted) else {
        return Err(Error::refused(
            format!("the archive of this machine has no package {package}"),
            format!("set {GIVEN} to a tarball of linux {series}"),
        ));
    };
    let unpacked = archive.unpacked(&package, version)?;
    let tarball = unpacked.join(format!("usr/src/{package}.tar.xz"));
    fs::rename(&tarball, out.join("source.tar.xz")).on("move", &tarball)?;
    let version = version.to_owned();
    archive.close()?;
    Ok(version)
}

/// The wanted version when there is one and the archive has it, else the newest.
fn choose<'a>(versions: &'a [String], wanted: Option<&str>) -> Option<&'a str> {
    let has = |wanted: &str| versions.iter().find(|version| *version == wanted);
    wanted.and_then(has).or(versions.first()).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin() -> Pin {
        Pin { series: "7.2".into(), version: "7.2.12-1".into(), sha256: "aa".into() }
    }

    fn standing(version: &str, sha256: &str) -> Option<Standing> {
        Origin::of_archive(version.into(), sha256.into(), &pin()).ok().map(|origin| origin.standing)
    }

    #[test]
    fn a_present_but_wrong_source_is_a_failure() {
        assert_eq!(standing("7.2.12-1", "aa"), Some(Standing::Pinned));
        assert_eq!(standing("7.2.13-1", "bb"), Some(Standing::Newest));
        assert_eq!(standing("7.2.12-1", "bb"), None);
    }

    #[test]
    fn the_newest_stands_in_for_an_absent_version() {
        let versions = ["7.2.14-1".to_owned(), "7.2.12-1".to_owned()];
        assert_eq!(choose(&versions, Some("7.2.12-1")), Some("7.2.12-1"));
        assert_eq!(choose(&versions, Some("7.2.11-1")), Some("7.2.14-1"));
        assert_eq!(choose(&versions, None), Some("7.2.14-1"));
        assert_eq!(choose(&[], Some("7.2.12-1")), None);
    }

    #[test]
    fn a_release_never_falls_back() {
        let origin = |standing| Origin { version: "7.2.13-1".into(), sha256: "bb".into(), standing };
        assert!(origin(Standing::Pinned).must_be_pinned(&pin()).is_ok());
        for standing in [Standing::Newest, Standing::Given] {
            let error = origin(standing).must_be_pinned(&pin()).expect_err("not pinned").to_string();
            assert!(error.contains("7.2.12-1") && error.contains("7.2.13-1"), "{error}");
        }
    }

    #[test]
    fn how_a_source_stands_is_written_and_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("origin.json");
        let origin = Origin { version: "7.2.13-1".into(), sha256: "bb".into(), standing: Standing::Newest };
        origin.write(&path).expect("room");
        assert!(fs::read_to_string(&path).expect("written").contains("\"standing\": \"newest\""));
        assert_eq!(Origin::read(&path).expect("read"), origin);
    }

    /// A tarball of a folder with a Kconfig, or another file, and much that does not compress.
    fn tarball(folder: &Path, file: &str) -> PathBuf {
        let top = folder.join("linux");
        fs::create_dir_all(&top).expect("room");
        let noise: Vec<u8> = (0..40_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        fs::write(top.join(file), noise).expect("room");
        let tarball = folder.join("linux.tar.xz");
        Tool::new("tar").arg("-C").arg(folder).arg("-cJf").arg(&tarball).arg("linux").run().expect("tar and xz");
        tarball
    }

    #[test]
    fn a_truncated_source_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let tarball = tarball(folder.path(), "Kconfig");
        let into = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).expect("room");
            path
        };
        unpack(&tarball, &into("whole")).expect("whole");
        let bytes = fs::read(&tarball).expect("there");
        fs::write(&tarball, &bytes[..bytes.len() / 2]).expect("room");
        let error = unpack(&tarball, &into("half")).expect_err("half of it is missing");
        assert!(error.to_string().contains("cannot be unpacked"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("truncated")));
    }

    #[test]
    fn a_tarball_of_something_else_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let tarball = tarball(folder.path(), "README");
        let into = folder.path().join("into");
        fs::create_dir(&into).expect("room");
        assert!(unpack(&tarball, &into).expect_err("no kernel").to_string().contains("no Kconfig"));
    }

    #[test]
    fn a_given_tarball_may_be_the_pinned_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("linux.tar.xz");
        fs::write(&path, "x").expect("room");
        let mut pin = pin();
        assert_eq!(Origin::of_given(&path, &pin).expect("read").standing, Standing::Given);
        pin.sha256 = digest_of(&path).expect("read").to_string();
        assert_eq!(Origin::of_given(&path, &pin).expect("read").standing, Standing::Pinned);
        assert!(Origin::of_given(&folder.path().join("absent"), &pin).is_err());
    }
}
