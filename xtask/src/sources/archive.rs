//! Source packages of the Debian archive that this machine is configured with, through a private state of apt: the host's
//! configuration is read and never changed. apt checks the archive's signature and each file's digest.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::remove_tree;
use crate::error::{Error, OnFile, Result};
use crate::tool::Tool;

/// Puts the files of these source packages, by name and version, into `out`, and gives those that the archive does not
/// have any more. `work` is an empty folder for apt's state.
pub(super) fn fetch<'a>(
    work: &Path,
    packages: &'a [(String, String)],
    out: &Path,
) -> Result<Vec<&'a (String, String)>> {
    for folder in ["state/lists/partial", "cache/archives/partial"] {
        let path = work.join(folder);
        fs::create_dir_all(&path).on("make", &path)?;
    }
    let list = work.join("sources.list");
    let lines = host_lines();
    if lines.is_empty() {
        return Err(Error::refused(
            "this machine's apt has no Debian archive configured",
            "collect the sources on a Debian machine",
        ));
    }
    fs::write(&list, lines).on("write", &list)?;
    let option = |name: &str, value: &Path| format!("{name}={}", value.display());
    let options = [
        option("Dir::State", &work.join("state")),
        option("Dir::Cache", &work.join("cache")),
        option("Dir::Etc::SourceList", &list),
        "Dir::Etc::SourceParts=-".to_owned(),
        "Acquire::Languages=none".to_owned(),
        // The private folders belong to this user, which apt's own download user cannot enter.
        "APT::Sandbox::User=".to_owned(),
    ];
    let apt = || Tool::new("apt-get").directory(out).args(options.iter().flat_map(|option| ["-o", option]));
    apt().arg("update").run()?;
    let mut missing = Vec::new();
    for package @ (name, version) in packages {
        eprintln!("Debian's source package {name} {version}");
        let wanted = format!("{name}={version}");
        if let Err(error) = apt().args(["source", "--download-only", "--only-source", "-qq", &wanted]).run() {
            error.report();
            missing.push(package);
        }
    }
    remove_tree(work)?;
    Ok(missing)
}

/// Lines for apt that name the sources of every Debian archive of this machine.
fn host_lines() -> String {
    let mut paths = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        let mut more: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        more.sort();
        paths.extend(more);
    }
    paths.iter().filter_map(|path| fs::read_to_string(path).ok()).map(|text| source_lines(&text)).collect()
}

/// The lines for one file of apt's configuration, in either of its formats.
fn source_lines(text: &str) -> String {
    let is_debian = |address: &str| address.contains("/debian");
    let mut lines = String::new();
    for line in text.lines().filter_map(|line| line.trim().strip_prefix("deb ")) {
        if line.split_whitespace().find(|word| word.contains("://")).is_some_and(is_debian) {
            lines += &format!("deb-src {}\n", line.trim());
        }
    }
    for stanza in text.split("\n\n") {
        let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        if !field("Types:").split_whitespace().any(|kind| kind == "deb") || field("Enabled:") == "no" {
            continue;
        }
        let key = field("Signed-By:");
        // A key may also stand in the file itself, over several lines; then the host's own keys have to do.
        let key = if key.starts_with('/') { format!("[signed-by={key}] ") } else { String::new() };
        for address in field("URIs:").split_whitespace().filter(|address| is_debian(address)) {
            for suite in field("Suites:").split_whitespace() {
                lines += &format!("deb-src {key}{address} {suite} {}\n", field("Components:"));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sources_are_asked_for_where_packages_come_from() {
        assert_eq!(
            source_lines(
                "# deb x\ndeb [arch=amd64] https://a.example/debian stable main\ndeb https://b.example/x c d\n"
            ),
            "deb-src [arch=amd64] https://a.example/debian stable main\n"
        );
        let text = "Types: deb\nURIs: https://a.example/debian\nSuites: stable stable-updates\nComponents: main\n\
                    Signed-By: /usr/share/k.gpg\n\nTypes: deb-src\nURIs: https://a.example/debian\nSuites: x\n\n\
                    Types: deb\nEnabled: no\nURIs: https://a.example/debian\nSuites: y\nComponents: main\n";
        assert_eq!(
            source_lines(text),
            "deb-src [signed-by=/usr/share/k.gpg] https://a.example/debian stable main\n\
             deb-src [signed-by=/usr/share/k.gpg] https://a.example/debian stable-updates main\n"
        );
    }

    #[test]
    #[ignore = "asks the archive of this machine"]
    fn the_archive_gives_the_source_of_what_is_installed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (work, out) = (folder.path().join("work"), folder.path().join("out"));
        fs::create_dir(&out).expect("made");
        let package = crate::sbom::debian::Package::installed("busybox-static").expect("it ships");
        let packages = [(package.source, package.source_version), ("busybox".to_owned(), "1:0.1-1".to_owned())];
        assert_eq!(fetch(&work, &packages, &out).expect("fetched"), [&packages[1]], "there is no such version");
        let files = fs::read_dir(&out).expect("listed").map(|file| file.expect("a file").file_name());
        let names: Vec<String> = files.map(|name| name.to_string_lossy().into_owned()).collect();
        assert!(names.iter().any(|name| name.starts_with("busybox_") && name.ends_with(".dsc")), "{names:?}");
        assert!(names.iter().any(|name| name.contains(".orig.tar.")), "{names:?}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(deb |Types:|URIs:|://|/debian|Suites:| |\n|.){0,30}") {
            for line in source_lines(&text).lines() {
                prop_assert!(line.starts_with("deb-src "));
            }
        }
    }
}
