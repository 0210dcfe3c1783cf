//! Whether a program that shares nothing with ours finds what somebody did to an export: `qa/verify-evidence.py`, plain
//! Python written from the published formats, beside our own verifier, over logs that the real code wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use aios_evidence::{Bundle, KeySource, Kind, tiles_of, verify_export};
use evidence_log::{Draft, Log, Opened, Stamp, open};

/// Enough for three bundles and a second level of tiles.
const ENTRIES: u64 = 600;

/// A log with `entries` entries in a folder of its own, whose keys come from `seed`.
fn log(seed: u8, entries: u64) -> (tempfile::TempDir, Log) {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, opened, _) = open(folder.path(), || Ok([seed; 96])).expect("can be read");
    assert!(matches!(opened, Opened::Ready { .. }), "{opened:?}");
    grow(&log, entries);
    (folder, log)
}

fn grow(log: &Log, to: u64) {
    let draft =
        |kind, payload: String| Draft { kind, action: String::new(), writer: "service:evidence-log".into(), payload };
    let mut drafts = Vec::new();
    if log.size() == 0 {
        let keys = serde_json::json!({"key": log.key().ed25519_line(), "key_ml_dsa": log.key().ml_dsa_line()});
        drafts.push(draft(Kind::Boot, keys.to_string()));
    }
    let next = log.size() + drafts.len() as u64;
    drafts.extend((next..to).map(|number| draft(Kind::UnitEvent, format!("{{\"number\":{number}}}"))));
    let stamp = Stamp { boot: "b".into(), at_ms: 1, wall: 2 };
    for answer in log.append(&drafts, &stamp) {
        answer.expect("written");
    }
}

/// An export of it in a folder.
fn export(log: &Log) -> tempfile::TempDir {
    let out = tempfile::tempdir().expect("a folder");
    let fixed = ["checkpoint", "key"].map(|name| name.parse().expect("a path"));
    for path in fixed.into_iter().chain(tiles_of(log.size())) {
        let file = out.path().join(path.to_string());
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(file, log.resource(path).expect("there")).expect("written");
    }
    out
}

/// The same in one file, as an action keeps it.
fn export_in_one(log: &Log) -> tempfile::NamedTempFile {
    let out = tempfile::NamedTempFile::new().expect("a file");
    assert_eq!(log.export(&out, 1 << 20).expect("exported"), log.size());
    out
}

fn foreign(folder: &Path, options: &[&str]) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../qa/verify-evidence.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(folder).args(options).output().expect("python3 runs")
}

/// Both verifiers say so, in words that name the place.
fn found(what: &str, folder: &Path, options: &[&str], place: &str) {
    let output = foreign(folder, options);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{what}: {said}{}", String::from_utf8_lossy(&output.stdout));
    assert!(said.starts_with("not sound: ") && said.contains(place), "{what}: '{said}' does not name {place}");
}

fn ours(folder: &Path, trust: KeySource<'_>) -> Result<u64, String> {
    let read = |name: &str| fs::read(folder.join(name)).map_err(|error| error.to_string());
    verify_export(&read, trust).map(|report| report.size).map_err(|fault| fault.to_string())
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("readable");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("written");
}

#[test]
fn every_seeded_tampering_is_found_by_both() {
    let (_folder, log) = log(7, ENTRIES);
    let (_other_folder, other) = self::log(8, ENTRIES);
    let key = log.key().ed25519_line();
    let sound = export(&log);
    let stranger = export(&other);
    let output = foreign(sound.path(), &["--key", &key]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("sound: {ENTRIES} entries\n"));
    assert_eq!(ours(sound.path(), KeySource::Pinned(&key)), Ok(ENTRIES));

    type Tampering<'a> = (&'a str, &'a str, Box<dyn Fn(&dyn Fn(&str) -> PathBuf) + 'a>);
    let line = |number: usize| {
        move |file: &dyn Fn(&str) -> PathBuf| {
            let note = fs::read_to_string(file("checkpoint")).expect("readable");
            let kept = note.lines().enumerate().filter(|(at, _)| *at != number).map(|(_, line)| format!("{line}\n"));
            fs::write(file("checkpoint"), kept.collect::<String>()).expect("written");
        }
    };
    let replaced = |name: &'static str, from: String, to: String| {
        move |file: &dyn Fn(&str) -> PathBuf| {
            let text = fs::read_to_string(file(name)).expect("readable");
            assert!(text.contains(&from));
            fs::write(file(name), text.replace(&from, &to)).expect("written");
        }
    };
    let stranger_file = |name: &'static str| {
        let from = stranger.path().join(name);
        move |file: &dyn Fn(&str) -> PathBuf| {
            fs::copy(&from, file(name)).expect("copied");
        }
    };
    let name = log.key().name().to_owned();
    let tamperings: Vec<Tampering<'_>> = vec![
        ("an entry", "entry 0 ", Box::new(|file| flip(&file("tile/entries/000"), 40))),
        ("a later entry", "tile/entries/001", Box::new(|file| flip(&file("tile/entries/001"), 5000))),
        ("an entry's length", "tile/entries/000", Box::new(|file| flip(&file("tile/entries/000"), 1))),
        ("a hash", "tile/0/001", Box::new(|file| flip(&file("tile/0/001"), 77))),
        ("a hash of hashes", "tile/1/000.p/2", Box::new(|file| flip(&file("tile/1/000.p/2"), 3))),
        (
            "a cut bundle",
            "tile/entries/002.p/88",
            Box::new(|file| {
                let bytes = fs::read(file("tile/entries/002.p/88")).expect("readable");
                fs::write(file("tile/entries/002.p/88"), &bytes[..bytes.len() - 9]).expect("written");
            }),
        ),
        ("a missing tile", "tile/0/001", Box::new(|file| fs::remove_file(file("tile/0/001")).expect("removed"))),
        (
            "swapped bundles and their tiles",
            "entry 256",
            Box::new(|file| {
                for folder in ["tile/entries", "tile/0"] {
                    let (one, two) = (file(&format!("{folder}/000")), file(&format!("{folder}/001")));
                    let (first, second) = (fs::read(&one).expect("readable"), fs::read(&two).expect("readable"));
                    fs::write(one, second).expect("written");
                    fs::write(two, first).expect("written");
                }
            }),
        ),
        (
            "an entry without bytes",
            "entry 3",
            Box::new(|file| {
                let bytes = fs::read(file("tile/entries/000")).expect("readable");
                let (mut at, mut out) = (0, Vec::new());
                for index in 0..256 {
                    let length = usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
                    let entry = if index == 3 { &[][..] } else { &bytes[at + 2..at + 2 + length] };
                    out.extend_from_slice(&(entry.len() as u16).to_be_bytes());
                    out.extend_from_slice(entry);
                    at += 2 + length;
                }
                fs::write(file("tile/entries/000"), out).expect("written");
            }),
        ),
        ("no Ed25519 line", "Ed25519", Box::new(line(4))),
        ("no ML-DSA-44 line", "ML-DSA-44", Box::new(line(5))),
        ("another size", "signature", Box::new(replaced("checkpoint", format!("\n{ENTRIES}\n"), "\n599\n".into()))),
        ("another log's name", "checkpoint", Box::new(replaced("checkpoint", name.clone(), format!("{name}0")))),
        ("another log's head", "checkpoint", Box::new(stranger_file("checkpoint"))),
        ("another log's keys", "checkpoint", Box::new(stranger_file("key"))),
        (
            "one key only",
            "key",
            Box::new(|file| {
                let keys = fs::read_to_string(file("key")).expect("readable");
                fs::write(file("key"), keys.lines().next().expect("a line")).expect("written");
            }),
        ),
        (
            "entries of another log behind these",
            "entry 256",
            Box::new(|file| {
                for name in ["tile/entries/001", "tile/0/001"] {
                    fs::copy(stranger.path().join(name), file(name)).expect("copied");
                }
                // Its records are of the same places, so only the tree can tell: the hashes do not have the signed root.
                let bytes = fs::read(file("tile/entries/001")).expect("readable");
                let text = String::from_utf8_lossy(&bytes).replace("\"number\":256}", "\"number\":257}");
                fs::write(file("tile/entries/001"), text.as_bytes()).expect("written");
            }),
        ),
    ];
    for (what, place, tamper) in &tamperings {
        let copy = export(&log);
        tamper(&|name: &str| copy.path().join(name));
        found(what, copy.path(), &[], place);
        assert!(ours(copy.path(), KeySource::Export).is_err(), "{what}: our own verifier did not find it");
    }
}

#[test]
fn a_whole_other_log_an_older_copy_and_a_fork_are_found_by_who_remembers() {
    let (_folder, log) = log(7, 300);
    let (_other_folder, other) = self::log(8, 300);
    let (_fork_folder, fork) = self::log(7, 200);
    let older = export(&log);
    grow(&log, 310);
    let newer = export(&log);
    let path = |folder: &tempfile::TempDir| folder.path().display().to_string();

    // A log that was forged as a whole is sound by itself; only who has the key from elsewhere can tell.
    let stranger = export(&other);
    assert!(foreign(stranger.path(), &[]).status.success());
    let key = log.key().ed25519_line();
    found("another log", stranger.path(), &["--key", &key], "key");
    assert!(ours(stranger.path(), KeySource::Pinned(&key)).is_err());

    assert!(foreign(newer.path(), &["--older", &path(&older)]).status.success(), "it continues");
    found("the older one in place of the newer", older.path(), &["--older", &path(&newer)], "older");
    found("another log in place of this", stranger.path(), &["--older", &path(&older)], "another log");
    // The same keys, another history: what a thief of the keys would write.
    let kept = fork.size();
    grow(&fork, kept + 1);
    let draft = Draft { kind: Kind::Login, action: String::new(), writer: "service:x".into(), payload: "{}".into() };
    let stamp = Stamp { boot: "b".into(), at_ms: 1, wall: 2 };
    fork.append(&[draft], &stamp).pop().expect("an answer").expect("written");
    grow(&fork, 320);
    let fork = export(&fork);
    assert!(foreign(fork.path(), &["--key", &key]).status.success(), "sound by itself");
    found("a fork", fork.path(), &["--older", &path(&older)], "does not continue");
}

#[test]
fn an_export_in_one_file_is_checked_like_one_in_a_folder() {
    let (_folder, log) = log(7, ENTRIES);
    let older = export_in_one(&log);
    grow(&log, ENTRIES + 10);
    let (folder, file) = (export(&log), export_in_one(&log));
    let options = ["--key", &log.key().ed25519_line(), "--older", &older.path().display().to_string()];
    for export in [folder.path(), file.path()] {
        let output = foreign(export, &options);
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("sound: {} entries\n", ENTRIES + 10));
    }
    let mut files = Bundle::default();
    let text = fs::read_to_string(file.path()).expect("readable");
    text.lines().for_each(|line| files.add_line(line).expect("a file of the export"));
    let report = verify_export(&|name| files.read(name), KeySource::Pinned(options[1])).expect("sound");
    assert_eq!(report.size, ENTRIES + 10);

    // A part of it, a file twice and what is no export.
    let cut = text.lines().take(4).collect::<Vec<_>>().join("\n");
    let twice = format!("{text}{}", text.lines().next().expect("a line"));
    for (what, text, place) in [
        ("a part", cut, "not in the bundle"),
        ("a file twice", twice, "earlier line"),
        ("a note", "hello".to_owned(), "line 1"),
    ] {
        fs::write(file.path(), text).expect("written");
        found(what, file.path(), &[], place);
    }
}

#[test]
fn a_log_that_is_too_large_for_one_object_says_what_else_there_is() {
    let (_folder, log) = log(7, ENTRIES);
    let mut written = Vec::new();
    let length = export_in_one(&log).as_file().metadata().expect("there").len();
    assert!(log.export(&mut written, length).is_ok(), "its own length is enough");
    let error = log.export(&mut written, length - 1).expect_err("a byte less is not").to_string();
    assert!(error.contains("600 records") && error.contains("aios evidence export DIR"), "{error}");
}
