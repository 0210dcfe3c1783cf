//! What becomes of the kernel's records, with the time in the test's hand.

use aios_linux::audit::text::{Domain, StoppedCall};

use super::*;

struct People;

impl Find for People {
    fn find(&self, uid: u32, _: u64) -> Whose {
        Whose { subject: format!("user:{uid}"), ..Whose::default() }
    }
}

fn record(serial: u32, record: AuditRecord) -> Received {
    Received::Record(Stamp { serial, wall_ms: 0 }, record)
}

fn refusal(domain: u64, target: &str) -> AuditRecord {
    let missing = "fs.read_file".to_owned();
    AuditRecord::Refused(Refusal { domain: DomainId(domain), missing, target: target.to_owned() })
}

fn domain(id: u64, uid: u32) -> AuditRecord {
    AuditRecord::Domain(Domain { id: DomainId(id), pid: 1, uid })
}

fn call(uid: u32) -> AuditRecord {
    AuditRecord::Call(StoppedCall { pid: 3, uid, program: "/p".into(), call: Call::Native(101) })
}

#[test]
fn a_refusal_waits_for_the_word_on_its_domain() {
    let mut book = Book::default();
    assert_eq!(book.receive(record(1, refusal(5, "/a")), 0, &People), []);
    let denials = book.receive(record(2, domain(5, 2000)), 1, &People);
    assert_eq!(denials.len(), 1);
    assert_eq!((denials[0].whose.subject.as_str(), denials[0].target.as_str()), ("user:2000", "/a"));
    // From now on it is known, also after a restart that goes on with it.
    assert_eq!(book.receive(record(3, refusal(5, "/b")), 2, &People).len(), 1);
    let whose = denials[0].whose.clone();
    let mut resumed = Book::resume([(DomainId(5), whose.clone())], 0);
    assert_eq!(resumed.receive(record(4, refusal(5, "/c")), 3, &People)[0].whose, whose);
}

#[test]
fn a_refusal_that_nobody_owns_up_to_is_written_all_the_same() {
    let mut book = Book::default();
    book.receive(record(1, refusal(5, "/a")), 0, &People);
    assert_eq!(book.tick(PATIENCE_MS - 1), []);
    let denials = book.tick(PATIENCE_MS);
    assert_eq!((denials.len(), denials[0].whose.subject.as_str()), (1, ""));
}

#[test]
fn equal_refusals_are_one_receipt_and_a_different_one_is_not_lost_among_them() {
    let mut book = Book::default();
    let mut written = 0;
    for serial in 0..1000 {
        written += book.receive(record(serial, call(2000)), 0, &People).len();
    }
    assert_eq!(written, 1);
    book.receive(record(1000, domain(5, 2000)), 1, &People);
    let other = book.receive(record(1001, refusal(5, "/a")), 1, &People);
    assert_eq!((other.len(), other[0].target.as_str(), other[0].count), (1, "/a", 1));
    assert_eq!(book.receive(record(1002, refusal(5, "/b")), 1, &People).len(), 1, "another path is another one");
    assert_eq!(book.tick(REFILL_MS - 1), []);
    let later = book.tick(REFILL_MS);
    assert_eq!((later.len(), later[0].what.as_str(), later[0].count), (1, "ptrace", 999));
    // When it has been quiet, the next is a first one again.
    assert_eq!(book.tick(REFILL_MS * 3), []);
    assert_eq!(book.receive(record(1003, call(2000)), REFILL_MS * 3, &People).len(), 1);
}

#[test]
fn a_flood_is_cut_off_and_counted_and_others_are_heard() {
    let mut book = Book::default();
    book.receive(record(0, domain(5, 2000)), 0, &People);
    let mut written = 0;
    for serial in 1..=1000 {
        written += book.receive(record(serial, refusal(5, &format!("/{serial}"))), 0, &People).len();
    }
    assert_eq!(written as u64, BURST);
    assert_eq!(book.receive(record(1001, call(107)), 0, &People).len(), 1, "another subject has its own");
    let later = book.tick(REFILL_MS);
    assert_eq!(later.len(), 1);
    assert_eq!((later[0].whose.subject.as_str(), later[0].count), ("user:2000", 1000 - BURST));
    assert_eq!(later[0].target, "/1000");
    // Nothing is left over, and in the end nothing is kept.
    assert_eq!(book.tick(REFILL_MS * 2), []);
    assert_eq!(book.tick(REFILL_MS * 100), []);
    assert!(book.is_idle());
}

#[test]
fn whoever_repeats_many_different_refusals_has_no_more_receipts_than_others() {
    let mut book = Book::default();
    book.receive(record(0, domain(5, 2000)), 0, &People);
    let (mut written, mut counted, mut tried) = (0, 0, 0);
    for turn in 0..1000 {
        let now_ms = turn * 1000;
        for number in 0..200 {
            tried += 1;
            for denial in book.receive(record(1, refusal(5, &format!("/{number}"))), now_ms, &People) {
                (written, counted) = (written + 1, counted + denial.count);
            }
        }
        for denial in book.tick(now_ms) {
            (written, counted) = (written + 1, counted + denial.count);
        }
    }
    assert!(written <= BURST + 1000 * 1000 / REFILL_MS, "{written}");
    let mut rest = 0;
    for turn in 0..1000 {
        rest += book.tick((1000 + turn * 10) * 1000).iter().map(|denial| denial.count).sum::<u64>();
    }
    assert_eq!(counted + rest, tried, "every refusal is counted once");
    assert!(book.is_idle());
}

#[test]
fn what_was_lost_is_counted_once() {
    let mut book = Book::default();
    let lost = |book: &mut Book, total| book.receive(Received::LostByKernel(total), 0, &People);
    assert_eq!(lost(&mut book, 0), []);
    assert_eq!(lost(&mut book, 7)[0].count, 7);
    assert_eq!(lost(&mut book, 7), []);
    assert_eq!(lost(&mut book, 9)[0].count, 2);
    assert_eq!(Book::resume([], 9).receive(Received::LostByKernel(9), 0, &People), []);

    assert_eq!(book.receive(record(10, AuditRecord::Other), 0, &People), []);
    assert_eq!(book.receive(record(13, AuditRecord::Other), 0, &People), [], "records may change places");
    assert_eq!(book.receive(Received::Overflow, 0, &People), []);
    assert_eq!(book.receive(record(14, AuditRecord::Other), 0, &People), [], "they were waiting before");
    let gap = book.receive(record(20, AuditRecord::Other), 0, &People);
    assert_eq!((gap[0].blocker.word(), gap[0].count), ("audit", 5));
    assert_eq!(book.receive(record(30, AuditRecord::Other), 0, &People), []);
}

#[test]
fn neither_domains_nor_waiting_refusals_grow_without_end() {
    let mut book = Book::default();
    for number in 0..2 * DOMAINS as u64 {
        book.receive(record(1, domain(number, 1)), 0, &People);
        book.receive(record(1, refusal(u64::MAX - number, "/a")), 0, &People);
    }
    assert!(book.domains.len() <= DOMAINS && book.waiting.len() <= WAITING);
    book.receive(record(1, AuditRecord::DomainGone(DomainId(2 * DOMAINS as u64 - 1))), 0, &People);
    assert_eq!(book.domains.len(), DOMAINS - 1);
}
