//! The end of the machine: everything that is left ends, the data is made safe, and the kernel is told.
//!
//! Nothing here may hang: what touches disks runs in a thread that is waited for a while and then left behind, and the
//! hardware watchdog bounds the rest.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use aios_wire::init::Afterwards;
use rustix::process::{Signal, WaitOptions, wait};
use rustix::system::{RebootCommand, reboot};

use crate::terminals::say_everywhere;
use crate::{care, efi, mounts, unlock, watchdog};

/// The recovery image's entry in the boot menu.
const RECOVERY_ENTRY: &str = "recovery.conf";
/// What no unit owns any more gets so long to end.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// A disk that takes longer than this to be safe is dead.
const DISKS: Duration = Duration::from_secs(30);

/// Ends what is left, makes the data safe and ends the machine.
pub(crate) fn end(then: Afterwards) -> ! {
    watchdog::limit(watchdog::ENDING_S);
    // A signal to -1 reaches everything but this process.
    for (signal, pause) in [(Signal::TERM, LAST_WORDS), (Signal::KILL, Duration::from_millis(50))] {
        if aios_linux::signals::send_to_all(signal).is_ok() {
            thread::sleep(pause);
        }
        reap();
    }
    for line in leave_disks() {
        say_everywhere(&format!("init: {line}"));
    }
    let command = match then {
        Afterwards::PowerOff => RebootCommand::PowerOff,
        Afterwards::Reboot => RebootCommand::Restart,
        Afterwards::Recovery => {
            if let Err(error) = efi::start_once(RECOVERY_ENTRY) {
                say_everywhere(&format!(
                    "init: the recovery image cannot be chosen ({error}); choose it in the boot menu"
                ));
            }
            RebootCommand::Restart
        }
        Afterwards::Firmware => {
            if let Err(error) = efi::show_firmware_setup() {
                say_everywhere(&format!("init: the firmware cannot be asked for its setup: {error}"));
            }
            RebootCommand::Restart
        }
    };
    say_everywhere("init: all ended");
    loop {
        if let Err(error) = reboot(command) {
            say_everywhere(&format!("init: the kernel does not end the machine: {error}"));
        }
        thread::sleep(Duration::from_secs(10));
    }
}

/// Writes back and unmounts, for at most as long as a living disk takes.
fn leave_disks() -> Vec<String> {
    within(DISKS, || {
        care::leave_for_the_next_start();
        rustix::fs::sync();
        let mut notes = mounts::unmount_all();
        rustix::fs::sync();
        notes.extend(unlock::close());
        notes
    })
    .unwrap_or_else(|| vec![format!("a disk did not take its last data within {} s", DISKS.as_secs())])
}

/// Runs `work` beside this thread; none: it did not end in time and is left behind.
fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, result) = mpsc::channel();
    let spawned = thread::Builder::new().name("disks".into()).spawn(move || {
        let _ = done.send(work());
    });
    spawned.ok()?;
    let end = Instant::now() + limit;
    loop {
        watchdog::feed();
        let left = end.saturating_duration_since(Instant::now());
        match result.recv_timeout(left.min(Duration::from_secs(1))) {
            Ok(value) => return Some(value),
            Err(mpsc::RecvTimeoutError::Timeout) if !left.is_zero() => {}
            Err(_) => return None,
        }
    }
}

/// After a failure before supervision: time to read, then a new start, so that a release on trial falls back.
pub(crate) fn restart_after_failure() -> ! {
    thread::sleep(Duration::from_secs(10));
    end(Afterwards::Reboot)
}

/// Reaps everything that has ended.
pub(crate) fn reap() {
    while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_does_not_answer_is_left_behind() {
        assert_eq!(within(Duration::from_secs(60), || 7), Some(7));
        assert_eq!(within(Duration::from_millis(10), || thread::sleep(Duration::from_secs(600))), None);
    }
}
