//! One version of the whole system: kernel, root, and what firmware starts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use aios_image::release::{self, Description, FileEntry};
use aios_slots::Version;

use crate::cache::{self, Cache, timed};
use crate::contents::{self, Shell};
use crate::error::{Error, OnFile, Result};
use crate::files_list::{self, FilesList, Made, Staged};
use crate::kernel::{self, Kernel};
use crate::keys::{Keys, Name};
use crate::pcr;
use crate::policy;
use crate::programs::Programs;
use crate::root::{self, Root};
use crate::shim::{self, Shim};
use crate::uki;

/// The oldest release that can be updated to what we build without a step between.
const MIN_FROM: &str = "0.1.0";

/// Which system is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) version: String,
    pub(crate) start: Start,
}

/// What the first process of an ordered system does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// It starts the system.
    Works,
    /// There is none, so the kernel panics: for tests of what comes after that.
    Panics,
}

/// A built system.
pub(crate) struct System {
    pub(crate) version: String,
    pub(crate) kernel: Kernel,
    pub(crate) root: Root,
    /// Every file of the root.
    pub(crate) files: Vec<Staged>,
    /// Every file that the kernel unpacks first.
    pub(crate) initramfs_files: Vec<Staged>,
    /// Every file of the recovery image.
    pub(crate) recovery_files: Vec<Staged>,
    /// The signed kernel image of the release.
    pub(crate) uki: PathBuf,
    /// The signed recovery image.
    pub(crate) recovery: PathBuf,
    /// The signed loader.
    pub(crate) loader: PathBuf,
    /// What firmware starts before it.
    pub(crate) shim: Shim,
}

/// What ships, by list.
struct Lists {
    root: FilesList,
    initramfs: FilesList,
    recovery: FilesList,
}

/// The files of the lists.
struct Files {
    root: Vec<Staged>,
    initramfs: Vec<Staged>,
    recovery: Vec<Staged>,
}

impl Lists {
    fn read() -> Result<Self> {
        let lists = Self {
            root: FilesList::read("rootfs/files.toml")?,
            initramfs: FilesList::read("rootfs/initramfs.toml")?,
            recovery: FilesList::read("rootfs/recovery.toml")?,
        };
        contents::check_tables()?;
        files_list::check_all_listed(&[&lists.root, &lists.initramfs, &lists.recovery])?;
        Ok(lists)
    }

    fn programs(&self) -> BTreeSet<&str> {
        [&self.root, &self.initramfs, &self.recovery].into_iter().flat_map(FilesList::programs).collect()
    }

    fn stage(&self, programs: &Programs, made: &Made, start: Start) -> Result<Files> {
        let initramfs = match start {
            Start::Works => self.initramfs.stage(programs, made)?,
            Start::Panics => Vec::new(),
        };
        let files =
            Files { root: self.root.stage(programs, made)?, initramfs, recovery: self.recovery.stage(programs, made)? };
        contents::check("the root", &files.root, Shell::No)?;
        contents::check("the first root", &files.initramfs, Shell::No)?;
        contents::check("recovery", &files.recovery, Shell::Busybox)?;
        Ok(files)
    }
}

impl Order {
    /// The system as it ships.
    pub(crate) fn working(version: &str) -> Self {
        Self { version: version.to_owned(), start: Start::Works }
    }
}

impl System {
    /// Builds what the cache does not have.
    pub(crate) fn build(cache: &Cache, keys: &Keys, order: &Order) -> Result<Self> {
        let version = order.version.as_str();
        let kernel = kernel::build(cache)?;
        let lists = Lists::read()?;
        let made = made(cache, keys, version)?;
        let Files { root: files, initramfs: initramfs_files, recovery: recovery_files } = {
            // While the programs are read, no other build replaces them.
            let programs = timed("programs", || Programs::build(&lists.programs()))?;
            lists.stage(&programs, &made, order.start)?
        };
        let root = root::make(cache, &files)?;
        let os_release = uki::os_release(version, keys.purpose());
        let initramfs = uki::initramfs(&initramfs_files)?;
        let line = uki::release_line(&root, version);
        let uki = uki::seal(cache, keys, &uki::RELEASE, &kernel, &line, &initramfs, &os_release)?;
        let line = uki::recovery_line(version);
        let initramfs = uki::initramfs(&recovery_files)?;
        let recovery = uki::seal(cache, keys, &uki::RECOVERY, &kernel, &line, &initramfs, &os_release)?;
        let loader = uki::loader(cache, keys)?;
        let shim = shim::make(cache, keys)?;
        let version = version.to_owned();
        Ok(Self { version, kernel, root, files, initramfs_files, recovery_files, uki, recovery, loader, shim })
    }

    /// What register 11 of a TPM will hold when each kernel image has started.
    pub(crate) fn predictions(&self) -> Result<Vec<pcr::Prediction>> {
        let read = |path: &Path| fs::read(path).on("read", path);
        let mut all = pcr::predictions(release::UKI, &read(&self.uki)?, uki::RELEASE.ways)?;
        all.extend(pcr::predictions(release::RECOVERY, &read(&self.recovery)?, uki::RECOVERY.ways)?);
        Ok(all)
    }

    /// Fills `folder` with the release: its files, their description and its signature.
    pub(crate) fn write_release(&self, keys: &Keys, folder: &Path) -> Result<()> {
        let entry = |name: &str, path: &Path| {
            let bytes = fs::read(path).on("read", path)?;
            let to = folder.join(name);
            fs::write(&to, &bytes).on("write", &to)?;
            Ok(FileEntry::of(&bytes))
        };
        let files = release::Files {
            root: entry(release::ROOT, &self.root.image)?,
            tree: entry(release::TREE, &self.root.tree)?,
            uki: entry(release::UKI, &self.uki)?,
            recovery: entry(release::RECOVERY, &self.recovery)?,
            loader: entry(release::LOADER, &self.loader)?,
            shim: entry(release::SHIM, &self.shim.program)?,
            mok_manager: entry(release::MOK_MANAGER, &self.shim.mok_manager)?,
            certificate: entry(release::CERTIFICATE, &self.shim.certificate)?,
        };
        let version = |text: &str| {
            text.parse::<Version>().map_err(|source| Error::library("no release can be described", source))
        };
        let description =
            Description::new(version(&self.version)?, version(MIN_FROM)?, self.root.hash, self.root.blocks, files);
        let bytes = description.bytes().map_err(|source| Error::library("the release cannot be described", source))?;
        let signature = release::signature_text(&keys.sign_ed25519(Name::Release, &bytes)?);
        for (name, content) in [(release::NAME, bytes.as_slice()), (release::SIGNATURE_NAME, signature.as_bytes())] {
            let to = folder.join(name);
            fs::write(&to, content).on("write", &to)?;
        }
        Ok(())
    }
}

/// What lists call `made`.
fn made(cache: &Cache, keys: &Keys, version: &str) -> Result<Made> {
    let mut made = Made::new();
    made.insert("policy-bundle", policy::of_image(keys)?);
    made.insert("os-release", uki::os_release(version, keys.purpose()).into_bytes());
    for (name, key) in [("release-key", Name::Release), ("policy-key", Name::Policy)] {
        let path = keys.public(key);
        made.insert(name, fs::read(&path).on("read", &path)?);
    }
    made.insert("data-template", data_template(cache)?);
    Ok(made)
}

/// The empty file system for data partitions.
fn data_template(cache: &Cache) -> Result<Vec<u8>> {
    let scratch = cache.scratch("data-template")?;
    let template = aios_image::data::template(&scratch)
        .map_err(|source| Error::library("the data partition's file system cannot be made", source))?;
    cache::remove_tree(&scratch)?;
    Ok(template)
}
