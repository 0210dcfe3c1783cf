//! One program in its sandbox, from the first check to its end.
//!
//! | stage | what ends it | next |
//! |---|---|---|
//! | starting | the report: every layer in place | running |
//! | starting | the report: a layer is missing | refused, gone |
//! | running | its process ends | exited, gone |
//!
//! A deadline or a caller that hung up ends the process; the stage then changes as if it had ended by itself.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

use aios_linux::calls::CallFilter;
use aios_linux::spawn::{self, SpawnError};
use aios_wire::launch::{Ending, Exit, LaunchRequest, Limits, Program, Resource};
use rustix::fs::FileType;
use rustix::process::{WaitId, WaitIdOptions};

use crate::allotment::{Allotment, AllotmentError};
use crate::confine;

/// `SIGSYS`: what the kernel sends for a call that a filter does not even answer.
const FORBIDDEN_CALL: i32 = 31;

/// How long a deadline waits while the program is frozen: it cannot use the time.
const WHILE_FROZEN: Duration = Duration::from_secs(1);

/// Nothing was run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// A descriptor is not what its place needs.
    #[error("descriptor {number} is a {kind}; it must be {needed}")]
    Descriptor { number: usize, kind: &'static str, needed: &'static str },
    /// A descriptor cannot be looked at.
    #[error("cannot look at descriptor {number}")]
    Unknown {
        number: usize,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Allotment(#[from] AllotmentError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// A launched program.
pub(crate) struct Run {
    program: Program,
    uid_offset: u16,
    pub(crate) pid: u32,
    pidfd: OwnedFd,
    report: Option<OwnedFd>,
    limits: Limits,
    deadline: Instant,
    time_over: TimeOver,
    // Last: its `drop` removes the cgroup after everything else is gone.
    allotment: Allotment,
}

/// Whether the deadline ended the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeOver {
    No,
    Yes,
}

impl Run {
    /// Starts the program of `request`; its layers are not in place before [`Run::started`] says so.
    pub(crate) fn start(
        request: LaunchRequest,
        descriptors: &[OwnedFd],
        calls: &CallFilter,
        now: Instant,
    ) -> Result<Self, Refusal> {
        check(descriptors, request.resource)?;
        let allotment = Allotment::new(request.action.as_str(), request.limits)?;
        let arguments: Vec<_> = request.args.iter().cloned().map(OsString::from_vec).collect();
        let placed: Vec<_> = descriptors.iter().zip(0..).map(|(fd, number)| (fd.as_fd(), number)).collect();
        let child = spawn::spawn(
            &confine::sandbox(&request, calls),
            &spawn::Program {
                path: confine::path(&request.program),
                arguments: &arguments,
                descriptors: &placed,
                listening: 0,
                cgroup: Some(allotment.folder()),
            },
        )?;
        Ok(Self {
            uid_offset: request.uid_offset,
            program: request.program,
            pid: child.pid.as_raw_nonzero().get().unsigned_abs(),
            pidfd: child.pidfd,
            report: Some(child.report),
            limits: request.limits,
            deadline: now + Duration::from_millis(u64::from(request.limits.time_ms)),
            time_over: TimeOver::No,
            allotment,
        })
    }

    /// Which user id it has, as an offset.
    pub(crate) fn uid_offset(&self) -> u16 {
        self.uid_offset
    }

    /// What becomes readable when the stage may change.
    pub(crate) fn watched(&self) -> BorrowedFd<'_> {
        self.report.as_ref().unwrap_or(&self.pidfd).as_fd()
    }

    /// Whether its layers are still being put in place.
    pub(crate) fn is_starting(&self) -> bool {
        self.report.is_some()
    }

    /// Reads the report of a starting program: all layers are in place, or one is missing and it has ended.
    pub(crate) fn started(&mut self) -> Result<(), SpawnError> {
        let Some(report) = self.report.take() else { return Ok(()) };
        spawn::read_report(report, confine::path(&self.program)).inspect_err(|_| {
            // It ended by itself after its report; nobody else waits for it.
            let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        })
    }

    /// How the program ended; call it when its handle is readable.
    pub(crate) fn ended(&self) -> io::Result<Exit> {
        let status = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)?
            .ok_or_else(|| io::Error::other("the program has ended and has no status"))?;
        let usage = self.allotment.usage();
        let ending = match (status.exit_status(), status.terminating_signal()) {
            _ if self.time_over == TimeOver::Yes => Ending::TimeOver,
            _ if usage.memory_kills > 0 => Ending::MemoryOver,
            (Some(status), _) => Ending::Status(status),
            (None, Some(FORBIDDEN_CALL)) => Ending::ForbiddenCall,
            (None, signal) => Ending::Signal(signal.unwrap_or(0)),
        };
        Ok(Exit { ending, cpu_us: usage.cpu_us, memory_peak: usage.memory_peak.min(self.limits.memory) })
    }

    /// When to look at it again although nothing happened.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        (self.time_over == TimeOver::No).then_some(self.deadline)
    }

    /// Ends it when its time is over. A frozen program keeps the time that it cannot use.
    pub(crate) fn check_time(&mut self, now: Instant) {
        if self.time_over == TimeOver::Yes || now < self.deadline {
            return;
        }
        if self.allotment.is_frozen() {
            self.deadline = now + WHILE_FROZEN;
        } else {
            self.time_over = TimeOver::Yes;
            self.allotment.end();
        }
    }

    /// Ends it because nobody waits for it any more.
    pub(crate) fn abandon(&self) {
        self.allotment.end();
    }
}

/// Whether each descriptor is of a kind that cannot reach further than it should.
fn check(descriptors: &[OwnedFd], resource: Resource) -> Result<(), Refusal> {
    for (number, fd) in descriptors.iter().enumerate() {
        let status = rustix::fs::fstat(fd).map_err(|error| Refusal::Unknown { number, source: error.into() })?;
        let kind = FileType::from_raw_mode(status.st_mode);
        let (right, needed) = match (number, resource) {
            (0..=2, _) => (matches!(kind, FileType::Fifo | FileType::RegularFile), "a pipe or a file"),
            (_, Resource::Folder) => (kind == FileType::Directory, "a folder"),
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
    use std::fs::File;
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
    }
}
