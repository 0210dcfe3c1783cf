//! The hardware watchdogs: taken early, fed by whoever is PID 1's loop at the moment, never given back.
//!
//! The only thing in PID 1 that is reachable from everywhere: a loop that takes over after a defect has nothing else left.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use aios_linux::watchdog::Watchdog;

/// Until the loop runs: devices and disks may take their time.
pub(crate) const STARTING_S: u16 = 90;
/// In the loop, which never waits for anybody.
pub(crate) const RUNNING_S: u16 = 30;
/// From the moment when all units have ended until the machine has.
pub(crate) const ENDING_S: u16 = 60;
/// How often the loop feeds at least.
pub(crate) const FEED_EVERY_MS: u64 = 5_000;

static TAKEN: OnceLock<Vec<Watchdog>> = OnceLock::new();

/// Takes every watchdog that the machine has. Returns what is worth knowing; a machine without one runs as well.
pub(crate) fn take() -> Vec<String> {
    let mut notes = Vec::new();
    let mut watchdogs = Vec::new();
    for entry in fs::read_dir("/sys/class/watchdog").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let what = format!("watchdog {}", name.to_string_lossy());
        match Watchdog::open(&Path::new("/dev").join(&name)) {
            Ok(watchdog) => {
                notes.push(match watchdog.restarted_us() {
                    Ok(true) => format!("{what} is fed; it restarted the machine: the system before did not answer it"),
                    _ => format!("{what} is fed"),
                });
                watchdogs.push(watchdog);
            }
            Err(error) => notes.push(format!("{what} cannot be taken: {error}")),
        }
    }
    let _ = TAKEN.set(watchdogs);
    notes.extend(limit(STARTING_S));
    notes
}

/// Sets after how much silence they restart the machine, and feeds them.
pub(crate) fn limit(seconds: u16) -> Vec<String> {
    let set = |watchdog: &Watchdog| {
        let result = watchdog.set_limit(seconds);
        result.err().map(|error| format!("a watchdog does not take a limit of {seconds} s: {error}"))
    };
    let notes = TAKEN.get().into_iter().flatten().filter_map(set).collect();
    feed();
    notes
}

/// Tells them that PID 1 is there.
pub(crate) fn feed() {
    for watchdog in TAKEN.get().into_iter().flatten() {
        // One that does not listen will restart the machine, which is what it is for.
        let _ = watchdog.feed();
    }
}
