//! `cargo xtask iso`: the whole system as one signed hybrid image, with its sums and its manifest.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use aios_image::iso::{LEGACY, Plan};
use aios_image::release;

use crate::cache::{Cache, remove_tree, timed};
use crate::error::{Error, OnFile, Result};
use crate::esp;
use crate::format::{self, Format};
use crate::keys::Keys;
use crate::manifest::Manifest;
use crate::output::Draft;
use crate::project::{self, EPOCH};
use crate::system::System;
use crate::tool::Tool;

/// The promise: it fits a small stick and loads fast.
const BUDGET: u64 = 64 << 20;

/// The folder on the medium where the release is.
const FOLDER: &str = "aios";

/// The image of a version and all that is published beside it.
pub(crate) struct Iso {
    pub(crate) path: PathBuf,
    /// The image and its other forms.
    pub(crate) published: Vec<PathBuf>,
    pub(crate) system: System,
}

/// Builds what is missing and writes `target/aios`.
pub(crate) fn make(cache: &Cache, keys: &Keys, version: &str, formats: &[Format]) -> Result<Iso> {
    let system = System::build(cache, keys, &crate::system::Order::working(version))?;
    let esp = esp::make(cache, &system)?;
    let name = format!("aios-{version}-x86_64.iso");
    let draft = Draft::begin()?;
    let path = draft.folder().join(&name);
    timed("iso", || {
        let tree = cache.scratch("iso")?;
        let folder = tree.join(FOLDER);
        fs::create_dir_all(&folder).on("make", &folder)?;
        system.write_release(keys, &folder)?;
        let legacy = tree.join(LEGACY);
        fs::write(&legacy, aios_image::bios::boot_image()).on("write", &legacy)?;
        // Programs of the firmware are in the partition; here they are only names for the same bytes.
        let mut shared = Vec::new();
        for name in [release::UKI, release::RECOVERY, release::LOADER] {
            let path = folder.join(name);
            shared.push((name, fs::read(&path).on("read", &path)?));
            fs::write(&path, "").on("write", &path)?;
        }
        let plan = Plan { tree: tree.clone(), esp: esp.clone(), output: path.clone(), epoch: EPOCH };
        let (variable, date) = plan.environment();
        Tool::new("xorriso").env(variable, date).args(plan.arguments()).run()?;
        let mut image = fs::read(&path).on("read", &path)?;
        let shared: Vec<(&str, &[u8])> = shared.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        aios_image::iso::share(&mut image, FOLDER, &shared)
            .map_err(|source| Error::library("the release on the ISO would be incomplete", source))?;
        fs::write(&path, image).on("write", &path)?;
        check_budget(&path, &folder, &esp)?;
        remove_tree(&tree)
    })?;
    let mut published = vec![path];
    for format in formats.iter().collect::<BTreeSet<_>>() {
        match format {
            Format::Iso => {}
            Format::Uki => published.push(format::standalone(cache, keys, &system, draft.folder())?),
        }
    }
    let manifest = Manifest::of(&system, keys, &published)?;
    manifest.write(keys, draft.folder())?;
    draft.finish()?;
    let output = project::output()?;
    let published = published.iter().filter_map(|path| path.file_name()).map(|name| output.join(name)).collect();
    Ok(Iso { path: output.join(name), published, system })
}

fn check_budget(iso: &Path, folder: &Path, esp: &Path) -> Result<()> {
    let size_of = |path: &Path| fs::metadata(path).map(|metadata| metadata.len()).on("look at", path);
    let size = size_of(iso)?;
    if size <= BUDGET {
        return Ok(());
    }
    let mut parts = vec![(size_of(esp)?, "the EFI system partition".to_owned())];
    for entry in fs::read_dir(folder).on("list", folder)? {
        let entry = entry.on("list", folder)?;
        parts.push((size_of(&entry.path())?, entry.file_name().to_string_lossy().into_owned()));
    }
    parts.sort();
    let biggest: Vec<String> = parts.iter().rev().take(4).map(|(size, name)| format!("{name} {size}")).collect();
    Err(Error::refused(
        format!("the image has {size} bytes, the budget is {BUDGET}; the biggest parts: {}", biggest.join(", ")),
        "manifest.json of an earlier build shows what grew",
    ))
}
