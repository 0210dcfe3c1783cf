//! The hash tree of a release's root: what the kernel's dm-verity checks every block against.
//!
//! Format 1, SHA-256, data and hash blocks of 4096 bytes, the salt in front, no superblock, levels stored from the top:
//! the bytes that `veritysetup format --no-superblock` writes. The image builder makes a [`Tree`]; the installer, the
//! updater and recovery read one back, and a tree that they hold has been checked against its root hash down to the
//! leaves, so each block of a download can be judged alone, before it is written.
//!
//! It is not the kernel's verifier and holds no device: blocks come in as bytes. The salt is the same in all releases,
//! so that equal blocks of two releases have equal leaves.

#![no_std]
extern crate alloc;

mod tree;

pub use tree::{Tree, TreeBuilder, TreeError, WrongBlock};

use aios_ids::Digest;
use alloc::format;
use alloc::string::String;

/// Bytes in one block, of data and of hashes.
pub const BLOCK: usize = 4096;

/// Hashes in one block of the tree.
const FANOUT: u64 = (BLOCK / 32) as u64;

/// The largest root that a slot holds: 2 GiB.
pub const BLOCKS_LIMIT: u64 = (2 << 30) / BLOCK as u64;

/// The salt of every release: SHA-256 of `aios dm-verity salt 1`. Public; it only has to stay the same.
pub const SALT: [u8; 32] = [
    0xc9, 0x37, 0xc7, 0xb7, 0xf1, 0x4f, 0x9a, 0xb9, 0xd5, 0x58, 0x1c, 0xba, 0x2d, 0x76, 0xd8, 0x47, 0xe1, 0xba, 0x5f,
    0xdf, 0x3a, 0x5c, 0xb9, 0xea, 0x4f, 0xbd, 0x3c, 0x32, 0xf9, 0x13, 0x02, 0xed,
];

/// How many bytes the tree over `blocks` data blocks takes.
pub fn tree_bytes(blocks: u64) -> u64 {
    levels(blocks).sum::<u64>() * BLOCK as u64
}

/// The number of hash blocks in each level, leaves first. One data block or none needs no level at all: its own hash is
/// the root hash.
fn levels(blocks: u64) -> impl Iterator<Item = u64> {
    let mut below = blocks;
    core::iter::from_fn(move || {
        if below <= 1 {
            return None;
        }
        below = below.div_ceil(FANOUT);
        Some(below)
    })
}

/// The parameters of the device-mapper target `verity` for a root on `data` with its tree at the start of `hashes`.
pub fn target_parameters(data: &str, hashes: &str, blocks: u64, root: &Digest) -> String {
    let salt = Digest::from_bytes(SALT);
    format!("1 {data} {hashes} {BLOCK} {BLOCK} {blocks} 0 sha256 {root} {salt}")
}

/// The PARTUUID of the partition that holds the root with this hash: the hash's first 128 bits, digit for digit.
pub fn root_partuuid(root: &Digest) -> String {
    uuid_text(&format!("{root}")[..32])
}

/// The PARTUUID of the partition that holds the tree with this root hash: the hash's last 128 bits, digit for digit.
pub fn tree_partuuid(root: &Digest) -> String {
    uuid_text(&format!("{root}")[32..])
}

fn uuid_text(digits: &str) -> String {
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_salt_is_the_digest_of_its_sentence() {
        assert_eq!(Digest::of(b"aios dm-verity salt 1"), Digest::from_bytes(SALT));
    }

    #[test]
    fn the_tree_has_the_kernels_size() {
        for (blocks, expected) in [(0, 0), (1, 0), (2, 1), (128, 1), (129, 3), (16384, 129), (16385, 132)] {
            assert_eq!(tree_bytes(blocks), expected * BLOCK as u64, "{blocks}");
        }
        assert!(tree_bytes(BLOCKS_LIMIT) < 64 << 20, "the largest root's tree fits its partition");
    }

    #[test]
    fn partition_ids_keep_the_digits() {
        let root = Digest::of(b"");
        assert_eq!(root_partuuid(&root), "e3b0c442-98fc-1c14-9afb-f4c8996fb924");
        assert_eq!(tree_partuuid(&root), "27ae41e4-649b-934c-a495-991b7852b855");
    }
}
