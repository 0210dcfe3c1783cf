//! The kernel's audit records: what Landlock refused and which system calls the filters stopped.
//!
//! PID 1 opens the [`AuditSource`], which needs capabilities, and passes a descriptor of it to the one program that reads
//! it, which then needs none. There is no audit daemon and there are no rules about system calls: the only rule keeps the
//! kernel from following every process, so that a record costs something only when something is refused. What a record
//! says is in [`text`].

#![expect(unsafe_code, reason = "netlink addresses have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

pub mod text;

use text::{AuditRecord, Stamp};

/// `linux/audit.h`.
const GET: u16 = 1000;
const SET: u16 = 1001;
const ADD_RULE: u16 = 1011;
const READERS: u32 = 1;
const ENABLED: u32 = 0x1;
const FAILURE: u32 = 0x2;
const RATE: u32 = 0x8;
const BACKLOG: u32 = 0x10;
const BACKLOG_WAIT: u32 = 0x20;
const STATUS_WORDS: usize = 11;
const LOST_WORD: usize = 6;
const RULE_WORDS: usize = 3 + 64 + 3 * 64 + 1;
const FILTER_TASK: u32 = 1;

/// `linux/netlink.h`.
const ERROR: u16 = 2;
const REQUEST_AND_ANSWER: u16 = 0x1 | 0x4;
const REQUEST: u16 = 0x1;
const HEADER: usize = 16;

/// So many records may wait in the kernel, and so many bytes of them on the reader's socket.
const WAITING: u32 = 4096;
const BUFFER: usize = 4 << 20;
/// More records than this in a second are counted by the kernel and thrown away: a program that runs against its walls as
/// fast as it can must not become the machine's main work.
const A_SECOND: u32 = 500;
/// The kernel's own limit is 8970 bytes with the header.
const MESSAGE_LIMIT: usize = 9216;

/// The kernel's records, switched on.
#[derive(Debug)]
pub struct AuditSource(OwnedFd);

impl AuditSource {
    /// Switches the records on and collects them from now on. Needs CAP_AUDIT_CONTROL and CAP_AUDIT_READ.
    pub fn open() -> io::Result<Self> {
        let socket = socket()?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER)?;
        bind(&socket, READERS)?;
        // Before anything is switched on: no process gets a record of all its system calls.
        let mut rule = [0; RULE_WORDS];
        rule[0] = FILTER_TASK;
        match request(&socket, ADD_RULE, &rule) {
            // A rule that is there already is as good.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        let mut status = [0; STATUS_WORDS];
        status[0] = ENABLED | FAILURE | RATE | BACKLOG | BACKLOG_WAIT;
        status[1] = 1;
        // Failure 0 is silence, a wait of 0 that nobody stands still for a full queue: losses are counted instead.
        status[4] = A_SECOND;
        status[5] = WAITING;
        request(&socket, SET, &status)?;
        Ok(Self(socket))
    }

    /// Has the kernel put a record among the others that says how many it has lost since it started.
    pub fn ask_for_losses(&self) -> io::Result<()> {
        rustix::net::send(&self.0, &message(GET, REQUEST, &[]), SendFlags::DONTWAIT)?;
        Ok(())
    }
}

impl AsFd for AuditSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The reading end.
#[derive(Debug)]
pub struct AuditReader(OwnedFd);

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A record. Numbers grow; records that are made at the same moment may change places.
    Record(Stamp, AuditRecord),
    /// How many records the kernel lost since it started, before any reader saw them.
    LostByKernel(u32),
    /// The socket was full and records after those that still wait on it are gone.
    Overflow,
}

impl AuditReader {
    /// Reads from a descriptor of an [`AuditSource`].
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Waits for the next thing of interest, at most `wait`; none: nothing has come.
    pub fn next(&self, wait: Option<Duration>) -> io::Result<Option<Received>> {
        let timeout = wait.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        let mut bytes = [0; MESSAGE_LIMIT];
        loop {
            let (length, sender) = match receive(&self.0, &mut bytes) {
                Ok(received) => received,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(Some(Received::Overflow)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], timeout.as_ref()) {
                        Ok(0) => return Ok(None),
                        Ok(_) | Err(Errno::INTR) => continue,
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error),
            };
            // Other processes may be able to send here; only the kernel is believed.
            if sender != KERNEL {
                continue;
            }
            if let Some(received) = understand(&bytes[..length]) {
                return Ok(Some(received));
            }
        }
    }
}

/// The kernel's own netlink address.
const KERNEL: u32 = 0;

/// One message of the kernel; none when it is of no interest.
fn understand(message: &[u8]) -> Option<Received> {
    let (header, payload) = message.split_at_checked(HEADER)?;
    // The length in the header is not used: the kernel's audit messages have it wrong in two different ways.
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    if kind == GET {
        let lost = payload.get(LOST_WORD * 4..LOST_WORD * 4 + 4)?;
        return Some(Received::LostByKernel(u32::from_ne_bytes(lost.try_into().ok()?)));
    }
    let (stamp, record) = text::parse(kind, payload)?;
    Some(Received::Record(stamp, record))
}

/// A request and the kernel's answer to it.
fn request(socket: &OwnedFd, kind: u16, words: &[u32]) -> io::Result<()> {
    rustix::net::send(socket, &message(kind, REQUEST_AND_ANSWER, words), SendFlags::empty())?;
    let mut bytes = [0; MESSAGE_LIMIT];
    loop {
        // The kernel answers before it returns from the call above, so nobody waits here.
        let (length, sender) = receive(socket, &mut bytes)?;
        if sender != KERNEL || length < HEADER + 4 || u16::from_ne_bytes([bytes[4], bytes[5]]) != ERROR {
            continue;
        }
        let code = i32::from_ne_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]);
        return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
    }
}

fn message(kind: u16, flags: u16, words: &[u32]) -> Vec<u8> {
    let length = (HEADER + words.len() * 4) as u32;
    let mut bytes = Vec::with_capacity(length as usize);
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    bytes
}

fn socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes numbers only; the result is checked and owned by nobody else.
    match unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_AUDIT) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the descriptor is new and nothing else owns it.
        socket => Ok(unsafe { OwnedFd::from_raw_fd(socket) }),
    }
}

fn bind(socket: &OwnedFd, groups: u32) -> io::Result<()> {
    // SAFETY: all zero is a valid netlink address.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = groups;
    let size = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: the kernel reads `size` bytes of an address that lives until the call returns.
    match unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Receives one message and the netlink address of its sender.
fn receive(socket: &OwnedFd, bytes: &mut [u8]) -> io::Result<(usize, u32)> {
    // SAFETY: all zero is a valid netlink address.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    let mut size = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: the kernel writes at most the given lengths into `bytes` and `address`, which outlive the call.
    let length = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            bytes.as_mut_ptr().cast(),
            bytes.len(),
            RecvFlags::DONTWAIT.bits().cast_signed(),
            (&raw mut address).cast(),
            &raw mut size,
        )
    };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((length as usize, address.nl_pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_kernels_form() {
        let bytes = message(SET, REQUEST_AND_ANSWER, &[1, 2]);
        assert_eq!(bytes.len(), 24);
        assert_eq!(bytes[..8], [24, 0, 0, 0, 0xe9, 0x03, 5, 0]);
        assert_eq!(bytes[16..], [1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(RULE_WORDS * 4, 1040, "struct audit_rule_data without its texts");
    }

    #[test]
    fn the_kernels_own_count_of_losses_is_found_in_its_status() {
        let mut status = [0; STATUS_WORDS];
        status[LOST_WORD] = 12;
        assert_eq!(understand(&message(GET, 0, &status)), Some(Received::LostByKernel(12)));
        assert_eq!(understand(&message(GET, 0, &[0, 1])), None);
        assert_eq!(understand(&[0; 5]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_message_makes_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            let _ = understand(&bytes);
        }
    }
}
