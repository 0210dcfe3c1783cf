//! Ctrl-C and its like: everything that was started ends first, then this program, by the same signal.
//!
//! Nothing is half-written by then, because nothing is ever written under its final name: see [`crate::output`] and
//! [`crate::cache`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, set_child_subreaper};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{Error, Result};

/// How long programs may take to end by themselves.
const PATIENCE: Duration = Duration::from_secs(3);

static COMING: AtomicBool = AtomicBool::new(false);

/// Folders of work that nobody needs once this process ends.
static LITTER: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Held while several files get their final names: either all of them or none, whatever signal comes.
static FINISHING: Mutex<()> = Mutex::new(());

/// Begins to wait for signals.
pub(crate) fn watch() -> Result<()> {
    // What our children start and leave behind becomes ours, so that it is found.
    let _ = set_child_subreaper(Some(rustix::process::getpid()));
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|source| Error::library("signals cannot be waited for", source))?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            end(signal);
        }
    });
    Ok(())
}

/// Does not come back when a signal has come: what failed then failed because of it.
pub(crate) fn stop_if_coming() {
    while COMING.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

/// A folder to be removed when a signal ends this process.
pub(crate) fn litter(path: &Path) {
    change_litter(|litter| {
        litter.insert(path.to_owned());
    });
}

/// Makes such a folder. A signal comes before or after that, never between: then this does not come back.
pub(crate) fn make_litter(path: &Path) -> std::io::Result<()> {
    change_litter(|litter| {
        std::fs::create_dir_all(path)?;
        litter.insert(path.to_owned());
        Ok(())
    })
}

/// A folder that has been removed, or is to stay.
pub(crate) fn no_litter(path: &Path) {
    change_litter(|litter| {
        litter.remove(path);
    });
}

/// Does something that a signal does not cut in two.
pub(crate) fn in_one_piece<T>(work: impl FnOnce() -> T) -> T {
    let _held = FINISHING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    work()
}

fn change_litter<T>(change: impl FnOnce(&mut BTreeSet<PathBuf>) -> T) -> T {
    change(&mut LITTER.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

fn end(signal: i32) {
    COMING.store(true, Ordering::SeqCst);
    crate::progress::clear();
    eprintln!("interrupted: ending what was started");
    end_descendants();
    // Never given back: nothing gets its final name any more.
    let _held = FINISHING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Nor this: nothing new is made.
    change_litter(|litter| -> () {
        litter.iter().for_each(|path| sweep(path));
        let _ = signal_hook::low_level::emulate_default_handler(signal);
        std::process::exit(128 + signal);
    });
}

/// Removes a folder into which the rest of this process may still be writing: with the folder gone it cannot.
fn sweep(path: &Path) {
    let started = Instant::now();
    while let Err(error) = std::fs::remove_dir_all(path) {
        if error.kind() == std::io::ErrorKind::NotFound || started.elapsed() > PATIENCE {
            return;
        }
    }
}

fn end_descendants() {
    let started = Instant::now();
    let mut asked = BTreeSet::new();
    loop {
        let left = descendants(std::process::id(), &parents());
        if left.is_empty() || started.elapsed() > 2 * PATIENCE {
            return;
        }
        for process in left {
            let Some(process_id) = i32::try_from(process).ok().and_then(Pid::from_raw) else { continue };
            if started.elapsed() > PATIENCE {
                let _ = kill_process(process_id, Signal::KILL);
            } else if asked.insert(process) {
                let _ = kill_process(process_id, Signal::TERM);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every process that is not a zombie, with its parent.
fn parents() -> BTreeMap<u32, u32> {
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let text = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some(parent) = parent_in(&text) {
            parents.insert(process, parent);
        }
    }
    parents
}

/// The parent as `/proc/N/stat` has it; none for a zombie. The name before it may hold anything, also brackets.
fn parent_in(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z" && state != "X").then_some(parent)
}

/// Everything below a process.
fn descendants(of: u32, parents: &BTreeMap<u32, u32>) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    loop {
        let more = parents.iter().filter(|(_, parent)| **parent == of || found.contains(*parent));
        let more: BTreeSet<u32> = more.map(|(process, _)| *process).collect();
        if more == found {
            return found;
        }
        found = more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_parent_is_read_whatever_the_program_is_called() {
        assert_eq!(parent_in("12 (make) S 7 12 7 0 -1"), Some(7));
        assert_eq!(parent_in("12 (a) Z 9 (b)) R 7 12 7 0 -1"), Some(7));
        assert_eq!(parent_in("12 (gone) Z 7 12 7 0 -1"), None);
        assert_eq!(parent_in(""), None);
    }

    #[test]
    fn everything_below_a_process_is_found_in_any_order() {
        let parents = BTreeMap::from([(2, 1), (9, 2), (3, 9), (4, 3), (5, 1)]);
        assert_eq!(descendants(2, &parents), BTreeSet::from([3, 4, 9]));
        assert_eq!(descendants(4, &parents), BTreeSet::new());
    }

    proptest! {
        #[test]
        fn no_stat_line_panics(text in ".{0,60}") {
            let _ = parent_in(&text);
        }
    }
}
