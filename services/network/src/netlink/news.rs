//! News of links, of addresses, and of name servers that IPv6 routers announce.

use std::io;
use std::net::Ipv6Addr;
use std::sync::Arc;

use rustix::net::{RecvFlags, recv};
use tokio::sync::{Notify, mpsc};

use super::{BUFFER, Message, NetlinkError, ROUTE, failed, open, split_message};

/// Name servers in a router's announcement (RFC 8106).
const RDNSS: u8 = 25;

/// A router's announcement, as its option came.
const ANNOUNCEMENT: u8 = 134;

/// No router has more to say than this at once.
const WAITING: usize = 16;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A link or an address came, changed or went; they are asked for again.
    Links,
    /// A router announced name servers.
    NameServers {
        /// The number of the link it is on.
        link: u32,
        /// Its servers.
        servers: Vec<Ipv6Addr>,
        /// For how many seconds; 0 takes them back.
        seconds: u32,
    },
}

/// Hears what changes.
#[derive(Debug)]
pub struct LinkChanges {
    announced: mpsc::Receiver<News>,
    ended: mpsc::Receiver<io::Error>,
    changed: Arc<Notify>,
}

impl LinkChanges {
    /// Listens from now on, in a thread that does nothing else.
    pub fn listen() -> Result<Self, NetlinkError> {
        let groups = libc::RTMGRP_LINK
            | libc::RTMGRP_IPV6_IFADDR
            | libc::RTMGRP_IPV6_IFINFO
            | 1 << (libc::RTNLGRP_ND_USEROPT - 1);
        let socket = open(ROUTE, groups as u32).map_err(failed("listen for links"))?;
        let changed = Arc::new(Notify::new());
        let (end, ended) = mpsc::channel(1);
        let (announce, announced) = mpsc::channel(WAITING);
        let listener = Arc::clone(&changed);
        let listen = move || {
            let mut buffer = vec![0; BUFFER];
            let error = loop {
                match recv(&socket, &mut buffer[..], RecvFlags::empty()) {
                    Ok((length, _)) => {
                        for news in announcements(&buffer[..length]) {
                            // A router says it again; one that floods is not heard out.
                            let _ = announce.try_send(news);
                        }
                        // What is said of links is forgotten: they are asked for again anyway.
                        listener.notify_one();
                    }
                    Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => listener.notify_one(),
                    Err(error) => break error,
                }
            };
            // Nobody hears it when the service ends.
            let _ = end.blocking_send(error.into());
        };
        std::thread::Builder::new().name("links".into()).spawn(listen).map_err(failed("start listening for links"))?;
        Ok(Self { announced, ended, changed })
    }

    /// Waits until there was a change since the last call.
    pub async fn next(&mut self) -> Result<News, NetlinkError> {
        tokio::select! {
            biased;
            error = self.ended.recv() => {
                Err(failed("go on listening for links")(error.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())))
            }
            Some(news) = self.announced.recv() => Ok(news),
            () = self.changed.notified() => Ok(News::Links),
        }
    }
}

/// The announcements of name servers in one datagram of the kernel.
fn announcements(mut bytes: &[u8]) -> Vec<News> {
    let mut news = Vec::new();
    while let Ok(Some(Message { kind, body, rest })) = split_message(bytes) {
        if kind == libc::RTM_NEWNDUSEROPT {
            news.extend(name_servers(body));
        }
        bytes = rest;
    }
    news
}

/// `struct nduseroptmsg` and one option of a router's announcement.
fn name_servers(body: &[u8]) -> Option<News> {
    let (fixed, options) = body.split_first_chunk::<16>()?;
    let length = usize::from(u16::from_ne_bytes([fixed[2], fixed[3]]));
    let link = u32::from_ne_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    let (option, _) = options.get(..length)?.split_first_chunk::<8>()?;
    if fixed[8] != ANNOUNCEMENT || option[0] != RDNSS {
        return None;
    }
    let seconds = u32::from_be_bytes([option[4], option[5], option[6], option[7]]);
    let addresses = options.get(8..usize::from(option[1]) * 8)?;
    let (addresses, rest) = addresses.as_chunks::<16>();
    if !rest.is_empty() {
        return None;
    }
    let servers = addresses.iter().map(|octets| Ipv6Addr::from(*octets)).filter(is_name_server).collect();
    Some(News::NameServers { link, servers, seconds })
}

/// Whether an address that somebody announced can be a name server's. One of the link only cannot be written down without
/// the link, which few readers of the file understand.
pub(crate) fn is_name_server(address: &Ipv6Addr) -> bool {
    !(address.is_unspecified()
        || address.is_multicast()
        || address.is_loopback()
        || address.is_unicast_link_local()
        || address.to_ipv4_mapped().is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message;
    use super::*;

    fn announced(option: &[u8]) -> Vec<u8> {
        let mut body = vec![libc::AF_INET6 as u8, 0];
        body.extend((option.len() as u16).to_ne_bytes());
        body.extend(7_u32.to_ne_bytes());
        body.extend([ANNOUNCEMENT, 0, 0, 0, 0, 0, 0, 0]);
        body.extend(option);
        message(libc::RTM_NEWNDUSEROPT, 0, 0, &body)
    }

    #[test]
    fn a_router_names_its_servers() {
        let server: Ipv6Addr = "2001:db8::53".parse().expect("an address");
        let of_the_link: Ipv6Addr = "fe80::1".parse().expect("an address");
        let mut option = vec![RDNSS, 5, 0, 0, 0, 0, 0x0e, 0x10];
        option.extend(server.octets());
        option.extend(of_the_link.octets());
        let news = News::NameServers { link: 7, servers: vec![server], seconds: 3600 };
        assert_eq!(announcements(&announced(&option)), [news]);
        assert_eq!(announcements(&announced(&option[..30])), [], "it says more than there is");
        option[0] = 31;
        assert_eq!(announcements(&announced(&option)), []);
    }

    proptest! {
        #[test]
        fn any_option_is_read_to_an_end(option in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = announcements(&announced(&option));
        }

        #[test]
        fn any_datagram_is_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = announcements(&bytes);
        }
    }
}
