//! `cargo xtask iso`: the whole system as one signed hybrid image, with its sums and its manifest.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use aios_image::iso::Plan;
use aios_image::release;

use crate::cache::{Cache, Key, remove_tree, timed};
use crate::error::{Error, OnFile, Result};
use crate::keys::Keys;
use crate::manifest::Manifest;
use crate::project::{self, EPOCH};
use crate::system::System;
use crate::tool::Tool;

/// The promise: it fits a small stick and loads fast.
const BUDGET: u64 = 64 << 20;

/// Seconds in which a key stops the automatic start.
const LOADER_SETTINGS: &str =
    "timeout 1\nconsole-mode keep\ndefault live.conf\neditor no\nauto-entries no\nauto-firmware no\n";

/// The folder on the medium where the release is.
const FOLDER: &str = "aios";

/// Sectors in a cluster of the EFI system partition: as many as a sector of a CD has.
const CLUSTER: &str = "4";

/// Room in the EFI system partition beyond its files: tables and folders.
const ESP_SLACK: u64 = 1 << 20;

/// The image of a version and all that is published beside it.
pub(crate) struct Iso {
    pub(crate) path: PathBuf,
    pub(crate) system: System,
}

/// Builds what is missing and writes `target/aios`.
pub(crate) fn make(cache: &Cache, keys: &Keys, version: &str) -> Result<Iso> {
    let system = System::build(cache, keys, &crate::system::Order::working(version))?;
    let esp = esp(cache, &system)?;
    let name = format!("aios-{version}-x86_64.iso");
    let output = project::output()?;
    let path = output.join(&name);
    timed("iso", || {
        let tree = cache.scratch("iso")?;
        let folder = tree.join(FOLDER);
        fs::create_dir_all(&folder).on("make", &folder)?;
        system.write_release(keys, &folder)?;
        // Programs of the firmware are in the partition; here they are only names for the same bytes.
        let mut shared = Vec::new();
        for name in [release::UKI, release::RECOVERY, release::LOADER] {
            let path = folder.join(name);
            shared.push((name, fs::read(&path).on("read", &path)?));
            fs::write(&path, "").on("write", &path)?;
        }
        let unfinished = output.join(format!(".{name}.new"));
        let plan = Plan { tree: tree.clone(), esp: esp.clone(), output: unfinished.clone(), epoch: EPOCH };
        let (variable, date) = plan.environment();
        Tool::new("xorriso").env(variable, date).args(plan.arguments()).run()?;
        let mut image = fs::read(&unfinished).on("read", &unfinished)?;
        let shared: Vec<(&str, &[u8])> = shared.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        aios_image::iso::share(&mut image, FOLDER, &shared)
            .map_err(|source| Error::library("the release on the ISO would be incomplete", source))?;
        fs::write(&unfinished, image).on("write", &unfinished)?;
        check_budget(&unfinished, &folder, &esp)?;
        fs::rename(&unfinished, &path).on("finish", &path)?;
        remove_tree(&tree)
    })?;
    let manifest = Manifest::of(&system, keys, &[&path])?;
    manifest.write(keys, &output)?;
    Ok(Iso { path, system })
}

/// The EFI system partition of the medium.
fn esp(cache: &Cache, system: &System) -> Result<PathBuf> {
    let version = &system.version;
    let entry = |title: &str, sort: u32, program: &str| {
        format!("title AIOS {version} ({title})\nversion {version}\nsort-key aios-{sort}\nefi /EFI/aios/{program}\n")
    };
    let texts = [
        ("loader/loader.conf", LOADER_SETTINGS.to_owned()),
        ("loader/entries/live.conf", entry("live", 1, "aios.efi")),
        ("loader/entries/install.conf", entry("install", 2, "aios.efi")),
        ("loader/entries/recovery.conf", entry("recovery", 3, "recovery.efi")),
    ];
    let programs = [
        ("EFI/BOOT/BOOTX64.EFI", &system.loader),
        ("EFI/aios/aios.efi", &system.uki),
        ("EFI/aios/recovery.efi", &system.recovery),
    ];
    let mut key = Key::new("esp 2");
    for (path, text) in &texts {
        key = key.text(path, text);
    }
    for (path, program) in programs {
        key = key.file(path, program)?;
    }
    let place = cache.step("esp", &key, |out| {
        let mut size = ESP_SLACK;
        for (_, program) in programs {
            size += fs::metadata(program).on("read", program)?.len();
        }
        let image = out.join("esp.img");
        let file = fs::File::create(&image).on("make", &image)?;
        file.set_len(size.next_multiple_of(1 << 20)).on("grow", &image)?;
        let tool = |name: &str| Tool::new(name).arg("-i").arg(&image).env("SOURCE_DATE_EPOCH", EPOCH.to_string());
        let mut reserved = 1;
        loop {
            let sectors = reserved.to_string();
            tool("mformat").args(["-v", "AIOSBOOT", "-N", "61696f73", "-c", CLUSTER, "-R", &sectors, "::"]).run()?;
            // Clusters have to begin with a sector of the CD, so that names there can point at files here.
            let misplaced = first_cluster(&image)? % 4;
            if misplaced == 0 {
                break;
            }
            reserved += 4 - misplaced;
        }
        for folder in ["EFI", "EFI/BOOT", "EFI/aios", "loader", "loader/entries"] {
            tool("mmd").arg(format!("::{folder}")).run()?;
        }
        for (path, text) in &texts {
            let file = out.join("text");
            fs::write(&file, text).on("write", &file)?;
            tool("mcopy").arg(&file).arg(format!("::{path}")).run()?;
            fs::remove_file(&file).on("remove", &file)?;
        }
        for (path, program) in programs {
            tool("mcopy").arg(program).arg(format!("::{path}")).run()?;
        }
        Ok(())
    })?;
    Ok(place.join("esp.img"))
}

/// The sector in which the first cluster of a FAT12 or FAT16 file system begins.
fn first_cluster(image: &Path) -> Result<u32> {
    let mut header = [0; 512];
    let file = fs::File::open(image).on("read", image)?;
    file.read_exact_at(&mut header, 0).on("read", image)?;
    let number = |at: usize| u32::from(u16::from_le_bytes([header[at], header[at + 1]]));
    let (reserved, copies, root_entries, table) = (number(14), u32::from(header[16]), number(17), number(22));
    Ok(reserved + copies * table + root_entries * 32 / 512)
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
