//! systemd's journal, as it is on this host, beside the evidence log: in a folder of its own on the same disk, with a
//! configuration that takes nothing away from its speed.
//!
//! The journal answers nobody, so what counts is that a signal that waits behind its socket was served and that
//! every message is there afterwards.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::scenario::{Failure, ensure};

/// Where Debian has it.
const PROGRAM: &str = "/lib/systemd/systemd-journald";

/// The folder of a journal is named after the machine.
const MACHINE: &str = "00000000000000000000000000000001";

const CONFIGURATION: &str = "[Journal]\nStorage=persistent\nCompress=no\nSeal=no\nRateLimitIntervalSec=0\nReadKMsg=no\n\
    Audit=no\nSyncIntervalSec=1h\nForwardToWall=no\nSystemMaxUse=2G\nSystemMaxFileSize=1G\n";

/// 64 threads send for three seconds: messages of the priority that the journal syncs at once, and ordinary ones with one
/// sync at the end. A sender waits while the journal's socket is full.
const LOAD: &str = r#"
import os, signal, socket, subprocess, sys, threading, time
program, size = sys.argv[1], int(sys.argv[2])
place, synced = "/run/systemd/journal/socket", "/run/systemd/journal/synced"
open("/run/systemd/journal/flushed", "w").close()
journal = subprocess.Popen([program], stderr=subprocess.DEVNULL)
until = time.monotonic() + 20
while not os.path.exists(place) and time.monotonic() < until: time.sleep(0.05)
time.sleep(0.5)
def sync():
    if os.path.exists(synced): os.remove(synced)
    os.kill(journal.pid, signal.SIGRTMIN + 1)
    while not os.path.exists(synced): time.sleep(0.0005)
def load(priority):
    sync()
    begun, counts = time.monotonic(), [0] * 64
    def work(n):
        to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        to.connect(place)
        message = b"PRIORITY=%d\nKIND=decision\nMESSAGE=%s\n" % (priority, b"x" * size)
        while time.monotonic() < begun + 3:
            to.send(message)
            counts[n] += 1
    threads = [threading.Thread(target=work, args=(n,)) for n in range(64)]
    [t.start() for t in threads]; [t.join() for t in threads]
    sync()
    return sum(counts), time.monotonic() - begun
results = [load(2), load(6)]
kept = subprocess.Popen(["journalctl", "--no-pager", "-o", "cat", "MESSAGE=" + "x" * size], stdout=subprocess.PIPE)
kept = sum(1 for _ in kept.stdout)
journal.terminate(); journal.wait()
print(sum(count for count, _ in results), kept, *(count / took for count, took in results))
"#;

/// Messages a second.
pub(super) struct Rates {
    /// When each is synced before the next one.
    pub(super) synced: f64,
    /// When all are synced once, after the last.
    pub(super) together: f64,
}

/// Measures with messages of so many bytes, in `folder`.
pub(super) fn rates(folder: &Path, bytes: f64) -> Result<Rates, Failure> {
    let at = |name: &str| folder.join("journald").join(name);
    for name in ["run/systemd/journal".to_owned(), format!("log/journal/{MACHINE}")] {
        fs::create_dir_all(at(&name)).map_err(Failure::file("make", &at(&name)))?;
    }
    for (name, content) in [("machine-id", MACHINE), ("journald.conf", CONFIGURATION), ("load.py", LOAD)] {
        fs::write(at(name), format!("{content}\n")).map_err(Failure::file("write", &at(name)))?;
    }
    let mut command = Command::new("bwrap");
    command.args(["--unshare-pid", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]);
    for (how, from, to) in [
        ("--bind", "run", "/run"),
        ("--bind", "log", "/var/log"),
        ("--ro-bind", "machine-id", "/etc/machine-id"),
        ("--ro-bind", "journald.conf", "/etc/systemd/journald.conf"),
        ("--ro-bind", "load.py", "/run/load.py"),
    ] {
        command.arg(how).arg(at(from)).arg(to);
    }
    command.args(["python3", "/run/load.py", PROGRAM, &(bytes as u64).to_string()]);
    let said = super::figures::output(&mut command)?;
    let figures: Vec<f64> = said.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
    let [sent, kept, synced, together] = figures[..] else {
        return Err(Failure::broken(format!("the load on journald printed {said}")));
    };
    ensure!(sent == kept, "journald has {kept} of {sent} messages");
    Ok(Rates { synced, together })
}
