//! `cargo xtask iso`: the whole system as one signed hybrid image, with its sums and its manifest.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use aios_image::iso::{LEGACY, Plan};
use aios_image::release;

use crate::budget;
use crate::cache::{Cache, remove_tree, timed};
use crate::error::{Error, OnFile, Result};
use crate::esp;
use crate::format::{self, Format};
use crate::keys::Keys;
use crate::manifest::{self, Manifest};
use crate::output::Draft;
use crate::project::{self, EPOCH};
use crate::sbom::{self, Materials};
use crate::shipped::{self, Shipped};
use crate::sources::Sources;
use crate::system::System;
use crate::tool::Tool;

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
    timed("iso", || medium(cache, keys, &system, &esp, &path))?;
    let mut published = vec![(path.clone(), "root, initramfs, recovery, esp")];
    for format in formats.iter().collect::<BTreeSet<_>>() {
        published.extend(format::beside(cache, keys, &system, &path, *format)?);
    }
    let shipped = shipped::all(cache, &system, &esp)?;
    check_budgets(&system, fs::metadata(&path).on("look at", &path)?.len(), &shipped)?;
    let bill = draft.folder().join(sbom::NAME);
    let materials = Materials::of(&shipped)?;
    let commit = manifest::commit();
    let text = sbom::document(version, &commit, &system.kernel, &materials, &shipped)?;
    fs::write(&bill, text).on("write", &bill)?;
    published.push((bill, "the list of files"));
    let sources = Sources::of(&commit, &system.kernel, &materials, &shipped);
    published.extend(sources.write(version, draft.folder())?.map(|path| (path, "the list of files")));
    Manifest::of(&system, keys, &published, &commit, shipped)?.write(keys, draft.folder())?;
    draft.finish()?;
    let output = project::output()?;
    let published = published.iter().filter_map(|(path, _)| path.file_name()).map(|name| output.join(name)).collect();
    Ok(Iso { path: output.join(name), published, system })
}

/// Writes the hybrid image to `out`.
fn medium(cache: &Cache, keys: &Keys, system: &System, esp: &Path, out: &Path) -> Result<()> {
    let tree = cache.scratch("iso")?;
    let folder = tree.join(FOLDER);
    fs::create_dir_all(&folder).on("make", &folder)?;
    system.write_release(keys, &folder)?;
    let legacy = tree.join(LEGACY);
    fs::write(&legacy, aios_image::bios::boot_image()).on("write", &legacy)?;
    // Programs of the firmware are in the partition; here they are only names for the same bytes.
    let mut shared = Vec::new();
    for name in [release::UKI, release::RECOVERY, release::LOADER, release::SHIM, release::MOK_MANAGER] {
        let path = folder.join(name);
        shared.push((name, fs::read(&path).on("read", &path)?));
        fs::write(&path, "").on("write", &path)?;
    }
    let plan = Plan { tree: tree.clone(), esp: esp.to_owned(), output: out.to_owned(), epoch: EPOCH };
    let (variable, date) = plan.environment();
    Tool::new("xorriso").env(variable, date).args(plan.arguments()).run()?;
    let mut image = fs::read(out).on("read", out)?;
    let shared: Vec<(&str, &[u8])> = shared.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    aios_image::iso::share(&mut image, FOLDER, &shared)
        .map_err(|source| Error::library("the release on the ISO would be incomplete", source))?;
    fs::write(out, image).on("write", out)?;
    remove_tree(&tree)
}

/// What is published has to stay small.
fn check_budgets(system: &System, image: u64, shipped: &[Shipped]) -> Result<()> {
    budget::KERNEL_IMAGE.check_file(&system.uki, budget::parts(shipped, &["initramfs"]))?;
    budget::RECOVERY.check_file(&system.recovery, budget::parts(shipped, &["recovery"]))?;
    let parts = || budget::parts(shipped, &["root", "esp"]);
    budget::MEDIUM.check(image, parts())?;
    // The installer is left in: what it takes in the compressed root is not known file by file.
    let recovery = fs::metadata(&system.recovery).on("look at", &system.recovery)?.len();
    budget::SYSTEM.check(image.saturating_sub(recovery), parts())
}
