//! `cargo xtask tidy`: rules that the compiler does not know.
//!
//! Dependencies point one way and a new edge is a visible change of `docs/dependencies.txt`; the page about actions says what
//! the catalogue says; `unsafe` stays in one crate; nothing half-finished is committed; every file that ships is in a list.

mod actions;
mod graph;
mod sources;

use std::fs;

use crate::error::{Error, OnFile, Result};
use crate::files_list::FilesList;
use crate::{programs, project};

/// The committed graph.
const GRAPH: &str = "docs/dependencies.txt";

/// The kernel cuts longer names of processes.
const NAME_LIMIT: usize = 15;

/// The lists of what ships.
const LISTS: [&str; 3] = ["rootfs/files.toml", "rootfs/initramfs.toml", "rootfs/recovery.toml"];

/// Folders whose every file ships.
const SHIPPED_FOLDERS: [&str; 2] = ["rootfs/units", "rootfs/agents"];

/// What happens to the committed graph and to what is made from the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Graph {
    /// It must be the real one.
    Compare,
    /// The real one is written.
    Write,
}

/// Checks everything and names all that does not hold.
pub(crate) fn run(committed: Graph) -> Result<()> {
    let real = graph::Crates::read()?;
    let mut broken = real.broken_rules();
    let path = project::path(GRAPH);
    if committed == Graph::Write {
        fs::write(&path, real.text()).on("write", &path)?;
    } else {
        let text = fs::read_to_string(&path).unwrap_or_default();
        broken.extend(real.differences(&text).into_iter().map(|line| format!("{GRAPH}: {line}")));
    }
    let page = project::read(actions::PAGE)?;
    match actions::page(&page) {
        Some(right) if right == page => {}
        Some(right) if committed == Graph::Write => {
            let path = project::path(actions::PAGE);
            fs::write(&path, right).on("write", &path)?;
        }
        Some(_) => broken.push(format!("{} is not what the catalogue says", actions::PAGE)),
        None => broken.push(format!("{} has no place for the catalogue", actions::PAGE)),
    }
    for name in programs::names()?.keys().filter(|name| name.len() > NAME_LIMIT) {
        broken.push(format!("program {name} has more than {NAME_LIMIT} bytes, where the kernel cuts names"));
    }
    if let Ok(map) = project::read("ARCHITECTURE.md") {
        let missing = real.names().filter(|name| !names_word(&map, name));
        broken.extend(missing.map(|name| format!("ARCHITECTURE.md does not name crate {name}")));
    }
    broken.extend(unlisted_files()?);
    broken.extend(sources::check()?);
    if broken.is_empty() {
        return Ok(());
    }
    Err(Error::refused(
        format!("{} rules do not hold:\n    {}", broken.len(), broken.join("\n    ")),
        "an edge that is meant, and a changed catalogue, are written down by `cargo xtask tidy --write`",
    ))
}

/// Whether `word` stands in `text` by itself and not as a part of a longer name.
fn names_word(text: &str, word: &str) -> bool {
    let part_of_name =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    let bytes = text.as_bytes();
    text.match_indices(word).any(|(at, _)| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        !part_of_name(before) && !part_of_name(bytes.get(at + word.len()))
    })
}

fn unlisted_files() -> Result<Vec<String>> {
    let known = programs::names()?;
    let mut listed = Vec::new();
    let mut broken = Vec::new();
    for list in LISTS {
        let files = FilesList::read(list)?;
        listed.extend(files.sources().into_iter().map(str::to_owned));
        let unknown = files.programs().into_iter().filter(|name| !known.contains_key(*name));
        broken.extend(unknown.map(|name| format!("{list} names program {name}, which no crate builds")));
    }
    for folder in SHIPPED_FOLDERS.into_iter().filter(|folder| project::path(folder).is_dir()) {
        for name in project::list(folder)? {
            let path = format!("{folder}/{name}");
            if !listed.contains(&path) {
                broken.push(format!("{path} is in no list of files that ship"));
            }
        }
    }
    Ok(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_is_named_by_its_whole_name() {
        assert!(names_word("the crate `init` starts", "init"));
        assert!(!names_word("initramfs and re-init", "init"));
        assert!(names_word("aios", "aios"));
        assert!(!names_word("aios-ids", "aios"));
    }
}
