//! How programs end that hang, spin, flood, leave children or are killed, and that nothing is left of a thousand of them.
//!
//! Needs root and a cgroup v2 that may be written. Limits of memory and processes, and the newest Landlock, are in no
//! build machine's reach: they are tried in the virtual machine.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aios_linux::sandbox::{Allow, Identity, Mount, Namespace, Reach, Resource, Sandbox, View};
use aios_wire::launch::{Ending, Exit, Limits};
use launcher::allotment::{self, Allotment};
use launcher::run::{Run, Start};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const BUSYBOX: &str = "/bin/busybox";

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(60);

const LIMITS: Limits = Limits {
    memory: 1 << 30,
    processes: 64,
    cpu_percent: 100,
    time_ms: 60_000,
    cpu_ms: 60_000,
    output: 1 << 20,
    written: 256 << 10,
};

/// A folder of cgroups for one test; removed with what is left in it. `spawn` wants a caller with one thread, and what is
/// counted must be this test's, so tests take turns.
struct Bench {
    cgroups: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    fn new(name: &str) -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mounts = fs::read_to_string("/proc/self/mounts").expect("always there");
        let root = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|words| words[2] == "cgroup2");
        let cgroups = root.map(|words| Path::new(words[1]).join(format!("aios-{name}-{}", std::process::id())));
        match cgroups.filter(|path| rustix::process::geteuid().is_root() && fs::create_dir(path).is_ok()) {
            Some(cgroups) if Path::new(BUSYBOX).exists() => Some(Self { cgroups, _turn: turn }),
            _ => {
                eprintln!("skipped: needs root, {BUSYBOX} and a cgroup v2 that may be written");
                None
            }
        }
    }

    /// Starts busybox with these words.
    fn start(&self, words: &[&str], limits: Limits) -> (Run, File) {
        let sandbox = Sandbox {
            namespaces: Namespace::ALL.to_vec(),
            view: View::Only(vec![
                Mount::Memory { at: "/tmp".into(), bytes: 32 << 20, mode: 0o700 },
                Mount::Bind { from: BUSYBOX.into(), at: BUSYBOX.into(), allow: Allow::Execute },
                Mount::Devices,
            ]),
            reach: Reach::Unlimited,
            limits: vec![(Resource::Fsize, limits.written.into()), (Resource::Core, 0)],
            ..Sandbox::new(Identity::plain(61_002))
        };
        let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
        let (output, complaints) = (tempfile::tempfile().expect("a file"), tempfile::tempfile().expect("a file"));
        let copy = output.try_clone().expect("a descriptor");
        let descriptors = [File::open("/dev/null").expect("always there"), copy, complaints].map(OwnedFd::from);
        let allotment = Allotment::without_limits(&self.cgroups.join("action")).expect("a cgroup");
        let start = Start {
            sandbox: &sandbox,
            path: Path::new(BUSYBOX),
            arguments: &arguments,
            descriptors: &descriptors,
            uid_offset: 2,
            limits,
        };
        let mut run = Run::begin(&start, allotment, Instant::now()).expect("it starts");
        run.started().expect("every layer that was asked for is there");
        (run, output)
    }

    /// Runs busybox to its end; its cgroup is gone afterwards.
    fn run(&self, words: &[&str], limits: Limits) -> Exit {
        let (mut run, _output) = self.start(words, limits);
        let exit = until_it_ends(&mut run, PATIENCE).expect("it ends");
        drop(run);
        self.is_empty();
        exit
    }

    fn is_empty(&self) {
        assert_eq!(self.left(), 0, "a cgroup is left, and a cgroup with a process in it cannot be removed");
    }

    fn left(&self) -> usize {
        let entries = fs::read_dir(&self.cgroups).expect("ours");
        entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).count()
    }

    fn freeze(&self, word: &str) {
        fs::write(self.cgroups.join("action/cgroup.freeze"), word).expect("ours");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        allotment::clear(&self.cgroups).expect("ours");
        fs::remove_dir(&self.cgroups).expect("empty");
    }
}

/// What the launcher's loop does for one program, for at most so long.
fn until_it_ends(run: &mut Run, limit: Duration) -> Option<Exit> {
    let until = Instant::now() + limit;
    loop {
        let now = Instant::now();
        run.check_budgets(now);
        let next = run.deadline().unwrap_or(until).min(until).saturating_duration_since(now);
        let wait = Timespec { tv_sec: next.as_secs().cast_signed(), tv_nsec: next.subsec_nanos().into() };
        let ready = poll(&mut [PollFd::from_borrowed_fd(run.watched(), PollFlags::IN)], Some(&wait)).expect("polled");
        match ready {
            0 if now >= until => return None,
            0 => {}
            _ => return Some(run.ended().expect("it can be waited for")),
        }
    }
}

#[test]
fn one_that_hangs_ends_with_all_its_children_when_its_time_is_over() {
    let Some(bench) = Bench::new("hang") else { return };
    let limits = Limits { time_ms: 300, ..LIMITS };
    let began = Instant::now();
    let exit = bench
        .run(&["sh", "-c", "(busybox sleep 500 & busybox sleep 500 &); trap '' TERM INT; busybox sleep 500"], limits);
    assert_eq!(exit.ending, Ending::TimeOver);
    assert!(began.elapsed() >= Duration::from_millis(300) && began.elapsed() < PATIENCE / 2);
}

#[test]
fn processor_time_is_counted_over_all_processes() {
    let Some(bench) = Bench::new("spin") else { return };
    let spinning = "spin() { while :; do :; done; }; spin & spin & spin & wait";
    let exit = bench.run(&["sh", "-c", spinning], Limits { cpu_ms: 400, ..LIMITS });
    assert_eq!(exit.ending, Ending::ProcessorOver);
    assert!(exit.cpu_us > 400_000, "{exit:?}");
    // Sleeping costs none of it.
    let exit = bench.run(&["sleep", "1"], Limits { cpu_ms: 400, ..LIMITS });
    assert_eq!(exit.ending, Ending::Status(0));
}

#[test]
fn a_flood_is_stopped_and_too_much_output_is_never_a_success() {
    let Some(bench) = Bench::new("flood") else { return };
    let limits = Limits { output: 64 << 10, written: 1 << 30, ..LIMITS };
    assert_eq!(bench.run(&["yes"], limits).ending, Ending::OutputOver);
    // Over before anybody looks; both descriptors count together.
    let twice = "busybox head -c 40000 /dev/zero; busybox head -c 40000 /dev/zero >&2";
    assert_eq!(bench.run(&["sh", "-c", twice], limits).ending, Ending::OutputOver);
    assert_eq!(bench.run(&["sh", "-c", "busybox head -c 40000 /dev/zero"], limits).ending, Ending::Status(0));
}

#[test]
fn a_file_grows_to_its_limit_and_what_fills_the_private_folder_goes_with_it() {
    let Some(bench) = Bench::new("grow") else { return };
    let grow = "busybox dd if=/dev/zero of=/tmp/file bs=64k count=100; exit $(busybox stat -c %s /tmp/file | busybox cut -c 1-3)";
    assert_eq!(bench.run(&["sh", "-c", grow], LIMITS).ending, Ending::Status(262 & 0xff));
    let many = "i=0; while busybox head -c 200000 /dev/zero > /tmp/$i; do i=$((i + 1)); done; exit 7";
    assert_eq!(bench.run(&["sh", "-c", many], LIMITS).ending, Ending::Status(7));
}

#[test]
fn what_a_program_leaves_behind_ends_with_it() {
    let Some(bench) = Bench::new("children") else { return };
    let exit = bench.run(&["sh", "-c", "(busybox setsid busybox sleep 500 &); (busybox sleep 500 &); exit 3"], LIMITS);
    assert_eq!(exit.ending, Ending::Status(3));
}

#[test]
fn one_that_is_killed_and_one_that_nobody_waits_for_are_gone() {
    let Some(bench) = Bench::new("killed") else { return };
    let (mut run, _output) = bench.start(&["sleep", "500"], LIMITS);
    let pid = rustix::process::Pid::from_raw(run.pid().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("ours");
    assert_eq!(until_it_ends(&mut run, PATIENCE).map(|exit| exit.ending), Some(Ending::Signal(9)));
    drop(run);
    bench.is_empty();
    let (mut run, _output) = bench.start(&["sh", "-c", "busybox sleep 500 & busybox sleep 500"], LIMITS);
    run.abandon();
    assert_eq!(until_it_ends(&mut run, PATIENCE).map(|exit| exit.ending), Some(Ending::Signal(9)));
    drop(run);
    bench.is_empty();
}

#[test]
fn a_frozen_program_keeps_its_time_and_can_still_be_ended() {
    let Some(bench) = Bench::new("frozen") else { return };
    let (mut run, _output) = bench.start(&["sleep", "500"], Limits { time_ms: 200, ..LIMITS });
    bench.freeze("1");
    let before = until_it_ends(&mut run, Duration::from_millis(700));
    assert_eq!(before, None, "its time must not end while it cannot use it");
    bench.freeze("0");
    assert_eq!(until_it_ends(&mut run, PATIENCE).map(|exit| exit.ending), Some(Ending::TimeOver));
    drop(run);
    let (mut run, _output) = bench.start(&["sleep", "500"], LIMITS);
    bench.freeze("1");
    run.abandon();
    assert_eq!(until_it_ends(&mut run, PATIENCE).map(|exit| exit.ending), Some(Ending::Signal(9)));
}

#[test]
fn what_a_launcher_that_died_left_is_ended_by_the_next() {
    let Some(bench) = Bench::new("died") else { return };
    let (run, _output) = bench.start(&["sh", "-c", "busybox sleep 500 & busybox sleep 500"], LIMITS);
    let pid = run.pid();
    // Its end without any of its own steps, as a kill leaves it.
    std::mem::forget(run);
    assert_eq!(bench.left(), 1);
    allotment::clear(&bench.cgroups).expect("ours");
    bench.is_empty();
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process");
    let ended = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).expect("a child");
    assert_eq!(ended.and_then(|(_, status)| status.terminating_signal()), Some(9));
}

/// What this process holds of the machine: descriptors, mounts, children.
fn held() -> [usize; 3] {
    let children = || {
        let mut text = String::new();
        let path = format!("/proc/self/task/{}/children", rustix::thread::gettid().as_raw_nonzero());
        File::open(path).and_then(|mut file| file.read_to_string(&mut text)).map_or(0, |_| text.split(' ').count())
    };
    let lines = |path| fs::read_to_string(path).expect("always there").lines().count();
    [fs::read_dir("/proc/self/fd").expect("always there").count(), lines("/proc/self/mountinfo"), children()]
}

#[test]
fn a_thousand_programs_leave_nothing() {
    let Some(bench) = Bench::new("thousand") else { return };
    let before = held();
    for _ in 0..1000 {
        assert_eq!(bench.run(&["true"], LIMITS).ending, Ending::Status(0));
    }
    assert_eq!(held(), before);
    bench.is_empty();
}
