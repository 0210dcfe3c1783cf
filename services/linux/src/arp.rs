//! A socket that says and hears ARP on one link, before the link has an address.

#![expect(unsafe_code, reason = "packet sockets have addresses of their own, which rustix does not know")]

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socket_with};

/// `ETH_P_ARP`, as it goes over the cable.
const ARP: u16 = (libc::ETH_P_ARP as u16).to_be();

/// Everybody on an Ethernet.
const ALL: [u8; 6] = [0xff; 6];

/// The socket; it never waits.
#[derive(Debug)]
pub struct ArpSocket {
    socket: OwnedFd,
    link: i32,
}

impl ArpSocket {
    /// Opens it on the link with this number. Only who may see all packets may.
    pub fn open(link: u32) -> io::Result<Self> {
        // Without a protocol it hears nothing until it is bound to its link.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?;
        let link = i32::try_from(link).map_err(|_| io::ErrorKind::InvalidInput)?;
        let address = address(link, [0; 6]);
        // SAFETY: the kernel reads one structure of the given size that lives until the call returns.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), LENGTH) };
        if bound == 0 { Ok(Self { socket, link }) } else { Err(io::Error::last_os_error()) }
    }

    /// Says a message to everybody on the link.
    pub fn say(&self, message: &[u8]) -> io::Result<()> {
        let (socket, address) = (self.socket.as_raw_fd(), address(self.link, ALL));
        let (bytes, length) = (message.as_ptr().cast(), message.len());
        // SAFETY: the kernel reads the message and one structure, of the given sizes, that live until the call returns.
        let sent = unsafe { libc::sendto(socket, bytes, length, 0, (&raw const address).cast(), LENGTH) };
        if sent >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The next message that came; what does not fit into the buffer is cut.
    pub fn hear(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(&self.socket, buffer, RecvFlags::empty())?.0)
    }
}

const LENGTH: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

fn address(link: i32, to: [u8; 6]) -> libc::sockaddr_ll {
    let [a, b, c, d, e, f] = to;
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ARP,
        sll_ifindex: link,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [a, b, c, d, e, f, 0, 0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_is_not_there_is_an_error() {
        // Without the right to see packets the error is another one.
        assert!(ArpSocket::open(i32::MAX as u32).is_err());
        assert!(ArpSocket::open(u32::MAX).is_err());
    }
}
