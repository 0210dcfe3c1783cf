//! Descriptors that PID 1 passes to a service, by the convention of `sd_listen_fds`.

#![expect(unsafe_code, reason = "an inherited descriptor is a bare number until somebody takes it")]

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

/// The number of the first passed descriptor.
const FIRST: i32 = 3;

/// The listening socket that PID 1 bound for this service. It can be taken once.
pub fn listening_socket() -> io::Result<UnixListener> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if std::env::var("LISTEN_FDS").ok().as_deref() != Some("1") {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "no listening socket was passed (LISTEN_FDS is not 1); PID 1 starts this program, not a person",
        ));
    }
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the listening socket was taken before"));
    }
    // SAFETY: the convention gives this process descriptor 3 as its own, and `TAKEN` lets only one owner have it.
    let socket = unsafe { OwnedFd::from_raw_fd(FIRST) };
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    Ok(socket.into())
}

/// The number of the kernel's audit records, behind the listening socket.
pub const AUDIT: i32 = 4;

/// The number of the boot state partition, behind that.
pub const BOOT_STATE: i32 = 5;

/// The boot state partition, open for reading and writing, where the unit asks for it and the disk has one. It can be taken
/// once.
pub fn boot_state() -> io::Result<Option<File>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if std::env::var("AIOS_BOOT_STATE").ok().as_deref() != Some("5") {
        return Ok(None);
    }
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the boot state was taken before"));
    }
    crate::attempt::open_descriptor(BOOT_STATE)?;
    // SAFETY: PID 1 gives the service descriptor 5 as its own, it is open, and `TAKEN` lets only one owner have it.
    let partition = unsafe { OwnedFd::from_raw_fd(BOOT_STATE) };
    rustix::io::fcntl_setfd(&partition, rustix::io::FdFlags::CLOEXEC)?;
    Ok(Some(partition.into()))
}

/// The kernel's audit records, which PID 1 passes to the one service that reads them. It can be taken once.
pub fn audit_records() -> io::Result<crate::audit::AuditReader> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if std::env::var("AIOS_AUDIT").ok().as_deref() != Some("4") {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "no audit records were passed (AIOS_AUDIT is not 4); either the unit does not ask for them or the kernel has none",
        ));
    }
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the audit records were taken before"));
    }
    crate::attempt::open_descriptor(AUDIT)?;
    // SAFETY: PID 1 gives the service descriptor 4 as its own, it is open, and `TAKEN` lets only one owner have it.
    let records = unsafe { OwnedFd::from_raw_fd(AUDIT) };
    rustix::io::fcntl_setfd(&records, rustix::io::FdFlags::CLOEXEC)?;
    Ok(crate::audit::AuditReader::new(records))
}

/// The number of the kernel's messages.
pub const KERNEL_MESSAGES: i32 = 6;

/// The kernel's messages, which PID 1 passes to the one service that keeps them, one record a read. It can be taken once.
pub fn kernel_messages() -> io::Result<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if std::env::var("AIOS_KERNEL_MESSAGES").ok().as_deref() != Some("6") {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "none were passed (AIOS_KERNEL_MESSAGES is not 6); either the unit does not ask for them or PID 1 cannot open them",
        ));
    }
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the kernel's messages were taken before"));
    }
    crate::attempt::open_descriptor(KERNEL_MESSAGES)?;
    // SAFETY: PID 1 gives the service descriptor 6 as its own, it is open, and `TAKEN` lets only one owner have it.
    let messages = unsafe { OwnedFd::from_raw_fd(KERNEL_MESSAGES) };
    rustix::io::fcntl_setfd(&messages, rustix::io::FdFlags::CLOEXEC)?;
    Ok(messages)
}

/// The number of the TPM.
pub const TPM: i32 = 7;

/// The TPM, where the unit asks for it, the machine has one, and the system is installed. It can be taken once.
pub fn tpm() -> io::Result<Option<File>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if std::env::var("AIOS_TPM").ok().as_deref() != Some("7") {
        return Ok(None);
    }
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the TPM was taken before"));
    }
    crate::attempt::open_descriptor(TPM)?;
    // SAFETY: PID 1 gives the service descriptor 7 as its own, it is open, and `TAKEN` lets only one owner have it.
    let tpm = unsafe { OwnedFd::from_raw_fd(TPM) };
    rustix::io::fcntl_setfd(&tpm, rustix::io::FdFlags::CLOEXEC)?;
    Ok(Some(tpm.into()))
}

/// Descriptor 3 of a program in an action sandbox: the one resource it was given. It can be taken once.
pub fn resource() -> io::Result<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the resource was taken before"));
    }
    crate::attempt::open_descriptor(FIRST)?;
    // SAFETY: the launcher gives the program descriptor 3 as its own, it is open, and `TAKEN` lets only one owner have it.
    let resource = unsafe { OwnedFd::from_raw_fd(FIRST) };
    rustix::io::fcntl_setfd(&resource, rustix::io::FdFlags::CLOEXEC)?;
    Ok(resource)
}
