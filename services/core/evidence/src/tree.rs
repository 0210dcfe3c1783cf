//! The Merkle tree of RFC 6962 over SHA-256, and its two kinds of proof.
//!
//! [`Tree`] keeps the hash of every complete subtree, level by level, so that roots, proofs and tiles of any size up to
//! its own are read off. It holds hashes only; what was hashed lives elsewhere.

use aios_ids::Digest;
use sha2::{Digest as _, Sha256};

/// The hash of one entry: the prefix keeps an entry from passing for an inner node.
pub fn leaf_hash(entry: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
}

/// The hash of an inner node.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let hash = Sha256::new().chain_update([1]).chain_update(left.as_bytes()).chain_update(right.as_bytes());
    Digest::from_bytes(hash.finalize().into())
}

/// A proof or a question does not fit the tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The entry is beyond the tree.
    #[error("entry {index} is not in a tree of {size} entries")]
    Beyond {
        /// The entry asked for.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// The sizes are in the wrong order or larger than what is kept.
    #[error("there is no proof from a tree of {old} entries to one of {new} in a tree of {size}")]
    Sizes {
        /// The smaller tree.
        old: u64,
        /// The larger tree.
        new: u64,
        /// The size that is kept.
        size: u64,
    },
    /// The proof has too few or too many hashes.
    #[error("the proof has {found} hashes, which is not the number that these sizes need")]
    Length {
        /// How many it has.
        found: usize,
    },
    /// The hashes do not lead to the root.
    #[error("the proof leads to another root")]
    Root,
}

/// Every complete subtree's hash: level 0 holds the leaves, each level above the pairs of the one below.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// How many entries the tree has.
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Adds an entry's hash at the end.
    pub fn push(&mut self, leaf: Digest) {
        let mut hash = leaf;
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let row = &mut self.levels[level];
            row.push(hash);
            if !row.len().is_multiple_of(2) {
                return;
            }
            hash = node_hash(&row[row.len() - 2], &row[row.len() - 1]);
        }
    }

    /// Takes back the newest entries until `size` are left.
    pub fn truncate(&mut self, size: u64) {
        for (level, row) in self.levels.iter_mut().enumerate() {
            row.truncate((size >> level) as usize);
        }
    }

    /// A tree of the same size that keeps only what growing it needs: a few hashes at its right edge.
    pub fn frontier(&self) -> Frontier {
        let size = self.size();
        let peaks = (0..self.levels.len()).rev().filter(|level| size >> level & 1 == 1);
        let peaks = peaks.map(|level| self.levels[level][(size >> level) as usize - 1]).collect();
        Frontier { size, peaks }
    }

    /// The hash at `place` of the complete subtrees that span `1 << level` entries.
    pub fn subtree(&self, level: usize, place: u64) -> Option<Digest> {
        self.levels.get(level)?.get(usize::try_from(place).ok()?).copied()
    }

    /// The root of the whole tree.
    pub fn root(&self) -> Digest {
        self.range(0, self.size())
    }

    /// The root of the tree when it had `size` entries; absent when it never had so many.
    pub fn root_at(&self, size: u64) -> Option<Digest> {
        (size <= self.size()).then(|| self.range(0, size))
    }

    /// The hashes that lead from entry `index` to the root of the first `size` entries.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, TreeError> {
        if index >= size || size > self.size() {
            return Err(TreeError::Beyond { index, size: size.min(self.size()) });
        }
        let (mut begin, mut end) = (0, size);
        let mut path = Vec::new();
        while end - begin > 1 {
            let middle = begin + split(end - begin);
            if index < middle {
                path.push(self.range(middle, end));
                end = middle;
            } else {
                path.push(self.range(begin, middle));
                begin = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// The hashes that show that the first `old` entries of the tree of `new` entries are those of the smaller tree.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, TreeError> {
        if old == 0 || old > new || new > self.size() {
            return Err(TreeError::Sizes { old, new, size: self.size() });
        }
        let (mut begin, mut end) = (0, new);
        let mut path = Vec::new();
        // Descends to the subtree that ends where the smaller tree ended.
        while old != end {
            let middle = begin + split(end - begin);
            if old <= middle {
                path.push(self.range(middle, end));
                end = middle;
            } else {
                path.push(self.range(begin, middle));
                begin = middle;
            }
        }
        // A subtree that begins at 0 is the smaller tree's own root, which the other side has.
        if begin > 0 {
            path.push(self.range(begin, end));
        }
        path.reverse();
        Ok(path)
    }

    /// The hash over the entries from `begin` to `end`, a range that the recursion of RFC 6962 makes.
    fn range(&self, begin: u64, end: u64) -> Digest {
        let width = end - begin;
        if width == 0 {
            return Digest::of(b"");
        }
        if width.is_power_of_two() && begin.is_multiple_of(width) {
            let level = width.trailing_zeros() as usize;
            return self.levels[level][(begin >> level) as usize];
        }
        let middle = begin + split(width);
        node_hash(&self.range(begin, middle), &self.range(middle, end))
    }
}

/// The right edge of a tree: enough to grow it and to know its root.
#[derive(Debug, Clone)]
pub struct Frontier {
    size: u64,
    /// The roots of the complete subtrees that the tree falls into, the largest first.
    peaks: Vec<Digest>,
}

impl Frontier {
    /// How many entries the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds an entry's hash at the end.
    pub fn push(&mut self, leaf: Digest) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            let left = self.peaks.pop().expect("there is a peak for each bit of the size");
            hash = node_hash(&left, &hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root of the tree.
    pub fn root(&self) -> Digest {
        let folded = self.peaks.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
        folded.unwrap_or_else(|| Digest::of(b""))
    }
}

/// The largest power of two below `width`, which is at least 2.
fn split(width: u64) -> u64 {
    1 << (u64::BITS - 1 - (width - 1).leading_zeros())
}

/// Whether `path` leads from `leaf` at `index` to the root of a tree of `size` entries.
pub fn verify_inclusion(leaf: Digest, index: u64, size: u64, path: &[Digest], root: &Digest) -> Result<(), TreeError> {
    if index >= size {
        return Err(TreeError::Beyond { index, size });
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for step in path {
        if last == 0 {
            return Err(TreeError::Length { found: path.len() });
        }
        if node % 2 == 1 || node == last {
            hash = node_hash(step, &hash);
            while node % 2 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, step);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(TreeError::Length { found: path.len() });
    }
    if hash == *root { Ok(()) } else { Err(TreeError::Root) }
}

/// Whether `path` shows that the tree of `old` entries with `old_root` is the beginning of the one of `new` entries.
pub fn verify_consistency(
    old: u64,
    new: u64,
    path: &[Digest],
    old_root: &Digest,
    new_root: &Digest,
) -> Result<(), TreeError> {
    let wrong_length = TreeError::Length { found: path.len() };
    if old == 0 || old > new {
        return Err(TreeError::Sizes { old, new, size: new });
    }
    if old == new {
        if !path.is_empty() {
            return Err(wrong_length);
        }
        return if old_root == new_root { Ok(()) } else { Err(TreeError::Root) };
    }
    let (mut node, mut last) = (old - 1, new - 1);
    let skipped = node.trailing_ones();
    node >>= skipped;
    last >>= skipped;
    let mut steps = path.iter();
    let start = if node == 0 { old_root } else { steps.next().ok_or(wrong_length.clone())? };
    let (mut old_hash, mut new_hash) = (*start, *start);
    for step in steps {
        if last == 0 {
            return Err(wrong_length);
        }
        if node % 2 == 1 || node == last {
            old_hash = node_hash(step, &old_hash);
            new_hash = node_hash(step, &new_hash);
            while node % 2 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, step);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(wrong_length);
    }
    if old_hash == *old_root && new_hash == *new_root { Ok(()) } else { Err(TreeError::Root) }
}
