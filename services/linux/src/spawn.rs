//! Starts a program inside a [`Sandbox`].
//!
//! One `clone3` puts the child into its namespaces and its cgroup and gives a handle on it; the child then does the
//! steps of [`confine`] in one fixed order and executes the program. A close-on-exec pipe tells which step failed.
//! Waiting for that report is a separate call, because a child in a frozen cgroup does not run.
//!
//! The caller must have one thread: between clone and exec the child allocates memory, and a lock that another thread
//! holds at that moment would stay held in the child for ever. `init` and `launcher` have one.

#![expect(unsafe_code, reason = "clone3, signal dispositions, raw descriptor numbers and execve have no safe wrapper")]

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::process::{Gid, Pid, Resource, Rlimit, Uid};

use crate::sandbox::{Capability, Namespace, Reach, Sandbox, Terminal, View};
use crate::{reach, view};

/// What is started in a sandbox.
#[derive(Debug)]
pub struct Program<'a> {
    /// Absolute path in the program's own view.
    pub path: &'a Path,
    /// Arguments after the program's name.
    pub arguments: &'a [OsString],
    /// Descriptors it gets, each with the number it gets it under. All others are closed.
    pub descriptors: &'a [(BorrowedFd<'a>, RawFd)],
    /// How many of them, from 3 on, are sockets that it listens on; told by `LISTEN_FDS` and `LISTEN_PID`.
    pub listening: u32,
    /// The folder of the cgroup it starts in.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// A started program, or one that is still on its way to `execve`.
#[derive(Debug)]
pub struct Child {
    /// Its process id in the caller's namespace.
    pub pid: Pid,
    /// A handle on it that stays right after it has ended.
    pub pidfd: OwnedFd,
    /// Where it reports a failed step; its end without a report means that the program runs.
    pub report: OwnedFd,
}

/// The program was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// A path or argument holds a zero byte.
    #[error("cannot start '{}': '{}' holds a zero byte", program.escape_debug(), text.escape_debug())]
    ZeroByte {
        /// The program.
        program: String,
        /// What holds it.
        text: String,
    },
    /// There is no child.
    #[error("cannot start '{program}': the kernel makes no process")]
    Clone {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A step between clone and exec failed; the child has ended.
    #[error("cannot start '{program}': {step}")]
    Step {
        /// The program.
        program: String,
        /// The step and the thing it was done to.
        step: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Starts `program` in `sandbox`. The child may still fail: see [`Child::report`] and [`Child::started`].
pub fn spawn(sandbox: &Sandbox, program: &Program<'_>) -> Result<Child, SpawnError> {
    let name = || program.path.display().to_string();
    let no_process = |source: io::Error| SpawnError::Clone { program: name(), source };
    let image = Image::new(sandbox, program)?;
    let (report, failure) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| no_process(e.into()))?;

    let mut pidfd: libc::c_int = -1;
    let mut flags = libc::CLONE_PIDFD as u64;
    for namespace in &sandbox.namespaces {
        flags |= match namespace {
            Namespace::Mount => libc::CLONE_NEWNS,
            Namespace::Pid => libc::CLONE_NEWPID,
            Namespace::Ipc => libc::CLONE_NEWIPC,
            Namespace::Uts => libc::CLONE_NEWUTS,
            Namespace::Net => libc::CLONE_NEWNET,
            Namespace::Cgroup => libc::CLONE_NEWCGROUP,
        } as u64;
    }
    if program.cgroup.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    let arguments = CloneArguments {
        flags,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: program.cgroup.map_or(0, |cgroup| cgroup.as_raw_fd() as u64),
        ..CloneArguments::default()
    };
    // SAFETY: without CLONE_VM this is a fork: the child goes on with a copy of this stack and memory. `arguments` and
    // `pidfd` outlive the call. The child below never returns into the caller's frames.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArguments>()) };
    match pid {
        -1 => Err(no_process(io::Error::last_os_error())),
        0 => {
            drop(report);
            child(sandbox, program, &image, failure)
        }
        pid => {
            drop(failure);
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let pid = pid.ok_or_else(|| no_process(io::Error::other("the kernel returned no process id")))?;
            // SAFETY: clone3 succeeded with CLONE_PIDFD, so `pidfd` is a new descriptor that nothing else owns.
            Ok(Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) }, report })
        }
    }
}

impl Child {
    /// Waits until the program runs or a step has failed.
    pub fn started(self, program: &Path) -> Result<(Pid, OwnedFd), SpawnError> {
        match read_report(self.report, program) {
            Ok(()) => Ok((self.pid, self.pidfd)),
            Err(error) => {
                let options = rustix::process::WaitIdOptions::EXITED;
                let _ = rustix::process::waitid(
                    rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(&self.pidfd)),
                    options,
                );
                Err(error)
            }
        }
    }
}

/// Reads a child's report to its end; blocks until the child has executed the program or has ended.
pub fn read_report(report: OwnedFd, program: &Path) -> Result<(), SpawnError> {
    let mut bytes = Vec::new();
    let failed = |step: String, source| SpawnError::Step { program: program.display().to_string(), step, source };
    if let Err(source) = std::fs::File::from(report).take(REPORT_LIMIT as u64).read_to_end(&mut bytes) {
        return Err(failed("its report cannot be read".into(), source));
    }
    match bytes.split_first_chunk::<4>() {
        None if bytes.is_empty() => Ok(()),
        None => Err(failed("its report is cut off".into(), io::ErrorKind::InvalidData.into())),
        Some((code, text)) => {
            let text = String::from_utf8_lossy(text).into_owned();
            Err(failed(text, io::Error::from_raw_os_error(i32::from_ne_bytes(*code))))
        }
    }
}

/// A pipe takes so much in one piece.
const REPORT_LIMIT: usize = 4096;

/// `linux/sched.h`; wider than the C int that libc has for flags.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args` of `linux/sched.h`.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// What `execve` takes, made before the clone.
struct Image {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Image {
    fn new(sandbox: &Sandbox, program: &Program<'_>) -> Result<Self, SpawnError> {
        let text = |bytes: Vec<u8>| {
            CString::new(bytes).map_err(|error| SpawnError::ZeroByte {
                program: program.path.display().to_string(),
                text: String::from_utf8_lossy(&error.into_vec()).into_owned(),
            })
        };
        let path = text(program.path.as_os_str().as_bytes().to_vec())?;
        let own_name = program.path.file_name().unwrap_or(OsStr::new("program"));
        let mut arguments = vec![text(own_name.as_bytes().to_vec())?];
        for argument in program.arguments {
            arguments.push(text(argument.as_bytes().to_vec())?);
        }
        let mut environment = Vec::new();
        for (key, value) in &sandbox.environment {
            environment.push(text([key.as_bytes(), b"=", value.as_bytes()].concat())?);
        }
        Ok(Self { path, arguments, environment })
    }
}

/// A failed step: what was done, to what, and why it failed.
struct Failed {
    step: &'static str,
    on: String,
    source: io::Error,
}

fn step<T, E: Into<io::Error>>(step: &'static str, on: impl Into<String>, result: Result<T, E>) -> Result<T, Failed> {
    result.map_err(|error| Failed { step, on: on.into(), source: error.into() })
}

/// The child's whole life up to the program.
fn child(sandbox: &Sandbox, program: &Program<'_>, image: &Image, failure: OwnedFd) -> ! {
    let mut failure = std::fs::File::from(failure);
    let Err(failed) = confine(sandbox, program, image, &mut failure);
    let mut report = failed.source.raw_os_error().unwrap_or(libc::EINVAL).to_ne_bytes().to_vec();
    report.extend_from_slice(failed.step.as_bytes());
    if !failed.on.is_empty() {
        report.extend_from_slice(b": ");
        report.extend_from_slice(failed.on.as_bytes());
    }
    if failed.source.raw_os_error().is_none() {
        report.extend_from_slice(format!(" ({})", failed.source).as_bytes());
    }
    report.truncate(REPORT_LIMIT);
    let _ = failure.write_all(&report);
    // SAFETY: ends the child at once; running the parent's exit hooks in it would be wrong.
    unsafe { libc::_exit(127) }
}

/// From clone to exec. The order is fixed: what needs rights comes before they are given away, and what takes calls
/// away comes last.
fn confine(
    sandbox: &Sandbox,
    program: &Program<'_>,
    image: &Image,
    failure: &mut std::fs::File,
) -> Result<Infallible, Failed> {
    step("reset signals", "", reset_signals())?;
    step("start a session", "", rustix::process::setsid())?;
    if let Some(score) = sandbox.oom_score {
        // Here it may still be lowered, and the file is still in view.
        let written = std::fs::write("/proc/self/oom_score_adj", score.to_string());
        step("set the memory score", score.to_string(), written)?;
    }
    step("place descriptors", "", place_descriptors(program.descriptors, failure))?;
    if sandbox.terminal == Terminal::Controlling {
        step("take the terminal", "", controlling_terminal())?;
    }
    match &sandbox.view {
        View::Whole => {
            if sandbox.namespaces.contains(&Namespace::Mount) {
                // What the program mounts stays its own.
                use rustix::mount::MountPropagationFlags as Flags;
                step("make mounts private", "", rustix::mount::mount_change("/", Flags::REC | Flags::PRIVATE))?;
            }
        }
        View::Only(mounts) => {
            view::enter(mounts, &sandbox.identity).map_err(|(on, source)| Failed { step: "mount", on, source })?;
        }
    }
    step("change folder", sandbox.directory.display().to_string(), rustix::process::chdir(&sandbox.directory))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(sandbox.umask));
    for (resource, limit) in &sandbox.limits {
        step("limit", format!("{resource:?}"), set_limit(*resource, *limit))?;
    }
    // Rules are opened while every folder on the way can still be searched.
    let domain = match &sandbox.reach {
        Reach::Unlimited => None,
        Reach::Only(rules) => {
            Some(reach::domain(rules).map_err(|(on, source)| Failed { step: "make path rules", on, source })?)
        }
    };
    give_up_rights(sandbox)?;
    step("set no_new_privs", "", rustix::thread::set_no_new_privs(true))?;
    if let Some(domain) = domain {
        step("enter path rules", "", domain.enter())?;
    }
    let environment = environment(image, program);
    if let Some(calls) = &sandbox.calls {
        step("limit system calls", "", calls.apply())?;
    }
    step("execute", image.path.to_string_lossy(), execute(&image.path, &image.arguments, &environment))
}

/// User, groups and capabilities.
fn give_up_rights(sandbox: &Sandbox) -> Result<(), Failed> {
    use caps::{CapSet, CapsHashSet};
    let keep: CapsHashSet = sandbox.capabilities.iter().copied().collect();
    let caps_step = |set: CapSet, value: &CapsHashSet| {
        step("keep only capabilities", format!("{set:?}"), caps::set(None, set, value).map_err(io::Error::other))
    };
    for capability in caps::runtime::thread_all_supported() {
        if !keep.contains(&capability) {
            let dropped = caps::drop(None, CapSet::Bounding, capability).map_err(io::Error::other);
            step("drop a capability", capability.to_string(), dropped)?;
        }
    }
    let groups: Vec<Gid> = sandbox.identity.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    let gid = Gid::from_raw(sandbox.identity.gid);
    let uid = Uid::from_raw(sandbox.identity.uid);
    step("set groups", "", rustix::thread::set_thread_groups(&groups))?;
    step("set group", gid.as_raw().to_string(), rustix::thread::set_thread_res_gid(gid, gid, gid))?;
    step("keep capabilities over the change of user", "", rustix::thread::set_keep_capabilities(true))?;
    step("set user", uid.as_raw().to_string(), rustix::thread::set_thread_res_uid(uid, uid, uid))?;
    // Effective before permitted: at no moment may it hold more.
    caps_step(CapSet::Inheritable, &keep)?;
    caps_step(CapSet::Effective, &keep)?;
    caps_step(CapSet::Permitted, &keep)?;
    if uid.is_root() {
        // Root gets its bounding set back by execve; ambient ones would add nothing.
        return Ok(());
    }
    for capability in &sandbox.capabilities {
        step("keep a capability", capability.to_string(), ambient(*capability))?;
    }
    Ok(())
}

fn ambient(capability: Capability) -> io::Result<()> {
    caps::raise(None, caps::CapSet::Ambient, capability).map_err(io::Error::other)
}

fn set_limit(resource: Resource, limit: u64) -> io::Result<()> {
    Ok(rustix::process::setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?)
}

/// The parent blocks signals it reads from a descriptor, and Rust ignores SIGPIPE; both would outlive execve.
fn reset_signals() -> io::Result<()> {
    // SAFETY: `none` is plain memory that sigemptyset fills before use; SIG_DFL is a valid disposition.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        if libc::signal(libc::SIGPIPE, libc::SIG_DFL) == libc::SIG_ERR
            || libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) != 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn controlling_terminal() -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes an integer and no pointer; 1 takes the terminal from a session that has it.
    match unsafe { libc::ioctl(0, libc::TIOCSCTTY, 1) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives every descriptor its number and closes all others except the report's pipe.
fn place_descriptors(descriptors: &[(BorrowedFd<'_>, RawFd)], failure: &mut std::fs::File) -> io::Result<()> {
    // Sources first move above every target, so that placing one never overwrites another.
    let above = descriptors.iter().map(|(_, target)| *target).max().unwrap_or(2).max(2) + 1;
    let lift = |fd: RawFd| {
        // SAFETY: F_DUPFD_CLOEXEC takes an integer; the result is checked.
        match unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, above + 1) } {
            -1 => Err(io::Error::last_os_error()),
            lifted => Ok(lifted),
        }
    };
    let mut lifted = Vec::new();
    for (source, target) in descriptors {
        lifted.push((lift(source.as_raw_fd())?, *target));
    }
    let report = lift(failure.as_raw_fd())?;
    let mut taken: Vec<RawFd> = Vec::new();
    for (source, target) in lifted {
        // SAFETY: plain numbers; no owner of `target` in this process runs code again except `failure`, replaced below.
        if unsafe { libc::dup2(source, target) } == -1 {
            return Err(io::Error::last_os_error());
        }
        taken.push(target);
    }
    // SAFETY: as above; `above` is a number that no target has.
    if unsafe { libc::dup3(report, above, libc::O_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `above` was opened right here. The old owner is forgotten, because its number may belong to a target.
    std::mem::forget(std::mem::replace(failure, unsafe { std::fs::File::from_raw_fd(above) }));
    for number in (0..above).filter(|number| !taken.contains(number)) {
        // SAFETY: closing a number that may be unused is harmless; every owner of it belongs to the parent's code.
        unsafe { libc::close(number) };
    }
    // SAFETY: as above, for all numbers after the report's pipe.
    match unsafe { libc::syscall(libc::SYS_close_range, above + 1, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The environment with what only the child knows.
fn environment(image: &Image, program: &Program<'_>) -> Vec<CString> {
    let mut environment = image.environment.clone();
    if program.listening > 0 {
        let pid = rustix::process::getpid().as_raw_nonzero();
        for text in [format!("LISTEN_FDS={}", program.listening), format!("LISTEN_PID={pid}")] {
            environment.extend(CString::new(text));
        }
    }
    environment
}

fn execute(path: &CString, arguments: &[CString], environment: &[CString]) -> io::Result<Infallible> {
    let pointers = |texts: &[CString]| {
        texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<*const libc::c_char>>()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both lists end in a null pointer and their texts live until the call returns, which it does only to fail.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    Err(io::Error::last_os_error())
}
