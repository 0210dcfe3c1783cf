//! The part of the kernel's netlink that one machine needs for its links and its packet filter.
//!
//! A request is written, the kernel answers before it does anything else on the socket, and the answer is read to its end.
//! What the kernel says is read with the same care as what a stranger says: a length that does not fit ends the reading.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

mod filter;
mod news;
mod route;

pub use filter::{Expression, FilterSocket, Rule};
pub(crate) use news::is_name_server;
pub use news::{LinkChanges, News};
pub use route::{Carrier, Kind, Link};
pub(crate) use route::{Dhcp6, Lifetimes};

/// Larger than any message that the kernel sends to a reader of 32 KiB.
const BUFFER: usize = 64 * 1024;

/// The kernel did not do it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}")]
pub struct NetlinkError {
    step: String,
    #[source]
    source: io::Error,
}

/// A socket to the kernel's links, addresses and routes.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    /// Opens a socket for requests.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self { socket: open(ROUTE, 0).map_err(failed("open a netlink socket"))? })
    }

    fn tell(&self, kind: u16, flags: u16, body: Body, step: impl FnOnce() -> String) -> Result<(), NetlinkError> {
        match self.ask(kind, flags | libc::NLM_F_ACK as u16, body) {
            Ok(_) => Ok(()),
            Err(source) => Err(NetlinkError { step: step(), source }),
        }
    }

    /// Sends one request and reads its answers, up to the one that ends them.
    fn ask(&self, kind: u16, flags: u16, body: Body) -> io::Result<Vec<(u16, Vec<u8>)>> {
        let request = message(kind, flags | libc::NLM_F_REQUEST as u16, 0, &body.0);
        sendto(&self.socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut buffer = vec![0; BUFFER];
        let mut answers = Vec::new();
        loop {
            let (length, _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            if let End::Reached = read_answers(&buffer[..length], &mut answers)? {
                return Ok(answers);
            }
        }
    }
}

/// The kernel answers at once; a socket that is silent is broken, and this service must not hang with it.
const PATIENCE: Duration = Duration::from_secs(5);

/// `NETLINK_ROUTE`: zero, which is how no protocol is written.
const ROUTE: Option<Protocol> = None;

/// A socket that hears the news of `groups`; without any it is for requests.
fn open(protocol: Option<Protocol>, groups: u32) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    if groups == 0 {
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    }
    Ok(socket)
}

fn failed<E: Into<io::Error>>(step: &str) -> impl FnOnce(E) -> NetlinkError {
    let step = step.to_owned();
    move |source| NetlinkError { step, source: source.into() }
}

enum End {
    Reached,
    NotYet,
}

/// What comes after a message's header: a fixed part and attributes.
#[derive(Debug, Default)]
struct Body(Vec<u8>);

impl Body {
    fn new(fixed: &[u8]) -> Self {
        Self(fixed.to_vec())
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length =
            u16::try_from(value.len() + 4).expect("attributes here are numbers, names and short lists of them");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn nested(self, kind: u16, inner: &Self) -> Self {
        self.attribute(kind | libc::NLA_F_NESTED as u16, &inner.0)
    }
}

fn message(kind: u16, flags: u16, number: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).expect("requests are short");
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(number.to_ne_bytes());
    // The sender: the kernel fills it in.
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes
}

/// The size of a message's header.
const HEADER: usize = 16;

/// One message of a datagram.
struct Message<'a> {
    kind: u16,
    body: &'a [u8],
    /// The datagram behind it.
    rest: &'a [u8],
}

fn split_message(bytes: &[u8]) -> io::Result<Option<Message<'_>>> {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    let body = bytes.get(HEADER..length).ok_or(io::ErrorKind::InvalidData)?;
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Ok(Some(Message { kind, body, rest }))
}

/// Takes the messages of one datagram; an error message ends the request.
fn read_answers(mut bytes: &[u8], answers: &mut Vec<(u16, Vec<u8>)>) -> io::Result<End> {
    while let Some(Message { kind, body, rest }) = split_message(bytes)? {
        match i32::from(kind) {
            libc::NLMSG_DONE => return Ok(End::Reached),
            libc::NLMSG_ERROR => return error_of(body).map(|()| End::Reached),
            _ => answers.push((kind, body.to_vec())),
        }
        bytes = rest;
    }
    Ok(End::NotYet)
}

/// What an error message says; 0 is "done".
fn error_of(body: &[u8]) -> io::Result<()> {
    let code = body.first_chunk().map(|code| i32::from_ne_bytes(*code)).ok_or(io::ErrorKind::InvalidData)?;
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code.checked_neg().unwrap_or(libc::EINVAL))) }
}

/// The value of the first attribute of this kind.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some((header, _)) = bytes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & !(libc::NLA_F_NESTED as u16);
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attributes_are_found_behind_others() {
        let inner = Body::default().attribute(1, b"in");
        let body = Body::new(&[]).attribute(7, b"odd").nested(9, &inner).0;
        assert_eq!((attribute(&body, 9), attribute(&body, 8)), (Some(&inner.0[..]), None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_answers(&bytes, &mut Vec::new());
            let _ = attribute(&bytes, 3);
        }

        #[test]
        fn a_cut_answer_is_read_to_an_end(cut in 0..80_usize, length in any::<u8>()) {
            let mut bytes =
                message(libc::RTM_NEWLINK, 0, 0, &Body::new(&[0; 16]).attribute(libc::IFLA_IFNAME, b"eth0\0").0);
            bytes[0] = length;
            bytes.truncate(cut);
            let _ = read_answers(&bytes, &mut Vec::new());
        }
    }
}
