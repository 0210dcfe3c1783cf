//! The EFI system partition of the medium: what firmware starts from a CD or a stick.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::cache::{Cache, Key};
use crate::error::{OnFile, Result};
use crate::project::EPOCH;
use crate::system::System;
use crate::tool::Tool;

/// Seconds in which a key stops the automatic start.
const LOADER_SETTINGS: &str =
    "timeout 1\nconsole-mode keep\ndefault live.conf\neditor no\nauto-entries no\nauto-firmware no\n";

/// Sectors in a cluster: as many as a sector of a CD has.
const CLUSTER: &str = "4";

/// Room beyond the files: tables and folders, and the rest of the last cluster of each file.
const SLACK: u64 = 256 << 10;

/// The EFI system partition of the medium.
pub(crate) fn make(cache: &Cache, system: &System) -> Result<PathBuf> {
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
        ("EFI/BOOT/BOOTX64.EFI", &system.shim.program),
        ("EFI/BOOT/grubx64.efi", &system.loader),
        ("EFI/BOOT/mmx64.efi", &system.shim.mok_manager),
        ("EFI/aios/aios.cer", &system.shim.certificate),
        ("EFI/aios/aios.efi", &system.uki),
        ("EFI/aios/recovery.efi", &system.recovery),
    ];
    let mut key = Key::new("esp 4");
    for (path, text) in &texts {
        key = key.text(path, text);
    }
    for (path, program) in programs {
        key = key.file(path, program)?;
    }
    let place = cache.step("esp", &key, |out| {
        let mut size = SLACK;
        for (_, program) in programs {
            size += fs::metadata(program).on("read", program)?.len();
        }
        let image = out.join("esp.img");
        let file = fs::File::create(&image).on("make", &image)?;
        file.set_len(size.next_multiple_of(64 << 10)).on("grow", &image)?;
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
