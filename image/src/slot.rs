//! One release's root and hash tree in a slot.
//!
//! Every block is judged by the tree before it is written and again after it is read back. A slot that was written and
//! checked holds the release; it says nothing about which release the loader starts.

use std::io::{self, Read};

use aios_verity::{BLOCK, Tree, WrongBlock};

use crate::layout::Place;
use crate::medium::Medium;

/// Blocks that are read or written at once: 1 MiB.
const RUN: usize = 256;

/// A release's root did not get into its slot.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The slot is smaller than the release.
    #[error("the {what} has {needed} bytes and its partition has {room}")]
    Room {
        /// Root or hash tree.
        what: &'static str,
        /// What the release has.
        needed: u64,
        /// What the partition has.
        room: u64,
    },
    /// The source ended or failed.
    #[error("cannot read block {block} of the root from its source")]
    Source {
        /// The first block that is missing.
        block: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The source has other bytes than the release.
    #[error("the source of the root is not the signed release")]
    Content(#[source] WrongBlock),
    /// The partition could not be written.
    #[error("cannot write the {what} to its partition")]
    Write {
        /// Root or hash tree.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The partition could not be read back.
    #[error("cannot read the {what} back from its partition")]
    Read {
        /// Root or hash tree.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The partition has other bytes than were written.
    #[error("the root does not read back as it was written: the disk is faulty")]
    RootReadBack(#[source] WrongBlock),
    /// The same, of the tree.
    #[error("the hash tree does not read back as it was written: the disk is faulty")]
    TreeReadBack,
}

/// Writes `tree` and the root that `source` gives into a slot and waits until both are on the medium.
///
/// A cut at any moment leaves a slot that is not whole; nothing refers to it yet.
pub fn write(
    medium: &impl Medium,
    root: Place,
    hashes: Place,
    tree: &Tree,
    source: &mut impl Read,
    mut progress: impl FnMut(u64),
) -> Result<(), SlotError> {
    room("root", tree.blocks() * BLOCK as u64, root)?;
    room("hash tree", tree.bytes().len() as u64, hashes)?;
    let failed = |what| move |source| SlotError::Write { what, source };
    medium.write_at(hashes.start, tree.bytes()).map_err(failed("hash tree"))?;
    let mut run = vec![0; RUN * BLOCK];
    let mut done = 0;
    while done < tree.blocks() {
        let count = (tree.blocks() - done).min(RUN as u64) as usize;
        let run = &mut run[..count * BLOCK];
        source.read_exact(run).map_err(|source| SlotError::Source { block: done, source })?;
        check_run(tree, done, run).map_err(SlotError::Content)?;
        medium.write_at(root.start + done * BLOCK as u64, run).map_err(failed("root"))?;
        done += count as u64;
        progress(done);
    }
    medium.sync().map_err(failed("root"))
}

/// Reads a root to its end without writing it anywhere.
pub fn check_source(tree: &Tree, source: &mut impl Read) -> Result<(), SlotError> {
    let mut run = vec![0; RUN * BLOCK];
    let mut done = 0;
    while done < tree.blocks() {
        let count = (tree.blocks() - done).min(RUN as u64) as usize;
        let run = &mut run[..count * BLOCK];
        source.read_exact(run).map_err(|source| SlotError::Source { block: done, source })?;
        check_run(tree, done, run).map_err(SlotError::Content)?;
        done += count as u64;
    }
    Ok(())
}

/// Reads a slot from the medium, not from memory, and checks all of it.
pub fn check(medium: &impl Medium, root: Place, hashes: Place, tree: &Tree) -> Result<(), SlotError> {
    let failed = |what| move |source| SlotError::Read { what, source };
    medium.forget().map_err(failed("root"))?;
    let mut stored = vec![0; tree.bytes().len()];
    medium.read_at(hashes.start, &mut stored).map_err(failed("hash tree"))?;
    if stored != tree.bytes() {
        return Err(SlotError::TreeReadBack);
    }
    room("root", tree.blocks() * BLOCK as u64, root)?;
    let mut run = vec![0; RUN * BLOCK];
    let mut done = 0;
    while done < tree.blocks() {
        let count = (tree.blocks() - done).min(RUN as u64) as usize;
        let run = &mut run[..count * BLOCK];
        medium.read_at(root.start + done * BLOCK as u64, run).map_err(failed("root"))?;
        check_run(tree, done, run).map_err(SlotError::RootReadBack)?;
        done += count as u64;
    }
    Ok(())
}

fn check_run(tree: &Tree, first: u64, run: &[u8]) -> Result<(), WrongBlock> {
    (first..).zip(run.chunks_exact(BLOCK)).try_for_each(|(number, block)| tree.check(number, block))
}

fn room(what: &'static str, needed: u64, place: Place) -> Result<(), SlotError> {
    if needed > place.length { Err(SlotError::Room { what, needed, room: place.length }) } else { Ok(()) }
}
