//! The end of the machine, and what PID 1 does when it cannot go on.

use std::time::Duration;

use aios_wire::init::Afterwards;
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::process::{Signal, WaitOptions, wait};
use rustix::system::{RebootCommand, reboot};

use crate::{efi, terminals};

/// The recovery image's entry in the boot menu.
const RECOVERY_ENTRY: &str = "recovery.conf";
/// What no unit owns any more gets so long to end.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Ends what is left, makes the data safe and ends the machine.
pub(crate) fn end(then: Afterwards) -> ! {
    // A signal to -1 reaches everything but this process.
    for (signal, pause) in [(Signal::TERM, LAST_WORDS), (Signal::KILL, Duration::from_millis(50))] {
        if aios_linux::signals::send_to_all(signal).is_ok() {
            std::thread::sleep(pause);
        }
        reap();
    }
    rustix::fs::sync();
    for place in ["/nix/store", "/root", "/aios"] {
        if unmount(place, UnmountFlags::empty()).is_err() && place == "/aios" {
            let _ = mount_remount(place, MountFlags::RDONLY, c"");
        }
    }
    rustix::fs::sync();
    let command = match then {
        Afterwards::PowerOff => RebootCommand::PowerOff,
        Afterwards::Reboot => RebootCommand::Restart,
        Afterwards::Recovery => {
            if let Err(error) = efi::start_once(RECOVERY_ENTRY) {
                terminals::say_everywhere(&format!(
                    "init: the recovery image cannot be chosen ({error}); choose it in the boot menu"
                ));
            }
            RebootCommand::Restart
        }
    };
    terminals::say_everywhere("init: all ended");
    loop {
        if let Err(error) = reboot(command) {
            terminals::say_everywhere(&format!("init: the kernel does not end the machine: {error}"));
        }
        std::thread::sleep(Duration::from_secs(10));
    }
}

/// After a failure before supervision: time to read, then a new start, so that a release on trial falls back.
pub(crate) fn restart_after_failure() -> ! {
    std::thread::sleep(Duration::from_secs(10));
    rustix::fs::sync();
    end(Afterwards::Reboot)
}

/// Reaps for ever and does nothing else.
pub(crate) fn reap_for_ever() -> ! {
    loop {
        reap();
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn reap() {
    while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
}
