//! Hashes and proofs against the published vectors and against each other.

use aios_evidence::{
    Frontier, Tree, TreeError, leaf_hash, node_position, nodes_of, verify_consistency, verify_inclusion,
};
use aios_ids::Digest;
use proptest::prelude::*;

/// The test log of the Certificate Transparency reference implementation.
const LEAVES: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];

const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn grown(size: u64) -> Tree {
    let mut tree = Tree::default();
    (0..size).for_each(|index| tree.push(leaf_hash(&index.to_be_bytes())));
    tree
}

#[test]
fn roots_are_those_of_the_reference_log() {
    let mut tree = Tree::default();
    let mut frontier = Frontier::default();
    assert_eq!(tree.root().to_string(), ROOTS[0]);
    for (leaf, root) in LEAVES.iter().zip(&ROOTS[1..]) {
        tree.push(leaf_hash(leaf));
        frontier.push(leaf_hash(leaf));
        assert_eq!(tree.root().to_string(), *root);
        assert_eq!(frontier.root().to_string(), *root);
    }
    for (size, root) in ROOTS.iter().enumerate() {
        assert_eq!(tree.root_at(size as u64).expect("no larger than the tree").to_string(), *root);
    }
    assert_eq!(tree.root_at(9), None);
}

#[test]
fn a_proof_of_the_reference_log_has_its_hashes() {
    let mut tree = Tree::default();
    LEAVES.iter().for_each(|leaf| tree.push(leaf_hash(leaf)));
    let path: Vec<_> = tree.inclusion(5, 8).expect("in the tree").iter().map(Digest::to_string).collect();
    assert_eq!(
        path,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
}

#[test]
fn a_tree_taken_back_is_the_smaller_tree() {
    let mut tree = grown(300);
    for size in (0..=300).rev() {
        tree.truncate(size);
        assert_eq!((tree.size(), tree.root()), (size, grown(300).root_at(size).expect("smaller")));
        assert_eq!(Frontier::of(&tree, size).expect("its own hashes").root(), tree.root());
    }
}

#[test]
fn hashes_are_made_in_the_order_of_their_positions() {
    let (tree, mut frontier, mut made) = (grown(300), Frontier::default(), Vec::new());
    for index in 0..300u64 {
        frontier.push_with(leaf_hash(&index.to_be_bytes()), |hash| made.push(hash));
        assert_eq!(made.len() as u64, nodes_of(index + 1));
    }
    for level in 0..9 {
        for place in 0..300 >> level {
            let hash = tree.subtree(level as usize, place);
            assert_eq!(made.get(node_position(level, place) as usize).copied(), hash, "{level} {place}");
        }
    }
}

#[test]
fn a_tree_of_full_tiles_and_a_rest_has_the_root_of_all() {
    let (mut tiles, mut tile, tree) = (Frontier::default(), Frontier::default(), grown(1300));
    for index in 0..1300u64 {
        tile.push(leaf_hash(&index.to_be_bytes()));
        if tile.size() == 256 {
            tiles.push(tile.root());
            tile = Frontier::default();
        }
        assert_eq!(Some(tiles.root_before(&tile)), tree.root_at(index + 1));
    }
}

#[test]
fn an_empty_or_larger_tree_proves_nothing() {
    let tree = grown(5);
    assert_eq!(tree.inclusion(5, 5), Err(TreeError::Beyond { index: 5, size: 5 }));
    assert!(tree.inclusion(0, 6).is_err());
    assert!(tree.consistency(0, 5).is_err());
    assert!(tree.consistency(3, 6).is_err());
    assert!(tree.consistency(4, 3).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_entry_is_proved_and_only_in_its_place(size in 1u64..300, at in any::<prop::sample::Index>(), other in 0u64..300) {
        let tree = grown(size);
        let index = at.index(size as usize) as u64;
        let path = tree.inclusion(index, size).expect("in the tree");
        let leaf = leaf_hash(&index.to_be_bytes());
        prop_assert_eq!(verify_inclusion(leaf, index, size, &path, &tree.root()), Ok(()));
        if other != index {
            prop_assert!(verify_inclusion(leaf, other, size, &path, &tree.root()).is_err());
            prop_assert!(verify_inclusion(leaf_hash(&other.to_be_bytes()), index, size, &path, &tree.root()).is_err());
        }
        let mut longer = path.clone();
        longer.push(leaf);
        prop_assert!(verify_inclusion(leaf, index, size, &longer, &tree.root()).is_err());
        if let Some((_, shorter)) = path.split_last() {
            prop_assert!(verify_inclusion(leaf, index, size, shorter, &tree.root()).is_err());
        }
    }

    #[test]
    fn every_smaller_tree_is_proved_and_no_other(new in 1u64..300, at in any::<prop::sample::Index>(), bit in 0usize..256) {
        let tree = grown(new);
        let old = at.index(new as usize) as u64 + 1;
        let path = tree.consistency(old, new).expect("no larger");
        let (old_root, new_root) = (tree.root_at(old).expect("smaller"), tree.root());
        prop_assert_eq!(verify_consistency(old, new, &path, &old_root, &new_root), Ok(()));
        let mut bytes = *old_root.as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(verify_consistency(old, new, &path, &Digest::from_bytes(bytes), &new_root).is_err());
        prop_assert!(verify_consistency(old, new, &path, &old_root, &Digest::from_bytes(bytes)).is_err());
        if let Some((_, shorter)) = path.split_last() {
            prop_assert!(verify_consistency(old, new, shorter, &old_root, &new_root).is_err());
        }
    }

    #[test]
    fn any_hashes_are_judged_without_panic(
        old in any::<u64>(), new in any::<u64>(), path in prop::collection::vec(any::<[u8; 32]>(), 0..70),
    ) {
        let path: Vec<_> = path.into_iter().map(Digest::from_bytes).collect();
        let root = Digest::of(b"");
        prop_assert!(verify_inclusion(root, old, new, &path, &root).is_err() || new == 1);
        let _ = verify_consistency(old, new, &path, &root, &root);
    }
}
