//! One version of the whole system: kernel, root, and what firmware starts.

use std::fs;
use std::path::{Path, PathBuf};

use aios_image::release::{self, Description, FileEntry, Files};
use aios_slots::Version;
use ed25519_dalek::SigningKey;

use crate::cache::{self, Cache, timed};
use crate::error::{Error, OnFile, Result};
use crate::files_list::{FilesList, Made, Staged};
use crate::kernel::{self, Kernel};
use crate::keys::Keys;
use crate::programs::Programs;
use crate::project;
use crate::root::{self, Root};
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
    /// Every file of the recovery image.
    pub(crate) recovery_files: Vec<Staged>,
    /// The signed kernel image of the release.
    pub(crate) uki: PathBuf,
    /// The signed recovery image.
    pub(crate) recovery: PathBuf,
    /// The signed loader.
    pub(crate) loader: PathBuf,
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
        let root_list = FilesList::read("rootfs/files.toml")?;
        let initramfs_list = FilesList::read("rootfs/initramfs.toml")?;
        let recovery_list = FilesList::read("rootfs/recovery.toml")?;
        let wanted = [&root_list, &initramfs_list, &recovery_list].into_iter().flat_map(FilesList::programs).collect();
        let programs = timed("programs", || Programs::build(&wanted))?;
        let mut made = Made::new();
        made.insert("policy-bundle", policy_bundle(keys)?);
        made.insert("os-release", uki::os_release(version).into_bytes());
        for (name, key) in [("release-key", "release"), ("policy-key", "policy")] {
            let path = keys.public(key);
            made.insert(name, fs::read(&path).on("read", &path)?);
        }
        made.insert("data-template", data_template(cache)?);
        let files = root_list.stage(&programs, &made)?;
        let root = root::make(cache, &files)?;
        let initramfs = match order.start {
            Start::Works => initramfs_list.stage(&programs, &made)?,
            Start::Panics => Vec::new(),
        };
        let os_release = uki::os_release(version);
        let initramfs = uki::initramfs(&initramfs)?;
        let line = uki::release_line(&root, version);
        let uki = uki::seal(cache, keys, "uki", &kernel, &line, &initramfs, &os_release)?;
        let recovery_files = recovery_list.stage(&programs, &made)?;
        let line = uki::recovery_line(version);
        let initramfs = uki::initramfs(&recovery_files)?;
        let recovery = uki::seal(cache, keys, "recovery", &kernel, &line, &initramfs, &os_release)?;
        let loader = uki::loader(cache, keys)?;
        Ok(Self { version: version.to_owned(), kernel, root, files, recovery_files, uki, recovery, loader })
    }

    /// Fills `folder` with the release: its files, their description and its signature.
    pub(crate) fn write_release(&self, keys: &Keys, folder: &Path) -> Result<()> {
        let entry = |name: &str, path: &Path| {
            let bytes = fs::read(path).on("read", path)?;
            let to = folder.join(name);
            fs::write(&to, &bytes).on("write", &to)?;
            Ok(FileEntry::of(&bytes))
        };
        let files = Files {
            root: entry(release::ROOT, &self.root.image)?,
            tree: entry(release::TREE, &self.root.tree)?,
            uki: entry(release::UKI, &self.uki)?,
            recovery: entry(release::RECOVERY, &self.recovery)?,
            loader: entry(release::LOADER, &self.loader)?,
        };
        let version = |text: &str| {
            text.parse::<Version>().map_err(|source| Error::library("no release can be described", source))
        };
        let description =
            Description::new(version(&self.version)?, version(MIN_FROM)?, self.root.hash, self.root.blocks, files);
        let key = SigningKey::from_bytes(&keys.seed("release")?);
        let (bytes, signature) =
            description.sign(&key).map_err(|source| Error::library("the release cannot be described", source))?;
        for (name, content) in [(release::NAME, bytes.as_slice()), (release::SIGNATURE_NAME, signature.as_bytes())] {
            let to = folder.join(name);
            fs::write(&to, content).on("write", &to)?;
        }
        Ok(())
    }
}

/// The empty file system for data partitions.
fn data_template(cache: &Cache) -> Result<Vec<u8>> {
    let scratch = cache.scratch("data-template")?;
    let template = aios_image::data::template(&scratch)
        .map_err(|source| Error::library("the data partition's file system cannot be made", source))?;
    cache::remove_tree(&scratch)?;
    Ok(template)
}

/// The signed policy of `rootfs/policy`.
fn policy_bundle(keys: &Keys) -> Result<Vec<u8>> {
    let mut sources = Vec::new();
    for name in project::list("rootfs/policy")? {
        let text = project::read(&format!("rootfs/policy/{name}"))?;
        sources.push((name, text));
    }
    let sources = sources.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    aios_policy::pack(sources, &keys.seed("policy")?)
        .map_err(|source| Error::library("rootfs/policy is no policy", source))
}
