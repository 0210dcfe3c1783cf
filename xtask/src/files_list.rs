//! `rootfs/files.toml` and `rootfs/recovery.toml`: every file that ships, where it comes from, and its mode.
//!
//! Nothing ships that is not in a list, and a list that names something missing is an error. Everything belongs to root
//! (uid and gid 0): a read-only root has no other owner. Folders on the way to an entry are made with mode 0755.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, OnFile, Result};
use crate::programs::Programs;
use crate::project;
use crate::shipped::MadeFrom;

/// Larger than anything that ships; a list that names a disk image by mistake is noticed.
const FILE_LIMIT: u64 = 128 << 20;

/// A checked list, in the order of paths, so folders come before what they hold.
#[derive(Debug)]
pub(crate) struct FilesList {
    entries: BTreeMap<String, Entry>,
}

/// One path of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    mode: u32,
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Directory,
    Link { target: String },
    Program { name: String },
    Tree { path: String },
    Host { path: String },
    Made { name: String },
    Device { major: u32, minor: u32 },
}

/// One path with its content at hand.
#[derive(Debug, Clone)]
pub(crate) struct Staged {
    /// Without the leading `/`.
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) content: Content,
    /// Where a file's content is from.
    pub(crate) made_from: Option<MadeFrom>,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Directory,
    Link(String),
    File(Vec<u8>),
    Device { major: u32, minor: u32 },
}

/// Files that the build makes, by the name a list calls them.
pub(crate) type Made = BTreeMap<&'static str, Vec<u8>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawList {
    #[serde(default)]
    directory: Vec<RawDirectory>,
    #[serde(default)]
    link: Vec<RawLink>,
    #[serde(default)]
    device: Vec<RawDevice>,
    #[serde(default)]
    file: Vec<RawFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDirectory {
    path: String,
    mode: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLink {
    path: String,
    target: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDevice {
    path: String,
    mode: String,
    major: u32,
    minor: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    path: String,
    mode: String,
    /// A program of this workspace.
    program: Option<String>,
    /// A file of the tree.
    source: Option<String>,
    /// A file of a package of the build machine.
    host: Option<String>,
    /// A file that the build makes.
    made: Option<String>,
}

impl FilesList {
    /// Reads a list of the tree.
    pub(crate) fn read(relative: &str) -> Result<Self> {
        Self::parse(relative, &project::read(relative)?)
    }

    fn parse(name: &str, text: &str) -> Result<Self> {
        let raw: RawList =
            toml::from_str(text).map_err(|source| Error::library(format!("{name} is not understood"), source))?;
        let mut entries = BTreeMap::new();
        let mut add = |path: String, mode: &str, source: Source| {
            let mode = parse_mode(name, &path, mode)?;
            check_path(name, &path)?;
            if entries.insert(path.clone(), Entry { mode, source }).is_some() {
                return Err(Error::refused(format!("{name} has {path} twice"), "keep one of them"));
            }
            Ok(())
        };
        for RawDirectory { path, mode } in raw.directory {
            add(path, &mode, Source::Directory)?;
        }
        for RawLink { path, target } in raw.link {
            add(path, "0777", Source::Link { target })?;
        }
        for RawDevice { path, mode, major, minor } in raw.device {
            add(path, &mode, Source::Device { major, minor })?;
        }
        for RawFile { path, mode, program, source, host, made } in raw.file {
            let source = match (program, source, host, made) {
                (Some(name), None, None, None) => Source::Program { name },
                (None, Some(path), None, None) => Source::Tree { path },
                (None, None, Some(path), None) => Source::Host { path },
                (None, None, None, Some(name)) => Source::Made { name },
                _ => {
                    return Err(Error::refused(
                        format!("{name}: {path} has not exactly one origin"),
                        "give one of `program`, `source`, `host`, `made`",
                    ));
                }
            };
            add(path, &mode, source)?;
        }
        let list = Self { entries };
        list.check_folders(name)?;
        Ok(list.with_folders())
    }

    /// Every path of the image.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The files of the tree that the list names.
    pub(crate) fn sources(&self) -> BTreeSet<&str> {
        let sources = self.entries.values().filter_map(|entry| match &entry.source {
            Source::Tree { path } => Some(path.as_str()),
            _ => None,
        });
        sources.collect()
    }

    /// The programs of this workspace that the list names.
    pub(crate) fn programs(&self) -> BTreeSet<&str> {
        let programs = self.entries.values().filter_map(|entry| match &entry.source {
            Source::Program { name } => Some(name.as_str()),
            _ => None,
        });
        programs.collect()
    }

    /// Reads everything that the list names, in the order of paths.
    pub(crate) fn stage(&self, programs: &Programs, made: &Made) -> Result<Vec<Staged>> {
        let stage = |(path, entry): (&String, &Entry)| {
            let (content, made_from) = match &entry.source {
                Source::Directory => (Content::Directory, None),
                Source::Link { target } => (Content::Link(target.clone()), None),
                Source::Device { major, minor } => (Content::Device { major: *major, minor: *minor }, None),
                Source::Program { name } => (read_file(&programs.path(name))?, Some(MadeFrom::Program(name.clone()))),
                Source::Tree { path } => (read_file(&project::path(path))?, Some(MadeFrom::Tree(path.clone()))),
                Source::Host { path } => (read_file(Path::new(path))?, Some(MadeFrom::Host(path.clone()))),
                Source::Made { name } => match made.get(name.as_str()) {
                    Some(bytes) => (Content::File(bytes.clone()), Some(MadeFrom::Build(name.clone()))),
                    None => {
                        let known: Vec<&str> = made.keys().copied().collect();
                        return Err(Error::refused(
                            format!("{path} is to be {name:?}, which the build does not make"),
                            format!("it makes {}", known.join(", ")),
                        ));
                    }
                },
            };
            Ok(Staged { path: path[1..].to_owned(), mode: entry.mode, content, made_from })
        };
        self.entries.iter().map(stage).collect()
    }

    /// Nothing may lie in something that is not a folder.
    fn check_folders(&self, name: &str) -> Result<()> {
        for path in self.entries.keys() {
            for folder in folders_of(path) {
                if self.entries.get(folder).is_some_and(|entry| entry.source != Source::Directory) {
                    return Err(Error::refused(format!("{name}: {path} lies in {folder}, which is no folder"), ""));
                }
            }
        }
        Ok(())
    }

    fn with_folders(mut self) -> Self {
        let folders: BTreeSet<String> =
            self.entries.keys().flat_map(|path| folders_of(path)).map(str::to_owned).collect();
        for folder in folders {
            self.entries.entry(folder).or_insert(Entry { mode: 0o755, source: Source::Directory });
        }
        self
    }
}

/// Below `rootfs/`, what is no file of an image but decides what is in one: the lists, what the policy is made of,
/// and the templates that the settings service holds in itself.
const NOT_LISTED: [&str; 5] =
    ["rootfs/files.toml", "rootfs/initramfs.toml", "rootfs/recovery.toml", "rootfs/policy/", "rootfs/templates/"];

/// A file in `rootfs/` that no list names would look as if it shipped.
pub(crate) fn check_all_listed(lists: &[&FilesList]) -> Result<()> {
    let mut present = BTreeSet::new();
    files_below("rootfs", &mut present)?;
    check_listed(&present, &lists.iter().flat_map(|list| list.sources()).collect())
}

fn check_listed(present: &BTreeSet<String>, listed: &BTreeSet<&str>) -> Result<()> {
    let named =
        |path: &&String| listed.contains(path.as_str()) || NOT_LISTED.iter().any(|known| path.starts_with(known));
    let unnamed: Vec<&str> = present.iter().filter(|path| !named(path)).map(String::as_str).collect();
    if unnamed.is_empty() {
        return Ok(());
    }
    Err(Error::refused(
        format!("no list names {}", unnamed.join(", ")),
        "name each in rootfs/files.toml, initramfs.toml or recovery.toml, or remove it: nothing else ships",
    ))
}

fn files_below(relative: &str, files: &mut BTreeSet<String>) -> Result<()> {
    for name in project::list(relative)? {
        let path = format!("{relative}/{name}");
        if project::path(&path).is_dir() {
            files_below(&path, files)?;
        } else {
            files.insert(path);
        }
    }
    Ok(())
}

/// Every folder on the way to `path`, without `/`.
fn folders_of(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at]).filter(|folder| !folder.is_empty())
}

fn check_path(name: &str, path: &str) -> Result<()> {
    let plain =
        |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(|b| b.is_ascii_graphic());
    match path.strip_prefix('/') {
        Some(rest) if rest.split('/').all(plain) => Ok(()),
        _ => Err(Error::refused(
            format!("{name}: {path:?} is no path for an image"),
            "a path starts with `/` and has no empty part, `.`, `..` or space",
        )),
    }
}

fn parse_mode(name: &str, path: &str, mode: &str) -> Result<u32> {
    // Nothing that ships may change its user by being started: four digits, the first one 0 or, for sticky folders, 1.
    let valid = mode.len() == 4 && (mode.starts_with('0') || mode.starts_with('1'));
    u32::from_str_radix(mode, 8).ok().filter(|_| valid).ok_or_else(|| {
        Error::refused(
            format!("{name}: {path} has mode {mode:?}"),
            "a mode is four octal digits such as \"0644\", without set-user-id and set-group-id",
        )
    })
}

fn read_file(path: &Path) -> Result<Content> {
    let size = std::fs::metadata(path).on("read", path)?.len();
    if size > FILE_LIMIT {
        return Err(Error::refused(
            format!("{} has {size} bytes; a file that ships has at most {FILE_LIMIT}", path.display()),
            "",
        ));
    }
    Ok(Content::File(std::fs::read(path).on("read", path)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: &[&str]) {
        let list = FilesList::parse("files.toml", text).expect("a list");
        let paths: Vec<&str> = list.entries.keys().map(String::as_str).collect();
        assert_eq!(paths, expected);
    }

    fn check_refused(text: &str, parts: &[&str]) {
        let error = FilesList::parse("files.toml", text).expect_err("refused");
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let whole = format!("{error}\n{cause}");
        for part in parts {
            assert!(whole.contains(part), "{whole}");
        }
    }

    #[test]
    fn folders_come_before_what_they_hold() {
        let text = "[[file]]\npath = \"/usr/bin/aios\"\nprogram = \"aios\"\nmode = \"0755\"\n\
                    [[link]]\npath = \"/sbin\"\ntarget = \"usr/bin\"\n";
        check(text, &["/sbin", "/usr", "/usr/bin", "/usr/bin/aios"]);
    }

    #[test]
    fn an_unknown_key_is_shown_with_line_and_caret() {
        let text = "[[file]]\npath = \"/a\"\nprogramme = \"a\"\nmode = \"0755\"\n";
        check_refused(text, &["files.toml", "line 3", "^", "programme"]);
    }

    #[test]
    fn wrong_entries_are_refused() {
        let file = |path: &str, mode: &str, more: &str| format!("[[file]]\npath = {path:?}\nmode = {mode:?}\n{more}\n");
        check_refused(&file("/a", "4755", "program = \"a\""), &["/a", "4755"]);
        check_refused(&file("/a", "755", "program = \"a\""), &["755"]);
        check_refused(&file("a", "0755", "program = \"a\""), &["no path"]);
        check_refused(&file("/a/../b", "0755", "program = \"a\""), &["no path"]);
        check_refused(&file("/a", "0755", ""), &["exactly one origin"]);
        check_refused(&file("/a", "0755", "program = \"a\"\nmade = \"b\""), &["exactly one origin"]);
        let one = file("/a", "0755", "program = \"a\"");
        check_refused(&format!("{one}{one}"), &["twice"]);
        check_refused(&format!("{one}{}", file("/a/b", "0755", "program = \"a\"")), &["/a/b lies in /a"]);
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let text = "[[file]]\npath = \"/a\"\nsource = \"rootfs/no-such-file\"\nmode = \"0644\"\n";
        let list = FilesList::parse("files.toml", text).expect("a list");
        let error = list.stage(&Programs::none(), &Made::new()).expect_err("missing");
        assert!(error.to_string().contains("rootfs/no-such-file"), "{error}");
    }

    #[test]
    fn a_file_that_no_list_names_is_an_error() {
        let present = ["rootfs/files.toml", "rootfs/policy/a.cedar", "rootfs/units/a.toml", "rootfs/units/a.toml~"];
        let present = present.map(str::to_owned).into();
        let listed = ["rootfs/units/a.toml"].into();
        let error = check_listed(&present, &listed).expect_err("one is too many");
        assert!(error.to_string().ends_with("no list names rootfs/units/a.toml~"), "{error}");
    }

    #[test]
    fn the_lists_of_this_tree_name_every_file() {
        let lists = ["rootfs/files.toml", "rootfs/initramfs.toml", "rootfs/recovery.toml"];
        let lists = lists.map(|name| FilesList::read(name).expect(name));
        check_all_listed(&[&lists[0], &lists[1], &lists[2]]).expect("all listed");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\[\\[(file|link|device)\\]\\]\n)?(path|mode|source) = \"[^\"]{0,12}\"\n.*") {
            let _ = FilesList::parse("files.toml", &text);
        }

        #[test]
        fn no_path_escapes(path in "/?([a-z.]{0,3}/){0,3}[a-z.]{0,3}") {
            if check_path("files.toml", &path).is_ok() {
                prop_assert!(path.starts_with('/') && !path.split('/').any(|part| part == ".."));
            }
        }
    }
}
