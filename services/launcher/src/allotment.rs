//! One action's cgroup: the limits set, the end made certain, the use counted.
//!
//! It is removed when the action is over. A cgroup that is left from a launcher that died is ended and removed at the
//! next start.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aios_wire::launch::Limits;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Below here, each folder is one action; PID 1 freezes the whole.
pub const ACTIONS: &str = "/sys/fs/cgroup/actions";

/// The kernel counts processor shares in parts of this many microseconds.
const PERIOD_US: u64 = 100_000;

/// A limit could not be set or the cgroup not be made.
#[derive(Debug, thiserror::Error)]
#[error("the cgroup layer is missing: cannot {what} {path}")]
pub struct AllotmentError {
    what: &'static str,
    path: String,
    #[source]
    source: io::Error,
}

/// The cgroup of one action.
#[derive(Debug)]
pub struct Allotment {
    path: PathBuf,
    folder: File,
}

/// What was used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Processor time of all processes, in microseconds.
    pub cpu_us: u64,
    /// The most memory that they held together.
    pub memory_peak: u64,
    /// How often the kernel ended them because of the limit.
    pub memory_kills: u64,
    /// Bytes that went to a disk or are in memory only until they do.
    pub written: u64,
}

/// Makes the controllers available to actions, and ends what an earlier launcher left.
pub fn prepare() -> Result<(), AllotmentError> {
    let actions = Path::new(ACTIONS);
    write(&actions.join("cgroup.subtree_control"), "+memory +pids +cpu +io")?;
    clear(actions)
}

/// Ends what is in the cgroups below `folder`, and removes them.
pub fn clear(folder: &Path) -> Result<(), AllotmentError> {
    let failed = |source| AllotmentError { what: "list", path: folder.display().to_string(), source };
    let left = fs::read_dir(folder).map_err(failed)?;
    for entry in left.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let path = entry.path();
        if let Err(error) = put(&path.join("cgroup.kill"), "1").and_then(|()| remove(&path)) {
            eprintln!("cannot remove the cgroup {} of an earlier launcher: {error}", path.display());
        }
    }
    Ok(())
}

impl Allotment {
    /// Makes the cgroup `name` with all limits set.
    pub fn new(name: &str, limits: Limits) -> Result<Self, AllotmentError> {
        let allotment = Self::without_limits(&Path::new(ACTIONS).join(name))?;
        allotment.limit(limits)?;
        Ok(allotment)
    }

    /// Makes a cgroup that can be ended and frozen and has no limit yet.
    pub fn without_limits(path: &Path) -> Result<Self, AllotmentError> {
        let failed = |what| {
            let path = path.display().to_string();
            move |source| AllotmentError { what, path, source }
        };
        fs::create_dir(path).map_err(failed("make"))?;
        let folder = File::open(path).map_err(failed("open"))?;
        // From here on `drop` removes what was made.
        Ok(Self { path: path.to_owned(), folder })
    }

    fn limit(&self, limits: Limits) -> Result<(), AllotmentError> {
        self.set("memory.max", &limits.memory.to_string())?;
        self.set("memory.swap.max", "0").or_else(|error| match error.source.kind() {
            // A kernel without swap has no such limit and needs none.
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        // One that wants too much ends whole, not process by process.
        self.set("memory.oom.group", "1")?;
        self.set("pids.max", &limits.processes.to_string())?;
        let share = u64::from(limits.cpu_percent).saturating_mul(PERIOD_US / 100);
        self.set("cpu.max", &format!("{share} {PERIOD_US}"))
    }

    /// The folder, to start a process in.
    pub fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// Ends everything in it, also when it is frozen.
    pub fn end(&self) {
        if let Err(error) = self.set("cgroup.kill", "1") {
            eprintln!("{}", crate::chain(&error));
        }
    }

    /// Whether it is frozen now, by itself or from above.
    pub fn is_frozen(&self) -> bool {
        fs::read_to_string(self.path.join("cgroup.events"))
            .is_ok_and(|events| events.lines().any(|line| line == "frozen 1"))
    }

    /// What was used until now. Where a controller is missing its counters read as 0; [`prepare`] has made sure of them.
    pub fn usage(&self) -> Usage {
        let text = |file: &str| fs::read_to_string(self.path.join(file)).unwrap_or_default();
        Usage {
            cpu_us: field(&text("cpu.stat"), "usage_usec"),
            memory_peak: text("memory.peak").trim().parse().unwrap_or(0),
            memory_kills: field(&text("memory.events"), "oom_kill"),
            // What waits first: between the two readings it may move to the disk, and is better counted twice than not.
            written: field(&text("memory.stat"), "file_dirty") + written(&text("io.stat")),
        }
    }

    fn set(&self, file: &str, value: &str) -> Result<(), AllotmentError> {
        write(&self.path.join(file), value)
    }
}

impl Drop for Allotment {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            eprintln!("cannot remove the cgroup {}: {error}", self.path.display());
        }
    }
}

fn write(path: &Path, value: &str) -> Result<(), AllotmentError> {
    put(path, value).map_err(|source| AllotmentError { what: "set", path: path.display().to_string(), source })
}

/// Writes a file that must be there: asking for it to be made would turn "not found" into "permission denied".
fn put(path: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

/// Removes a cgroup whose processes have ended or are ending; the kernel may take a moment to notice that.
fn remove(path: &Path) -> io::Result<()> {
    let until = Instant::now() + LEAVING;
    loop {
        let now = Instant::now();
        match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && now < until => wait_empty(path, until - now)?,
            result => return result,
        }
    }
}

/// How long ended processes may take to leave.
const LEAVING: Duration = Duration::from_millis(500);

/// Waits until the kernel says that nothing is in the cgroup. Sleeping instead would add its whole length to each action.
fn wait_empty(path: &Path, limit: Duration) -> io::Result<()> {
    let events = File::open(path.join("cgroup.events"))?;
    // A change after this reading is what the poll hears of.
    if !io::read_to_string(&events)?.lines().any(|line| line == "populated 1") {
        std::thread::sleep(Duration::from_micros(100));
        return Ok(());
    }
    let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) };
    poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&limit))?;
    Ok(())
}

/// The bytes written to the device that took most. A disk with layers, as below encryption, has each byte once a layer.
fn written(text: &str) -> u64 {
    let bytes = text.split_whitespace().filter_map(|word| word.strip_prefix("wbytes=")?.parse().ok());
    bytes.max().unwrap_or(0)
}

/// A line `name value` of a flat keyed file.
fn field(text: &str, name: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_that_is_missing_is_named_and_never_made_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("memory.max");
        let error = write(&missing, "1").expect_err("it is not there");
        assert!(error.to_string().starts_with("the cgroup layer is missing: cannot set"), "{error}");
        assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
        assert!(!missing.exists());
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let events = "low 0\noom 1\noom_kill 3\noom_group_kill 1\n";
        assert_eq!(field(events, "oom_kill"), 3);
        assert_eq!(field(events, "oom"), 1);
        assert_eq!(field(events, "kill"), 0);
    }

    #[test]
    fn a_byte_that_goes_through_two_layers_is_one_byte() {
        let line =
            |device: &str, bytes: u64| format!("{device} rbytes=7 wbytes={bytes} rios=1 wios=1 dbytes=0 dios=0\n");
        assert_eq!(written(&(line("254:0", 8192) + &line("253:1", 4096))), 8192);
        assert_eq!(written(""), 0, "nothing was written yet");
    }
}
