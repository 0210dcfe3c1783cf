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

/// Where the hashes of complete subtrees are kept: level 0 holds the leaves, each level above the pairs of the one below.
pub trait Nodes {
    /// Why a hash cannot be had.
    type Error;

    /// The hash at `place` of the complete subtrees that span `1 << level` entries.
    fn node(&self, level: u32, place: u64) -> Result<Digest, Self::Error>;

    /// The hashes of `count` of them that lie side by side.
    fn row(&self, level: u32, first: u64, count: u64) -> Result<Vec<Digest>, Self::Error> {
        (first..first + count).map(|place| self.node(level, place)).collect()
    }
}

/// The root of the first `size` entries.
pub fn root_of<N: Nodes>(nodes: &N, size: u64) -> Result<Digest, N::Error> {
    range(nodes, 0, size)
}

/// The hashes that lead from entry `index` to the root of the first `size` entries, which must include it.
pub fn inclusion_of<N: Nodes>(nodes: &N, index: u64, size: u64) -> Result<Vec<Digest>, N::Error> {
    let (mut begin, mut end) = (0, size);
    let mut path = Vec::new();
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        if index < middle {
            path.push(range(nodes, middle, end)?);
            end = middle;
        } else {
            path.push(range(nodes, begin, middle)?);
            begin = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The hash over the entries from `begin` to `end`, a range that the recursion of RFC 6962 makes.
fn range<N: Nodes>(nodes: &N, begin: u64, end: u64) -> Result<Digest, N::Error> {
    let width = end - begin;
    if width == 0 {
        return Ok(Digest::of(b""));
    }
    if width.is_power_of_two() && begin.is_multiple_of(width) {
        let level = width.trailing_zeros();
        return nodes.node(level, begin >> level);
    }
    let middle = begin + split(width);
    Ok(node_hash(&range(nodes, begin, middle)?, &range(nodes, middle, end)?))
}

/// The place of a hash among all that growing a tree makes, in the order in which [`Frontier::push`] makes them.
pub fn node_position(level: u32, place: u64) -> u64 {
    // It is made with the last leaf below it, after that leaf's own hash and one for each level between.
    let leaf = ((place + 1) << level) - 1;
    nodes_of(leaf) + u64::from(level)
}

/// How many hashes a tree of `size` entries has.
pub fn nodes_of(size: u64) -> u64 {
    2 * size - u64::from(size.count_ones())
}

/// All hashes of a tree in memory.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    levels: Vec<Vec<Digest>>,
}

impl Nodes for Tree {
    type Error = TreeError;

    fn node(&self, level: u32, place: u64) -> Result<Digest, TreeError> {
        self.subtree(level as usize, place).ok_or(TreeError::Beyond { index: place << level, size: self.size() })
    }
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

    /// The hash at `place` of the complete subtrees that span `1 << level` entries.
    pub fn subtree(&self, level: usize, place: u64) -> Option<Digest> {
        self.levels.get(level)?.get(usize::try_from(place).ok()?).copied()
    }

    /// The root of the whole tree.
    pub fn root(&self) -> Digest {
        self.root_at(self.size()).expect("a tree has its own hashes")
    }

    /// The root of the tree when it had `size` entries; absent when it never had so many.
    pub fn root_at(&self, size: u64) -> Option<Digest> {
        if size > self.size() { None } else { root_of(self, size).ok() }
    }

    /// The hashes that lead from entry `index` to the root of the first `size` entries.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, TreeError> {
        if index >= size || size > self.size() {
            return Err(TreeError::Beyond { index, size: size.min(self.size()) });
        }
        inclusion_of(self, index, size)
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
                path.push(range(self, middle, end)?);
                end = middle;
            } else {
                path.push(range(self, begin, middle)?);
                begin = middle;
            }
        }
        // A subtree that begins at 0 is the smaller tree's own root, which the other side has.
        if begin > 0 {
            path.push(range(self, begin, end)?);
        }
        path.reverse();
        Ok(path)
    }
}

/// The right edge of a tree: enough to grow it and to know its root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// The roots of the complete subtrees that the tree falls into, the largest first.
    peaks: Vec<Digest>,
}

impl Frontier {
    /// The edge of a tree of `size` entries whose hashes are kept in `nodes`.
    pub fn of<N: Nodes>(nodes: &N, size: u64) -> Result<Self, N::Error> {
        let mut peaks = Vec::new();
        for level in (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1) {
            peaks.push(nodes.node(level, (size >> level) - 1)?);
        }
        Ok(Self { size, peaks })
    }

    /// How many entries the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds an entry's hash at the end and gives `made` each hash that is complete with it, the entry's own first.
    pub fn push_with(&mut self, leaf: Digest, mut made: impl FnMut(Digest)) {
        let mut hash = leaf;
        made(hash);
        for _ in 0..self.size.trailing_ones() {
            let left = self.peaks.pop().expect("there is a peak for each bit of the size");
            hash = node_hash(&left, &hash);
            made(hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// Adds an entry's hash at the end.
    pub fn push(&mut self, leaf: Digest) {
        self.push_with(leaf, |_| {});
    }

    /// The root of the tree.
    pub fn root(&self) -> Digest {
        self.root_before(&Self::default())
    }

    /// The root of this tree, each of whose leaves stands for a subtree of one width, followed by a smaller `rest`.
    pub fn root_before(&self, rest: &Self) -> Digest {
        let peaks = self.peaks.iter().chain(&rest.peaks).rev().copied();
        peaks.reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(|| Digest::of(b""))
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
