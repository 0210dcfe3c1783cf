//! The log on a disk whose power is cut at any write: what a caller was told is there afterwards, half a record never is,
//! and the log goes on. And the same with a process that is killed.

mod medium;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use aios_evidence::{Kind, Record};
use evidence_log::{Draft, Log, Medium, Opened, Stamp, open, open_on, start_writer};
use medium::{Disk, Random};

fn draft(kind: Kind, number: u64) -> Draft {
    // Some records are longer than a page of the disk.
    let reason = "x".repeat((number % 97 * 53) as usize);
    let payload = serde_json::json!({ "verb": number.to_string(), "reason": reason }).to_string();
    Draft { kind, action: format!("act_{}", number / 3), writer: "service:policy-kernel".into(), payload }
}

fn begin(log: &Log) -> Draft {
    let payload = serde_json::json!({"key": log.key().ed25519_line(), "key_ml_dsa": log.key().ml_dsa_line()});
    Draft {
        kind: Kind::Boot,
        action: String::new(),
        writer: "service:evidence-log".into(),
        payload: payload.to_string(),
    }
}

fn stamp(at_ms: u64) -> Stamp {
    Stamp { boot: "b".into(), at_ms, wall: 1_790_000_000_000 + at_ms }
}

/// What callers were told.
type Promised = BTreeMap<u64, String>;

/// Writes until the power goes or the work is done, and remembers what was acknowledged.
fn work(disk: &Arc<Disk>, promised: &mut Promised, random: &mut Random) {
    let medium: Arc<dyn Medium> = disk.clone();
    let Ok((log, opened, _)) = open_on(medium, random.below(2) * 4096, || Ok([7; 96])) else { return };
    assert!(matches!(opened, Opened::Ready { .. }), "{opened:?}");
    check(&log, promised);
    for round in 0..6 {
        let mut drafts = Vec::new();
        if log.size() == 0 {
            drafts.push(begin(&log));
        }
        drafts.extend((0..=random.below(5)).map(|place| draft(Kind::Decision, log.size() * 10 + place)));
        for index in log.append(&drafts, &stamp(round)).into_iter().flatten() {
            promised.insert(index, log.record_line(index).unwrap_or_default());
        }
        if random.below(3) == 0 && log.store_checkpoint().is_err() {
            return;
        }
    }
}

/// Everything that was promised is there, byte for byte, and all that is there is whole.
fn check(log: &Log, promised: &Promised) {
    for (index, line) in promised {
        // A promise whose line could not be read back before the power went still counts.
        let found = log.record_line(*index).expect("what was promised is there");
        assert!(line.is_empty() || found == *line, "entry {index} changed");
    }
    if log.size() > 0 {
        assert_eq!(log.verify().expect("all is whole").size, log.size());
    }
}

fn cut_at_random(points: u64, seed: u64) {
    let (mut cuts, mut kept) = (0, 0);
    for point in 0..points {
        let mut random = Random::new(seed + point);
        let mut disk = Arc::new(Disk::default());
        let mut promised = Promised::new();
        // Several lives of one disk; the power goes at a random operation of each.
        for _ in 0..3 {
            disk.cut_after(random.below(150));
            let before = promised.len();
            work(&disk, &mut promised, &mut random);
            cuts += u64::from(promised.len() > before && disk.is_off());
            disk = Arc::new(disk.after_the_cut(&mut random));
        }
        let medium: Arc<dyn Medium> = disk.clone();
        let (log, opened, _) = open_on(medium, 0, || Ok([7; 96])).expect("readable");
        assert!(matches!(opened, Opened::Ready { .. }), "seed {}: {opened:?}", seed + point);
        check(&log, &promised);
        kept += promised.len() as u64;
    }
    // The power must have gone in the middle of the work, or this tried nothing.
    assert!(cuts > points / 4 && kept > points, "{cuts} cuts among {kept} records");
}

#[test]
fn no_power_cut_takes_what_was_promised_or_leaves_half_a_record() {
    cut_at_random(60, 1);
}

/// The whole campaign; a part of it runs every time.
#[test]
#[ignore = "takes minutes"]
fn no_power_cut_of_a_thousand_does() {
    cut_at_random(1000, 10_000);
}

#[test]
fn after_a_failed_sync_nothing_more_is_taken() {
    let disk = Arc::new(Disk::default());
    let medium: Arc<dyn Medium> = disk.clone();
    let (log, ..) = open_on(medium, 0, || Ok([7; 96])).expect("new");
    log.append(&[begin(&log)], &stamp(0)).pop().expect("one").expect("written");
    disk.fail_syncs();
    assert!(log.append(&[draft(Kind::Decision, 1)], &stamp(1)).pop().expect("one").is_err());
    disk.work_again();
    let refused = log.append(&[draft(Kind::Decision, 2)], &stamp(2)).pop().expect("one").expect_err("closed");
    assert!(refused.to_string().contains("read-only"), "{refused}");
    assert_eq!(log.size(), 1, "what may not survive is shown to nobody");
}

#[test]
fn a_full_disk_refuses_what_begins_and_takes_what_ends_and_loses_nothing() {
    let disk = Arc::new(Disk::default());
    let medium: Arc<dyn Medium> = disk.clone();
    let (log, ..) = open_on(medium, 0, || Ok([7; 96])).expect("new");
    log.append(&[begin(&log)], &stamp(0)).pop().expect("one").expect("written");
    disk.set_space(1 << 30, 1 << 10);
    let answers = log.append(&[draft(Kind::Decision, 1), draft(Kind::Login, 2)], &stamp(1));
    assert!(matches!(&answers[..], [Err(refused), Ok(1)] if refused.to_string().contains("full")), "{answers:?}");
    // And a disk that takes no byte at all.
    disk.fail_writes();
    assert!(log.append(&[draft(Kind::Login, 3)], &stamp(2)).pop().expect("one").is_err());
    disk.work_again();
    disk.set_space(1 << 30, 1 << 29);
    assert!(matches!(log.append(&[draft(Kind::Decision, 4)], &stamp(3))[..], [Ok(2)]), "it goes on");
    log.verify().expect("whole");
}

#[test]
fn a_disk_that_was_filled_by_others_still_shows_what_it_has() {
    let disk = Arc::new(Disk::default());
    let medium: Arc<dyn Medium> = disk.clone();
    let (log, ..) = open_on(medium, 0, || Ok([7; 96])).expect("new");
    log.append(&[begin(&log), draft(Kind::Login, 1)], &stamp(0)).pop().expect("one").expect("written");
    drop(log);
    disk.fail_writes();
    let medium: Arc<dyn Medium> = disk.clone();
    let (log, opened, _) = open_on(medium, u64::MAX, || Ok([9; 96])).expect("it opens");
    assert_eq!(opened, Opened::Ready { cut: 0 });
    assert!(log.append(&[draft(Kind::Boot, 2)], &stamp(1)).pop().expect("one").is_err());
    assert_eq!(log.verify().expect("whole").size, 2);
    disk.work_again();
    log.append(&[draft(Kind::Boot, 2)], &stamp(1)).pop().expect("one").expect("room was made");
}

/// Callers wait for a slow disk, together: the slower it is, the more of them share a sync.
#[test]
fn a_slow_disk_is_waited_for_by_many_at_once() {
    const CALLERS: u64 = 32;
    const EACH: u64 = 4;
    let disk = Arc::new(Disk::default());
    let medium: Arc<dyn Medium> = disk.clone();
    let (log, ..) = open_on(medium, 0, || Ok([7; 96])).expect("new");
    log.append(&[begin(&log)], &stamp(0)).pop().expect("one").expect("written");
    let log = Arc::new(log);
    let appends = start_writer(Arc::clone(&log), "b".into()).expect("started");
    disk.slow_down(Duration::from_millis(30));
    let before = disk.syncs();
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (log, appends) = (Arc::clone(&log), appends.clone());
            scope.spawn(move || {
                for number in 0..EACH {
                    let entry = log.clear(&draft(Kind::Decision, caller * EACH + number)).expect("a record");
                    let index = appends.append_blocking(vec![entry]).expect("answered").pop().expect("one");
                    log.record_line(index.expect("written")).expect("durable once answered");
                }
            });
        }
    });
    disk.slow_down(Duration::ZERO);
    assert_eq!(log.size(), 1 + CALLERS * EACH);
    let syncs = disk.syncs() - before;
    assert!(syncs <= CALLERS * EACH / 4, "{syncs} syncs for {} records", CALLERS * EACH);
    log.verify().expect("whole");
}

#[test]
fn a_clock_that_goes_back_is_said_and_stops_nothing() {
    let medium: Arc<dyn Medium> = Arc::new(Disk::default());
    let (log, ..) = open_on(medium, 0, || Ok([7; 96])).expect("new");
    let at = |wall| Stamp { boot: "b".into(), at_ms: 1, wall };
    for wall in [1_790_000_000_000, 1_780_000_000_000, 5] {
        log.append(&[draft(Kind::Login, wall)], &at(wall)).pop().expect("one").expect("written");
    }
    let clocks: Vec<_> = (0..3).map(|index| log.record_line(index).expect("there")).collect();
    for (line, clock) in clocks.iter().zip(["local", "behind", "unset"]) {
        assert!(line.contains(&format!("\"clock\":\"{clock}\"")), "{line}");
    }
}

/// Not a test of its own: the process that the next one kills.
#[test]
#[ignore = "started by the test below"]
fn appends_until_it_is_killed() {
    let Some(folder) = std::env::var_os("EVIDENCE_FOLDER") else { return };
    let (log, ..) = open(folder.as_ref(), || Ok([7; 96])).expect("opened");
    for number in 0.. {
        let first = (log.size() == 0).then(|| begin(&log));
        let drafts: Vec<_> =
            first.into_iter().chain((0..4).map(|place| draft(Kind::Decision, number * 4 + place))).collect();
        for answer in log.append(&drafts, &stamp(number)) {
            println!("kept {}", answer.expect("written"));
        }
        if number % 3 == 0 {
            log.store_checkpoint().expect("stored");
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut kept = 0;
    for life in 0u64..8 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "--nocapture", "appends_until_it_is_killed"])
            .env("EVIDENCE_FOLDER", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let mut acknowledged = lines.filter_map(|line| line.rsplit_once("kept ")?.1.parse::<u64>().ok());
        for _ in 0..20 + life * 7 {
            kept = acknowledged.next().expect("it goes on") + 1;
        }
        // SIGKILL: nothing of it can be caught.
        child.kill().expect("killed");
        kept = acknowledged.last().map_or(kept, |last| last + 1);
        child.wait().expect("ended");
        let (log, opened, _) = open(folder.path(), || Ok([9; 96])).expect("opened");
        assert!(matches!(opened, Opened::Ready { .. }), "{opened:?}");
        assert!(log.size() >= kept, "{} of {kept}", log.size());
        log.verify().expect("whole");
        let last = log.record_line(kept - 1).expect("there");
        assert_eq!(Record::decode(last.as_bytes()).expect("a record").index, kept - 1);
    }
}
