//! One version of the whole system: kernel, root, and what firmware starts.

use std::fs;
use std::path::{Path, PathBuf};

use aios_ids::Digest;

use crate::cache::{Cache, timed};
use crate::error::{OnFile, Result};
use crate::files_list::{FilesList, Made, Staged};
use crate::kernel::{self, Kernel};
use crate::keys::Keys;
use crate::programs::Programs;
use crate::root::{self, Root};
use crate::uki;

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
    /// It ends at once, so the kernel panics: for tests of what comes after that.
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
        made.insert("os-release", uki::os_release(version).into_bytes());
        for (name, key) in [("release-key", "release"), ("policy-key", "policy")] {
            let path = keys.public(key);
            made.insert(name, fs::read(&path).on("read", &path)?);
        }
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

    /// The root hash that the release's command line seals.
    pub(crate) fn root_hash(&self) -> Digest {
        self.root.hash
    }

    /// Fills `folder` with the release: its files, their description and its signature.
    pub(crate) fn write_release(&self, _keys: &Keys, folder: &Path) -> Result<()> {
        for (name, path) in [
            ("root.erofs", &self.root.image),
            ("root.verity", &self.root.tree),
            ("aios.efi", &self.uki),
            ("recovery.efi", &self.recovery),
            ("loader.efi", &self.loader),
        ] {
            fs::copy(path, folder.join(name)).on("copy", path)?;
        }
        Ok(())
    }
}
