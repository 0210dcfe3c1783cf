//! Every file that ships, wherever it is, with what it was made from: what the manifest and the bill of materials list.

use std::fmt;
use std::fs;
use std::path::Path;

use aios_ids::Digest;
use serde::Serialize;

use crate::cache::{Cache, remove_tree};
use crate::error::{Error, OnFile, Result};
use crate::files_list::{Content, Staged};
use crate::system::System;
use crate::tool::Tool;
use crate::uki;

/// What a file was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MadeFrom {
    /// A program of this workspace.
    Program(String),
    /// A file of the tree.
    Tree(String),
    /// A file of a package of the build machine.
    Host(String),
    /// The build made it from the tree, under this name.
    Build(String),
    /// Our kernel.
    Kernel,
}

/// One file.
#[derive(Debug, Serialize)]
pub(crate) struct Shipped {
    /// Where it is: `root`, `initramfs`, `recovery` or `esp`, and its path there.
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) sha256: Digest,
    #[serde(skip)]
    pub(crate) sha1: String,
    #[serde(serialize_with = "as_text")]
    pub(crate) made_from: Vec<MadeFrom>,
}

impl fmt::Display for MadeFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(name) => write!(f, "program {name}"),
            Self::Tree(path) => f.write_str(path),
            Self::Host(path) => write!(f, "{path} of the build machine"),
            Self::Build(name) => write!(f, "made: {name}"),
            Self::Kernel => f.write_str("the kernel"),
        }
    }
}

fn as_text<S: serde::Serializer>(sources: &[MadeFrom], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(sources.iter().map(ToString::to_string))
}

impl Shipped {
    pub(crate) fn of(path: String, bytes: &[u8], made_from: Vec<MadeFrom>) -> Self {
        use sha1::Digest as _;
        let sha1 = sha1::Sha1::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { path, size: bytes.len() as u64, sha256: Digest::of(bytes), sha1, made_from }
    }
}

/// All of them, by place and path.
pub(crate) fn all(cache: &Cache, system: &System, esp: &Path) -> Result<Vec<Shipped>> {
    let mut all = in_esp(cache, system, esp)?;
    for (place, files) in
        [("initramfs", &system.initramfs_files), ("recovery", &system.recovery_files), ("root", &system.files)]
    {
        all.extend(staged(place, files));
    }
    Ok(all)
}

fn staged(place: &str, files: &[Staged]) -> impl Iterator<Item = Shipped> {
    files.iter().filter_map(move |file| match &file.content {
        Content::File(bytes) => {
            Some(Shipped::of(format!("{place}/{}", file.path), bytes, file.made_from.clone().into_iter().collect()))
        }
        Content::Directory | Content::Link(_) | Content::Device { .. } => None,
    })
}

/// What is really in the partition that firmware starts from, whoever put it there.
fn in_esp(cache: &Cache, system: &System, esp: &Path) -> Result<Vec<Shipped>> {
    let host = |path: &str| MadeFrom::Host(path.to_owned());
    let image = || vec![host(uki::STUB), MadeFrom::Kernel, MadeFrom::Build("initramfs".to_owned())];
    let mut known: Vec<(Vec<u8>, Vec<MadeFrom>)> = Vec::new();
    for (path, made_from) in
        [(&system.uki, image()), (&system.recovery, image()), (&system.loader, vec![host(uki::LOADER)])]
    {
        known.push((fs::read(path).on("read", path)?, made_from));
    }
    let folder = cache.scratch("esp-files")?;
    Tool::new("mcopy").args(["-s", "-n", "-i"]).arg(esp).arg("::/").arg(&folder).run()?;
    let mut paths = Vec::new();
    list(&folder, "", &mut paths)?;
    let mut files = Vec::new();
    for path in paths {
        let bytes = fs::read(folder.join(&path)).on("read", &folder.join(&path))?;
        let same = known.iter().find(|(content, _)| *content == bytes).map(|(_, made_from)| made_from.clone());
        let made_from = match same {
            Some(made_from) => made_from,
            None => vec![by_name(&path).ok_or_else(|| {
                Error::refused(
                    format!("nobody knows what {path} on the medium's EFI system partition was made from"),
                    "name its origin in xtask/src/shipped.rs",
                )
            })?],
        };
        files.push(Shipped::of(format!("esp/{path}"), &bytes, made_from));
    }
    remove_tree(&folder)?;
    Ok(files)
}

/// What other files of the partition are made from.
fn by_name(path: &str) -> Option<MadeFrom> {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match (name.as_str(), extension) {
        ("bootx64.efi" | "shimx64.efi", _) => Some(MadeFrom::Host("/usr/lib/shim/shimx64.efi.signed".to_owned())),
        ("mmx64.efi", _) => Some(MadeFrom::Host("/usr/lib/shim/mmx64.efi.signed".to_owned())),
        (_, "conf" | "csv" | "txt") => Some(MadeFrom::Tree("xtask/src/esp.rs".to_owned())),
        (_, "cer" | "der" | "auth" | "esl") => Some(MadeFrom::Build("certificate".to_owned())),
        _ => None,
    }
}

/// The files below a folder, sorted, with `/` between names.
fn list(root: &Path, below: &str, files: &mut Vec<String>) -> Result<()> {
    let folder = root.join(below);
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).on("list", &folder)? {
        let entry = entry.on("list", &folder)?;
        let is_folder = entry.file_type().on("look at", &entry.path())?.is_dir();
        names.push((entry.file_name().to_string_lossy().into_owned(), is_folder));
    }
    names.sort();
    for (name, is_folder) in names {
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if is_folder {
            list(root, &path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
