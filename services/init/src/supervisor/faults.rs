//! Every system call that PID 1's loop makes fails, and PID 1 goes on.
//!
//! The loop runs as process 1 of namespaces of its own, supervising one service. From outside its calls are counted, and
//! then the first, second and third of each kind fail while the service is killed: afterwards PID 1 answers, the service
//! is back, and what stood still without it goes on. The loop knows nothing of it. Calls for memory are left out: without
//! memory PID 1 ends, and the machine starts again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use aios_units::Mode;
use aios_wire::init::{BootTimes, FirmwareKeys, Origin, SigningKeys};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::mount::{MountFlags, mount, mount_bind};

use super::*;
use crate::unit_files::Users;

/// Each call fails as the first, second … of its kind after the service was killed, up to this one.
const TIMES: usize = 10;
/// How often the service is killed while calls are counted.
const ROUNDS: usize = 3;
/// PID 1 looks at everything every five seconds whatever happens, and a service has ten to become ready.
const PATIENCE: Duration = Duration::from_secs(30);
/// The service says in this file that it was started once more.
const SIGN: &str = "/run/sign";

#[test]
fn pid_1_outlives_the_failure_of_any_call_that_it_makes() {
    let Some(machine) = TestMachine::start() else { return };
    machine.settles(&machine.exercise(), "at first");
    let tracer = Tracer::attach(machine.looping());
    let begin = machine.descriptors();
    tracer.set(Watch::Counting(BTreeMap::new()));
    for _ in 0..ROUNDS {
        machine.exercise();
    }
    let Watch::Counting(made) = tracer.set(Watch::Idle) else { panic!("nobody else changes it") };
    let (mut faults, mut failed) = (0, BTreeSet::new());
    for (call, count) in made.into_iter().filter(|(call, _)| fails(*call)) {
        let name = aios_linux::calls::name_of(call).unwrap_or("unknown");
        for nth in 1..=count.div_ceil(ROUNDS).min(TIMES) {
            tracer.set(Watch::Armed { call, left: nth });
            let sign = machine.exercise();
            if matches!(tracer.set(Watch::Idle), Watch::Fired) {
                failed.insert(name);
                faults += 1;
                machine.settles(&sign, &format!("after {name} failed as the {nth}. of its kind"));
            }
        }
    }
    machine.settles(&machine.exercise(), "at last");
    println!("{faults} faults, in each of {failed:?}");
    for name in ["clone3", "openat", "read", "write", "ppoll", "accept4", "recvmsg", "wait4", "pipe2", "close"] {
        assert!(failed.contains(name), "{name} never failed, so nothing is known about it: {failed:?}");
    }
    assert!(machine.descriptors() <= begin + 4, "{} descriptors, at first {begin}", machine.descriptors());
}

/// What a call that fails says; the calls that are left out say nothing.
fn errno(call: u64) -> Option<Errno> {
    Some(match aios_linux::calls::name_of(call)? {
        "brk" | "mmap" | "munmap" | "mremap" | "madvise" | "mprotect" | "exit" | "exit_group" | "rt_sigreturn" => {
            return None;
        }
        "clone3" => Errno::EAGAIN,
        "openat" | "accept4" | "pipe2" | "socket" | "fcntl" => Errno::EMFILE,
        "poll" | "ppoll" | "wait4" => Errno::EINTR,
        "recvmsg" | "recvfrom" | "sendto" => Errno::ENOBUFS,
        "read" | "write" | "close" => Errno::EIO,
        _ => Errno::ENOMEM,
    })
}

fn fails(call: u64) -> bool {
    errno(call).is_some()
}

/// The kernel has closed a descriptor also when it says that something went wrong.
fn happens_all_the_same(call: u64) -> bool {
    aios_linux::calls::name_of(call) == Some("close")
}

/// What is done with the calls of PID 1.
#[derive(Debug)]
enum Watch {
    Idle,
    /// How often each was made.
    Counting(BTreeMap<u64, usize>),
    /// The one that counts this down to nothing fails.
    Armed {
        call: u64,
        left: usize,
    },
    Fired,
}

impl Watch {
    /// A call is about to be made; gives how it fails, if it does.
    fn sees(&mut self, made: u64) -> Option<Errno> {
        match self {
            Self::Idle | Self::Fired => None,
            Self::Counting(counts) => {
                *counts.entry(made).or_default() += 1;
                None
            }
            Self::Armed { call, left } if *call == made => {
                *left -= 1;
                if *left > 0 {
                    return None;
                }
                *self = Self::Fired;
                errno(made)
            }
            Self::Armed { .. } => None,
        }
    }
}

/// Stands between a process and the kernel.
struct Tracer {
    watch: Arc<Mutex<Watch>>,
}

impl Tracer {
    fn attach(pid: i32) -> Self {
        let watch = Arc::new(Mutex::new(Watch::Idle));
        let tracer = Self { watch: Arc::clone(&watch) };
        // The kernel takes the words of the thread that began.
        thread::spawn(move || trace(Pid::from_raw(pid), &watch));
        tracer
    }

    fn set(&self, next: Watch) -> Watch {
        std::mem::replace(&mut lock(&self.watch), next)
    }
}

fn lock(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Until the process ends.
fn trace(pid: Pid, watch: &Mutex<Watch>) {
    ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACESYSGOOD).expect("it can be traced");
    ptrace::interrupt(pid).expect("it stops");
    let (mut inside, mut failing) = (false, None);
    loop {
        let signal = match waitpid(pid, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::PtraceSyscall(_)) => {
                inside = !inside;
                let Ok(mut registers) = ptrace::getregs(pid) else { return };
                if inside {
                    let call = registers.orig_rax;
                    failing = lock(watch).sees(call);
                    if failing.is_some() && !happens_all_the_same(call) {
                        // No call has this number, so nothing is done.
                        registers.orig_rax = u64::MAX;
                        ptrace::setregs(pid, registers).expect("it stands still");
                    }
                } else if let Some(errno) = failing.take() {
                    registers.rax = i64::from(-(errno as i32)).cast_unsigned();
                    ptrace::setregs(pid, registers).expect("it stands still");
                }
                None
            }
            Ok(WaitStatus::Stopped(_, signal)) => Some(signal),
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(_) => return,
            Ok(_) => None,
        };
        if ptrace::syscall(pid, signal).is_err() {
            return;
        }
    }
}

/// PID 1 in namespaces of its own.
struct TestMachine {
    outer: Child,
    /// Its process id out here.
    one: i32,
    cgroup: PathBuf,
    /// What it prints.
    said: tempfile::NamedTempFile,
}

impl TestMachine {
    /// Starts it; none where namespaces, or cgroups of the second version, cannot be had.
    fn start() -> Option<Self> {
        let skipped = |why: &str| {
            eprintln!("SKIPPED: {why}");
            None
        };
        if !rustix::process::geteuid().is_root() {
            return skipped("namespaces need root");
        }
        let mounts = fs::read_to_string("/proc/mounts").expect("there");
        let tree = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let place = words.next()?;
            (words.next()? == "cgroup2").then(|| PathBuf::from(place))
        });
        let Some(tree) = tree else { return skipped("there are no cgroups of the second version") };
        let cgroup = tree.join(format!("aios-init-test-{}", std::process::id()));
        if let Err(error) = fs::create_dir(&cgroup) {
            return skipped(&format!("no cgroup can be made: {error}"));
        }
        let enter = "echo $$ > \"$1/cgroup.procs\" && shift && \
                     exec unshare --cgroup --mount --pid --ipc --fork --kill-child \"$@\"";
        let said = tempfile::NamedTempFile::new().expect("a file");
        let outer = Command::new("/bin/sh")
            .args(["-c", enter, "sh"])
            .arg(&cgroup)
            .arg(std::env::current_exe().expect("this program"))
            .args(["--exact", "supervisor::faults::process_one", "--ignored", "--nocapture", "--test-threads=1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said.reopen().expect("the file"))
            .spawn()
            .expect("a shell");
        let mut machine = Self { outer, one: 0, cgroup, said };
        let begin = Instant::now();
        while machine.one == 0 {
            assert!(begin.elapsed() < PATIENCE, "no process 1: {}", machine.last_words());
            thread::sleep(Duration::from_millis(20));
            machine.one = machine.first().unwrap_or(0);
        }
        Some(machine)
    }

    /// The first process of the namespace: the child of what the shell became.
    fn first(&self) -> Option<i32> {
        let children = format!("/proc/{0}/task/{0}/children", self.outer.id());
        fs::read_to_string(children).ok()?.split_whitespace().next()?.parse().ok()
    }

    /// The thread in it that the loop runs in: a test's harness waits in the first one for it.
    fn looping(&self) -> i32 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.one)).expect("it lives").flatten();
        let threads = threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok());
        threads.max().expect("it has threads")
    }

    /// A path of the machine from out here.
    fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.one))
    }

    /// The end of what it printed.
    fn last_words(&self) -> String {
        let said = fs::read_to_string(self.said.path()).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.one)).expect("it lives").count()
    }

    fn sign(&self) -> String {
        fs::read_to_string(self.path(SIGN)).unwrap_or_default()
    }

    /// Whether actions stand still, as the kernel was told.
    fn frozen(&self) -> String {
        fs::read_to_string(self.cgroup.join("actions/cgroup.freeze")).unwrap_or_default().trim().to_owned()
    }

    /// Kills the service, asks PID 1, and gives both a moment. What the service had said before comes back.
    fn exercise(&self) -> String {
        let sign = self.sign();
        let processes = fs::read_to_string(self.cgroup.join("system/victim/cgroup.procs")).unwrap_or_default();
        for process in processes.lines().filter_map(|line| line.parse().ok()).filter_map(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
        let _ = self.ask();
        let begin = Instant::now();
        while (self.sign() == sign || self.frozen() != "0") && begin.elapsed() < Duration::from_millis(1500) {
            thread::sleep(Duration::from_millis(10));
        }
        sign
    }

    /// PID 1's answer to a stranger, which is a refusal.
    fn ask(&self) -> Option<String> {
        let mut caller = UnixStream::connect(self.path("/run/aios/init")).ok()?;
        caller.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        caller.write_all(b"{\"verb\":\"status\"}\n").ok()?;
        let mut line = String::new();
        BufReader::new(caller).read_line(&mut line).ok()?;
        line.contains("refused").then_some(line)
    }

    /// Waits until the service was started anew since `sign` and is ready, and PID 1 answers.
    fn settles(&self, sign: &str, when: &str) {
        let begin = Instant::now();
        loop {
            let frozen = self.frozen();
            let restarted = self.sign() != sign;
            let answers = self.ask().is_some();
            if restarted && answers && frozen == "0" {
                return;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "{when}: the service was started again: {restarted}, PID 1 answers: {answers}, actions are frozen: {frozen}\n{}",
                self.last_words()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for TestMachine {
    fn drop(&mut self) {
        let _ = fs::write(self.cgroup.join("cgroup.kill"), "1");
        let _ = self.outer.wait();
        let branches = ["system/victim", "system", "actions", "agents", "operators", ""];
        for place in branches.map(|branch| self.cgroup.join(branch)) {
            // What was killed takes a moment to leave.
            let gone = || fs::remove_dir(&place).is_ok() || !place.exists();
            for _ in 0..100 {
                if gone() {
                    break;
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

const UNIT: &str = r#"
kind = "service"
program = "THIS"
args = ["--exact", "supervisor::faults::service", "--ignored", "--nocapture", "--test-threads=1"]
user = "root"
modes = ["live"]
socket = true
freezes-actions = true
start-timeout-s = 10
restart = { backoff-ms = 5, budget = 10000, window-s = 1 }

[sandbox]
own = ["ipc"]
network = "host"
view = "whole"
paths = "unlimited"
calls = ["unlimited"]

[resources]
# What it has already: lowering it takes a right that a build machine may not give.
oom-score = 0
"#;

/// Supervises one service. Started by the test above.
#[test]
#[ignore = "never ends; another test runs it"]
fn process_one() {
    assert_eq!(std::process::id(), 1, "not for this namespace");
    own_views();
    let this = std::env::current_exe().expect("this program");
    let unit = Unit::parse("victim", &UNIT.replace("THIS", &this.to_string_lossy())).expect("a unit");
    let machine = Machine {
        system: System {
            version: "1".into(),
            origin: Origin::Live,
            boot_id: "test".into(),
            root_hash: "00".into(),
            secure_boot: false,
            firmware_keys: FirmwareKeys::Unknown,
            keys: SigningKeys::Development,
            measured: Measured::NoTpm.into(),
            uptime_s: 0,
            boot_ms: BootTimes::default(),
            frozen: None,
            degraded: Vec::new(),
        },
        words: Words::begin(),
        users: Users::read().expect("the table"),
        peers: PeerTable::parse("[init]\nstatus = [\"service:victim\"]\n").expect("a table"),
        graph: Graph::new(Mode::Live, vec![unit]).expect("one unit fits"),
        session: None,
        notes: Vec::new(),
    };
    let Err(failure) = Supervisor::new(machine).and_then(Supervisor::run);
    panic!("{failure}");
}

/// File systems that hold nothing of the machine around: no terminals, no buttons, no last words, no other cgroups.
fn own_views() {
    let memory = |place: &str| mount("tmpfs", place, "tmpfs", MountFlags::empty(), c"mode=0755").expect(place);
    let folder = |place: &str| fs::create_dir_all(place).expect(place);
    memory("/run");
    fs::write("/run/null", "").expect("written");
    mount_bind("/dev/null", "/run/null").expect("bound");
    for place in ["/dev", "/sys", "/usr/share"] {
        memory(place);
    }
    fs::write("/dev/null", "").expect("written");
    mount_bind("/run/null", "/dev/null").expect("bound");
    folder(SOCKETS);
    folder("/usr/share/aios");
    fs::write("/usr/share/aios/users.toml", "").expect("written");
    mount("proc", "/proc", "proc", MountFlags::empty(), c"").expect("/proc");
    folder("/sys/fs/cgroup");
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MountFlags::empty(), c"").expect("cgroups");
    for branch in ["system", "operators", "agents", "actions"] {
        folder(&format!("/sys/fs/cgroup/{branch}"));
    }
}

/// A service that asks PID 1 something, is ready once it was answered, and from then on talks and leaves orphans.
#[test]
#[ignore = "never ends; PID 1 of another test runs it"]
fn service() {
    let notify = std::env::var("NOTIFY_SOCKET").expect("not started by PID 1");
    let answered = || -> Option<bool> {
        let mut stream = UnixStream::connect(Path::new(SOCKETS).join("init")).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        stream.write_all(b"{\"verb\":\"status\"}\n").ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        Some(line.contains("\"boot_id\":\"test\""))
    };
    while answered() != Some(true) {
        thread::sleep(Duration::from_millis(20));
    }
    let socket = UnixDatagram::unbound().expect("a socket");
    loop {
        // Again and again, as a message may be lost.
        let _ = socket.send_to(b"READY=1\nSTATUS=here", &notify);
        let now = fs::read_to_string("/proc/self/stat").expect("there");
        fs::write(SIGN, now.split(' ').nth(21).expect("when it was started")).expect("written");
        println!("a line");
        let _ = Command::new("/bin/sh").args(["-c", "(sleep 0.02 &)"]).status();
        thread::sleep(Duration::from_millis(50));
    }
}
