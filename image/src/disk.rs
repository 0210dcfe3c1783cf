//! An installed disk as an image file, made without mounting anything.
//!
//! The same layout, file system and slot code as the installer's, in the same order; only the data partition is filled
//! by tools of the build machine instead of the kernel.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use aios_slots::Slot;
use aios_verity::{Tree, TreeError};

use crate::data::{self, DataError, SeedFile};
use crate::esp::{self, Programs};
use crate::fat::FatError;
use crate::gpt::{GptError, Write};
use crate::guid::Guid;
use crate::layout::{self, Layout, LayoutError, Part};
use crate::release::{self, Release, ReleaseError, ReleaseKey};
use crate::slot::{self, SlotError};

/// Sectors of a disk image.
const SECTOR: u32 = 512;

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
    /// qemu-img.
    #[error("qemu-img cannot make '{}': {text}", path.display())]
    Convert {
        /// The file.
        path: PathBuf,
        /// What it said.
        text: String,
    },
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
            release,
        })
    }
}

/// Writes an installed disk of `bytes` bytes to `out`. `seed` decides every identifier on it: the same seed, release
/// and files give the same image.
pub fn assemble(
    out: &Path,
    bytes: u64,
    payload: &Payload,
    files: &[SeedFile],
    seed: &[u8; 32],
) -> Result<(), DiskError> {
    let layout = Layout::plan(bytes, SECTOR)?;
    let at = |source| DiskError::File { path: out.to_owned(), source };
    let file = File::options().read(true).write(true).create(true).truncate(true).open(out).map_err(at)?;
    file.set_len(bytes).map_err(at)?;
    let version = &payload.release.version;
    let mut table = layout.table(seed);
    layout::occupy(&mut table, Slot::A, version, &payload.release.root_hash);
    table.write(&file, layout.geometry, Write::New)?;
    let programs = Programs { loader: &payload.loader, uki: &payload.uki, recovery: &payload.recovery };
    let place = layout.place(Part::Esp);
    esp::plan(place, SECTOR, volume_id(seed), &esp::files(version, programs))?.write(&file, place)?;
    let (root, hashes) = (layout.place(Part::Root(Slot::A)), layout.place(Part::Tree(Slot::A)));
    let mut source =
        File::open(&payload.root).map_err(|source| DiskError::File { path: payload.root.clone(), source })?;
    slot::write(&file, root, hashes, &payload.tree, &mut source, |_| ())?;
    drop(file);
    let uuid = Guid::derived(seed, "data file system");
    Ok(data::make(out, layout.place(Part::Data), uuid, files)?)
}

/// The number by which the EFI system partition's file system is told from others.
pub fn volume_id(seed: &[u8; 32]) -> u32 {
    let [a, b, c, d, ..] = Guid::derived(seed, "EFI system partition file system").text_order();
    u32::from_be_bytes([a, b, c, d])
}

/// Makes a disk image of another format, such as `qcow2` or `vhdx`, from a raw one.
pub fn convert(raw: &Path, format: &str, out: &Path) -> Result<(), DiskError> {
    let failed = |text| DiskError::Convert { path: out.to_owned(), text };
    let output = Command::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", format])
        .args([raw, out])
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}
