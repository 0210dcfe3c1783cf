//! What the kernel refused, as receipts: reads the records that PID 1 passes on, finds out whom they are about, and appends
//! them. This service needs no capability for it, and nobody else can write this kind.

mod book;
mod whose;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use aios_daemon::error_chain;
use aios_evidence::{Filter, Kind, Record};
use aios_linux::audit::AuditReader;
use aios_linux::audit::text::DomainId;
use serde_json::{Map, Value, json};

use crate::boot::SELF;
use crate::log::{Draft, Log};
use crate::writer::{Appends, now};
use book::{Blocker, Book, Denial, Whose};
use whose::People;

/// How long nothing may come before what waits is looked at.
const TURN: Duration = Duration::from_millis(500);
/// How long the next one may take to be written with the one before, and how many at most.
const GATHER: Duration = Duration::from_millis(50);
const TOGETHER: usize = 256;
/// A log that refuses is tried again after this time.
const AGAIN: Duration = Duration::from_secs(1);
/// So many receipts are kept while the log refuses; more are counted as lost.
const KEPT: usize = 1024;

/// Starts taking receipts, and goes on where an earlier run of this boot has ended.
pub(crate) fn start(reader: AuditReader, log: Arc<Log>, appends: Appends, boot: String) -> io::Result<()> {
    std::thread::Builder::new().name("denials".into()).spawn(move || follow(&reader, &log, &appends, &boot)).map(drop)
}

fn follow(reader: &AuditReader, log: &Arc<Log>, appends: &Appends, boot: &str) {
    let people = People::of_the_image(Arc::clone(log), boot.to_owned());
    let mut book = resume(log, boot);
    let mut unwritten = Vec::new();
    let mut refused_before = None;
    while log.closed().is_none() {
        let mut wait = if book.is_idle() && unwritten.is_empty() { None } else { Some(TURN) };
        // What comes together is written together: each group costs a sync and two signatures.
        for _ in 0..TOGETHER {
            match reader.next(wait) {
                Ok(Some(received)) => unwritten.extend(book.receive(received, now(boot).at_ms, &people)),
                Ok(None) => break,
                Err(error) => {
                    eprintln!("what the kernel refuses is not recorded any more: {error}");
                    return;
                }
            }
            wait = Some(GATHER);
        }
        unwritten.extend(book.tick(now(boot).at_ms));
        if unwritten.is_empty() {
            continue;
        }
        match appends.append_all(log, &unwritten.iter().map(draft).collect::<Vec<_>>()) {
            Ok(()) => {
                unwritten.clear();
                refused_before = None;
            }
            Err(refused) => {
                // One line for a whole outage.
                let why = error_chain(&refused);
                if refused_before.as_ref() != Some(&why) {
                    eprintln!("{} refusals of the kernel are not in the log yet: {why}", unwritten.len());
                }
                refused_before = Some(why);
                shorten(&mut unwritten);
                std::thread::sleep(AGAIN);
            }
        }
    }
}

/// Makes one count of what is too much to keep.
fn shorten(unwritten: &mut Vec<Denial>) {
    if unwritten.len() <= KEPT {
        return;
    }
    let count = unwritten.drain(KEPT / 2..).map(|denial| denial.count).sum();
    let what = "by-the-log".to_owned();
    unwritten.push(Denial { whose: Whose::default(), blocker: Blocker::Lost, what, target: String::new(), count });
}

fn draft(denial: &Denial) -> Draft {
    let mut payload = Map::new();
    let mut put = |name: &str, value: Value| {
        if value != json!("") {
            payload.insert(name.to_owned(), value);
        }
    };
    put("blocker", json!(denial.blocker.word()));
    put("what", json!(denial.what));
    put("target", json!(denial.target));
    put("subject", json!(denial.whose.subject));
    put("digest", json!(denial.whose.digest));
    put("count", json!(denial.count));
    match &denial.blocker {
        Blocker::Landlock { domain } => put("domain", json!(domain.to_string())),
        Blocker::Seccomp { program, pid, uid } => {
            put("program", json!(program));
            put("pid", json!(pid));
            put("uid", json!(uid));
        }
        Blocker::Lost => {}
    }
    let action = denial.whose.action.clone();
    Draft { kind: Kind::Denial, action, writer: SELF.to_owned(), payload: Value::Object(payload).to_string() }
}

/// What the log says of this boot: whose the domains are, and what was counted as lost.
fn resume(log: &Log, boot: &str) -> Book {
    let (mut domains, mut lost) = (Vec::new(), 0);
    let mut filter = Filter { kind: Some(Kind::Denial), ..Filter::default() };
    let mut index =
        log.newest(Kind::Boot).ok().flatten().filter(|record| record.boot == boot).map(|record| record.index);
    while let Some(after) = index {
        filter.after = Some(after);
        let lines = log.query(&filter).unwrap_or_default();
        let records: Vec<_> = lines.iter().filter_map(|line| Record::decode(line.as_bytes()).ok()).collect();
        index = records.last().map(|record| record.index);
        for record in records {
            let text = |name: &str| record.payload.get(name).and_then(Value::as_str).unwrap_or_default();
            if text("blocker") == "audit" && text("what") == "by-kernel" {
                lost += record.payload.get("count").and_then(Value::as_u64).unwrap_or_default();
            }
            if let Ok(domain) = u64::from_str_radix(text("domain"), 16) {
                let (subject, digest) = (text("subject").to_owned(), text("digest").to_owned());
                domains.push((DomainId(domain), Whose { subject, action: record.action.clone(), digest }));
            }
        }
    }
    Book::resume(domains, lost)
}
