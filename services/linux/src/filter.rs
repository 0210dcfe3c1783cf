//! Putting a system-call filter on the calling thread, with the choice of what the kernel writes about it.

#![expect(unsafe_code, reason = "installing a filter has no wrapper that takes flags")]

use std::io;

use seccompiler::{BpfProgramRef, sock_filter};

/// What the kernel records of the calls that a filter stops without ending the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// Each becomes an audit record, where the kernel keeps any.
    Recorded,
    /// Nothing: an answer that every program expects is no refusal.
    Unrecorded,
}

/// `struct sock_fprog` of `linux/filter.h`.
#[repr(C)]
struct Program {
    length: libc::c_ushort,
    instructions: *const sock_filter,
}

/// Puts the calling thread under `program`, for good. It must have set `no_new_privs`.
pub(crate) fn install(program: BpfProgramRef<'_>, stopped: Stopped) -> io::Result<()> {
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "the filter has more than 65535 instructions");
    let length = program.len().try_into().map_err(too_long)?;
    let program = Program { length, instructions: program.as_ptr() };
    let flags = match stopped {
        Stopped::Recorded => libc::SECCOMP_FILTER_FLAG_LOG,
        Stopped::Unrecorded => 0,
    };
    // SAFETY: the kernel copies `length` instructions from memory that lives until the call returns.
    match unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
