//! Debian's own kernel of our series: what ours is compared with.
//!
//! Its drivers say which devices a general-purpose system is for, and its image, which is never part of anything that
//! ships, runs beside ours in `cargo xtask bench kernel`.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use lzma_rust2::XzReader;

use super::apt::Archive;
use super::modinfo::{self, Drivers};
use super::{Pin, hardware};
use crate::cache::{Cache, Key};
use crate::error::{Error, OnFile, Result};

/// The flavour for ordinary machines, as its packages' names end.
const FLAVOUR: &str = "-amd64";

/// Other flavours end the same way.
const OTHER_FLAVOURS: [&str; 2] = ["-cloud-amd64", "-rt-amd64"];

/// No module is larger once it is unpacked.
const MODULE_LIMIT: u64 = 64 << 20;

/// Debian's kernel.
pub(super) struct Debian {
    place: PathBuf,
    /// Its package's version.
    pub(super) version: String,
}

impl Debian {
    /// Fetches it, unless the cache has it: of the pinned version, else the newest of the series.
    pub(super) fn obtain(cache: &Cache, pin: &Pin) -> Result<Self> {
        let key = Key::new("debian kernel 1").text("version", &pin.version);
        let place = cache.step("debian-kernel", &key, |out| fetch(cache, pin, out))?;
        let version = place.join("version");
        let version = fs::read_to_string(&version).on("read", &version)?.trim().to_owned();
        Ok(Self { place, version })
    }

    pub(super) fn image(&self) -> PathBuf {
        self.place.join("vmlinuz")
    }

    /// Its drivers for disks and Ethernet.
    pub(super) fn drivers(&self) -> Result<Drivers> {
        let path = self.place.join("modinfo");
        Ok(modinfo::of_builtin(&fs::read(&path).on("read", &path)?))
    }
}

fn fetch(cache: &Cache, pin: &Pin, out: &Path) -> Result<()> {
    let archive = Archive::open(cache)?;
    let prefix = format!("linux-modules-{}.", pin.series);
    let modules = flavoured(archive.names(&prefix)?).ok_or_else(|| {
        Error::refused(
            format!("the archive has no package {prefix}*{FLAVOUR}"),
            "`cargo xtask kernel bump` moves the pin to a series that the archive has",
        )
    })?;
    let release = modules.trim_start_matches("linux-modules-");
    let versions = archive.versions(&modules)?;
    let version = versions.iter().find(|version| **version == pin.version).or(versions.first());
    let version = version.ok_or_else(|| Error::refused(format!("the archive has no version of {modules}"), ""))?;
    let binary = archive.unpacked(&format!("linux-binary-{release}"), version)?;
    let from = binary.join(format!("usr/lib/modules/{release}/vmlinuz"));
    fs::copy(&from, out.join("vmlinuz")).on("copy", &from)?;
    let base = archive.unpacked(&format!("linux-base-{release}"), version)?;
    let builtin = base.join(format!("usr/lib/modules/{release}/modules.builtin.modinfo"));
    let mut entries = fs::read(&builtin).on("read", &builtin)?;
    let top = archive.unpacked(&modules, version)?.join(format!("usr/lib/modules/{release}/kernel"));
    collect(&top, &top, &mut entries)?;
    let path = out.join("modinfo");
    fs::write(&path, entries).on("write", &path)?;
    fs::write(out.join("version"), version).on("write", out)?;
    archive.close()
}

/// The newest package of the ordinary flavour.
fn flavoured(mut names: Vec<String>) -> Option<String> {
    names.retain(|name| name.ends_with(FLAVOUR) && !OTHER_FLAVOURS.iter().any(|other| name.ends_with(other)));
    // By length first: release 10 is newer than release 9.
    names.into_iter().max_by(|one, other| (one.len(), one).cmp(&(other.len(), other)))
}

/// Adds what the modules below `folder` say, in the form of what is built in.
fn collect(top: &Path, folder: &Path, entries: &mut Vec<u8>) -> Result<()> {
    for entry in fs::read_dir(folder).on("list", folder)? {
        let path = entry.on("list", folder)?.path();
        let name = path.strip_prefix(top).unwrap_or(&path).to_string_lossy().into_owned();
        if path.is_dir() {
            collect(top, &path, entries)?;
        } else if let Some(driver) = name.strip_suffix(".ko.xz").filter(|driver| hardware::Class::of(driver).is_some())
        {
            let mut module = Vec::new();
            let file = XzReader::new(File::open(&path).on("open", &path)?, true);
            file.take(MODULE_LIMIT).read_to_end(&mut module).on("unpack", &path)?;
            for text in modinfo::section(&module)?.split(|byte| *byte == 0).filter(|text| !text.is_empty()) {
                entries.extend(format!("{driver}.").bytes());
                entries.extend(text);
                entries.push(0);
            }
            entries.extend(format!("{driver}.file={driver}\0").bytes());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_ordinary_flavour_is_taken() {
        let names = ["7.2.9+deb14-amd64", "7.2.12+deb14-amd64", "7.2.12+deb14-cloud-amd64", "7.2.12+deb14-rt-amd64"];
        let names = names.map(|release| format!("linux-modules-{release}")).to_vec();
        assert_eq!(flavoured(names).as_deref(), Some("linux-modules-7.2.12+deb14-amd64"));
        assert_eq!(flavoured(vec!["linux-modules-7.2.12+deb14-cloud-amd64".into()]), None);
    }
}
