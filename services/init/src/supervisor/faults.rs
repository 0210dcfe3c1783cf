//! Every system call that PID 1's loop makes fails, and PID 1 goes on.
//!
//! The loop runs as process 1 of namespaces of its own, supervising a service. From outside its calls are counted, and
//! then the first, second and third of each kind fail while the service is killed: afterwards PID 1 answers, the service
//! is back, and what stood still without it goes on. The loop knows nothing of it. Calls for memory are left out: without
//! memory PID 1 ends, and the machine starts again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::test_machine::TestMachine;

/// Each call fails as the first, second … of its kind after the service was killed, up to this one.
const TIMES: usize = 10;
/// How often the service is killed while calls are counted.
const ROUNDS: usize = 3;
/// How often the service is killed until the first call of a kind has come.
const ATTEMPTS: usize = 8;

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
            // On a busy machine the service may be between two lives just then; a later call of a kind need not come.
            for _ in 0..if nth == 1 { ATTEMPTS } else { 1 } {
                tracer.set(Watch::Armed { call, left: nth });
                let sign = machine.exercise();
                if matches!(tracer.set(Watch::Idle), Watch::Fired) {
                    failed.insert(name);
                    faults += 1;
                    machine.settles(&sign, &format!("after {name} failed as the {nth}. of its kind"));
                    break;
                }
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
pub(super) enum Watch {
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
pub(super) struct Tracer {
    watch: Arc<Mutex<Watch>>,
}

impl Tracer {
    pub(super) fn attach(pid: i32) -> Self {
        let watch = Arc::new(Mutex::new(Watch::Idle));
        let tracer = Self { watch: Arc::clone(&watch) };
        // The kernel takes the words of the thread that began.
        thread::spawn(move || trace(Pid::from_raw(pid), &watch));
        tracer
    }

    pub(super) fn set(&self, next: Watch) -> Watch {
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
