//! What a confined launch costs, by the launcher's own code with every layer; whether anything is left after many; and
//! what the escape battery makes of each tier.
//!
//!     launch-figures ROUNDS /nix/store/…/bin/PROGRAM [ARGUMENTS]
//!     launch-figures ROUNDS --peer COMMAND [ARGUMENTS]
//!     launch-figures writes FOLDER
//!     launch-figures here ROUNDS /…/PROGRAM [ARGUMENTS]
//!
//! It runs as root on a machine that has all layers, as `cargo xtask bench actions` starts one. It prints `name value`
//! lines and ends with an error when something is left or gets out. `writes` has the program in the adapter's place, which is
//! `write-on`, write to a folder on a disk. `here` does without Landlock and without the cgroup's limits, which a machine that
//! builds need not have, and tries nothing to get out.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use aios_linux::calls::CallFilter;
use aios_linux::sandbox::{Allow, Mount, Reach, View};
use aios_wire::launch::{Ending, Exit, LaunchRequest, Limits, Program, Resource, Tier};
use aios_wire::probe::ProbeReport;
use launcher::allotment::{self, Allotment};
use launcher::run::{Run, Start};
use launcher::{chain, confine};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Gid, MemfdFlags, Mode, OFlags};

const LIMITS: Limits = Limits {
    memory: 64 << 20,
    processes: 16,
    cpu_percent: 100,
    time_ms: 60_000,
    cpu_ms: 60_000,
    output: 1 << 20,
    written: 1 << 20,
};

/// Where the battery's folder is.
const GRANTED: &str = "/tmp/granted";

/// The group of granted folders.
const ACTIONS: u32 = 300;

/// Programs at a time where a rate is measured.
const TOGETHER: usize = 4;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("launch-figures: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|word| word == "writes").is_some() {
        return writes(&arguments.next().ok_or("the folder is missing")?);
    }
    let here = arguments.next_if(|word| word == "here").is_some();
    let rounds: usize = arguments.next().and_then(|text| text.to_str()?.parse().ok()).ok_or("ROUNDS is missing")?;
    let program = arguments.next().and_then(|text| text.into_string().ok()).ok_or("the program is missing")?;
    if program == "--peer" {
        return peer(rounds, &arguments.collect::<Vec<_>>());
    }
    let arguments: Vec<Vec<u8>> = arguments.map(|text| OsStr::as_bytes(&text).to_vec()).collect();
    let calls = confine::calls()?;
    if here {
        let cgroups = unlimited_cgroups()?;
        let figures = Figures { calls, program, arguments, layers: Layers::OfThisMachine, cgroups };
        let measured = figures.print(rounds);
        let removed = fs::remove_dir(&figures.cgroups);
        // Why a launch failed says more than that its cgroup is still there.
        measured?;
        return Ok(removed?);
    }
    let figures = Figures { calls, program, arguments, layers: Layers::All, cgroups: allotment::ACTIONS.into() };
    allotment::prepare()?;
    grant(Path::new(GRANTED))?;
    figures.battery()?;
    figures.print(rounds)
}

/// Another sandbox, started by the same program and waited for in the same way.
fn peer(rounds: usize, command: &[OsString]) -> Result<(), Failure> {
    let (program, arguments) = command.split_first().ok_or("the command is missing")?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        let began = Instant::now();
        let status = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        times.push(began.elapsed());
        if !status.success() {
            return Err(format!("{} ended with {status}", program.display()).into());
        }
    }
    times.sort_unstable();
    println!("peer-p50-us {}", times[times.len() / 2].as_micros());
    Ok(())
}

/// Below and beyond what may be written, by files that stay and by files that go again: how each ends, and what got to the
/// disk of what went beyond.
fn writes(place: &OsStr) -> Result<(), Failure> {
    let (place, calls) = (Path::new(place), confine::calls()?);
    allotment::prepare()?;
    grant(place)?;
    let many = u32::MAX.to_string();
    for (count, files, allowed) in
        [("3", "keep", true), ("3", "sync", true), (&many, "keep", false), (&many, "sync", false)]
    {
        let request = LaunchRequest {
            action: "act_00000000000000000000000001".parse()?,
            uid_offset: 1,
            program: Program::Adapter,
            args: [count, files].map(|word| word.as_bytes().to_vec()).into(),
            resource: Resource::Folder,
            limits: LIMITS,
        };
        let before = on_disks()?;
        let descriptors = vec![memory()?.into(), memory()?.into(), memory()?.into(), folder(place)?];
        let mut run = Run::start(&request, descriptors, &calls, Instant::now())?;
        run.started()?;
        let ending = ended_in_budget(&mut run)?.ending;
        drop(run);
        rustix::fs::sync();
        println!("{files}-{} {}", if allowed { "within" } else { "beyond" }, on_disks()? - before);
        if ending != (if allowed { Ending::Status(0) } else { Ending::WrittenOver }) {
            return Err(format!("one that writes {count} files to {files} {ending}").into());
        }
        for entry in fs::read_dir(place)?.flatten().filter(|entry| entry.path().is_file()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What all actions have written to disks since the machine started.
fn on_disks() -> Result<u64, Failure> {
    let text = fs::read_to_string(Path::new(allotment::ACTIONS).join("io.stat"))?;
    Ok(text.split_whitespace().filter_map(|word| word.strip_prefix("wbytes=")?.parse::<u64>().ok()).sum())
}

/// Makes a folder for cgroups without any controller.
fn unlimited_cgroups() -> Result<PathBuf, Failure> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let tree = lines.find(|words| words.get(2) == Some(&"cgroup2")).ok_or("no cgroup v2 is mounted")?;
    let folder = Path::new(tree[1]).join(format!("aios-figures-{}", std::process::id()));
    fs::create_dir(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    Ok(folder)
}

/// Makes a folder as the ones that actions are given.
fn grant(place: &Path) -> Result<(), Failure> {
    fs::create_dir_all(place)?;
    rustix::fs::chown(place, None, Some(Gid::from_raw(ACTIONS)))?;
    Ok(rustix::fs::chmod(place, Mode::from_raw_mode(0o2770))?)
}

fn folder(place: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(place, flags, Mode::empty())?)
}

struct Figures {
    calls: CallFilter,
    program: String,
    arguments: Vec<Vec<u8>>,
    layers: Layers,
    /// Where the launches have their cgroups.
    cgroups: PathBuf,
}

/// Which layers are around what is launched.
enum Layers {
    All,
    /// Without Landlock and without the cgroup's limits.
    OfThisMachine,
}

impl Figures {
    /// What launches take, one by one and several at a time, and what they leave.
    fn print(&self, rounds: usize) -> Result<(), Failure> {
        self.launches(20)?;
        let before = self.held()?;
        let times = self.launches(rounds)?;
        let began = Instant::now();
        self.together(rounds)?;
        let each = began.elapsed().as_secs_f64() / rounds as f64;
        let after = self.held()?;
        for (name, pick) in [
            ("launch", (|times| times.iter().sum()) as fn(&[Duration; 4]) -> Duration),
            ("launch-to-clone", |times| times[0]),
            ("launch-to-execve", |times| times[1]),
            ("launch-to-end", |times| times[2]),
            ("launch-to-removal", |times| times[3]),
        ] {
            let mut values: Vec<Duration> = times.iter().map(pick).collect();
            values.sort_unstable();
            println!("{name}-p50-us {}", values[values.len() / 2].as_micros());
            println!("{name}-p99-us {}", values[(values.len() * 99 / 100).min(values.len() - 1)].as_micros());
        }
        println!("launches-per-second {:.1}", 1.0 / each);
        println!("launches {}", 2 * rounds);
        for ((name, before), (_, after)) in before.0.iter().zip(&after.0) {
            println!("left-{name} {}", after - before);
        }
        if after.0 != before.0 { Err(format!("before {before:?}, after {after:?}").into()) } else { Ok(()) }
    }

    fn request(&self, program: Program, resource: Resource, offset: u16) -> LaunchRequest {
        let args = if let Program::Store(_) = program { self.arguments.clone() } else { Vec::new() };
        let action = format!("act_{:026}", offset);
        let action = action.parse().expect("26 digits");
        LaunchRequest { action, uid_offset: offset, program, args, resource, limits: LIMITS }
    }

    fn start(&self, request: &LaunchRequest, output: &File) -> Result<Run, Failure> {
        let copy = || output.try_clone().map(OwnedFd::from);
        let mut descriptors = vec![memory()?.into(), copy()?, memory()?.into()];
        if request.resource == Resource::Folder {
            descriptors.push(folder(Path::new(GRANTED))?);
        }
        match self.layers {
            Layers::All => Ok(Run::start(request, descriptors, &self.calls, Instant::now())?),
            Layers::OfThisMachine => self.start_here(request, &descriptors),
        }
    }

    fn start_here(&self, request: &LaunchRequest, descriptors: &[OwnedFd]) -> Result<Run, Failure> {
        let mut sandbox = confine::sandbox(request, &self.calls);
        sandbox.reach = Reach::Unlimited;
        let path = confine::path(&request.program);
        if let View::Only(mounts) = &mut sandbox.view {
            mounts.retain(|mount| !matches!(mount, Mount::Bind { .. }));
            mounts.push(Mount::Bind { from: path.into(), at: path.into(), allow: Allow::Execute });
        }
        let start = Start {
            sandbox: &sandbox,
            path,
            arguments: &confine::arguments(request),
            descriptors,
            uid_offset: request.uid_offset,
            limits: request.limits,
        };
        let allotment = Allotment::without_limits(&self.cgroups.join(request.action.as_str()))?;
        Ok(Run::begin(&start, allotment, Instant::now())?)
    }

    /// What this process and the machine hold.
    fn held(&self) -> Result<Held, Failure> {
        let mut held = Held::now(&self.cgroups)?;
        if let Layers::OfThisMachine = self.layers {
            // Others start and end processes here. One of ours would keep its cgroup from being removed.
            held.0.retain(|(name, _)| *name != "processes");
        }
        Ok(held)
    }

    /// Every tier, with what leads furthest in it.
    fn battery(&self) -> Result<(), Failure> {
        let mut escaped = Vec::new();
        for (tier, resource) in
            [(Tier::Program, Resource::None), (Tier::Adapter, Resource::None), (Tier::Adapter, Resource::Folder)]
        {
            let mut output = memory()?;
            let mut run = self.start(&self.request(Program::Probe(tier), resource, 1), &output)?;
            run.started()?;
            ended(&mut run)?;
            let mut text = Vec::new();
            output.rewind()?;
            output.read_to_end(&mut text)?;
            let report = ProbeReport::parse(&text)?;
            let contained = report.attempts.iter().filter(|attempt| attempt.contained).count();
            println!("tries-{}-{} {}", tier.word(), resource.word(), report.attempts.len());
            println!("contained-{}-{} {contained}", tier.word(), resource.word());
            escaped
                .extend(report.verdict().err().map(|why| format!("{} with {}: {why}", tier.word(), resource.word())));
        }
        if escaped.is_empty() { Ok(()) } else { Err(escaped.join("; ").into()) }
    }

    /// One after the other: how long each took from one stage to the next.
    fn launches(&self, rounds: usize) -> Result<Vec<[Duration; 4]>, Failure> {
        let output = memory()?;
        let mut times = Vec::new();
        for _ in 0..rounds {
            let request = self.request(Program::Store(self.program.clone()), Resource::None, 1);
            let began = Instant::now();
            let mut run = self.start(&request, &output)?;
            let cloned = Instant::now();
            run.started()?;
            let executed = Instant::now();
            well_ended(ended(&mut run)?)?;
            let ended = Instant::now();
            drop(run);
            times.push([cloned - began, executed - cloned, ended - executed, ended.elapsed()]);
        }
        Ok(times)
    }

    /// Several at a time, as the launcher's loop does it.
    fn together(&self, rounds: usize) -> Result<(), Failure> {
        let output = memory()?;
        let (mut runs, mut left): (Vec<Run>, _) = (Vec::new(), rounds);
        while left > 0 || !runs.is_empty() {
            while left > 0 && runs.len() < TOGETHER {
                let free = (1..).find(|offset| runs.iter().all(|run| run.uid_offset() != *offset)).unwrap_or(1);
                runs.push(
                    self.start(&self.request(Program::Store(self.program.clone()), Resource::None, free), &output)?,
                );
                left -= 1;
            }
            let mut watched: Vec<_> =
                runs.iter().map(|run| PollFd::from_borrowed_fd(run.watched(), PollFlags::IN)).collect();
            poll(&mut watched, Some(&Timespec { tv_sec: 60, tv_nsec: 0 }))?;
            let ready: Vec<bool> = watched.iter().map(|entry| !entry.revents().is_empty()).collect();
            let mut going = Vec::new();
            for (mut run, ready) in runs.into_iter().zip(ready) {
                match (ready, run.is_starting()) {
                    (false, _) => going.push(run),
                    (true, true) => {
                        run.started()?;
                        going.push(run);
                    }
                    (true, false) => well_ended(run.ended()?)?,
                }
            }
            runs = going;
        }
        Ok(())
    }
}

fn ended(run: &mut Run) -> Result<Exit, Failure> {
    poll(&mut [PollFd::from_borrowed_fd(run.watched(), PollFlags::IN)], Some(&Timespec { tv_sec: 60, tv_nsec: 0 }))?;
    Ok(run.ended()?)
}

/// As the launcher's loop waits: what nobody else holds is looked at again and again.
fn ended_in_budget(run: &mut Run) -> Result<Exit, Failure> {
    loop {
        let now = Instant::now();
        run.check_budgets(now);
        let wait = run.deadline().map(|next| next.saturating_duration_since(now));
        let wait =
            wait.map(|wait| Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() });
        if poll(&mut [PollFd::from_borrowed_fd(run.watched(), PollFlags::IN)], wait.as_ref())? > 0 {
            return Ok(run.ended()?);
        }
    }
}

fn well_ended(exit: Exit) -> Result<(), Failure> {
    if exit.ending == Ending::Status(0) { Ok(()) } else { Err(format!("the program {}", exit.ending).into()) }
}

fn memory() -> std::io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create("figures", MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL)?))
}

/// What this process and the machine hold.
#[derive(Debug, PartialEq, Eq)]
struct Held(Vec<(&'static str, i64)>);

impl Held {
    fn now(cgroups: &Path) -> std::io::Result<Self> {
        // What has ended is taken apart a moment later.
        std::thread::sleep(Duration::from_millis(500));
        let entries = |path: &Path, wanted: fn(&fs::DirEntry) -> bool| -> std::io::Result<i64> {
            Ok(fs::read_dir(path)?.flatten().filter(wanted).count() as i64)
        };
        let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_user_process = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            // Threads of the kernel come and go, and have no program.
            let number = Path::new(&name).to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
            number && fs::read_link(entry.path().join("exe")).is_ok()
        };
        Ok(Self(vec![
            ("cgroups", entries(cgroups, is_folder)?),
            ("processes", entries(Path::new("/proc"), is_user_process)?),
            ("descriptors", entries(Path::new("/proc/self/fd"), |_| true)?),
            ("mounts", fs::read_to_string("/proc/self/mountinfo")?.lines().count() as i64),
        ]))
    }
}
