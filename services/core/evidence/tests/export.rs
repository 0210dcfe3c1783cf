//! Damage of every kind to an exported log, and that the verifier names it.

use std::collections::BTreeMap;

use aios_evidence::sample::{export, head, key, stranger, tree};
use aios_evidence::{Fault, InclusionBundle, KeySource, verify_export};
use serde_json::json;

type Files = BTreeMap<String, Vec<u8>>;

fn entries(size: u64) -> Vec<String> {
    aios_evidence::sample::entries(size, |index| json!({"n": index}))
}

fn verify(files: &Files) -> Result<aios_evidence::Report, Fault> {
    verify_export(&|path| files.get(path).cloned().ok_or_else(|| "not there".into()), KeySource::Export)
}

#[test]
fn a_whole_log_is_sound_and_its_files_have_the_names_of_the_format() {
    for size in [1, 2, 255, 256, 257, 600] {
        let files = export(&entries(size), &key());
        let report = verify(&files).expect("sound");
        assert_eq!((report.size, report.boots, report.files), (size, 1, files.len() as u64), "{size}");
    }
    let names: Vec<_> = export(&entries(600), &key()).into_keys().collect();
    assert_eq!(
        names,
        [
            "checkpoint",
            "key",
            "tile/0/000",
            "tile/0/001",
            "tile/0/002.p/88",
            "tile/1/000.p/2",
            "tile/entries/000",
            "tile/entries/001",
            "tile/entries/002.p/88",
        ]
    );
}

/// Every fifth byte; the log's own tests flip bytes of a longer one.
#[test]
fn every_flipped_byte_is_found_and_named() {
    let files = export(&entries(200), &key());
    for (name, bytes) in &files {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let files = &files;
                scope.spawn(move || {
                    let mut files = files.clone();
                    for place in (thread * 5..bytes.len()).step_by(threads * 5) {
                        let flip = 1 << (place % 8);
                        files.get_mut(name).expect("there")[place] ^= flip;
                        check_flip(name, place, &verify(&files).expect_err("a byte is wrong"));
                        files.get_mut(name).expect("there")[place] ^= flip;
                    }
                });
            }
        });
    }
}

fn check_flip(name: &str, place: usize, fault: &Fault) {
    let named = match (name, fault) {
        ("checkpoint", Fault::Checkpoint(_)) => true,
        ("key", Fault::Key { .. } | Fault::Checkpoint(_)) => true,
        ("tile/0/000.p/200", Fault::Hash { path, place: hash }) => path == name && *hash == place as u64 / 32,
        (_, Fault::Entry { path, index, .. }) => path == name && *index == entry_at(place),
        _ => false,
    };
    assert!(named, "byte {place} of {name}: {fault}");
}

/// The entry that byte `place` of the first bundle belongs to.
fn entry_at(place: usize) -> u64 {
    use std::sync::LazyLock;
    static ENDS: LazyLock<Vec<usize>> = LazyLock::new(|| {
        let lengths = entries(200).into_iter().map(|entry| entry.len() + 2);
        lengths
            .scan(0, |end, length| {
                *end += length;
                Some(*end)
            })
            .collect()
    });
    ENDS.partition_point(|end| *end <= place) as u64
}

#[test]
fn what_is_missing_cut_or_too_long_is_named() {
    let whole = export(&entries(600), &key());
    for name in whole.keys() {
        let mut files = whole.clone();
        files.remove(name);
        assert!(matches!(verify(&files), Err(Fault::Unreadable { path, .. }) if path == *name), "{name}");

        let mut files = whole.clone();
        files.get_mut(name).expect("there").pop();
        let fault = verify(&files).expect_err("cut");
        assert!(fault.to_string().contains(name.as_str()) || matches!(name.as_str(), "key"), "{name}: {fault}");

        let mut files = whole.clone();
        files.get_mut(name).expect("there").push(0);
        assert!(verify(&files).is_err(), "{name} with a byte more");
    }
}

#[test]
fn swapped_tiles_are_found() {
    let whole = export(&entries(600), &key());
    for (one, other) in [("tile/0/000", "tile/0/001"), ("tile/entries/000", "tile/entries/001")] {
        let mut files = whole.clone();
        let (a, b) = (whole[one].clone(), whole[other].clone());
        files.insert(one.into(), b);
        files.insert(other.into(), a);
        let fault = verify(&files).expect_err("swapped");
        assert!(fault.to_string().contains(one), "{fault}");
    }
}

#[test]
fn a_checkpoint_counts_only_with_the_signature_of_the_log() {
    let whole = export(&entries(10), &key());
    let note = String::from_utf8(whole["checkpoint"].clone()).expect("text");
    let unsigned = note.split("— ").next().expect("a text").to_owned();
    let stranger = stranger();
    let forged = export(&entries(10), &stranger)["checkpoint"].clone();
    for checkpoint in [unsigned.into_bytes(), forged, b"".to_vec()] {
        let mut files = whole.clone();
        files.insert("checkpoint".into(), checkpoint);
        assert!(matches!(verify(&files), Err(Fault::Checkpoint(_))));
    }
    // A witness's line beside the log's own is none of our business.
    let mut files = whole.clone();
    files.insert("checkpoint".into(), format!("{note}— witness.example AAAAAAAA\n").into_bytes());
    verify(&files).expect("sound");
}

#[test]
fn a_log_forged_as_a_whole_is_found_by_who_knows_the_key() {
    let stranger = stranger();
    let mut log = entries(10);
    let files = export(&log, &stranger);
    assert!(matches!(verify(&files), Err(Fault::FirstRecord)), "the first record pins the key");
    log[0] = log[0].replace(&key().public().ed25519_line(), &stranger.public().ed25519_line());
    log[0] = log[0].replace(&key().public().ml_dsa_line(), &stranger.public().ml_dsa_line());
    let files = export(&log, &stranger);
    verify(&files).expect("consistent in itself");
    let read = |path: &str| files.get(path).cloned().ok_or_else(|| "not there".into());
    assert!(matches!(verify_export(&read, KeySource::Pinned(&key().public().ed25519_line())), Err(Fault::Key { .. })));
}

#[test]
fn an_entry_in_another_place_is_found_although_its_hash_is_signed() {
    let mut log = entries(10);
    log.swap(3, 4);
    assert!(matches!(verify(&export(&log, &key())), Err(Fault::Place { index: 3, says: 4 })));
    let mut log = entries(10);
    log[5].insert(1, ' ');
    assert!(matches!(verify(&export(&log, &key())), Err(Fault::Record { index: 5, .. })));
}

#[test]
fn a_proof_stands_alone() {
    let log = entries(10);
    let key = key();
    let tree = tree(&log);
    let head = head(&tree);
    let path = tree.inclusion(6, 10).expect("in the tree");
    let text = InclusionBundle { index: 6, path, checkpoint: head.sign(&key) }.text();
    let bundle = InclusionBundle::parse(&text).expect("a proof");
    assert_eq!(bundle.verify(log[6].as_bytes(), key.public()).expect("proved"), head);
    assert!(bundle.verify(log[5].as_bytes(), key.public()).is_err());
    let moved = InclusionBundle::parse(&text.replace("index 6", "index 5")).expect("a proof");
    assert!(moved.verify(log[6].as_bytes(), key.public()).is_err());
}
