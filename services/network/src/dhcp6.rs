//! DHCP for IPv6 (RFC 8415) on a link, where a router says so: name servers ([`follow`]), and an address with them ([`lease`]).
//!
//! Each exchange has a socket of its own; between two there is none. What is asked for an address, and when, is
//! [`lease6`](crate::lease6)'s to say.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket as StdUdpSocket};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrV6 as Place, SocketFlags, SocketType, bind, socket_with, sockopt};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, timeout_at};

use crate::dhcp::Mac;
use crate::lease6::{self, Change, Client, Todo};
use crate::netlink::is_name_server;

const CLIENT_PORT: u16 = 546;
const SERVER_PORT: u16 = 547;

/// All servers and relays of the link.
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// The largest answer that is read: an Ethernet frame's.
const MESSAGE_LIMIT: usize = 1500;

/// No more name servers are taken than resolvers read.
pub(crate) const DNS_LIMIT: usize = 3;

/// The first wait for an answer, and the longest (`INF_TIMEOUT`, `INF_MAX_RT`).
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// A day.
const LONGEST_REST: Duration = Duration::from_secs(86_400);

/// How long an answer is good that does not say it, and how long at least (`IRT_DEFAULT`, `IRT_MINIMUM`).
const USUAL: u32 = 86_400;
const SHORTEST: u32 = 600;

mod kind {
    pub(super) const REPLY: u8 = 7;
    pub(super) const INFORMATION_REQUEST: u8 = 11;
}

pub(crate) mod option {
    pub(crate) const CLIENT: u16 = 1;
    pub(crate) const SERVER: u16 = 2;
    pub(crate) const ASSOCIATION: u16 = 3;
    pub(crate) const ADDRESS: u16 = 5;
    pub(crate) const WANTED: u16 = 6;
    pub(crate) const ELAPSED: u16 = 8;
    pub(crate) const STATUS: u16 = 13;
    pub(crate) const DNS: u16 = 23;
    pub(crate) const REFRESH: u16 = 32;
}

/// The options of a message, or of another option; none if the last is cut.
pub(crate) fn options(mut bytes: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut options = Vec::new();
    while !bytes.is_empty() {
        let (header, behind) = bytes.split_first_chunk::<4>()?;
        let (value, rest) = behind.split_at_checked(usize::from(u16::from_be_bytes([header[2], header[3]])))?;
        options.push((u16::from_be_bytes([header[0], header[1]]), value));
        bytes = rest;
    }
    Some(options)
}

/// What a server knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Information {
    pub(crate) dns: Vec<Ipv6Addr>,
    /// When to ask again, in seconds.
    pub(crate) refresh: u32,
}

/// Asks on a link for as long as it runs, and tells what comes of it.
pub(crate) async fn follow(link: u32, name: &str, mac: Mac, tell: impl Fn(&Information)) {
    let mut wait = FIRST_WAIT;
    loop {
        match ask(link, name, mac, wait).await {
            Ok(Some(information)) => {
                tell(&information);
                wait = FIRST_WAIT;
                sleep(Duration::from_secs(information.refresh.into())).await;
            }
            Ok(None) => wait = LONGEST_WAIT.min(wait * 2),
            Err(error) => {
                eprintln!("DHCP for IPv6 cannot be asked on {name}: {error}");
                wait = LONGEST_WAIT.min(wait * 2);
                sleep(wait).await;
            }
        }
    }
}

/// Keeps an address on a link for as long as it runs: `change` is told what becomes of it, `tell` of name servers, also
/// those of a server that has no address to give.
pub(crate) async fn lease(
    link: u32,
    name: &str,
    mac: Mac,
    mut change: impl FnMut(Change),
    tell: impl Fn(&Information),
) {
    let began = Instant::now();
    let now_ms = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut client = Client::new();
    loop {
        let (question, wait) = match client.todo(now_ms()) {
            Todo::Ask { question, wait_ms } => (question, Duration::from_millis(wait_ms)),
            Todo::Rest { ms } => {
                // A timer takes no longer time than this; who rests longer looks again.
                sleep(Duration::from_millis(ms).min(LONGEST_REST)).await;
                continue;
            }
        };
        let encode = |transaction| lease6::encode(&question, mac, transaction, 0);
        let decode =
            |bytes: &[u8], transaction| lease6::decode(bytes, mac, transaction).filter(|answer| client.wants(answer));
        let answer = match exchange(link, name, wait, encode, decode).await {
            Ok(answer) => answer,
            Err(error) => {
                eprintln!("DHCP for IPv6 cannot be asked on {name}: {error}");
                sleep(wait).await;
                None
            }
        };
        for next in client.heard(now_ms(), answer) {
            if let Change::Set(grant) = &next {
                tell(&Information { dns: grant.dns.clone(), refresh: grant.valid });
            }
            change(next);
        }
        if client.is_without_an_offer()
            && let Ok(Some(information)) = ask(link, name, mac, FIRST_WAIT).await
        {
            tell(&information);
        }
    }
}

/// Asks once; none: nobody answered within the wait.
async fn ask(link: u32, name: &str, mac: Mac, wait: Duration) -> io::Result<Option<Information>> {
    exchange(link, name, wait, |transaction| encode(mac, transaction), |bytes, id| decode(bytes, mac, id)).await
}

/// Says one thing to all servers of the link and listens until there is an answer that can be read, or the wait is over.
async fn exchange<T>(
    link: u32,
    name: &str,
    wait: Duration,
    encode: impl FnOnce([u8; 3]) -> Vec<u8>,
    decode: impl Fn(&[u8], [u8; 3]) -> Option<T>,
) -> io::Result<Option<T>> {
    let socket = socket_with(AddressFamily::INET6, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_ipv6_v6only(&socket, true)?;
    // Each link has its own socket on the same port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &Place::new(Ipv6Addr::UNSPECIFIED, CLIENT_PORT, 0, 0))?;
    let socket = StdUdpSocket::from(socket);
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    socket.bind_device(Some(name.as_bytes()))?;
    let mut transaction = [0; 3];
    rustix::rand::getrandom(&mut transaction, rustix::rand::GetRandomFlags::empty())?;
    socket.send_to(&encode(transaction), SocketAddrV6::new(SERVERS, SERVER_PORT, 0, link)).await?;
    let end = Instant::now() + wait;
    let mut buffer = [0; MESSAGE_LIMIT];
    while let Ok(heard) = timeout_at(end, socket.recv_from(&mut buffer)).await {
        let (length, _) = heard?;
        if let Some(answer) = decode(&buffer[..length], transaction) {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

/// A client's lasting name: its hardware address (`DUID-LL`).
pub(crate) fn client(mac: Mac) -> Vec<u8> {
    [&[0, 3, 0, 1][..], &mac].concat()
}

fn encode(mac: Mac, transaction: [u8; 3]) -> Vec<u8> {
    let mut bytes = vec![kind::INFORMATION_REQUEST];
    bytes.extend(transaction);
    let mut add = |code: u16, value: &[u8]| {
        bytes.extend(code.to_be_bytes());
        bytes.extend((value.len() as u16).to_be_bytes());
        bytes.extend(value);
    };
    add(option::CLIENT, &client(mac));
    // Each question is the first of its own exchange.
    add(option::ELAPSED, &[0, 0]);
    add(option::WANTED, &[option::DNS.to_be_bytes(), option::REFRESH.to_be_bytes()].concat());
    bytes
}

/// What a server says in answer to the question with this transaction; nothing when it is not for this client or of no use.
fn decode(bytes: &[u8], mac: Mac, transaction: [u8; 3]) -> Option<Information> {
    let (header, rest) = bytes.split_first_chunk::<4>()?;
    if header[0] != kind::REPLY || header[1..] != transaction {
        return None;
    }
    let (mut for_us, mut named) = (false, false);
    let mut information = Information { dns: Vec::new(), refresh: USUAL };
    for (code, value) in options(rest)? {
        match code {
            option::CLIENT => for_us = value == client(mac),
            option::SERVER => named = true,
            option::STATUS if !value.starts_with(&[0, 0]) => return None,
            option::DNS => {
                let (addresses, odd) = value.as_chunks::<16>();
                if !odd.is_empty() {
                    return None;
                }
                let servers = addresses.iter().map(|octets| Ipv6Addr::from(*octets)).filter(is_name_server);
                information.dns = servers.take(DNS_LIMIT).collect();
            }
            option::REFRESH => information.refresh = u32::from_be_bytes(value.try_into().ok()?).clamp(SHORTEST, USUAL),
            _ => {}
        }
    }
    (for_us && named).then_some(information)
}

#[cfg(test)]
mod tests {
    use dhcproto::v6::{DhcpOption, DhcpOptions, Message, MessageType, OptionCode};
    use dhcproto::{Decodable, Decoder, Encodable, Encoder};
    use proptest::prelude::*;

    use super::*;

    const MAC: Mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const TRANSACTION: [u8; 3] = [1, 2, 3];
    const SERVER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53);

    fn reply(change: impl FnOnce(&mut DhcpOptions)) -> Vec<u8> {
        let mut message = Message::new_with_id(MessageType::Reply, TRANSACTION);
        let options = message.opts_mut();
        options.insert(DhcpOption::ClientId(client(MAC)));
        options.insert(DhcpOption::ServerId(vec![0, 3, 0, 1, 2, 0, 0, 0, 0, 1]));
        options.insert(DhcpOption::DomainNameServers(vec![SERVER, "fe80::1".parse().expect("an address")]));
        change(options);
        let mut bytes = Vec::new();
        message.encode(&mut Encoder::new(&mut bytes)).expect("an encoding");
        bytes
    }

    #[test]
    fn a_reply_is_read() {
        let information = decode(&reply(|_| {}), MAC, TRANSACTION).expect("a reply");
        assert_eq!(information, Information { dns: vec![SERVER], refresh: USUAL });
        let soon = reply(|options| options.insert(DhcpOption::InformationRefreshTime(7)));
        assert_eq!(decode(&soon, MAC, TRANSACTION).map(|information| information.refresh), Some(SHORTEST));
    }

    #[test]
    fn replies_to_others_and_useless_ones_are_left_aside() {
        let whole = reply(|_| {});
        assert_eq!(decode(&whole, MAC, [1, 2, 4]), None);
        assert_eq!(decode(&whole, [0; 6], TRANSACTION), None);
        assert_eq!(decode(&whole[..whole.len() - 1], MAC, TRANSACTION), None);
        assert_eq!(decode(&encode(MAC, TRANSACTION), MAC, TRANSACTION), None);
        let nameless = reply(|options| drop(options.remove(OptionCode::ServerId)));
        assert_eq!(decode(&nameless, MAC, TRANSACTION), None);
    }

    #[test]
    fn a_question_is_one_that_servers_read() {
        let question = Message::decode(&mut Decoder::new(&encode(MAC, TRANSACTION))).expect("a message");
        assert_eq!((question.msg_type(), question.xid()), (MessageType::InformationRequest, TRANSACTION));
        assert_eq!(question.opts().get(OptionCode::ClientId), Some(&DhcpOption::ClientId(client(MAC))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_left(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, MAC, TRANSACTION);
        }

        #[test]
        fn a_changed_reply_names_hosts_or_nothing(
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = reply(|_| {});
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if let Some(information) = decode(&bytes, MAC, TRANSACTION) {
                prop_assert!(information.dns.len() <= DNS_LIMIT && information.dns.iter().all(is_name_server));
                prop_assert!((SHORTEST..=USUAL).contains(&information.refresh));
            }
        }
    }
}
