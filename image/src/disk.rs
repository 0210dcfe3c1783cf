//! An installed disk as an image file, made without mounting anything.
//!
//! The same layout, file system and slot code as the installer's, in the same order; only the data partition is filled
//! by tools of the build machine instead of the kernel.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use aios_slots::Slot;
use aios_verity::{Tree, TreeError};

use crate::data::{self, DataError, SeedFile};
use crate::esp::{self, Programs};
use crate::fat::{FatError, FatFile};
use crate::gpt::{GptError, Table, Write};
use crate::guid::Guid;
use crate::layout::{self, Layout, LayoutError, Part};
use crate::medium::Medium;
use crate::release::{self, Release, ReleaseError, ReleaseKey};
use crate::slot::{self, SlotError};

/// The disk that an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Its bytes.
    pub bytes: u64,
    /// Bytes in its sectors, 512 or 4096: a table made for one is unreadable on a disk of the other.
    pub sector: u32,
}

/// The verified files of a release.
#[derive(Debug, Clone)]
pub struct Payload {
    /// What was signed.
    pub release: Release,
    root: PathBuf,
    tree: Tree,
    uki: Vec<u8>,
    recovery: Vec<u8>,
    loader: Vec<u8>,
    shim: Vec<u8>,
    mok_manager: Vec<u8>,
    certificate: Vec<u8>,
}

/// No disk image could be made.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A file of the release or the image.
    #[error("cannot use '{}'", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The release.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// Its hash tree.
    #[error("the release's hash tree cannot be used")]
    Tree(#[from] TreeError),
    /// The disk's size.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The table.
    #[error(transparent)]
    Gpt(#[from] GptError),
    /// The EFI system partition.
    #[error(transparent)]
    Esp(#[from] FatError),
    /// The slot.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The data partition.
    #[error(transparent)]
    Data(#[from] DataError),
}

impl Payload {
    /// Reads a release folder and checks every file but the root, which is checked block by block when it is written.
    pub fn open(folder: &Path, key: &ReleaseKey) -> Result<Self, DiskError> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).map_err(|source| DiskError::File { path, source })
        };
        let signature = String::from_utf8(read(release::SIGNATURE_NAME)?).map_err(|_| ReleaseError::SignatureForm)?;
        let release = Release::verify(&read(release::NAME)?, &signature, key)?;
        let checked = |name: &'static str, entry: &release::FileEntry| {
            let bytes = read(name)?;
            entry.check(name, &bytes)?;
            Ok::<_, DiskError>(bytes)
        };
        let tree = Tree::read(release.root_hash, release.blocks, checked(release::TREE, &release.files.tree)?)?;
        Ok(Self {
            root: folder.join(release::ROOT),
            tree,
            uki: checked(release::UKI, &release.files.uki)?,
            recovery: checked(release::RECOVERY, &release.files.recovery)?,
            loader: checked(release::LOADER, &release.files.loader)?,
            shim: checked(release::SHIM, &release.files.shim)?,
            mok_manager: checked(release::MOK_MANAGER, &release.files.mok_manager)?,
            certificate: checked(release::CERTIFICATE, &release.files.certificate)?,
            release,
        })
    }

    /// Checks that the root's file is the signed one, before a disk is touched.
    pub fn check_root(&self) -> Result<(), DiskError> {
        let opened = File::open(&self.root);
        let mut source = opened.map_err(|source| DiskError::File { path: self.root.clone(), source })?;
        Ok(slot::check_source(&self.tree, &mut source)?)
    }

    fn esp_files(&self) -> Vec<FatFile> {
        let programs = Programs {
            shim: &self.shim,
            mok_manager: &self.mok_manager,
            certificate: &self.certificate,
            loader: &self.loader,
            uki: &self.uki,
            recovery: &self.recovery,
        };
        esp::files(&self.release.version, programs)
    }
}

/// Writes the release to its EFI system partition and slot a. Nothing refers to either before the table is written.
pub fn write_release(
    medium: &impl Medium,
    layout: &Layout,
    payload: &Payload,
    seed: &[u8; 32],
    progress: impl FnMut(u64),
) -> Result<(), DiskError> {
    let place = layout.place(Part::Esp);
    let files = payload.esp_files();
    esp::plan(place, layout.geometry.sector, volume_id(seed), &files)?.write(medium, place)?;
    let (root, hashes) = (layout.place(Part::Root(Slot::A)), layout.place(Part::Tree(Slot::A)));
    let opened = File::open(&payload.root);
    let mut source = opened.map_err(|source| DiskError::File { path: payload.root.clone(), source })?;
    Ok(slot::write(medium, root, hashes, &payload.tree, &mut source, progress)?)
}

/// Reads everything that [`write_release`] wrote from the medium and compares it.
pub fn check_release(
    medium: &impl Medium,
    layout: &Layout,
    payload: &Payload,
    seed: &[u8; 32],
) -> Result<(), DiskError> {
    let place = layout.place(Part::Esp);
    let files = payload.esp_files();
    esp::plan(place, layout.geometry.sector, volume_id(seed), &files)?.check(medium, place)?;
    let (root, hashes) = (layout.place(Part::Root(Slot::A)), layout.place(Part::Tree(Slot::A)));
    Ok(slot::check(medium, root, hashes, &payload.tree)?)
}

/// The table of a disk with the release in slot a.
pub fn table(layout: &Layout, payload: &Payload, seed: &[u8; 32]) -> Table {
    let mut table = layout.table(seed);
    layout::occupy(&mut table, Slot::A, &payload.release.version, &payload.release.root_hash);
    table
}

/// Writes an installed disk of this size to `out`. `seed` decides every identifier on it: the same seed, release
/// and files give the same image.
pub fn assemble(
    out: &Path,
    size: Size,
    payload: &Payload,
    files: &[SeedFile],
    seed: &[u8; 32],
) -> Result<(), DiskError> {
    let layout = Layout::plan(size.bytes, size.sector)?;
    let at = |source| DiskError::File { path: out.to_owned(), source };
    let file = File::options().read(true).write(true).create(true).truncate(true).open(out).map_err(at)?;
    file.set_len(size.bytes).map_err(at)?;
    write_release(&file, &layout, payload, seed, |_| ())?;
    data::make(out, layout.place(Part::Data), data_uuid(seed), files)?;
    Ok(table(&layout, payload, seed).write(&file, layout.geometry, Write::New)?)
}

/// The identity of the data partition's file system.
pub fn data_uuid(seed: &[u8; 32]) -> Guid {
    Guid::derived(seed, "data file system")
}

/// The number by which the EFI system partition's file system is told from others.
fn volume_id(seed: &[u8; 32]) -> u32 {
    let [a, b, c, d, ..] = Guid::derived(seed, "EFI system partition file system").text_order();
    u32::from_be_bytes([a, b, c, d])
}
