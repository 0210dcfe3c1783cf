//! What the evidence log costs on this host's disk, beside the disk itself, its transport, SQLite and systemd's journal.
//!
//! The log is the service's own code in a process without PID 1 (`evidence-figures`); everything runs in one folder.

use std::process::Command;

use super::figures::{Figures, output};
use super::{Peer, Row, journald};
use crate::scenario::{Failure, Stage};

/// The size of the large log. Ten million are promised; `AIOS_BENCH_ENTRIES` asks for them.
const ENTRIES: u64 = 1_000_000;

/// Durable records from 64 threads, each a transaction of its own: write-ahead log, every commit synced.
const SQLITE: &str = r#"
import os, sqlite3, sys, threading, time
path = os.path.join(sys.argv[1], "peer.sqlite")
def connect():
    db = sqlite3.connect(path, isolation_level=None, timeout=60)
    db.execute("pragma journal_mode=wal"); db.execute("pragma synchronous=full")
    return db
connect().execute("create table records (id integer primary key, kind text, action text, line text)")
until = time.monotonic() + 3
counts = [0] * 64
def work(n):
    db = connect()
    while time.monotonic() < until:
        db.execute("insert into records (kind, action, line) values ('decision', 'act', ?)", ("x" * int(sys.argv[2]),))
        counts[n] += 1
threads = [threading.Thread(target=work, args=(n,)) for n in range(64)]
[t.start() for t in threads]; [t.join() for t in threads]
print(sum(counts) / 3)
"#;

pub(super) fn rows(stage: &Stage<'_>) -> Result<Vec<Row>, Failure> {
    let entries = std::env::var("AIOS_BENCH_ENTRIES").ok().and_then(|text| text.parse().ok()).unwrap_or(ENTRIES);
    let folder = stage.folder.join("evidence");
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--release", "-q", "-p", "evidence-log", "--example", "evidence-figures", "--"]);
    cargo.arg(&folder).arg(entries.to_string()).current_dir(&stage.context.workspace);
    let figures = Figures::of("evidence-figures", &mut cargo)?;
    let figure = |name: &str| figures.get(name);
    let bytes = figure("bytes-of-one-append")?;
    let mut python = Command::new("python3");
    let sqlite = output(python.args(["-c", SQLITE]).arg(&folder).arg(bytes.to_string().as_str()))?;
    let sqlite: f64 = sqlite.trim().parse().map_err(|_| Failure::broken(format!("sqlite printed {sqlite}")))?;
    let journald = journald::rates(&folder, bytes)?;
    std::fs::remove_dir_all(&folder).map_err(Failure::file("remove", &folder))?;

    let each = |rate: f64| 1e6 / rate;
    let row = |name, value, unit, peer, limit| Row { name, value, unit, peer, limit };
    let sync = figure("fdatasync-us")?;
    let echo = each(figure("socket-echo-per-second")?);
    let synced_echo = each(figure("socket-synced-echo-per-second")?);
    let per_million = 1e6 / figure("verify-per-second")?;
    Ok(vec![
        row(
            "evidence: one caller, durable",
            figure("one-caller-us")?,
            "us",
            peer("fdatasync of as much", sync),
            Some(1.3 * sync),
        ),
        row(
            "evidence: a record of 64 single producers",
            each(figure("producers-single-per-second")?),
            "us",
            peer("SQLite, WAL, FULL", each(sqlite)),
            Some(each(sqlite) / 5.0),
        ),
        row(
            "evidence: the same",
            each(figure("producers-single-per-second")?),
            "us",
            peer("journald, each message synced", each(journald.synced)),
            Some(each(journald.synced)),
        ),
        row(
            "evidence: a record of 64 batching producers",
            each(figure("producers-batched-per-second")?),
            "us",
            peer("journald, one sync after all", each(journald.together)),
            Some(each(journald.together).min(20.0)),
        ),
        row("evidence: wait of single producers, p99", figure("producers-single-p99-ms")?, "ms", None, None),
        row("evidence: wait at half of their load, p99", figure("half-load-p99-ms")?, "ms", None, Some(15.0)),
        row("evidence: batched over the socket", each(figure("socket-batched-per-second")?), "us", None, Some(50.0)),
        row(
            "evidence: single over the socket",
            each(figure("socket-single-per-second")?),
            "us",
            peer("echo that waits for a sync", synced_echo),
            Some(synced_echo / 0.7),
        ),
        row(
            "evidence: the same, 1024 callers",
            each(figure("socket-single-of-many-callers-per-second")?),
            "us",
            peer("echo that keeps nothing", echo),
            None,
        ),
        row("evidence: inclusion proof", figure("proof-us")?, "us", None, Some(200.0)),
        row("evidence: indexed question", figure("indexed-query-ms")?, "ms", None, Some(10.0)),
        row("evidence: the slowest of them", figure("indexed-query-slowest-ms")?, "ms", None, Some(10.0)),
        row("evidence: checking a million records", per_million, "s", None, Some(3.0)),
        row("evidence: start after a crash", figure("start-after-a-crash-ms")?, "ms", None, Some(1000.0)),
        row("evidence: memory with a large log", figure("memory-large-mib")?, "MiB", None, Some(48.0)),
        row("evidence: memory with 64 producers in it", figure("memory-many-mib")?, "MiB", None, None),
    ])
}

fn peer(name: &'static str, value: f64) -> Option<Peer> {
    Some(Peer { name, value })
}
