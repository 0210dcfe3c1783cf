//! Packages of the Debian archive, fetched with a private apt state.
//!
//! Trust: the archive's signature, checked with the host's keyring, covers every package. The host's apt configuration is
//! read, for the address of its archive, and never changed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::{self, Cache};
use crate::error::{Error, OnFile, Result};
use crate::tool::Tool;

/// The archive's suite that has the newest kernels.
const SUITE: &str = "testing";

/// The archive, its lists fetched.
pub(super) struct Archive {
    work: PathBuf,
    options: Vec<String>,
}

impl Archive {
    /// Fetches the lists.
    pub(super) fn open(cache: &Cache) -> Result<Self> {
        let work = cache.scratch("apt")?;
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            let path = work.join(folder);
            fs::create_dir_all(&path).on("make", &path)?;
        }
        let sources = work.join("sources.list");
        let mirror = host_mirror()?;
        fs::write(&sources, format!("deb {mirror} {SUITE} main\n")).on("write", &sources)?;
        let option = |name: &str, value: &Path| format!("{name}={}", value.display());
        let options = vec![
            option("Dir::State", &work.join("state")),
            option("Dir::Cache", &work.join("cache")),
            option("Dir::Etc::SourceList", &sources),
            "Dir::Etc::SourceParts=-".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // The private folders belong to this user, which apt's own download user cannot enter.
            "APT::Sandbox::User=".to_owned(),
        ];
        let archive = Self { work, options };
        archive.apt("apt-get").arg("update").run()?;
        Ok(archive)
    }

    /// The versions of a package, the newest first.
    pub(super) fn versions(&self, package: &str) -> Result<Vec<String>> {
        let known = self.apt("apt-cache").args(["madison", package]).output()?;
        Ok(known.lines().filter_map(|line| line.split('|').nth(1)).map(|version| version.trim().to_owned()).collect())
    }

    /// The names of the packages that begin like this.
    pub(super) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = self.apt("apt-cache").args(["pkgnames", prefix]).output()?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Unpacks a package, without installing it, into a folder that lasts as long as this value.
    pub(super) fn unpacked(&self, package: &str, version: &str) -> Result<PathBuf> {
        let unpacked = self.work.join(package);
        fs::create_dir_all(&unpacked).on("make", &unpacked)?;
        self.apt("apt-get").directory(&unpacked).arg("download").arg(format!("{package}={version}")).run()?;
        let file = fs::read_dir(&unpacked)
            .on("list", &unpacked)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .ok_or_else(|| Error::refused(format!("apt-get download left no package in {}", unpacked.display()), ""))?;
        Tool::new("dpkg-deb").arg("-x").arg(&file).arg(&unpacked).run()?;
        fs::remove_file(&file).on("remove", &file)?;
        Ok(unpacked)
    }

    /// Removes everything fetched.
    pub(super) fn close(self) -> Result<()> {
        cache::remove_tree(&self.work)
    }

    fn apt(&self, program: &str) -> Tool {
        Tool::new(program).directory(&self.work).args(self.options.iter().flat_map(|option| ["-o", option]))
    }
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
            format!("set {} to a tarball of the kernel", super::source::GIVEN),
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
