//! Applying a release: into the other slot first, and into the boot menu last.
//!
//! Power may fail at any write. Until the last rename the loader starts what it started before; from then on it tries
//! the new release. In between, the entries of the slot that is overwritten are gone, so that nothing half written can
//! be started. An update that was cut off is simply applied again.

use std::io;

use aios_ids::Digest;
use aios_image::gpt::{Geometry, GptError, Table, Write};
use aios_image::layout::{self, Layout, LayoutError, Part};
use aios_image::medium::Medium;
use aios_image::release::{self, Release, ReleaseError, ReleaseKey};
use aios_image::slot::{self, SlotError};
use aios_slots::{Slot, Version, plan_update};
use aios_verity::{Tree, TreeError};
use serde::Serialize;

use crate::entries::Entries;
use crate::source::{Source, SourceError};

/// The largest kernel image that is taken: an EFI system partition holds three.
const UKI_LIMIT: u64 = 128 << 20;

/// What runs now.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) version: Version,
    pub(crate) root: Digest,
}

/// The disk that is updated.
pub(crate) struct Target<M, E> {
    pub(crate) disk: M,
    pub(crate) geometry: Geometry,
    pub(crate) entries: E,
}

/// What an update did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Applied {
    /// The release that is tried at the next start.
    pub(crate) version: String,
    /// Its root hash.
    pub(crate) root: Digest,
    /// The slot it is in.
    pub(crate) slot: String,
    /// Its boot entry.
    pub(crate) entry: String,
}

/// The update did not happen; what runs is started again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Release(#[from] ReleaseError),
    #[error("the release's hash tree cannot be used")]
    Tree(#[from] TreeError),
    #[error("the release is refused")]
    Refused(#[from] aios_slots::SlotError),
    #[error("the disk's partitions cannot be used")]
    Layout(#[from] LayoutError),
    #[error("the disk's partition table cannot be used")]
    Table(#[from] GptError),
    #[error("no slot of this disk has the root that runs, so the other one is not known")]
    NoSlot,
    #[error("the release did not get into slot {slot}")]
    Slot {
        slot: Slot,
        #[source]
        source: SlotError,
    },
    #[error("cannot {doing} on the EFI system partition")]
    Entry {
        doing: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Applies the release of `source`.
pub(crate) fn apply(
    target: &Target<impl Medium, impl Entries>,
    source: &Source,
    key: &ReleaseKey,
    running: &Running,
    mut say: impl FnMut(&str),
) -> Result<Applied, ApplyError> {
    // Everything that can be refused is refused before the first write.
    let release = describe(source, key)?;
    let entry = |doing| move |source| ApplyError::Entry { doing, source };
    let names = target.entries.list().map_err(entry("list the boot entries"))?;
    let plan = plan_update(&running.version, &release.version, &release.min_from, &names)?;
    let mut table = Table::read(&target.disk, target.geometry)?;
    let places = Layout::of(&table, target.geometry)?;
    let slot = layout::slot_of(&table, &running.root).ok_or(ApplyError::NoSlot)?.other();
    say(&format!("fetching release {}", release.version));
    let fetch = |name, entry: &release::FileEntry, limit| {
        let bytes = source.read(name, entry.size.min(limit))?;
        entry.check(name, &bytes)?;
        Ok::<_, ApplyError>(bytes)
    };
    let tree = fetch(release::TREE, &release.files.tree, u64::MAX)?;
    let tree = Tree::read(release.root_hash, release.blocks, tree)?;
    let uki = fetch(release::UKI, &release.files.uki, UKI_LIMIT)?;
    let mut root = source.open(release::ROOT, release.files.root.size)?;

    // From here on the release before this one cannot be gone back to.
    for name in &plan.remove {
        target.entries.remove(name).map_err(entry("remove an old boot entry"))?;
    }
    layout::vacate(&mut table, slot);
    table.write(&target.disk, target.geometry, Write::Change)?;
    say(&format!("writing slot {slot}"));
    let failed = |source| ApplyError::Slot { slot, source };
    let (place, hashes) = (places.place(Part::Root(slot)), places.place(Part::Tree(slot)));
    slot::write(&target.disk, place, hashes, &tree, &mut root, |_| ()).map_err(failed)?;
    say(&format!("reading slot {slot} back"));
    slot::check(&target.disk, place, hashes, &tree).map_err(failed)?;
    layout::occupy(&mut table, slot, &release.version, &release.root_hash);
    table.write(&target.disk, target.geometry, Write::Change)?;
    // The pointer, last.
    target.entries.add(&plan.add, &uki).map_err(entry("add the new boot entry"))?;
    Ok(Applied {
        version: release.version.to_string(),
        root: release.root_hash,
        slot: slot.to_string(),
        entry: plan.add.to_string(),
    })
}

/// What a source offers to the running release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Offer {
    /// The release that is there.
    pub(crate) version: String,
    /// Its root hash.
    pub(crate) root: Digest,
    /// Why it cannot be applied now; none when it can.
    pub(crate) refused: Option<String>,
}

/// Looks at what a source offers. Nothing is written, and nothing but the signed description is fetched.
pub(crate) fn look(
    entries: &impl Entries,
    source: &Source,
    key: &ReleaseKey,
    running: &Running,
) -> Result<Offer, ApplyError> {
    let release = describe(source, key)?;
    let names = entries.list().map_err(|source| ApplyError::Entry { doing: "list the boot entries", source })?;
    let refused = plan_update(&running.version, &release.version, &release.min_from, &names).err();
    Ok(Offer {
        version: release.version.to_string(),
        root: release.root_hash,
        refused: refused.map(|reason| reason.to_string()),
    })
}

/// The description of a source's release, if the release key signed it.
fn describe(source: &Source, key: &ReleaseKey) -> Result<Release, ApplyError> {
    let signature = source.read(release::SIGNATURE_NAME, 1024)?;
    let signature = str::from_utf8(&signature).map_err(|_| ReleaseError::SignatureForm)?;
    Ok(Release::verify(&source.read(release::NAME, release::LIMIT as u64)?, signature, key)?)
}

#[cfg(test)]
mod tests;
