//! One program in its sandbox, from the first check to its end.
//!
//! | stage | what ends it | next |
//! |---|---|---|
//! | starting | the report: every layer in place | running |
//! | starting | the report: a layer is missing | refused, gone |
//! | running | its process ends | exited, gone |
//!
//! A budget that is used up, or a caller that hung up, ends everything in its cgroup; the stage then changes as if the
//! program had ended by itself. Memory, processes and the processor's share are held by the kernel at every moment;
//! time by the deadline; processor time and what is printed or written are looked at again and again, and once more at the
//! end.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aios_ids::Digest;
use aios_linux::calls::CallFilter;
use aios_linux::granted;
use aios_linux::sandbox::Sandbox;
use aios_linux::spawn::{self, SpawnError};
use aios_wire::launch::{Ending, Exit, LaunchRequest, Limits, Program, Resource, Tier};
use rustix::fs::FileType;
use rustix::process::{WaitId, WaitIdOptions};

use crate::allotment::{Allotment, AllotmentError, Usage};
use crate::{confine, profile};

/// `SIGSYS`: what the kernel sends for a call that a filter does not even answer.
const FORBIDDEN_CALL: i32 = 31;

/// The launcher holds a program in memory while it starts it, and the program's own memory holds it afterwards.
const PROGRAM_LIMIT: u64 = 8 << 20;

/// How long a deadline waits while the program is frozen: it cannot use the time.
const WHILE_FROZEN: Duration = Duration::from_secs(1);

/// How often budgets are looked at that the kernel does not hold by itself. So much more may be used at most.
const LOOK: Duration = Duration::from_millis(100);

/// Nothing was run.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A descriptor is not what its place needs.
    #[error("descriptor {number} is a {kind}; it must be {needed}")]
    Descriptor {
        /// Its number.
        number: usize,
        /// What it is.
        kind: &'static str,
        /// What it has to be.
        needed: &'static str,
    },
    /// A descriptor cannot be looked at.
    #[error("cannot look at descriptor {number}")]
    Unknown {
        /// Its number.
        number: usize,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The tier has no such resource.
    #[error("a program of tier {} is given no {}", tier.word(), resource.word())]
    Resource {
        /// The program's.
        tier: Tier,
        /// What came along.
        resource: Resource,
    },
    /// The folder cannot be cut off from what is above it.
    #[error("the granted folder cannot be made a tree of its own")]
    Folder(#[source] io::Error),
    /// The program that came along cannot be read.
    #[error("cannot read the program")]
    Program(#[source] io::Error),
    /// It is larger than any program may be.
    #[error("the program has more than {PROGRAM_LIMIT} bytes")]
    Large,
    /// It is not the one that the request names.
    #[error("the program that came along has the digest {found} and not {wanted}")]
    OtherProgram {
        /// What was to run.
        wanted: Digest,
        /// What came.
        found: Digest,
    },
    /// What it prints cannot be watched.
    #[error("cannot keep hold of the program's output")]
    Output(#[source] io::Error),
    /// No cgroup, or not with all limits.
    #[error(transparent)]
    Allotment(#[from] AllotmentError),
    /// A layer is missing.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// A launched program.
#[derive(Debug)]
pub struct Run {
    path: PathBuf,
    uid_offset: u16,
    pid: u32,
    pidfd: OwnedFd,
    report: Option<OwnedFd>,
    limits: Limits,
    deadline: Instant,
    look: Instant,
    /// What it prints to, where that has a size.
    printed: Vec<OwnedFd>,
    over: Option<Ending>,
    // Last: its `drop` removes the cgroup after everything else is gone.
    allotment: Allotment,
}

/// What is run, with what.
#[derive(Debug)]
pub struct Start<'a> {
    /// Every layer.
    pub sandbox: &'a Sandbox,
    /// The program in the sandbox's tree.
    pub path: &'a Path,
    /// Its arguments.
    pub arguments: &'a [OsString],
    /// Its descriptors, from 0.
    pub descriptors: &'a [OwnedFd],
    /// Which of the sandbox users it is.
    pub uid_offset: u16,
    /// What it may use up.
    pub limits: Limits,
}

impl Run {
    /// Starts the program of `request`; its layers are not in place before [`Run::started`] says so.
    pub fn start(
        request: &LaunchRequest,
        mut descriptors: Vec<OwnedFd>,
        calls: &CallFilter,
        now: Instant,
    ) -> Result<Self, Refusal> {
        let (tier, resource) = (request.program.tier(), request.resource);
        check(&descriptors, resource)?;
        if !profile::of(tier).resources.contains(&resource) {
            return Err(Refusal::Resource { tier, resource });
        }
        if resource == Resource::Folder
            && let Some(folder) = descriptors.last_mut()
        {
            *folder = granted::alone(folder.as_fd()).map_err(Refusal::Folder)?;
        }
        let mut sandbox = confine::sandbox(request, calls);
        if let Program::App { sha256, .. } = request.program
            && let Some(file) = descriptors.pop()
        {
            sandbox = confine::with_program(sandbox, program(File::from(file), sha256)?);
        }
        let allotment = Allotment::new(request.action.as_str(), request.limits)?;
        let start = Start {
            sandbox: &sandbox,
            path: confine::path(&request.program),
            arguments: &confine::arguments(request),
            descriptors: &descriptors,
            uid_offset: request.uid_offset,
            limits: request.limits,
        };
        Self::begin(&start, allotment, now)
    }

    /// Starts a program in a finished sandbox and cgroup.
    pub fn begin(start: &Start<'_>, allotment: Allotment, now: Instant) -> Result<Self, Refusal> {
        let printed = [1, 2].into_iter().filter_map(|number| start.descriptors.get(number));
        let printed = printed.map(OwnedFd::try_clone).collect::<io::Result<_>>().map_err(Refusal::Output)?;
        let placed: Vec<_> = start.descriptors.iter().zip(0..).map(|(fd, number)| (fd.as_fd(), number)).collect();
        let child = spawn::spawn(
            start.sandbox,
            &spawn::Program {
                path: start.path,
                arguments: start.arguments,
                descriptors: &placed,
                listening: 0,
                cgroup: Some(allotment.folder()),
            },
        )?;
        Ok(Self {
            path: start.path.to_owned(),
            uid_offset: start.uid_offset,
            pid: child.pid.as_raw_nonzero().get().unsigned_abs(),
            pidfd: child.pidfd,
            report: Some(child.report),
            limits: start.limits,
            deadline: now + Duration::from_millis(u64::from(start.limits.time_ms)),
            look: now + LOOK,
            printed,
            over: None,
            allotment,
        })
    }

    /// Its process id outside of the sandbox.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Which user id it has, as an offset.
    pub fn uid_offset(&self) -> u16 {
        self.uid_offset
    }

    /// What becomes readable when the stage may change.
    pub fn watched(&self) -> BorrowedFd<'_> {
        self.report.as_ref().unwrap_or(&self.pidfd).as_fd()
    }

    /// Whether its layers are still being put in place.
    pub fn is_starting(&self) -> bool {
        self.report.is_some()
    }

    /// Reads the report of a starting program: all layers are in place, or one is missing and it has ended.
    pub fn started(&mut self) -> Result<(), SpawnError> {
        let Some(report) = self.report.take() else { return Ok(()) };
        spawn::read_report(report, &self.path).inspect_err(|_| {
            // It ended by itself after its report; nobody else waits for it.
            let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        })
    }

    /// How the program ended; call it when its handle is readable.
    pub fn ended(&self) -> io::Result<Exit> {
        let status = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)?
            .ok_or_else(|| io::Error::other("the program has ended and has no status"))?;
        let usage = self.allotment.usage();
        let ending = match (status.exit_status(), status.terminating_signal()) {
            _ if let Some(over) = self.over => over,
            _ if usage.memory_kills > 0 => Ending::MemoryOver,
            _ if let Some(over) = self.used_up(usage) => over,
            (Some(status), _) => Ending::Status(status),
            (None, Some(FORBIDDEN_CALL)) => Ending::ForbiddenCall,
            (None, signal) => Ending::Signal(signal.unwrap_or(0)),
        };
        Ok(Exit { ending, cpu_us: usage.cpu_us, memory_peak: usage.memory_peak.min(self.limits.memory) })
    }

    /// When to look at it again although nothing happened.
    pub fn deadline(&self) -> Option<Instant> {
        self.over.is_none().then(|| self.deadline.min(self.look))
    }

    /// Ends it when a budget is used up. A frozen program keeps the time that it cannot use.
    pub fn check_budgets(&mut self, now: Instant) {
        if self.over.is_some() {
            return;
        }
        if now >= self.deadline {
            if self.allotment.is_frozen() {
                self.deadline = now + WHILE_FROZEN;
            } else {
                self.over = Some(Ending::TimeOver);
            }
        } else if now >= self.look {
            self.look = now + LOOK;
            self.over = self.used_up(self.allotment.usage());
        }
        if self.over.is_some() {
            self.allotment.end();
        }
    }

    /// Which of the budgets that the kernel does not hold is used up.
    fn used_up(&self, usage: Usage) -> Option<Ending> {
        let size = |fd: &OwnedFd| rustix::fs::fstat(fd).map_or(0, |status| status.st_size.unsigned_abs());
        if self.printed.iter().map(size).sum::<u64>() > u64::from(self.limits.output) {
            return Some(Ending::OutputOver);
        }
        if usage.written > u64::from(self.limits.written) {
            return Some(Ending::WrittenOver);
        }
        (usage.cpu_us > u64::from(self.limits.cpu_ms) * 1000).then_some(Ending::ProcessorOver)
    }

    /// Ends it because nobody waits for it any more.
    pub fn abandon(&self) {
        self.allotment.end();
    }
}

/// The bytes of the program. They are copied once and hashed as they were copied, so what runs is what was named, whatever
/// becomes of the file.
fn program(file: File, wanted: Digest) -> Result<Vec<u8>, Refusal> {
    let size = file.metadata().map_err(Refusal::Program)?.len();
    if size > PROGRAM_LIMIT {
        return Err(Refusal::Large);
    }
    let mut bytes = vec![0; usize::try_from(size).map_err(|_| Refusal::Large)?];
    // From its beginning, wherever its owner left the position.
    file.read_exact_at(&mut bytes, 0).map_err(Refusal::Program)?;
    let found = Digest::of(&bytes);
    if found == wanted { Ok(bytes) } else { Err(Refusal::OtherProgram { wanted, found }) }
}

/// Whether each descriptor is of a kind that cannot reach further than it should.
fn check(descriptors: &[OwnedFd], resource: Resource) -> Result<(), Refusal> {
    for (number, fd) in descriptors.iter().enumerate() {
        let status = rustix::fs::fstat(fd).map_err(|error| Refusal::Unknown { number, source: error.into() })?;
        let kind = FileType::from_raw_mode(status.st_mode);
        let (right, needed) = match (number, resource) {
            (0..=2, _) => (matches!(kind, FileType::Fifo | FileType::RegularFile), "a pipe or a file"),
            (_, Resource::Folder) => (kind == FileType::Directory, "a folder"),
            (_, Resource::Program) => (kind == FileType::RegularFile, "a file"),
            _ => (kind == FileType::Socket, "a connection"),
        };
        if !right {
            return Err(Refusal::Descriptor { number, kind: word(kind), needed });
        }
    }
    Ok(())
}

fn word(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "file",
        FileType::Directory => "folder",
        FileType::Symlink => "link",
        FileType::Fifo => "pipe",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "character device",
        FileType::BlockDevice => "block device",
        FileType::Unknown => "thing of unknown kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_descriptor_of_the_wrong_kind_is_refused() {
        let pipe = || OwnedFd::from(std::io::pipe().expect("a pipe").0);
        let folder = || OwnedFd::from(File::open("/").expect("a folder"));
        let device = || OwnedFd::from(File::open("/dev/zero").expect("a device"));
        let socket = || OwnedFd::from(UnixStream::pair().expect("a pair").0);
        assert!(check(&[pipe(), pipe(), pipe(), folder()], Resource::Folder).is_ok());
        assert!(check(&[pipe(), pipe(), pipe(), socket()], Resource::Connection).is_ok());
        let error = check(&[folder(), pipe(), pipe()], Resource::None).expect_err("a folder is no input");
        assert_eq!(error.to_string(), "descriptor 0 is a folder; it must be a pipe or a file");
        assert!(check(&[pipe(), device(), pipe()], Resource::None).is_err());
        assert!(check(&[pipe(), pipe(), pipe(), folder()], Resource::Connection).is_err());
        assert!(check(&[pipe(), pipe(), pipe(), device()], Resource::Folder).is_err());
        assert!(check(&[pipe(), pipe(), pipe(), socket()], Resource::Program).is_err());
    }

    #[test]
    fn only_the_program_that_was_named_is_taken_whole() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"program").expect("written");
        file.seek(std::io::SeekFrom::End(0)).expect("a file has positions");
        let taken = |wanted: &[u8]| program(file.try_clone().expect("a descriptor"), Digest::of(wanted));
        assert_eq!(taken(b"program").expect("the one that was named"), b"program");
        assert!(matches!(taken(b"another"), Err(Refusal::OtherProgram { .. })));
        file.set_len(PROGRAM_LIMIT + 1).expect("a hole");
        assert!(matches!(taken(b"program"), Err(Refusal::Large)));
    }
}
