//! Building, reading and using a hash tree.

use aios_ids::Digest;
use alloc::vec;
use alloc::vec::Vec;
use sha2::{Digest as _, Sha256};

use crate::{BLOCK, BLOCKS_LIMIT, SALT, levels, tree_bytes};

/// A whole tree whose every hash leads up to its root hash.
///
/// Having one proves that its leaves belong to the root hash. It proves nothing of the data until [`Tree::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    root: Digest,
    blocks: u64,
    bytes: Vec<u8>,
}

/// Takes data blocks in order and ends in their tree.
#[derive(Debug, Default)]
pub struct TreeBuilder {
    leaves: Vec<u8>,
}

/// The bytes are not the tree of this root hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// No data at all, or more than a slot holds.
    #[error("a root of {blocks} blocks cannot be verified: it must have 1 to {BLOCKS_LIMIT}")]
    Blocks {
        /// How many were claimed.
        blocks: u64,
    },
    /// Too short or too long.
    #[error("the hash tree of {blocks} blocks has {expected} bytes, these are {found}")]
    Size {
        /// Of the data.
        blocks: u64,
        /// What the number of blocks gives.
        expected: u64,
        /// What was read.
        found: u64,
    },
    /// A hash block is not the one its parent or the root hash names.
    #[error("block {block} of the hash tree does not belong to root hash {root}")]
    Node {
        /// Counted from the tree's first byte.
        block: u64,
        /// The hash it should lead to.
        root: Digest,
    },
}

/// A data block is not the one in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrongBlock {
    /// Its bytes differ.
    #[error("block {block} does not match the hash tree")]
    Content {
        /// Its number.
        block: u64,
    },
    /// The tree ends before it, or it is not 4096 bytes.
    #[error("there is no block {block} of {length} bytes in a tree over {blocks} blocks")]
    Outside {
        /// Its number.
        block: u64,
        /// How many bytes were given.
        length: usize,
        /// How many the tree covers.
        blocks: u64,
    },
}

impl TreeBuilder {
    /// Takes the next block.
    pub fn push(&mut self, block: &[u8; BLOCK]) {
        self.leaves.extend_from_slice(&salted(block));
    }

    /// The tree over everything that was pushed.
    pub fn finish(self) -> Result<Tree, TreeError> {
        let blocks = (self.leaves.len() / 32) as u64;
        if blocks == 0 || blocks > BLOCKS_LIMIT {
            return Err(TreeError::Blocks { blocks });
        }
        let mut hashes = self.leaves;
        let mut stored: Vec<Vec<u8>> = Vec::new();
        while hashes.len() > 32 {
            hashes.resize(hashes.len().next_multiple_of(BLOCK), 0);
            let above = hashes.chunks_exact(BLOCK).flat_map(salted).collect();
            stored.push(core::mem::replace(&mut hashes, above));
        }
        let mut root = [0; 32];
        root.copy_from_slice(&hashes);
        stored.reverse();
        Ok(Tree { root: Digest::from_bytes(root), blocks, bytes: stored.concat() })
    }
}

impl Tree {
    /// The tree over `data`, whose last block is filled up with zeros.
    pub fn over(data: &[u8]) -> Result<Self, TreeError> {
        let mut builder = TreeBuilder::default();
        let mut block = [0; BLOCK];
        for chunk in data.chunks(BLOCK) {
            block.fill(0);
            block[..chunk.len()].copy_from_slice(chunk);
            builder.push(&block);
        }
        builder.finish()
    }

    /// Reads a stored tree and checks every hash block against the one above it, up to `root`.
    ///
    /// With one data block the tree is empty and nothing is checked here: the leaf is the root hash itself.
    pub fn read(root: Digest, blocks: u64, bytes: Vec<u8>) -> Result<Self, TreeError> {
        if blocks == 0 || blocks > BLOCKS_LIMIT {
            return Err(TreeError::Blocks { blocks });
        }
        let expected = tree_bytes(blocks);
        let found = bytes.len() as u64;
        if found != expected {
            return Err(TreeError::Size { blocks, expected, found });
        }
        let mut sizes: Vec<u64> = levels(blocks).collect();
        sizes.reverse();
        let mut parents = vec![*root.as_bytes()];
        let mut number = 0;
        let mut rest = bytes.as_slice();
        for size in sizes {
            // The sizes add up to the length, checked above.
            let (level, below) = rest.split_at(size as usize * BLOCK);
            for (node, parent) in level.chunks_exact(BLOCK).zip(&parents) {
                if salted(node) != *parent {
                    return Err(TreeError::Node { block: number, root });
                }
                number += 1;
            }
            parents = level.as_chunks::<32>().0.to_vec();
            rest = below;
        }
        Ok(Self { root, blocks, bytes })
    }

    /// The root hash.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// How many data blocks it covers.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The stored form, top level first.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether `block` is the data block with this number.
    pub fn check(&self, number: u64, block: &[u8]) -> Result<(), WrongBlock> {
        let Some(leaf) = self.leaf(number).filter(|_| block.len() == BLOCK) else {
            return Err(WrongBlock::Outside { block: number, length: block.len(), blocks: self.blocks });
        };
        if salted(block) == *leaf { Ok(()) } else { Err(WrongBlock::Content { block: number }) }
    }

    fn leaf(&self, number: u64) -> Option<&[u8; 32]> {
        if number >= self.blocks {
            return None;
        }
        match levels(self.blocks).next() {
            None => Some(self.root.as_bytes()),
            Some(leaf_blocks) => {
                let level = &self.bytes[self.bytes.len() - leaf_blocks as usize * BLOCK..];
                level.as_chunks::<32>().0.get(number as usize)
            }
        }
    }
}

fn salted(block: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(SALT).chain_update(block).finalize().into()
}
