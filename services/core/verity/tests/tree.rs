//! Trees against themselves and against `veritysetup`.

use std::process::Command;

use aios_verity::{BLOCK, SALT, Tree, TreeError, WrongBlock, tree_bytes};
use proptest::prelude::*;

/// `blocks` blocks, each different from the others.
fn data(blocks: usize) -> Vec<u8> {
    (0..blocks).flat_map(|number| (0..BLOCK).map(move |at| (number * 31 + at * 7 + number / 256) as u8)).collect()
}

#[test]
fn a_tree_of_one_block_is_the_blocks_hash() {
    let tree = Tree::over(&data(1)).expect("one block");
    assert!(tree.bytes().is_empty());
    assert_eq!(tree.check(0, &data(1)), Ok(()));
    assert_eq!(tree.check(0, &data(2)[BLOCK..]), Err(WrongBlock::Content { block: 0 }));
}

/// The root hash of 300 blocks as `veritysetup` 2.6 computed it: two levels' worth of order and padding.
#[test]
fn the_root_hash_is_veritysetups() {
    let tree = Tree::over(&data(300)).expect("300 blocks");
    assert_eq!(tree.root().to_string(), "bf71b7cf199fcee22f2284608268601b0a965d907f055ab737c3900c1fe73a2d");
    assert_eq!(tree.bytes().len() as u64, tree_bytes(300));
}

#[test]
fn veritysetup_accepts_what_is_built() {
    if Command::new("veritysetup").arg("--version").output().is_err() {
        eprintln!("skipped: veritysetup is not installed");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let salt: String = SALT.iter().map(|byte| format!("{byte:02x}")).collect();
    for blocks in [2, 128, 129, 300, 16385] {
        let tree = Tree::over(&data(blocks)).expect("a tree");
        let (data_file, ours, theirs) =
            (folder.path().join("data"), folder.path().join("ours"), folder.path().join("theirs"));
        std::fs::write(&data_file, data(blocks)).expect("data");
        std::fs::write(&ours, tree.bytes()).expect("tree");
        let _ = std::fs::remove_file(&theirs);
        let run = |verb: &str, hashes: &std::path::Path| {
            let mut command = Command::new("veritysetup");
            command.args([verb, "--no-superblock", "--format=1", "--hash=sha256", "--data-block-size=4096"]);
            command.args(["--hash-block-size=4096", &format!("--salt={salt}")]);
            command.arg(format!("--data-blocks={blocks}")).arg(&data_file).arg(hashes);
            if verb == "verify" {
                command.arg(tree.root().to_string());
            }
            let output = command.output().expect("veritysetup runs");
            assert!(output.status.success(), "{verb} {blocks}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("text")
        };
        run("verify", &ours);
        assert!(run("format", &theirs).contains(&tree.root().to_string()));
        assert!(std::fs::read(&theirs).expect("their tree").starts_with(tree.bytes()), "{blocks}");
    }
}

#[test]
fn a_wrong_size_is_refused() {
    let tree = Tree::over(&data(129)).expect("a tree");
    let short = tree.bytes()[..tree.bytes().len() - 1].to_vec();
    assert!(matches!(Tree::read(tree.root(), 129, short), Err(TreeError::Size { .. })));
    assert!(matches!(Tree::read(tree.root(), 0, Vec::new()), Err(TreeError::Blocks { blocks: 0 })));
    assert!(matches!(Tree::read(tree.root(), u64::MAX, Vec::new()), Err(TreeError::Blocks { .. })));
    assert!(matches!(tree.check(129, &[0; BLOCK]), Err(WrongBlock::Outside { .. })));
    assert!(matches!(tree.check(0, &[0; 100]), Err(WrongBlock::Outside { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_flipped_byte_is_found(blocks in 1_usize..200, at: prop::sample::Index, bit in 0_u8..8) {
        let data = data(blocks);
        let tree = Tree::over(&data).expect("a tree");
        let mut stored = tree.bytes().to_vec();
        prop_assert_eq!(Tree::read(tree.root(), blocks as u64, stored.clone()), Ok(tree.clone()));
        if !stored.is_empty() {
            let place = at.index(stored.len());
            stored[place] ^= 1 << bit;
            let refused = matches!(Tree::read(tree.root(), blocks as u64, stored), Err(TreeError::Node { .. }));
            prop_assert!(refused);
        }
        let mut changed = data.clone();
        let place = at.index(changed.len());
        changed[place] ^= 1 << bit;
        for (number, block) in changed.chunks(BLOCK).enumerate() {
            prop_assert_eq!(tree.check(number as u64, block).is_ok(), number != place / BLOCK);
        }
    }

    #[test]
    fn reading_foreign_bytes_never_panics(blocks in 0_u64..400, bytes in prop::collection::vec(any::<u8>(), 0..20_000)) {
        let _ = Tree::read(aios_ids::Digest::of(b"x"), blocks, bytes);
    }
}
