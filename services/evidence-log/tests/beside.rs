//! What lies beside the segment: lost, damaged or taken from another log, it is made again, and questions have the answers
//! that looking through everything gives. And a longer log with damage anywhere.

mod medium;

use std::sync::Arc;
use std::time::Duration;

use aios_evidence::segment::{Frame, HEADER, Next};
use aios_evidence::{Filter, InclusionBundle, Kind, Record};
use evidence_log::{Draft, Log, Medium, Opened, Read, Stamp, keep, open_on};
use medium::{Disk, Random};

/// What somebody does to a file.
type Change = Box<dyn Fn(&mut Vec<u8>)>;

const START: u64 = 1_790_000_000_000;

fn opened(disk: &Disk, whole: u64) -> (Log, Opened, Read) {
    let medium: Arc<dyn Medium> = Arc::new(disk.clone());
    open_on(medium, whole, || Ok([7; 96])).expect("readable")
}

fn draft(random: &mut Random, number: u64) -> Draft {
    let kind = [Kind::Decision, Kind::Intent, Kind::Login, Kind::Outcome][random.below(4) as usize];
    let payload = serde_json::json!({
        "type": "settings.set",
        "subject": {"kind": "agent", "name": format!("a{}", random.below(5))},
        "held": random.below(2) == 0,
        "verdict": if random.below(2) == 0 { "denied" } else { "permitted" },
    });
    let writer = format!("service:s{}", random.below(3));
    Draft { kind, action: format!("act_{}", number / 3), writer, payload: payload.to_string() }
}

/// A log of so many entries, ten a group, whose head is stored.
fn filled(entries: u64, seed: u64) -> Disk {
    let disk = Disk::default();
    let mut random = Random::new(seed);
    let (log, ..) = opened(&disk, u64::MAX);
    let payload =
        serde_json::json!({"key": log.key().ed25519_line(), "key_ml_dsa": log.key().ml_dsa_line()}).to_string();
    let first = Draft { kind: Kind::Boot, action: String::new(), writer: "service:evidence-log".into(), payload };
    let mut drafts = vec![first];
    while log.size() < entries {
        drafts.extend((0..10 - drafts.len() as u64).map(|place| draft(&mut random, log.size() + place)));
        // Clocks go forward, mostly.
        let wall = START + log.size() * 100 - random.below(3) * 1000 * u64::from(log.size() > 100);
        for answer in log.append(&drafts, &Stamp { boot: "b".into(), at_ms: 1, wall }) {
            answer.expect("written");
        }
        drafts.clear();
    }
    log.store_checkpoint().expect("stored");
    disk
}

fn check_whole(log: &Log, size: u64) {
    assert_eq!(log.verify().expect("sound").size, size);
    for index in [0, 1, size / 2, size - 1] {
        let proof = InclusionBundle::parse(&log.prove(index).expect("proved")).expect("a proof");
        proof.verify(log.record_line(index).expect("there").as_bytes(), log.key()).expect("it holds");
    }
}

#[test]
fn what_lies_beside_the_segment_is_made_again_when_it_is_not_of_this_log() {
    let (disk, other) = (filled(600, 1), filled(700, 2));
    for name in ["hashes", "places", "index.redb"] {
        let stranger = other.bytes(name);
        let changes: [(&str, Change); 4] = [
            ("empty", Box::new(|bytes: &mut Vec<u8>| bytes.clear())),
            ("half", Box::new(|bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2 + 1))),
            ("zeroes", Box::new(|bytes: &mut Vec<u8>| bytes.fill(0))),
            ("of another log", Box::new(move |bytes: &mut Vec<u8>| bytes.clone_from(&stranger))),
        ];
        for (what, change) in changes {
            for whole in [0, u64::MAX] {
                let (log, found, _) = opened(&disk.with(name, &change), whole);
                assert_eq!(found, Opened::Ready { cut: 0 }, "{name} {what}");
                check_whole(&log, 600);
                let filter = Filter { action: Some("act_17".into()), ..Filter::default() };
                assert_eq!(log.query(&filter).expect("answered").len(), 3, "{name} {what}");
            }
        }
    }
}

#[test]
fn a_log_that_is_not_read_whole_goes_on_from_its_stored_head() {
    let disk = filled(600, 3);
    let (log, found, read) = opened(&disk, 0);
    assert_eq!((found, read), (Opened::Ready { cut: 0 }, Read::Tail));
    let stamp = Stamp { boot: "b".into(), at_ms: 1, wall: START };
    let mut random = Random::new(4);
    for number in 0..50 {
        log.append(&[draft(&mut random, number)], &stamp).pop().expect("one").expect("written");
    }
    drop(log);
    // Behind the head lie fifty groups and then half of one.
    let torn = disk.with("segment", |bytes| bytes.extend_from_slice(b"E\x01\x00half"));
    let (log, found, read) = opened(&torn, 0);
    assert_eq!((found, read), (Opened::Ready { cut: 7 }, Read::Tail));
    check_whole(&log, 650);
}

#[test]
fn a_flipped_byte_of_ten_thousand_entries_is_found_wherever_it_is() {
    let disk = filled(10_000, 5);
    let length = disk.bytes("segment").len() as u64;
    let mut random = Random::new(6);
    for _ in 0..40 {
        let place = random.below(length) as usize;
        let flipped = disk.with("segment", |bytes| bytes[place] ^= 1 << (place % 8));
        let medium: Arc<dyn Medium> = Arc::new(flipped.clone());
        match open_on(medium, u64::MAX, || Ok([7; 96])) {
            Ok((_, Opened::ReadOnly { .. }, _)) | Err(_) => {}
            Ok((_, found, _)) => panic!("byte {place}: {found:?}"),
        }
        // Where the start reads the end only, it is found by the second look; nothing changed is given out before.
        let medium: Arc<dyn Medium> = Arc::new(flipped);
        if let Ok((log, Opened::Ready { .. }, Read::Tail)) = open_on(medium, 0, || Ok([7; 96])) {
            assert!(place < 16 || log.verify().is_err() || in_a_commit(&disk, place), "byte {place}");
        }
    }
}

/// Commits inside the log are for starts only: no entry is in them, and no verifier reads them.
fn in_a_commit(disk: &Disk, place: usize) -> bool {
    let bytes = disk.bytes("segment");
    let mut at = HEADER.len();
    while let Next::Frame(frame, length) = Frame::read(&bytes[at..]) {
        if (at..at + length).contains(&place) {
            // The length and the hash in front of an entry are kept a second time, in `places` and `hashes`.
            return matches!(frame, Frame::Commit { .. }) || place < at + 35;
        }
        at += length;
    }
    false
}

#[test]
fn an_answer_of_the_index_is_that_of_looking_through_everything() {
    let disk = filled(9000, 7);
    let (log, ..) = opened(&disk, u64::MAX);
    let log = Arc::new(log);
    keep(&log, Read::Whole, "b").expect("started");
    while log.indexed() < 9000 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let lines: Vec<String> = (0..9000).map(|index| log.record_line(index).expect("there")).collect();
    let mut random = Random::new(8);
    for _ in 0..150 {
        let some = |random: &mut Random, most: u64| (random.below(2) == 0).then(|| random.below(most));
        let filter = Filter {
            kind: some(&mut random, 5).map(|at| Kind::ALL[at as usize * 3]),
            subject: some(&mut random, 6)
                .map(|at| if at < 4 { format!("agent:a{at}") } else { format!("service:s{}", at - 4) }),
            action: (random.below(4) == 0).then(|| format!("act_{}", random.below(3000))),
            outcome: (random.below(4) == 0).then(|| "denied".into()),
            after: some(&mut random, 9000),
            from: some(&mut random, 900_000).map(|after| START + after),
            until: some(&mut random, 900_000).map(|after| START + after),
            limit: Some(1 + random.below(40) as usize),
            text: None,
        };
        let mut expected: Vec<&String> = lines.iter().filter(|line| filter.matches(line).expect("a record")).collect();
        let limit = filter.limit.expect("set");
        if filter.after.is_some() {
            expected.truncate(limit);
        } else if expected.len() > limit {
            expected.drain(..expected.len() - limit);
        }
        let found = log.query(&filter).expect("answered");
        let index = |line: &String| Record::decode(line.as_bytes()).expect("a record").index;
        assert_eq!(
            found.iter().map(index).collect::<Vec<_>>(),
            expected.into_iter().map(index).collect::<Vec<_>>(),
            "{filter:?}"
        );
    }
}
