//! What a subject used is still known when the runtime is killed at any step of an action, by the kernel and without a word.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use action_runtime::journal::{Charge, Entry, Journal};
use aios_action::allowance::{AGENT, Use};
use aios_action::{ActionView, Envelope, Event, Request};
use aios_ids::ActionId;

const JOURNAL: &str = "AIOS_TEST_JOURNAL";
const STEPS: &str = "AIOS_TEST_STEPS";

const MINUTE: u64 = 7;
const SUBJECT: &str = "agent:helper";

/// What its limits let the program use, and what it did use.
const AT_MOST: Use = Use { time_ms: 300_000, cpu_ms: AGENT.cpu_ms, output: 8 << 20, ..NOTHING };
const USED: Use = Use { time_ms: 1_000, cpu_ms: 200, output: 3, ..NOTHING };
const NOTHING: Use = Use { actions: 0, ..Use::ACTION };

/// Takes one action so many steps far. An example of a runtime for the test below, which kills it then.
#[test]
#[ignore = "the other test starts it"]
fn a_runtime_that_is_killed() {
    let path = std::env::var(JOURNAL).expect("the journal's path");
    let steps: usize = std::env::var(STEPS).expect("how far").parse().expect("a number");
    let (journal, _) = Journal::open(Path::new(&path), "one").expect("a journal");
    let request = Request::new("task.run", serde_json::Map::new());
    let envelope = Envelope::new(ActionId::new(1, [0; 10]), SUBJECT.into(), request);
    let entry = Entry::new(ActionView::proposed(&envelope), "one");
    let id = &entry.view.id;
    let charge = |used| Some(Charge { minute: MINUTE, used });
    let all: [&dyn Fn(); 5] = [
        &|| drop(journal.insert(&entry, MINUTE).expect("inserted")),
        &|| drop(journal.advance(id, Event::Allowed, |_| {}).expect("allowed")),
        &|| drop(journal.begin(id, None, |entry| entry.at_most = charge(AT_MOST)).expect("begun")),
        &|| drop(journal.advance(id, Event::EffectDone, |entry| entry.used = charge(USED)).expect("done")),
        &|| drop(journal.advance(id, Event::Held, |_| {}).expect("ended")),
    ];
    all[..steps].iter().for_each(|step| step());
    std::fs::write(format!("{path}.ready"), "").expect("said");
    loop {
        std::thread::park();
    }
}

/// Runs that far, kills, and gives the journal.
fn killed_after(steps: usize, folder: &Path) -> Journal {
    let path = folder.join(format!("journal-{steps}"));
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command
        .args(["--exact", "a_runtime_that_is_killed", "--ignored"])
        .env(JOURNAL, &path)
        .env(STEPS, steps.to_string());
    let mut runtime = command.stdout(Stdio::null()).spawn().expect("it starts");
    let ready = folder.join(format!("journal-{steps}.ready"));
    let began = Instant::now();
    while !ready.exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "it never came so far");
        std::thread::sleep(Duration::from_millis(5));
    }
    runtime.kill().expect("killed");
    runtime.wait().expect("gone");
    // A runtime that is started again and again charges once.
    drop(Journal::open(&path, "one").expect("readable"));
    Journal::open(&path, "one").expect("readable").0
}

#[test]
fn killing_the_runtime_gives_nobody_anything_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = |used| Use { actions: 1, ..used };
    let kept = [NOTHING, one(NOTHING), one(NOTHING), one(AT_MOST), one(USED), one(USED)];
    for (steps, expected) in kept.into_iter().enumerate() {
        let journal = killed_after(steps, folder.path());
        let mut ledger = journal.ledger().expect("readable");
        assert_eq!(ledger.used(SUBJECT, MINUTE + 59), expected, "after {steps} steps");
        assert_eq!(ledger.take(SUBJECT, MINUTE).is_err(), steps == 3, "it may have used all of it up");
        assert_eq!(ledger.used(SUBJECT, MINUTE + 60), NOTHING, "an hour later it is over");
    }
}

#[test]
fn what_is_too_old_or_of_another_boot_is_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let (journal, _) = Journal::open(&path, "one").expect("a journal");
    let charge = |minute| journal.charge(SUBJECT, Charge { minute, used: USED }).expect("kept");
    charge(0);
    charge(0);
    let mut ledger = journal.ledger().expect("readable");
    assert_eq!(ledger.used(SUBJECT, 0).cpu_ms, 2 * USED.cpu_ms);
    // Of the hour before nothing is kept that would have to be read at each start.
    charge(60);
    assert_eq!(journal.ledger().expect("readable").used(SUBJECT, 0).cpu_ms, USED.cpu_ms);
    drop(journal);
    let (journal, _) = Journal::open(&path, "two").expect("a journal");
    assert_eq!(journal.ledger().expect("readable").used(SUBJECT, 60), NOTHING);
}
