//! Single tries to get out of a sandbox, each undone at once when it works.
//!
//! `aios-probe` makes them inside the action sandbox; what is an error there is contained. Each function does one system
//! call that a program in a sandbox must not be able to make with effect. They are here because rustix rightly offers no
//! safe form of most of them. On a machine without a sandbox they succeed as far as the caller's rights go and leave
//! nothing behind, so that a test can see the probe report an escape.

#![expect(unsafe_code, reason = "system calls that no program should make have no safe wrappers")]

mod bare;

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

pub use bare::{BARE, Bare};

/// Whether the descriptor with this number is open.
pub fn open_descriptor(number: i32) -> io::Result<()> {
    // SAFETY: F_GETFD reads a flag and changes nothing, whoever owns the descriptor.
    done(unsafe { libc::fcntl(number, libc::F_GETFD) }.into())
}

/// Sets up an `io_uring`, which would run calls that seccomp never sees.
pub fn io_uring() -> io::Result<()> {
    // `struct io_uring_params` is 120 bytes; zeroes ask for the defaults.
    let mut parameters = [0u8; 120];
    // SAFETY: the kernel writes at most the size of its structure into `parameters`.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) };
    close_new(fd)
}

/// Starts a process by `clone3`, whose flags seccomp cannot read.
pub fn clone3() -> io::Result<()> {
    // `struct clone_args` with only `exit_signal` (its fifth field) set is a plain fork.
    let mut arguments = [0u64; 11];
    arguments[4] = libc::SIGCHLD as u64;
    // SAFETY: a plain fork; the child leaves at once by a call that runs nothing of ours.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, arguments.as_mut_ptr(), size_of_val(&arguments)) };
    if pid == 0 {
        // SAFETY: ends the child, which has done nothing.
        unsafe { libc::_exit(0) }
    }
    done(pid)?;
    // SAFETY: waits for that child; a null status is allowed.
    unsafe { libc::waitpid(pid as i32, std::ptr::null_mut(), 0) };
    Ok(())
}

/// Executes from memory what no file system holds. Bytes that are no program: `ENOEXEC` says that a program would run.
pub fn execute_from_memory() -> io::Result<()> {
    // SAFETY: a name that ends in zero and no flags.
    let fd = unsafe { libc::memfd_create(c"probe".as_ptr(), 0) };
    done(fd.into())?;
    // SAFETY: the call succeeded, so `fd` is new and nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::write(&fd, NO_PROGRAM)?;
    let nothing: [*const libc::c_char; 1] = [std::ptr::null()];
    // SAFETY: all pointers end in null; if the kernel took these bytes for a program it would replace this process.
    runs(unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            nothing.as_ptr(),
            nothing.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    })
}

/// Bytes that no kernel takes for a program.
pub const NO_PROGRAM: &[u8] = b"neither ELF nor script";

/// Executes a file that holds [`NO_PROGRAM`]: `ENOEXEC` says that a program would run.
pub fn execute_file(path: &CStr) -> io::Result<()> {
    let nothing: [*const libc::c_char; 1] = [std::ptr::null()];
    // SAFETY: the path ends in zero and both lists in null; if the kernel took these bytes for a program it would replace
    // this process.
    runs(unsafe { libc::execve(path.as_ptr(), nothing.as_ptr(), nothing.as_ptr()) }.into())
}

/// What an execution of [`NO_PROGRAM`] came to.
fn runs(result: i64) -> io::Result<()> {
    match done(result) {
        Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => Ok(()),
        other => other,
    }
}

/// Makes a call by the 32-bit table, in a child: `ENOSYS` says that the child was ended for it.
pub fn call_of_32_bits() -> io::Result<()> {
    in_child(|| {
        let mut result: i32 = 20;
        // SAFETY: number 20 of that table is getpid, which takes nothing; the kernel may change these registers.
        unsafe {
            std::arch::asm!("int 0x80", inout("eax") result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
        }
        result > 0
    })
}

/// Starts a process with mounts of its own.
pub fn clone_with_mounts() -> io::Result<()> {
    let flags = (libc::CLONE_NEWNS | libc::SIGCHLD) as libc::c_long;
    // SAFETY: a plain fork; the child leaves at once.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if pid == 0 {
        // SAFETY: ends the child, which has done nothing.
        unsafe { libc::_exit(0) }
    }
    done(pid)?;
    wait(pid as i32).map(drop)
}

/// Starts `most` processes that live at the same time. All are ended before this returns, without a signal: not every
/// profile may send one.
pub fn crowd(most: usize) -> io::Result<()> {
    let (until_closed, open) = io::pipe()?;
    let mut started = Vec::new();
    let mut result = Ok(());
    while started.len() < most && result.is_ok() {
        // SAFETY: a plain fork; the child only waits for the pipe's end.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let mut byte = 0u8;
            // SAFETY: the child's own copies of both descriptors, and one byte of its own; then it ends.
            unsafe {
                libc::close(open.as_raw_fd());
                libc::read(until_closed.as_raw_fd(), (&raw mut byte).cast(), 1);
                libc::_exit(0)
            }
        }
        result = done(pid.into());
        started.extend((pid > 0).then_some(pid));
    }
    drop(open);
    for pid in started {
        wait(pid)?;
    }
    result
}

/// Makes this process the tracer of `pid`; ends with this process.
pub fn trace(pid: i32) -> io::Result<()> {
    // SAFETY: PTRACE_SEIZE does not stop the process and takes no pointers that matter.
    done(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) })
}

/// Reads the memory of `pid` at an address that is mapped in no process: `EFAULT` says that other memory could be read.
pub fn read_memory(pid: i32) -> io::Result<()> {
    let mut byte = 0u8;
    let here = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let there = libc::iovec { iov_base: 16 as *mut libc::c_void, iov_len: 1 };
    // SAFETY: the kernel writes at most one byte into `byte`; the remote address is read by the kernel, not by us.
    let result = unsafe { libc::process_vm_readv(pid, &raw const here, 1, &raw const there, 1, 0) };
    match done(result as i64) {
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(()),
        other => other,
    }
}

/// Writes into the memory of `pid` at an address that is mapped in no process: `EFAULT` says that other memory could be
/// written.
pub fn write_memory(pid: i32) -> io::Result<()> {
    let byte = 0u8;
    let here = libc::iovec { iov_base: (&raw const byte).cast_mut().cast(), iov_len: 1 };
    let there = libc::iovec { iov_base: 16 as *mut libc::c_void, iov_len: 1 };
    // SAFETY: the kernel reads one byte of `byte`; nothing is mapped at the remote address.
    let result = unsafe { libc::process_vm_writev(pid, &raw const here, 1, &raw const there, 1, 0) };
    match done(result as i64) {
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(()),
        other => other,
    }
}

/// Takes a copy of descriptor 0 of `pid`.
pub fn take_descriptor(pid: i32) -> io::Result<()> {
    // SAFETY: takes numbers only.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    done(pidfd)?;
    // SAFETY: the call succeeded, so this is a new descriptor that nothing else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd as i32) };
    // SAFETY: takes numbers only.
    close_new(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), 0, 0) })
}

/// Becomes root.
pub fn become_root() -> io::Result<()> {
    // SAFETY: takes a number; the raw call changes this thread only.
    done(unsafe { libc::syscall(libc::SYS_setuid, 0) })
}

/// Makes a user namespace, in which this process would hold every capability.
pub fn user_namespace() -> io::Result<()> {
    // SAFETY: takes a number.
    done(unsafe { libc::unshare(libc::CLONE_NEWUSER) }.into())
}

/// Mounts an empty file system on `place`, and unmounts it.
pub fn mount(place: &CStr) -> io::Result<()> {
    // SAFETY: the texts end in zero; data may be null.
    let result =
        unsafe { libc::mount(c"probe".as_ptr(), place.as_ptr(), c"tmpfs".as_ptr(), libc::MS_RDONLY, std::ptr::null()) };
    done(result.into())?;
    // SAFETY: a text that ends in zero.
    done(unsafe { libc::umount2(place.as_ptr(), libc::MNT_DETACH) }.into())
}

/// Makes the folder that this process is in its root.
pub fn change_root() -> io::Result<()> {
    // SAFETY: a text that ends in zero.
    done(unsafe { libc::chroot(c"/".as_ptr()) }.into())
}

/// Makes a BPF map.
pub fn bpf() -> io::Result<()> {
    // `union bpf_attr` for BPF_MAP_CREATE: an array (2) of one 4-byte value with a 4-byte key.
    let mut attributes = [0u32; 32];
    attributes[..4].copy_from_slice(&[2, 4, 4, 1]);
    // SAFETY: the kernel reads the structure's size, which is passed.
    close_new(unsafe { libc::syscall(libc::SYS_bpf, 0, attributes.as_mut_ptr(), size_of_val(&attributes)) })
}

/// Counts this process's processor time by a performance event.
pub fn performance_event() -> io::Result<()> {
    // `struct perf_event_attr`, first version: type software (1), 64 bytes; config 0 is the processor clock.
    let mut attributes = [0u32; 16];
    attributes[..2].copy_from_slice(&[1, 64]);
    // SAFETY: the kernel reads the 64 bytes that the structure says it has.
    close_new(unsafe { libc::syscall(libc::SYS_perf_event_open, attributes.as_mut_ptr(), 0, -1, -1, 0) })
}

/// Puts a key into the kernel's keyring of this process.
pub fn add_key() -> io::Result<()> {
    const KEY_SPEC_PROCESS_KEYRING: i64 = -2;
    // SAFETY: texts that end in zero and a payload of the length that is passed.
    done(unsafe {
        libc::syscall(
            libc::SYS_add_key,
            c"user".as_ptr(),
            c"aios-probe".as_ptr(),
            c"x".as_ptr(),
            1usize,
            KEY_SPEC_PROCESS_KEYRING,
        )
    })
}

/// Makes a System V shared memory segment, and removes it.
pub fn shared_memory() -> io::Result<()> {
    // SAFETY: takes numbers only.
    let id = unsafe { libc::shmget(libc::IPC_PRIVATE, 4096, libc::IPC_CREAT | 0o600) };
    done(id.into())?;
    // SAFETY: removes the segment just made; no buffer is needed for that.
    done(unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) }.into())
}

/// Types a character into the terminal behind `terminal`.
pub fn type_into(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // A zero byte is a character that a line reader ignores.
    let character = 0u8;
    // SAFETY: the kernel reads one byte.
    done(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSTI, &raw const character) }.into())
}

/// Asks the console behind `terminal` for its shift state, by the call that also types selected text.
pub fn select_on(terminal: BorrowedFd<'_>) -> io::Result<()> {
    const SHIFT_STATE: u8 = 6;
    let mut question = SHIFT_STATE;
    // SAFETY: the kernel reads and writes one byte.
    done(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCLINUX, &raw mut question) }.into())
}

/// Asks for a restart with magic numbers that every kernel refuses: `EINVAL` says that right ones would have worked.
pub fn restart_machine() -> io::Result<()> {
    // SAFETY: with these magic numbers the call only checks the caller's rights and fails.
    let result = unsafe { libc::syscall(libc::SYS_reboot, 0, 0, 0, 0) };
    match done(result) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        other => other,
    }
}

/// Makes a socket of any family, type and protocol.
pub fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
    done(fd.into())?;
    // SAFETY: the call succeeded, so this is a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Runs `attempt` in a child. A child that was ended for it is `ENOSYS`.
fn in_child(attempt: impl FnOnce() -> bool) -> io::Result<()> {
    // SAFETY: a plain fork; the child makes one call and leaves without running anything of the parent's.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let worked = attempt();
        // SAFETY: ends the child.
        unsafe { libc::_exit(if worked { 0 } else { 1 }) }
    }
    done(pid.into())?;
    match wait(pid)? {
        Some(0) => Ok(()),
        Some(_) => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        None => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
    }
}

/// The status with which a child exited; none: a signal ended it.
fn wait(pid: i32) -> io::Result<Option<i32>> {
    let mut status = 0;
    // SAFETY: the kernel writes one integer.
    done(unsafe { libc::waitpid(pid, &raw mut status, 0) }.into())?;
    Ok(libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)))
}

fn done(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn close_new(fd: i64) -> io::Result<()> {
    done(fd)?;
    // SAFETY: the call that gave `fd` succeeded, so it is new and nothing else owns it.
    drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    Ok(())
}
