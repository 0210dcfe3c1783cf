//! Packages of the build machine whose files ship: which one a file belongs to, and its licence.

use std::fs;
use std::path::Path;

use super::licence;
use crate::error::{Error, OnFile, Result};
use crate::tool::Tool;

/// A binary package of Debian.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// What it was built from.
    pub(crate) source: String,
    pub(crate) source_version: String,
    /// Other sources that were used in full: name and version. A signed shim is made from `shim`.
    pub(crate) built_using: Vec<(String, String)>,
}

/// The licence of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Licence {
    /// Has an identifier.
    Known(&'static str),
    /// The words of its copyright file, whatever they say.
    Text(String),
}

impl Package {
    /// The installed package with this name.
    pub(crate) fn installed(name: &str) -> Result<Self> {
        let form = "${Package}\t${Version}\t${source:Package}\t${source:Version}\t${Built-Using}\n";
        let said = Tool::new("dpkg-query").args(["--show", "--showformat", form, name]).output()?;
        let fields: Vec<&str> = said.lines().next().unwrap_or_default().split('\t').collect();
        let [name, version, source, source_version, others] = fields[..] else {
            return Err(Error::refused(format!("dpkg-query says {said:?} about package {name}"), ""));
        };
        Ok(Self {
            name: name.to_owned(),
            version: version.to_owned(),
            source: source.to_owned(),
            source_version: source_version.to_owned(),
            built_using: built_using(others),
        })
    }

    /// The package that a file of this machine is from.
    pub(crate) fn of_file(path: &Path) -> Result<Self> {
        let said = Tool::new("dpkg-query").arg("--search").arg(path).output()?;
        let owner = owner(&said).ok_or_else(|| {
            Error::refused(format!("{} ships, and it belongs to no package", path.display()), "install it with apt")
        })?;
        Self::installed(owner)
    }

    /// What its copyright file says.
    pub(crate) fn licence(&self) -> Result<Licence> {
        let path = Path::new("/usr/share/doc").join(&self.name).join("copyright");
        let text = fs::read(&path).on("read", &path)?;
        let text = String::from_utf8_lossy(&text);
        Ok(main_licence(&text).map_or_else(|| Licence::Text(text.trim().to_owned()), Licence::Known))
    }
}

/// The package in `name:amd64: /path`, or the first of several.
fn owner(said: &str) -> Option<&str> {
    let packages = said.lines().find(|line| !line.starts_with("diversion"))?.split_once(": ")?.0;
    packages.split([',', ':']).next().map(str::trim).filter(|name| !name.is_empty())
}

/// The sources in `a (= 1), b (= 2)`.
fn built_using(field: &str) -> Vec<(String, String)> {
    let one = |text: &str| {
        let (name, version) = text.trim().strip_suffix(')')?.split_once(" (= ")?;
        Some((name.to_owned(), version.to_owned()))
    };
    field.split(',').filter_map(one).collect()
}

/// The licence of `Files: *` in a machine-readable copyright file.
fn main_licence(text: &str) -> Option<&'static str> {
    if !text.starts_with("Format:") {
        return None;
    }
    let all = text.split("\n\n").find(|stanza| stanza.lines().any(|line| line.trim_end() == "Files: *"))?;
    licence::of_debian(all.lines().find_map(|line| line.strip_prefix("License:"))?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_owner_of_a_file_is_read() {
        assert_eq!(owner("systemd-boot-efi:amd64: /usr/lib/x\n"), Some("systemd-boot-efi"));
        assert_eq!(owner("diversion by a from: /bin/x\nb: /bin/x\n"), Some("b"));
        assert_eq!(owner("a, b: /bin\n"), Some("a"));
        assert_eq!(owner(""), None);
    }

    #[test]
    fn other_sources_are_read() {
        let pair = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        assert_eq!(built_using("shim (= 16.1-2), glibc (= 2.36-9)"), [pair("shim", "16.1-2"), pair("glibc", "2.36-9")]);
        assert_eq!(built_using(""), []);
        assert_eq!(built_using("shim (>= 1), x"), []);
    }

    #[test]
    fn only_the_stanza_for_all_files_counts() {
        let text =
            "Format: x\n\nFiles: src/a\nLicense: CC0-1.0\n\nFiles: *\nCopyright: 2020 a\n b\nLicense: LGPL-2.1+\n";
        assert_eq!(main_licence(text), Some("LGPL-2.1-or-later"));
        assert_eq!(main_licence("This package was made by a.\nLicense: GPL-2\n"), None);
        assert_eq!(main_licence("Format: x\n\nFiles: *\nLicense: of-our-own\n"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(Format:|Files: \\*|License:|GPL-2|diversion|: |,|\n|.){0,30}") {
            let _ = (owner(&text), main_licence(&text), built_using(&text));
        }
    }
}
