//! The texts and bytes of the formats: foreign examples, one form only, and no input that panics.

use aios_evidence::segment::{Frame, Next, Refusal, Replay, Verdict, judge};
use aios_evidence::{
    Checkpoint, Clock, Ed25519Key, Filter, Frontier, InclusionBundle, Kind, Line, MlDsaKey, Note, RECORD_LIMIT, Record,
    RecordError, ResourcePath, SigningKey, TileAt, Tree, VerifierKey, leaf_hash, split_bundle, tiles_of,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// From the documentation of golang.org/x/mod/sumdb/note.
const FOREIGN_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const FOREIGN_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\n\
    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn record(index: u64, payload: Value) -> Record {
    let Value::Object(payload) = payload else { panic!("payloads are objects") };
    Record {
        index,
        kind: Kind::Decision,
        writer: "service:policy-kernel".into(),
        subject: "agent:x".into(),
        action: "act_1".into(),
        digest: Some(aios_ids::Digest::of(b"")),
        epoch: "1-a".into(),
        boot: "b".into(),
        at_ms: 5,
        wall: 6,
        clock: Clock::Local,
        payload,
    }
}

#[test]
fn a_note_of_another_program_is_read_and_its_key_written_back() {
    let key: Ed25519Key = FOREIGN_KEY.parse().expect("a key");
    assert_eq!(key.to_string(), FOREIGN_KEY);
    let note = Note::parse(FOREIGN_NOTE.as_bytes()).expect("a note");
    assert!(note.verify(&key).expect("signed").starts_with("If you think"));
    assert!(Note::parse(FOREIGN_NOTE.replace("your", "my").as_bytes()).expect("a note").verify(&key).is_err());
}

#[test]
fn wrong_keys_and_notes_are_refused() {
    let mut wrong = vec![FOREIGN_KEY.replace("c74f20a3", "c74f20a4"), FOREIGN_KEY.replace("Peter", "Paul")];
    wrong.extend(["", "a+b", "+c74f20a3+ARpc", "a b+00000000+AAAA"].map(str::to_owned));
    for key in wrong {
        assert!(key.parse::<Ed25519Key>().is_err(), "{key}");
    }
    for note in
        ["", "\n\n", "text\n\n— name\n", "text\n\n— name AAAAAAAA", "text\n— name AAAAAAAA\n", "t\t\n\n— n AAAAAAAA\n"]
    {
        assert!(Note::parse(note.as_bytes()).is_err(), "{note:?}");
    }
}

#[test]
fn a_record_has_one_form() {
    let line = record(3, json!({"b": 1, "a": "\n"})).encode().expect("short");
    assert_eq!(
        line,
        r#"{"index":3,"kind":"decision","writer":"service:policy-kernel","subject":"agent:x","action":"act_1","digest":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","epoch":"1-a","boot":"b","at_ms":5,"wall":6,"clock":"local","payload":{"a":"\n","b":1}}"#
    );
    assert_eq!(Record::decode(line.as_bytes()).expect("a record"), record(3, json!({"b": 1, "a": "\n"})));
    for other in [
        line.replace(":3,", ": 3,"),
        line.replace(r#""a":"\n","b":1"#, r#""b":1,"a":"\n""#),
        line.replace("decision", "no-such-kind"),
        line.replace(r#""wall":6,"#, ""),
        line.replace(r#""wall":6"#, r#""wall":6,"more":1"#),
        line.replace("\"local\"", "\"quartz\""),
        line.replace("e3b0", "E3B0"),
        line.replace(r#"{"a":"\n","b":1}"#, "[]"),
        format!("{line}\n"),
    ] {
        assert!(Record::decode(other.as_bytes()).is_err(), "{other}");
    }
}

#[test]
fn a_record_is_small_and_its_payload_one_object() {
    let full = record(0, json!({ "text": "x".repeat(RECORD_LIMIT) })).encode();
    assert!(matches!(full, Err(RecordError::Size(_))));
    for payload in ["[]", "1", "{", r#"{"a":1,"a":2}"#, r#"{"a":1.5}"#, r#"{"a":9007199254740993}"#] {
        assert!(Record::payload_from(payload).is_err(), "{payload}");
    }
    let mut deep = json!({});
    for _ in 0..8 {
        deep = json!({ "deeper": deep });
    }
    assert!(record(0, deep).encode().is_err());
}

#[test]
fn files_have_the_names_of_the_format() {
    for (text, path) in [
        ("tile/0/x001/x234/067", ResourcePath::Hashes { level: 0, tile: TileAt { index: 1_234_067, width: 256 } }),
        ("tile/1/000.p/17", ResourcePath::Hashes { level: 1, tile: TileAt { index: 0, width: 17 } }),
        ("tile/entries/x001/000.p/1", ResourcePath::Entries { tile: TileAt { index: 1000, width: 1 } }),
        ("checkpoint", ResourcePath::Checkpoint),
        ("key", ResourcePath::Key),
    ] {
        assert_eq!(text.parse(), Ok(path));
        assert_eq!(path.to_string(), text);
    }
    for wrong in [
        "",
        "tile",
        "tile/0/1",
        "tile/0/0001",
        "tile/00/000",
        "tile/8/000",
        "tile/0/x000/000",
        "tile/0/001/000",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/07",
        "tile/entries/../key",
        "/key",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert!(wrong.parse::<ResourcePath>().is_err(), "{wrong}");
    }
}

#[test]
fn a_tree_of_70000_has_the_tiles_of_the_format_s_example() {
    let names: Vec<String> = tiles_of(70_000).map(|path| path.to_string()).collect();
    let row = |row: &str| names.iter().filter(|name| name.starts_with(row)).count();
    assert_eq!((row("tile/0/"), row("tile/1/"), row("tile/2/"), row("tile/entries/")), (274, 2, 1, 274));
    for name in ["tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"] {
        assert!(names.iter().any(|found| found == name), "{name}");
    }
}

/// A segment of `groups` groups of two entries; gives its bytes and where each group ends.
fn segment(groups: u64) -> (Vec<u8>, Vec<usize>, Tree) {
    let (mut bytes, mut ends, mut tree) = (Vec::new(), Vec::new(), Tree::default());
    for index in 0..groups * 2 {
        let line = record(index, json!({})).encode().expect("short");
        let hash = leaf_hash(line.as_bytes());
        Frame::Entry { hash, entry: line.as_bytes() }.write(&mut bytes);
        tree.push(hash);
        if index % 2 == 1 {
            Frame::Commit { size: index + 1, root: tree.root() }.write(&mut bytes);
            ends.push(bytes.len());
        }
    }
    (bytes, ends, tree)
}

/// What a start makes of these bytes when the checkpoint of `promised` entries is stored beside them.
fn start(bytes: &[u8], whole: &Tree, promised: u64) -> (u64, Result<Verdict, Refusal>) {
    let (mut replay, mut at, mut end) = (Replay::after(Frontier::default(), promised), 0, 0);
    let mut damage = None;
    while let Next::Frame(frame, length) = Frame::read(&bytes[at..]) {
        at += length;
        match replay.take(&frame) {
            Ok(Some(_)) => {}
            Ok(None) => end = at,
            Err(found) => {
                damage = Some(found);
                break;
            }
        }
    }
    let root = whole.root_at(promised).expect("no more than all");
    let signed = Checkpoint { origin: "log".into(), size: promised, root };
    (replay.committed(), judge(&replay, Some(&signed), &bytes[end..], damage))
}

#[test]
fn a_cut_at_any_byte_keeps_what_was_promised_or_says_that_it_is_gone() {
    let (bytes, ends, whole) = segment(4);
    for cut in ends[1]..bytes.len() {
        let kept = ends.iter().filter(|end| **end <= cut).count() as u64 * 2;
        let (found, verdict) = start(&bytes[..cut], &whole, 4);
        let expected = if ends.contains(&cut) { Verdict::Whole } else { Verdict::CutTail };
        assert_eq!((found, verdict.expect("nothing promised is gone")), (kept, expected), "cut at {cut}");
        let (_, verdict) = start(&bytes[..cut], &whole, 8);
        assert!(matches!(verdict, Err(Refusal::Missing { promised: 8, .. })), "cut at {cut}");
    }
}

#[test]
fn a_flip_anywhere_is_never_taken_for_an_unfinished_append_of_something_promised() {
    let (bytes, ends, whole) = segment(4);
    for place in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << (place % 8);
        let (_, verdict) = start(&flipped, &whole, 8);
        assert!(verdict.is_err(), "byte {place} with the newest checkpoint");
        // Power failed before the last group's checkpoint was stored: only that group can be mistaken for unfinished.
        let (_, verdict) = start(&flipped, &whole, 6);
        assert_eq!(verdict.is_err(), place < ends[2], "byte {place} with the checkpoint before");
        // Even with no checkpoint at all, what later groups were written behind is known to be damage.
        let (_, verdict) = start(&flipped, &whole, 0);
        assert!(verdict.is_err() || place >= ends[1], "byte {place} without a checkpoint");
    }
}

#[test]
fn another_history_of_the_same_length_is_refused() {
    let (bytes, _, mut whole) = segment(2);
    whole.truncate(3);
    whole.push(leaf_hash(b"something else"));
    assert!(matches!(start(&bytes, &whole, 4).1, Err(Refusal::OtherHistory { size: 4 })));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Note::parse(&bytes);
        let _ = Record::decode(&bytes);
        let _ = split_bundle(&bytes);
        for tag in [b'E', b'C'] {
            let mut frame = bytes.clone();
            frame.insert(0, tag);
            let _ = Frame::read(&frame);
        }
        let key = SigningKey::from_seed(&[1; 64], |_| "log".into()).expect("a good name");
        let _ = Checkpoint::open(&bytes, key.public());
        let _ = Line::parse(&bytes);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
        let _ = text.parse::<VerifierKey>();
        let _ = format!("{text}\n{text}").parse::<VerifierKey>();
        let _ = text.parse::<MlDsaKey>();
        let _ = text.parse::<ResourcePath>();
        let _ = text.parse::<Kind>();
        let _ = InclusionBundle::parse(&text);
        let _ = InclusionBundle::parse(&format!("c2sp.org/tlog-proof@v1\nindex {text}\n\n"));
        let _ = Record::payload_from(&text);
        let _ = serde_json::from_str::<Filter>(&text);
    }

    #[test]
    fn any_path_like_text_names_one_file_or_none(text in "tile/[0-9]{1,2}/(x[0-9]{3}/){0,8}[0-9]{3}(.p/[0-9]{1,3})?") {
        if let Ok(path) = text.parse::<ResourcePath>() {
            prop_assert_eq!(path.to_string(), text);
        }
    }

    #[test]
    fn any_head_is_opened_with_both_signatures_and_with_no_fewer(seed in any::<[u8; 32]>(), size in any::<u64>(), line in 4usize..6) {
        let seed: Vec<u8> = seed.iter().chain(&seed).copied().collect();
        let key = SigningKey::from_seed(&seed.try_into().expect("64 bytes"), |_| "log".into()).expect("a good name");
        let head = Checkpoint { origin: "log".into(), size, root: aios_ids::Digest::of(&size.to_be_bytes()) };
        let note = head.sign(&key);
        prop_assert_eq!(Checkpoint::open(note.as_bytes(), key.public()), Ok(head));
        prop_assert_eq!(key.public().to_string().parse::<VerifierKey>(), Ok(key.public().clone()));
        let without: String = note.lines().enumerate().filter(|(place, _)| *place != line).map(|(_, line)| format!("{line}\n")).collect();
        prop_assert!(Checkpoint::open(without.as_bytes(), key.public()).is_err());
    }

    #[test]
    fn any_payload_of_texts_survives(keys in prop::collection::btree_map(any::<String>(), any::<String>(), 0..5), index in 0u64..1 << 53) {
        let payload: Map<String, Value> = keys.into_iter().map(|(key, value)| (key, Value::String(value))).collect();
        let record = record(index, Value::Object(payload));
        let line = record.encode().expect("short");
        prop_assert_eq!(Record::decode(line.as_bytes()).expect("a record"), record);
    }
}
