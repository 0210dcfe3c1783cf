//! The part of the kernel's route netlink that one machine with plain links needs.
//!
//! A request is written, the kernel answers before it does anything else on the socket, and the answer is read to its end.
//! What the kernel says is read with the same care as what a stranger says: a length that does not fit ends the reading.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use aios_settings::Subnet;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with};
use tokio::sync::{Notify, mpsc};

use crate::dhcp::Mac;

/// Larger than any message that the kernel sends to a reader of 32 KiB.
const BUFFER: usize = 64 * 1024;

/// Default routes of this service; several links keep their order by it.
const METRIC: u32 = 100;

/// "Believe that the gateway is at this link", which `libc` does not name.
const RTNH_F_ONLINK: u32 = 4;

/// One network link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name, such as `eth0`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Whether there is something at the other end.
    pub carrier: Carrier,
}

/// What a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The machine itself.
    Loopback,
    /// Ethernet, or what looks like it.
    Ethernet(Mac),
    /// Anything else.
    Other,
}

/// Whether there is something at the other end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// There is, and the link is up.
    Present,
    /// There is not, or the link is down.
    Absent,
}

/// The kernel did not do it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}")]
pub struct NetlinkError {
    step: String,
    #[source]
    source: io::Error,
}

/// A socket to the kernel.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    /// Opens a socket for requests.
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = open(0).and_then(|socket| {
            // The kernel answers at once; a socket that is silent is broken, and this service must not hang with it.
            set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_secs(5)))?;
            Ok(socket)
        });
        Ok(Self { socket: socket.map_err(failed("open a netlink socket"))? })
    }

    /// Every link.
    pub fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let body = Body::new(&[0; 16]);
        let answers = self.ask(libc::RTM_GETLINK, DUMP, body).map_err(failed("list the links"))?;
        Ok(answers.iter().filter(|(kind, _)| *kind == libc::RTM_NEWLINK).filter_map(|(_, body)| link(body)).collect())
    }

    /// Brings a link up.
    pub fn set_up(&self, link: &Link) -> Result<(), NetlinkError> {
        let up = (libc::IFF_UP as u32).to_ne_bytes();
        let mut header = [0; 16];
        header[4..8].copy_from_slice(&link.index.to_ne_bytes());
        header[8..12].copy_from_slice(&up);
        header[12..16].copy_from_slice(&up);
        self.tell(libc::RTM_NEWLINK, 0, Body::new(&header), || format!("bring {} up", link.name))
    }

    /// The IPv4 addresses of a link. One that is no host's is left out: this service never set it.
    pub fn addresses(&self, link: &Link) -> Result<Vec<Subnet>, NetlinkError> {
        let body = Body::new(&[libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0]);
        let step = || format!("list the addresses of {}", link.name);
        let answers =
            self.ask(libc::RTM_GETADDR, DUMP, body).map_err(|source| NetlinkError { step: step(), source })?;
        let own = answers.iter().filter(|(kind, body)| {
            *kind == libc::RTM_NEWADDR && body.get(4..8) == Some(link.index.to_ne_bytes().as_slice())
        });
        Ok(own.filter_map(|(_, body)| address(body)).collect())
    }

    /// Gives a link an address; one that it has already stays.
    pub fn add_address(&self, link: &Link, address: Subnet) -> Result<(), NetlinkError> {
        let body = address_body(link, address).attribute(libc::IFA_BROADCAST, &address.broadcast().octets());
        let step = || format!("give {} the address {address}", link.name);
        self.tell(libc::RTM_NEWADDR, (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16, body, step)
    }

    /// Takes an address from a link.
    pub fn remove_address(&self, link: &Link, address: Subnet) -> Result<(), NetlinkError> {
        let step = || format!("take the address {address} from {}", link.name);
        self.tell(libc::RTM_DELADDR, 0, address_body(link, address), step)
    }

    /// Makes a gateway the way out of a link's network.
    pub fn add_default_route(&self, link: &Link, address: Subnet, gateway: Ipv4Addr) -> Result<(), NetlinkError> {
        let body = route_body(link, address, gateway);
        let step = || format!("make {gateway} the gateway of {}", link.name);
        self.tell(libc::RTM_NEWROUTE, (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16, body, step)
    }

    /// Takes the way out of a link's network away.
    pub fn remove_default_route(&self, link: &Link, address: Subnet, gateway: Ipv4Addr) -> Result<(), NetlinkError> {
        let body = route_body(link, address, gateway);
        self.tell(libc::RTM_DELROUTE, 0, body, || format!("remove the gateway {gateway} of {}", link.name))
    }

    fn tell(&self, kind: u16, flags: u16, body: Body, step: impl FnOnce() -> String) -> Result<(), NetlinkError> {
        match self.ask(kind, flags | libc::NLM_F_ACK as u16, body) {
            Ok(_) => Ok(()),
            Err(source) => Err(NetlinkError { step: step(), source }),
        }
    }

    /// Sends one request and reads its answers, up to the one that ends them.
    fn ask(&self, kind: u16, flags: u16, body: Body) -> io::Result<Vec<(u16, Vec<u8>)>> {
        let request = message(kind, flags | libc::NLM_F_REQUEST as u16, &body.0);
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

/// News of links that appeared, changed or went away.
#[derive(Debug)]
pub struct LinkChanges {
    ended: mpsc::Receiver<io::Error>,
    changed: Arc<Notify>,
}

impl LinkChanges {
    /// Listens from now on, in a thread that does nothing else.
    pub fn listen() -> Result<Self, NetlinkError> {
        let socket = open(libc::RTMGRP_LINK as u32).map_err(failed("listen for links"))?;
        let changed = Arc::new(Notify::new());
        let (end, ended) = mpsc::channel(1);
        let listener = Arc::clone(&changed);
        let listen = move || {
            let mut buffer = vec![0; BUFFER];
            let error = loop {
                // What they say is forgotten: the links are asked for again anyway, so lost news are no loss either.
                match recv(&socket, &mut buffer[..], RecvFlags::empty()) {
                    Ok(_) | Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => listener.notify_one(),
                    Err(error) => break error,
                }
            };
            // Nobody hears it when the service ends.
            let _ = end.blocking_send(error.into());
        };
        std::thread::Builder::new().name("links".into()).spawn(listen).map_err(failed("start listening for links"))?;
        Ok(Self { ended, changed })
    }

    /// Waits until there was a change since the last call.
    pub async fn next(&mut self) -> Result<(), NetlinkError> {
        tokio::select! {
            () = self.changed.notified() => Ok(()),
            error = self.ended.recv() => {
                Err(failed("go on listening for links")(error.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())))
            }
        }
    }
}

const DUMP: u16 = libc::NLM_F_DUMP as u16;

enum End {
    Reached,
    NotYet,
}

/// What comes after a message's header: a fixed part and attributes.
struct Body(Vec<u8>);

impl Body {
    fn new(fixed: &[u8]) -> Self {
        Self(fixed.to_vec())
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).expect("attributes here are numbers and addresses");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

fn open(groups: u32) -> io::Result<OwnedFd> {
    // No protocol is the route protocol: its number is 0.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

fn failed(step: &'static str) -> impl FnOnce(io::Error) -> NetlinkError {
    move |source| NetlinkError { step: step.to_owned(), source }
}

fn address_body(link: &Link, address: Subnet) -> Body {
    let mut fixed = [libc::AF_INET as u8, address.prefix(), 0, libc::RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
    fixed[4..8].copy_from_slice(&link.index.to_ne_bytes());
    let octets = address.address().octets();
    Body::new(&fixed).attribute(libc::IFA_LOCAL, &octets).attribute(libc::IFA_ADDRESS, &octets)
}

fn route_body(link: &Link, address: Subnet, gateway: Ipv4Addr) -> Body {
    let (table, protocol, scope, kind) =
        (libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST);
    let mut fixed = [libc::AF_INET as u8, 0, 0, 0, table, protocol, scope, kind, 0, 0, 0, 0];
    if !address.contains(gateway) {
        // Some networks give single addresses and a gateway outside of them.
        fixed[8..12].copy_from_slice(&RTNH_F_ONLINK.to_ne_bytes());
    }
    Body::new(&fixed)
        .attribute(libc::RTA_GATEWAY, &gateway.octets())
        .attribute(libc::RTA_OIF, &link.index.to_ne_bytes())
        .attribute(libc::RTA_PRIORITY, &(METRIC + link.index).to_ne_bytes())
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).expect("requests are short");
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    // Number and sender: there is one request at a time on the socket, and the kernel fills in the rest.
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

/// The size of a message's header.
const HEADER: usize = 16;

/// Takes the messages of one datagram; an error message ends the request.
fn read_answers(mut bytes: &[u8], answers: &mut Vec<(u16, Vec<u8>)>) -> io::Result<End> {
    while let Some((header, _)) = bytes.split_first_chunk::<HEADER>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let body = bytes.get(HEADER..length).ok_or(io::ErrorKind::InvalidData)?;
        match i32::from(kind) {
            libc::NLMSG_DONE => return Ok(End::Reached),
            libc::NLMSG_ERROR => {
                let code =
                    body.first_chunk().map(|code| i32::from_ne_bytes(*code)).ok_or(io::ErrorKind::InvalidData)?;
                return if code == 0 {
                    Ok(End::Reached)
                } else {
                    Err(io::Error::from_raw_os_error(code.checked_neg().unwrap_or(libc::EINVAL)))
                };
            }
            _ => answers.push((kind, body.to_vec())),
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(End::NotYet)
}

fn link(body: &[u8]) -> Option<Link> {
    let (fixed, attributes) = body.split_first_chunk::<16>()?;
    let hardware = u16::from_ne_bytes([fixed[2], fixed[3]]);
    let index = u32::from_ne_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    let flags = u32::from_ne_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]);
    let name = attribute(attributes, libc::IFLA_IFNAME)?;
    let name = String::from_utf8(name.strip_suffix(&[0]).unwrap_or(name).to_vec()).ok()?;
    let mac = attribute(attributes, libc::IFLA_ADDRESS).and_then(|mac| Mac::try_from(mac).ok());
    let kind = match (hardware, mac) {
        (libc::ARPHRD_LOOPBACK, _) => Kind::Loopback,
        (libc::ARPHRD_ETHER, Some(mac)) => Kind::Ethernet(mac),
        _ => Kind::Other,
    };
    let carrier = if flags & libc::IFF_RUNNING as u32 != 0 { Carrier::Present } else { Carrier::Absent };
    Some(Link { index, name, kind, carrier })
}

fn address(body: &[u8]) -> Option<Subnet> {
    let (fixed, attributes) = body.split_first_chunk::<8>()?;
    let octets: [u8; 4] = attribute(attributes, libc::IFA_LOCAL)?.try_into().ok()?;
    Subnet::new(octets.into(), fixed[1]).ok()
}

/// The value of the first attribute of this kind.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some((header, _)) = bytes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]);
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
    fn this_machine_has_its_loopback() {
        let links = Netlink::open().and_then(|netlink| netlink.links()).expect("the kernel answers");
        assert!(links.iter().any(|link| link.name == "lo" && link.kind == Kind::Loopback), "{links:?}");
    }

    #[test]
    fn the_kernel_says_why_it_refuses() {
        let nowhere = Link { index: 1 << 30, name: "eth9".into(), kind: Kind::Other, carrier: Carrier::Absent };
        let error = Netlink::open().and_then(|netlink| netlink.set_up(&nowhere)).expect_err("there is no such link");
        assert_eq!(error.to_string(), "cannot bring eth9 up");
    }

    #[test]
    fn attributes_are_found_behind_others() {
        let body = Body::new(&[]).attribute(7, b"odd").attribute(9, b"even").0;
        assert_eq!((attribute(&body, 9), attribute(&body, 8)), (Some(&b"even"[..]), None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_answers(&bytes, &mut Vec::new());
            let _ = (link(&bytes), address(&bytes), attribute(&bytes, 3));
        }

        #[test]
        fn a_cut_answer_is_read_to_an_end(cut in 0..80_usize, length in any::<u8>()) {
            let mut bytes = message(libc::RTM_NEWLINK, 0, &Body::new(&[0; 16]).attribute(libc::IFLA_IFNAME, b"eth0\0").0);
            bytes[0] = length;
            bytes.truncate(cut);
            let _ = read_answers(&bytes, &mut Vec::new());
        }
    }
}
