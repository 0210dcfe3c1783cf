//! The loop as process 1 of namespaces of its own, with real services and cgroups: what other tests look at from outside.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use aios_units::Mode;
use aios_wire::init::{BootTimes, FirmwareKeys, Origin, SigningKeys};
use rustix::mount::{MountFlags, mount, mount_bind};

use super::*;
use crate::unit_files::Users;

/// PID 1 looks at everything every five seconds whatever happens, and a service has ten to become ready.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// A service says in this file that it was started once more.
const SIGN: &str = "/run/sign";
/// What a test has the same service ask PID 1, and what it was answered.
const QUESTION: &str = "/run/question";
const ANSWER: &str = "/run/answer";
/// Another leaves a line here each time it is started.
const STARTS: &str = "/run/starts";
/// So often that one may be started.
pub(super) const BUDGET: usize = 3;

/// How many units beside the first three; they stand in rows, of which each needs the one before.
const CROWD: &str = "AIOS_TEST_CROWD";
const IN_A_ROW: usize = 10;
/// Made when the loop begins, and by the unit that needs the last of each row.
pub(super) const BEGIN: &str = "/run/begin";
pub(super) const LAST: &str = "/run/last";

/// PID 1 in namespaces of its own.
pub(super) struct TestMachine {
    outer: Child,
    /// Its process id out here.
    one: i32,
    cgroup: PathBuf,
    /// What it prints.
    said: tempfile::NamedTempFile,
}

impl TestMachine {
    /// Starts it; none where namespaces, or cgroups of the second version, cannot be had.
    pub(super) fn start() -> Option<Self> {
        Self::start_with(0)
    }

    /// The same with so many more units.
    pub(super) fn start_with(crowd: usize) -> Option<Self> {
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
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let cgroup = tree.join(format!("aios-init-test-{}-{number}", std::process::id()));
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
            .args(["--exact", "supervisor::test_machine::process_one", "--ignored", "--nocapture", "--test-threads=1"])
            .env(CROWD, crowd.to_string())
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
    pub(super) fn looping(&self) -> i32 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.one)).expect("it lives").flatten();
        let threads = threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok());
        threads.max().expect("it has threads")
    }

    /// A path of the machine from out here.
    fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.one))
    }

    /// The process of a unit, as the kernel says out here.
    pub(super) fn process_of(&self, unit: &str) -> Option<String> {
        let processes = fs::read_to_string(self.cgroup.join("system").join(unit).join("cgroup.procs")).ok()?;
        processes.lines().next().map(str::to_owned)
    }

    /// Waits until a unit has no process.
    pub(super) fn is_gone(&self, unit: &str) {
        let begin = Instant::now();
        while let Some(process) = self.process_of(unit) {
            assert!(begin.elapsed() < PATIENCE, "{unit} is still process {process}: {}", self.last_words());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// A connection to the socket of a unit, whether or not it runs.
    pub(super) fn call(&self, unit: &str) -> UnixStream {
        let begin = Instant::now();
        loop {
            match UnixStream::connect(self.path(SOCKETS).join(unit)) {
                Ok(stream) => break stream,
                Err(error) => assert!(begin.elapsed() < PATIENCE, "{unit}: {error}: {}", self.last_words()),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// How often the unit was started that always fails.
    pub(super) fn starts(&self) -> usize {
        fs::read_to_string(self.path(STARTS)).unwrap_or_default().lines().count()
    }

    /// The end of what it printed.
    fn last_words(&self) -> String {
        let said = fs::read_to_string(self.said.path()).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// How long a thread of it has run.
    pub(super) fn processor_time(&self, thread: i32) -> Duration {
        let path = format!("/proc/{}/task/{thread}/schedstat", self.one);
        let text = fs::read_to_string(path).expect("the kernel counts");
        Duration::from_nanos(text.split(' ').next().and_then(|first| first.parse().ok()).expect("a number"))
    }

    pub(super) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.one)).expect("it lives").count()
    }

    /// When a file of the machine was made.
    pub(super) fn made(&self, path: &str) -> Option<SystemTime> {
        fs::metadata(self.path(path)).ok()?.modified().ok()
    }

    fn sign(&self) -> String {
        fs::read_to_string(self.path(SIGN)).unwrap_or_default()
    }

    /// Whether actions stand still, as the kernel was told.
    fn frozen(&self) -> String {
        fs::read_to_string(self.cgroup.join("actions/cgroup.freeze")).unwrap_or_default().trim().to_owned()
    }

    /// Kills the service, asks PID 1, and gives both a moment. What the service had said before comes back.
    pub(super) fn exercise(&self) -> String {
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

    /// PID 1's answer to a question of the service, which may use the verbs of this test's table of peers.
    pub(super) fn ask_as_victim(&self, question: &str) -> String {
        let (asked, answer) = (self.path(QUESTION), self.path(ANSWER));
        let beside = self.path("/run/question-beside");
        fs::write(&beside, format!("{question}\n")).expect("written");
        fs::rename(&beside, &asked).expect("asked");
        let begin = Instant::now();
        while !answer.exists() {
            assert!(begin.elapsed() < PATIENCE, "no answer to {question}: {}", self.last_words());
            thread::sleep(Duration::from_millis(10));
        }
        let text = fs::read_to_string(&answer).expect("an answer");
        fs::remove_file(&answer).expect("taken");
        text
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
    pub(super) fn settles(&self, sign: &str, when: &str) {
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
        let units = ["system", "apps"].map(|branch| fs::read_dir(self.cgroup.join(branch)));
        let units = units.into_iter().flatten().flatten().flatten();
        let units = units.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>();
        let branches = ["system", "actions", "agents", "apps", "operators", ""].map(|branch| self.cgroup.join(branch));
        for place in units.into_iter().chain(branches) {
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
args = ["--exact", "supervisor::test_machine::NAME", "--ignored", "--nocapture", "--test-threads=1"]
user = "root"
modes = ["live"]
socket = true
start-timeout-s = 10
LIFE

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

/// What a unit does is a test of its name in this module.
fn unit(name: &str, life: &str) -> Unit {
    let this = std::env::current_exe().expect("this program");
    let text = UNIT.replace("THIS", &this.to_string_lossy()).replace("NAME", name).replace("LIFE", life);
    Unit::parse(name, &text).expect("a unit")
}

/// Units that do nothing, in rows, and the one that needs the last of each.
fn crowd(size: usize) -> Vec<Unit> {
    let name = |number: usize| format!("crowd-{number:03}");
    let unit = |name: &str, requires: &[String], script: &str| {
        let text = format!(
            "kind = \"service\"\nprogram = \"/bin/sh\"\nargs = [\"-c\", \"{script}\"]\nuser = \"root\"\nmodes = [\"live\"]\n\
             requires = {requires:?}\nreadiness = \"started\"\n\n[sandbox]\nview = \"whole\"\nnetwork = \"host\"\n\
             paths = \"unlimited\"\ncalls = [\"unlimited\"]\n\n[resources]\noom-score = 0\n"
        );
        Unit::parse(name, &text).expect("a unit")
    };
    let before = |number: usize| (!number.is_multiple_of(IN_A_ROW)).then(|| name(number - 1));
    let mut units: Vec<Unit> =
        (0..size).map(|number| unit(&name(number), before(number).as_slice(), "exec sleep 1000")).collect();
    let ends: Vec<String> = (1..=size / IN_A_ROW).map(|row| name(row * IN_A_ROW - 1)).collect();
    if !ends.is_empty() {
        units.push(unit("last", &ends, &format!("> {LAST}; exec sleep 1000")));
    }
    units
}

const PEERS: &str = r#"
[init]
status = ["service:victim"]
services = ["service:victim"]
unit-add = ["service:victim"]
unit-remove = ["service:victim"]
"#;

/// Supervises three services. Started by the machine above.
#[test]
#[ignore = "never ends; another test runs it"]
fn process_one() {
    assert_eq!(std::process::id(), 1, "not for this namespace");
    own_views();
    let always = "freezes-actions = true\nrestart = { backoff-ms = 5, budget = 10000, window-s = 1 }";
    let seldom = format!("start = \"on-call\"\nrestart = {{ backoff-ms = 5, budget = {BUDGET}, window-s = 3600 }}");
    let mut units = vec![unit("victim", always), unit("door", "start = \"on-call\""), unit("broken", &seldom)];
    units.extend(crowd(std::env::var(CROWD).ok().and_then(|number| number.parse().ok()).unwrap_or(0)));
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
        peers: PeerTable::parse(PEERS).expect("a table"),
        graph: Graph::new(Mode::Live, units).expect("they fit"),
        session: None,
        waited_ms: 0,
        notes: Vec::new(),
    };
    fs::write(BEGIN, "").expect("written");
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
    for branch in ["system", "operators", "agents", "apps", "actions"] {
        folder(&format!("/sys/fs/cgroup/{branch}"));
    }
}

/// A service that asks PID 1 something, is ready once it was answered, and from then on talks and leaves orphans.
#[test]
#[ignore = "never ends; PID 1 of another test runs it"]
fn victim() {
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
        if let Ok(question) = fs::read(QUESTION) {
            fs::remove_file(QUESTION).expect("taken");
            let mut line = String::new();
            let mut stream = UnixStream::connect(Path::new(SOCKETS).join("init")).expect("it listens");
            stream.write_all(&question).expect("asked");
            let _ = BufReader::new(stream).read_line(&mut line);
            fs::write("/run/answer-beside", line).expect("written");
            fs::rename("/run/answer-beside", ANSWER).expect("answered");
        }
        let _ = Command::new("/bin/sh").args(["-c", "(sleep 0.02 &)"]).status();
        thread::sleep(Duration::from_millis(50));
    }
}

/// A service that answers one caller and then has nothing more to do.
#[test]
#[ignore = "waits for a caller; PID 1 of another test runs it"]
fn door() {
    let notify = std::env::var("NOTIFY_SOCKET").expect("not started by PID 1");
    let socket = aios_linux::inherited::listening_socket().expect("the socket of the unit");
    UnixDatagram::unbound().expect("a socket").send_to(b"READY=1", notify).expect("said");
    let (mut caller, _) = socket.accept().expect("who had it started");
    // Before PID 1 has heard that it is ready, its end would be that of one that never was.
    thread::sleep(Duration::from_millis(100));
    writeln!(caller, "{}", std::process::id()).expect("answered");
    std::process::exit(0);
}

/// A service that always fails, before it has answered anybody.
#[test]
#[ignore = "fails; PID 1 of another test runs it"]
fn broken() {
    let mut starts = fs::OpenOptions::new().create(true).append(true).open(STARTS).expect("the file");
    writeln!(starts, "once more").expect("written");
    std::process::exit(1);
}
