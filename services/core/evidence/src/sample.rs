//! A small log, always the same, for the tests of all who read logs and for the fuzz targets. No program has it: the feature
//! `sample` is turned on by dependencies of tests alone.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    Checkpoint, Clock, Kind, Record, ResourcePath, SigningKey, Tree, encode_bundle_entry, leaf_hash, tiles_of,
};

/// The name of the log in its checkpoints.
pub const ORIGIN: &str = "example.internal/log";

/// The log's own key.
#[must_use]
pub fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 64], |_| ORIGIN.into()).expect("a good name")
}

/// A key of somebody who gives the log's name.
#[must_use]
pub fn stranger() -> SigningKey {
    SigningKey::from_seed(&[8; 64], |_| ORIGIN.into()).expect("a good name")
}

/// What the first record says: the keys that the rest is signed with.
#[must_use]
pub fn pins(key: &SigningKey) -> Value {
    json!({"key": key.public().ed25519_line(), "key_ml_dsa": key.public().ml_dsa_line()})
}

/// So many records, each a line of the log; the first pins the log's own key, the others say what `payload` gives.
#[must_use]
pub fn entries(size: u64, payload: impl Fn(u64) -> Value) -> Vec<String> {
    let record = |index| {
        let (kind, payload) = if index == 0 { (Kind::Boot, pins(&key())) } else { (Kind::Decision, payload(index)) };
        Record {
            index,
            kind,
            writer: "service:policy-kernel".into(),
            subject: "agent:x".into(),
            action: String::new(),
            digest: None,
            epoch: "none".into(),
            boot: "b".into(),
            at_ms: index,
            wall: 0,
            clock: Clock::Local,
            payload: payload.as_object().expect("an object").clone(),
        }
    };
    (0..size).map(|index| record(index).encode().expect("short")).collect()
}

/// The tree over these entries.
#[must_use]
pub fn tree(entries: &[String]) -> Tree {
    let mut tree = Tree::default();
    entries.iter().for_each(|entry| tree.push(leaf_hash(entry.as_bytes())));
    tree
}

/// What is signed of a tree.
#[must_use]
pub fn head(tree: &Tree) -> Checkpoint {
    Checkpoint { origin: ORIGIN.into(), size: tree.size(), root: tree.root() }
}

/// Every file of an export by its name.
#[must_use]
pub fn export(entries: &[String], key: &SigningKey) -> BTreeMap<String, Vec<u8>> {
    let tree = tree(entries);
    let mut files = BTreeMap::from([
        ("checkpoint".to_owned(), head(&tree).sign(key).into_bytes()),
        ("key".to_owned(), format!("{}\n", key.public()).into_bytes()),
    ]);
    for path in tiles_of(tree.size()) {
        let bytes = match path {
            ResourcePath::Entries { tile } => {
                let (first, width) = (tile.index as usize * 256, tile.width as usize);
                let mut bundle = Vec::new();
                for entry in &entries[first..first + width] {
                    encode_bundle_entry(entry.as_bytes(), &mut bundle);
                }
                bundle
            }
            ResourcePath::Hashes { level, tile } => {
                ResourcePath::hashes(level, tile, &tree, tree.size()).expect("in the tree")
            }
            ResourcePath::Checkpoint | ResourcePath::Key => unreachable!("tiles_of names only tiles"),
        };
        files.insert(path.to_string(), bytes);
    }
    files
}
