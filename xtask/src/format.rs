//! Forms of what is published: the live system beside its ISO (`iso --format`), and disks (`disk --format`).

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::budget;
use crate::cache::Cache;
use crate::error::{Error, OnFile, Result};
use crate::files_list::{Content, Staged};
use crate::keys::Keys;
use crate::manifest::Output;
use crate::shipped::MadeFrom;
use crate::system::System;
use crate::uki;

/// A form of the live system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Format {
    /// The hybrid image, for CD and stick; always made
    Iso,
    /// The same bytes under the name that tools for disks look for
    Raw,
    /// QEMU's
    Qcow2,
    /// Hyper-V's
    Vhdx,
    /// One EFI program that carries its own root: HTTP boot, PXE, a file on any stick
    Uki,
}

/// A form of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DiskFormat {
    Raw,
    Qcow2,
    Vhdx,
}

impl DiskFormat {
    /// Its name, and that of its files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vhdx => "vhdx",
        }
    }

    /// Writes a raw image, whose sectors have `sector` bytes, to a new file in this form.
    pub(crate) fn write(self, raw: &Path, sector: u32, out: &Path) -> Result<()> {
        let open = || Ok((File::open(raw).on("read", raw)?, File::create(out).on("make", out)?));
        let written = match self {
            Self::Raw => return fs::copy(raw, out).map(|_| ()).on("write", out),
            Self::Qcow2 => open().map(|(from, to)| aios_image::qcow2::write(&from, &to))?,
            Self::Vhdx => open().map(|(from, to)| aios_image::vhdx::write(&from, sector, &to))?,
        };
        written.map_err(|source| Error::library(format!("{} cannot be made", out.display()), source))
    }
}

/// One form of the live system beside its ISO; nothing for the ISO itself.
pub(crate) fn beside(
    cache: &Cache,
    keys: &Keys,
    system: &System,
    iso: &Path,
    format: Format,
) -> Result<Option<Output>> {
    let folder = iso.parent().unwrap_or(iso);
    let format = match format {
        Format::Iso => return Ok(None),
        Format::Uki => return Ok(Some((standalone(cache, keys, system, folder)?, "root, initramfs"))),
        Format::Raw => DiskFormat::Raw,
        Format::Qcow2 => DiskFormat::Qcow2,
        Format::Vhdx => DiskFormat::Vhdx,
    };
    let path = folder.join(format!("aios-{}-x86_64.{}", system.version, format.name()));
    format.write(iso, 512, &path)?;
    Ok(Some((path, "the ISO")))
}

/// The kernel image that carries its own root, as `aios-<version>-x86_64.efi` in this folder.
pub(crate) fn standalone(cache: &Cache, keys: &Keys, system: &System, folder: &Path) -> Result<PathBuf> {
    let mut files = system.initramfs_files.clone();
    files.push(Staged { path: "aios".into(), mode: 0o755, content: Content::Directory, made_from: None });
    for (path, image) in [("aios/root.erofs", &system.root.image), ("aios/root.verity", &system.root.tree)] {
        let content = Content::File(fs::read(image).on("read", image)?);
        files.push(Staged { path: path.into(), mode: 0o444, content, made_from: Some(MadeFrom::Build("root".into())) });
    }
    let line = uki::release_line(&system.root, &system.version);
    let os_release = uki::os_release(&system.version, keys.purpose());
    let initramfs = uki::initramfs(&files)?;
    let image = uki::seal(cache, keys, &uki::STANDALONE, &system.kernel, &line, &initramfs, &os_release)?;
    let parts = files.iter().filter_map(|file| match &file.content {
        Content::File(bytes) => Some((bytes.len() as u64, file.path.clone())),
        _ => None,
    });
    budget::KERNEL_IMAGE.check_file(&image, parts.collect())?;
    let path = folder.join(format!("aios-{}-x86_64.efi", system.version));
    fs::copy(&image, &path).on("write", &path)?;
    Ok(path)
}
