//! The log in a folder of its own: kept across restarts, cut at every byte, damaged at every byte, exported and checked by
//! a foreign program.

use std::fs;
use std::path::Path;
use std::process::Command;

use aios_evidence::segment::{self, Frame, Next};
use aios_evidence::{
    Filter, InclusionBundle, KeySource, Kind, Record, ResourcePath, VerifierKey, tiles_of, verify_export,
};
use evidence_log::{AppendRefused, Draft, Log, OpenError, Opened, Stamp, open};

fn draft(kind: Kind, action: &str, payload: &str) -> Draft {
    Draft { kind, action: action.into(), writer: "service:policy-kernel".into(), payload: payload.into() }
}

fn stamp() -> Stamp {
    Stamp { boot: "b".into(), at_ms: 1, wall: 1_790_000_000_000 }
}

fn ready(folder: &Path) -> Log {
    match open(folder, || Ok([7; 96])).expect("can be read") {
        (log, Opened::Ready { .. }, _) => log,
        (_, Opened::ReadOnly { reason }, _) => panic!("read-only: {reason}"),
    }
}

/// What the service does in a boot: the boot record, then records in groups.
fn begin(log: &Log) {
    let payload =
        serde_json::json!({"key": log.key().ed25519_line(), "key_ml_dsa": log.key().ml_dsa_line()}).to_string();
    append(log, &[draft(Kind::Boot, "", &payload)]);
}

fn append(log: &Log, drafts: &[Draft]) {
    for answer in log.append(drafts, &stamp()) {
        answer.expect("written");
    }
    log.store_checkpoint().expect("stored");
}

fn fill(log: &Log, groups: usize) {
    for group in 0..groups {
        let action = format!("act_{group}");
        append(log, &[draft(Kind::Intent, &action, "{}"), draft(Kind::Outcome, &action, "{\"held\":true}")]);
    }
}

/// A log with the boot record and so many groups of records.
fn filled(groups: usize) -> (tempfile::TempDir, Log) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = ready(folder.path());
    begin(&log);
    fill(&log, groups);
    (folder, log)
}

/// What a file of the log holds.
fn bytes_of(folder: &tempfile::TempDir, name: &str) -> Vec<u8> {
    fs::read(folder.path().join(name)).expect("readable")
}

/// A copy of a log in which the segment has these bytes.
fn copy_with(from: &Path, segment: &[u8], checkpoint: &[u8]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    fs::copy(from.join("signing-key"), copy.path().join("signing-key")).expect("copied");
    fs::write(copy.path().join("segment"), segment).expect("written");
    fs::write(copy.path().join("checkpoint"), checkpoint).expect("written");
    copy
}

#[test]
fn what_was_appended_is_there_after_a_restart_and_the_log_goes_on() {
    let (folder, log) = filled(3);
    let (line, head) = (log.record_line(4).expect("there"), log.checkpoint());
    drop(log);
    let log = ready(folder.path());
    assert_eq!((log.record_line(4).expect("there"), log.checkpoint()), (line, head));
    fill(&log, 1);
    assert_eq!(log.size(), 9);
    assert_eq!(log.verify().expect("sound").size, 9);
}

#[test]
fn a_kill_at_any_byte_of_an_append_loses_nothing_that_was_promised() {
    let (folder, log) = filled(2);
    let before = bytes_of(&folder, "segment");
    let promised = bytes_of(&folder, "checkpoint");
    fill(&log, 1);
    let after = bytes_of(&folder, "segment");
    // Every seventh byte and the ends; the power-cut tests try the rest at random.
    for cut in (before.len()..=after.len()).filter(|cut| cut % 7 == 0 || *cut == before.len() || *cut == after.len()) {
        let copy = copy_with(folder.path(), &after[..cut], &promised);
        let (log, opened, _) = open(copy.path(), || Ok([9; 96])).expect("can be read");
        let (kept, removed) = if cut == after.len() { (7, 0) } else { (5, (cut - before.len()) as u64) };
        assert_eq!((log.size(), opened), (kept, Opened::Ready { cut: removed }), "cut at {cut}");
        fill(&log, 1);
        log.verify().expect("sound after going on");
        drop(log);
        assert_eq!(ready(copy.path()).size(), kept + 2, "cut at {cut}");
    }
}

#[test]
fn a_promised_record_that_is_gone_makes_the_log_read_only() {
    let (folder, _) = filled(2);
    let segment = bytes_of(&folder, "segment");
    let checkpoint = bytes_of(&folder, "checkpoint");
    let copy = copy_with(folder.path(), &segment[..segment.len() - 1], &checkpoint);
    let (log, opened, _) = open(copy.path(), || Ok([9; 96])).expect("can be read");
    let Opened::ReadOnly { reason } = opened else { panic!("a promised record is gone") };
    assert!(reason.contains("5 entries") && reason.contains("only 3"), "{reason}");
    assert!(matches!(log.append(&[draft(Kind::Intent, "", "{}")], &stamp())[..], [Err(AppendRefused::Closed(_))]));
    assert_eq!(log.query(&Filter::default()).expect("readable").len(), 3, "what is whole can be read");
    let unchanged = fs::read(copy.path().join("segment")).expect("readable");
    assert_eq!(unchanged.len(), segment.len() - 1, "nothing is repaired");
}

#[test]
fn a_flipped_byte_is_found_at_the_start_wherever_it_is() {
    let (folder, _) = filled(2);
    let segment = bytes_of(&folder, "segment");
    let checkpoint = bytes_of(&folder, "checkpoint");
    let check = |segment: &[u8], checkpoint: &[u8], what: &str| {
        let copy = copy_with(folder.path(), segment, checkpoint);
        match open(copy.path(), || Ok([9; 96])) {
            Ok((_, Opened::Ready { cut }, _)) => panic!("{what} was not found, {cut} bytes were cut"),
            Ok((_, Opened::ReadOnly { .. }, _)) | Err(OpenError::Version) => {}
            Err(other) => panic!("{what}: {other}"),
        }
    };
    for place in (0..segment.len()).step_by(13) {
        let mut flipped = segment.clone();
        flipped[place] ^= 1 << (place % 8);
        check(&flipped, &checkpoint, &format!("byte {place} of the segment"));
    }
    for place in (0..checkpoint.len()).step_by(97) {
        let mut flipped = checkpoint.clone();
        flipped[place] ^= 1 << (place % 8);
        check(&segment, &flipped, &format!("byte {place} of the checkpoint"));
    }
}

#[test]
fn a_byte_changed_under_a_running_log_is_found_and_never_served() {
    let (folder, log) = filled(2);
    let mut segment = bytes_of(&folder, "segment");
    let place = segment.windows(4).rposition(|bytes| bytes == b"true").expect("the last outcome");
    segment[place] = b'T';
    fs::write(folder.path().join("segment"), &segment).expect("written");
    assert!(log.verify().expect_err("changed").to_string().starts_with("entry 4 "));
    assert!(log.record_line(4).is_err());
    log.record_line(3).expect("the others are whole");
}

#[test]
fn the_key_and_the_segment_are_not_replaced_when_one_of_them_is_gone() {
    for gone in ["signing-key", "segment"] {
        let folder = tempfile::tempdir().expect("a folder");
        begin(&ready(folder.path()));
        fs::remove_file(folder.path().join(gone)).expect("removed");
        let error = open(folder.path(), || Ok([9; 96])).err().expect("refused");
        assert!(error.to_string().contains(gone), "{error}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    begin(&ready(folder.path()));
    fs::write(folder.path().join("signing-key"), [9; 96]).expect("another key");
    assert!(matches!(open(folder.path(), || Ok([9; 96])), Ok((_, Opened::ReadOnly { .. }, _))));
}

/// How many groups the segment has.
fn commits(folder: &Path) -> usize {
    let segment = fs::read(folder.join("segment")).expect("readable");
    let (mut at, mut commits) = (segment::HEADER.len(), 0);
    while let Next::Frame(frame, length) = Frame::read(&segment[at..]) {
        commits += usize::from(matches!(frame, Frame::Commit { .. }));
        at += length;
    }
    commits
}

#[test]
fn many_appends_share_groups_and_a_wrong_one_among_them_is_refused_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = ready(folder.path());
    begin(&log);
    let long = format!("{{\"reason\":\"{}\"}}", "x".repeat(30_000));
    let mut drafts = vec![draft(Kind::Decision, "", &long); 100];
    drafts[50] = draft(Kind::Decision, "", "no JSON");
    let answers = log.append(&drafts, &stamp());
    let indices: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().ok().copied()).collect();
    assert_eq!(indices, (1..100).collect::<Vec<_>>());
    assert!(matches!(answers[50], Err(AppendRefused::Record(_))));
    // 99 records of 30 kB in groups of at most 1 MiB, and the boot record's group: each commit is one sync.
    assert_eq!(commits(folder.path()), 1 + 3);
    drop(log);
    assert_eq!(ready(folder.path()).size(), 100);
}

#[test]
fn questions_are_answered_from_the_log() {
    let (_folder, log) = filled(10);
    let ask = |filter: Filter| -> Vec<u64> {
        let lines = log.query(&filter).expect("answered");
        lines.iter().map(|line| Record::decode(line.as_bytes()).expect("a record").index).collect()
    };
    let limit = Some(3);
    assert_eq!(ask(Filter { limit, ..Filter::default() }), [18, 19, 20], "the newest");
    assert_eq!(ask(Filter { limit, after: Some(4), ..Filter::default() }), [5, 6, 7], "the next ones");
    assert_eq!(ask(Filter { limit, kind: Some(Kind::Outcome), ..Filter::default() }), [16, 18, 20]);
    assert_eq!(ask(Filter { action: Some("act_4".into()), ..Filter::default() }), [9, 10]);
    let kind = Some(Kind::Intent);
    assert_eq!(ask(Filter { action: Some("act_4".into()), kind, ..Filter::default() }), [9]);
    assert_eq!(ask(Filter { text: Some("act_9".into()), ..Filter::default() }), [19, 20]);
    assert_eq!(ask(Filter { after: Some(u64::MAX), ..Filter::default() }), [0; 0]);

    let key: VerifierKey = log.key().to_string().parse().expect("a key");
    let proof = InclusionBundle::parse(&log.prove(9).expect("in the log")).expect("a proof");
    proof.verify(log.record_line(9).expect("there").as_bytes(), &key).expect("proved");
    assert!(log.prove(21).is_err());
    let beyond: ResourcePath = "tile/entries/000.p/22".parse().expect("a path");
    assert!(log.resource(beyond).is_err());
}

/// What `aios evidence export` does.
fn export(log: &Log, folder: &Path) {
    let paths = [ResourcePath::Checkpoint, ResourcePath::Key].into_iter().chain(tiles_of(log.size()));
    for path in paths {
        let file = folder.join(path.to_string());
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(file, log.resource(path).expect("there")).expect("written");
    }
}

#[test]
fn an_export_is_sound_to_our_verifier_and_to_a_foreign_one_and_neither_misses_a_byte() {
    let (_folder, log) = filled(150);
    let out = tempfile::tempdir().expect("a folder");
    export(&log, out.path());

    let key: VerifierKey = log.key().to_string().parse().expect("a key");
    let read = |name: &str| fs::read(out.path().join(name)).map_err(|error| error.to_string());
    assert_eq!(verify_export(&read, KeySource::Pinned(&key.ed25519_line())).expect("sound").size, 301);

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../qa/verify-evidence.py");
    let foreign =
        || Command::new("python3").arg(script).arg(out.path()).arg("--key").arg(log.key().ed25519_line()).output();
    let Ok(sound) = foreign() else {
        eprintln!("skipped: there is no python3 for the foreign verifier");
        return;
    };
    assert!(sound.status.success(), "{}", String::from_utf8_lossy(&sound.stderr));
    assert_eq!(String::from_utf8_lossy(&sound.stdout), "sound: 301 entries\n");

    for name in ["checkpoint", "key", "tile/0/000", "tile/1/000.p/1", "tile/entries/001.p/45"] {
        let file = out.path().join(name);
        let whole = fs::read(&file).expect("readable");
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        fs::write(&file, flipped).expect("written");
        assert!(verify_export(&read, KeySource::Export).is_err(), "{name}");
        let found = foreign().expect("python3 ran before");
        assert_eq!(found.status.code(), Some(1), "{name}: {}", String::from_utf8_lossy(&found.stdout));
        fs::write(&file, whole).expect("written");
    }
}
