//! Rules of the kernel's packet filter (nf_tables), as values and as the bytes that load them.
//!
//! All rules are loaded in one transaction in place of those before: there is no moment with half of them, and none without
//! any. Only the few expressions that our rules need are here.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{RecvFlags, SendFlags, recv, sendto};

use super::{BUFFER, Body, Message, NetlinkError, error_of, failed, message, open, split_message};

/// Our one table, and its chains.
const TABLE: &[u8] = b"aios\0";
const INPUT: &[u8] = b"input\0";
const FORWARD: &[u8] = b"forward\0";

/// A rule of the chain for what comes in: a packet of which all of it holds is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule(pub Vec<Expression>);

/// Something about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expression {
    /// It came in through a link of this hardware type.
    LinkType(u16),
    /// It came in through the link with this number.
    Link(u32),
    /// It is of this family: 2 or 10.
    Family(u8),
    /// This protocol is within it.
    Protocol(u8),
    /// This byte is at that place of the protocol's header.
    Byte {
        /// Where.
        at: u32,
        /// What.
        is: u8,
    },
    /// It comes from this port to that one.
    Ports {
        /// From.
        from: u16,
        /// To.
        to: u16,
    },
    /// It belongs to a connection of this machine's making.
    Answer,
    /// There were not more than this in a second, after a first few.
    AtMost {
        /// How many a second.
        a_second: u64,
        /// How many at first.
        first: u32,
    },
}

/// A socket to the packet filter.
#[derive(Debug)]
pub struct FilterSocket(OwnedFd);

impl FilterSocket {
    /// Opens it.
    pub fn open() -> Result<Self, NetlinkError> {
        open(Some(netlink::NETFILTER), 0).map(Self).map_err(failed("open a socket to the packet filter"))
    }

    /// Puts these rules in force; what no rule accepts is dropped. After an error the rules before are in force.
    pub fn load(&self, rules: &[Rule]) -> Result<(), NetlinkError> {
        self.commit(rules).map_err(failed("load the rules of the packet filter"))
    }

    fn commit(&self, rules: &[Rule]) -> io::Result<()> {
        let (bytes, messages) = transaction(rules);
        sendto(&self.0, &bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut buffer = vec![0; BUFFER];
        let mut done = 0;
        while done < messages {
            let (length, _) = recv(&self.0, &mut buffer[..], RecvFlags::empty())?;
            done += acknowledged(&buffer[..length])?;
        }
        Ok(())
    }
}

/// How many messages of a transaction the kernel says are good; the first bad one is an error.
fn acknowledged(mut bytes: &[u8]) -> io::Result<usize> {
    let mut good = 0;
    while let Some(Message { kind, body, rest }) = split_message(bytes)? {
        if i32::from(kind) == libc::NLMSG_ERROR {
            error_of(body)?;
            good += 1;
        }
        bytes = rest;
    }
    Ok(good)
}

const BATCH_BEGIN: u16 = libc::NFNL_MSG_BATCH_BEGIN as u16;
const BATCH_END: u16 = libc::NFNL_MSG_BATCH_END as u16;
const SUBSYSTEM: u16 = libc::NFNL_SUBSYS_NFTABLES as u16;

/// Attributes, by the names of `linux/netfilter/nf_tables.h` without their `NFTA_`.
mod attribute {
    pub(super) const TABLE_NAME: u16 = 1;
    pub(super) const CHAIN_TABLE: u16 = 1;
    pub(super) const CHAIN_NAME: u16 = 3;
    pub(super) const CHAIN_HOOK: u16 = 4;
    pub(super) const CHAIN_POLICY: u16 = 5;
    pub(super) const CHAIN_TYPE: u16 = 7;
    pub(super) const HOOK_NUMBER: u16 = 1;
    pub(super) const HOOK_PRIORITY: u16 = 2;
    pub(super) const RULE_TABLE: u16 = 1;
    pub(super) const RULE_CHAIN: u16 = 2;
    pub(super) const RULE_EXPRESSIONS: u16 = 4;
    pub(super) const LIST_ELEMENT: u16 = 1;
    pub(super) const EXPRESSION_NAME: u16 = 1;
    pub(super) const EXPRESSION_DATA: u16 = 2;
    pub(super) const DATA_VALUE: u16 = 1;
    pub(super) const DATA_VERDICT: u16 = 2;
    pub(super) const VERDICT_CODE: u16 = 1;
}

/// The bytes that replace the table, and how many messages the kernel acknowledges.
fn transaction(rules: &[Rule]) -> (Vec<u8>, usize) {
    use attribute as a;

    let table = || Body::new(&general(libc::NFPROTO_INET as u8, 0)).attribute(a::TABLE_NAME, TABLE);
    let mut steps = vec![
        // Deleting what is not there is an error, and making what is there is none.
        (libc::NFT_MSG_NEWTABLE, table()),
        (libc::NFT_MSG_DELTABLE, table()),
        (libc::NFT_MSG_NEWTABLE, table()),
        (libc::NFT_MSG_NEWCHAIN, chain(INPUT, libc::NF_INET_LOCAL_IN as u32)),
        (libc::NFT_MSG_NEWCHAIN, chain(FORWARD, libc::NF_INET_FORWARD as u32)),
    ];
    for rule in rules {
        let mut expressions = Body::default();
        for when in &rule.0 {
            expressions = when.add_to(expressions);
        }
        let code = Body::default().attribute(a::VERDICT_CODE, &(libc::NF_ACCEPT as u32).to_be_bytes());
        let data = Body::default().nested(a::DATA_VERDICT, &code);
        expressions = with(expressions, "immediate", Body::default().attribute(1, &VERDICT).nested(2, &data));
        let body = Body::new(&general(libc::NFPROTO_INET as u8, 0))
            .attribute(a::RULE_TABLE, TABLE)
            .attribute(a::RULE_CHAIN, INPUT)
            .nested(a::RULE_EXPRESSIONS, &expressions);
        steps.push((libc::NFT_MSG_NEWRULE, body));
    }
    let request = libc::NLM_F_REQUEST as u16;
    let mut bytes = message(BATCH_BEGIN, request, 0, &general(0, SUBSYSTEM));
    for (number, (kind, body)) in (1_u32..).zip(&steps) {
        let flags = request | libc::NLM_F_ACK as u16 | if *kind == libc::NFT_MSG_DELTABLE { 0 } else { CREATE };
        bytes.extend(message(SUBSYSTEM << 8 | *kind as u16, flags, number, &body.0));
    }
    bytes.extend(message(BATCH_END, request, steps.len() as u32 + 1, &general(0, SUBSYSTEM)));
    (bytes, steps.len())
}

/// Rules go behind those that are there.
const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_APPEND) as u16;

/// `struct nfgenmsg`.
fn general(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

/// A chain at a place of the packets' way that drops what none of its rules takes.
fn chain(name: &[u8], place: u32) -> Body {
    use attribute as a;

    let hook = Body::default()
        .attribute(a::HOOK_NUMBER, &place.to_be_bytes())
        .attribute(a::HOOK_PRIORITY, &0_u32.to_be_bytes());
    Body::new(&general(libc::NFPROTO_INET as u8, 0))
        .attribute(a::CHAIN_TABLE, TABLE)
        .attribute(a::CHAIN_NAME, name)
        .nested(a::CHAIN_HOOK, &hook)
        .attribute(a::CHAIN_POLICY, &(libc::NF_DROP as u32).to_be_bytes())
        .attribute(a::CHAIN_TYPE, b"filter\0")
}

/// Registers of the filter's machine, as they are written.
const VERDICT: [u8; 4] = 0_u32.to_be_bytes();
const FIRST: [u8; 4] = 1_u32.to_be_bytes();

impl Expression {
    fn add_to(self, list: Body) -> Body {
        match self {
            Self::LinkType(kind) => compare(meta(list, libc::NFT_META_IIFTYPE), &kind.to_ne_bytes()),
            Self::Link(index) => compare(meta(list, libc::NFT_META_IIF), &index.to_ne_bytes()),
            Self::Family(family) => compare(meta(list, libc::NFT_META_NFPROTO), &[family]),
            Self::Protocol(protocol) => compare(meta(list, libc::NFT_META_L4PROTO), &[protocol]),
            Self::Byte { at, is } => compare(header(list, at, 1), &[is]),
            Self::Ports { from, to } => {
                let ports = [from.to_be_bytes(), to.to_be_bytes()].concat();
                compare(header(list, 0, 4), &ports)
            }
            Self::Answer => {
                let state =
                    Body::default().attribute(1, &FIRST).attribute(2, &(libc::NFT_CT_STATE as u32).to_be_bytes());
                let value = |bits: u32| Body::default().attribute(attribute::DATA_VALUE, &bits.to_ne_bytes());
                let masked = Body::default()
                    .attribute(1, &FIRST)
                    .attribute(2, &FIRST)
                    .attribute(3, &4_u32.to_be_bytes())
                    .nested(4, &value(ESTABLISHED | RELATED))
                    .nested(5, &value(0));
                let list = with(with(list, "ct", state), "bitwise", masked);
                compared(list, libc::NFT_CMP_NEQ, &0_u32.to_ne_bytes())
            }
            Self::AtMost { a_second, first } => {
                let limit = Body::default()
                    .attribute(1, &a_second.to_be_bytes())
                    .attribute(2, &1_u64.to_be_bytes())
                    .attribute(3, &first.to_be_bytes());
                with(list, "limit", limit)
            }
        }
    }
}

/// `NF_CT_STATE_BIT` of the two states in which a packet answers one of ours.
const ESTABLISHED: u32 = 1 << 1;
const RELATED: u32 = 1 << 2;

fn with(list: Body, name: &str, data: Body) -> Body {
    let expression = Body::default()
        .attribute(attribute::EXPRESSION_NAME, format!("{name}\0").as_bytes())
        .nested(attribute::EXPRESSION_DATA, &data);
    list.nested(attribute::LIST_ELEMENT, &expression)
}

fn meta(list: Body, key: libc::c_int) -> Body {
    with(list, "meta", Body::default().attribute(1, &FIRST).attribute(2, &(key as u32).to_be_bytes()))
}

/// Bytes of the header of the protocol within the packet.
fn header(list: Body, at: u32, length: u32) -> Body {
    let transport = (libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32).to_be_bytes();
    let data = Body::default()
        .attribute(1, &FIRST)
        .attribute(2, &transport)
        .attribute(3, &at.to_be_bytes())
        .attribute(4, &length.to_be_bytes());
    with(list, "payload", data)
}

fn compare(list: Body, value: &[u8]) -> Body {
    compared(list, libc::NFT_CMP_EQ, value)
}

fn compared(list: Body, how: libc::c_int, value: &[u8]) -> Body {
    let value = Body::default().attribute(attribute::DATA_VALUE, value);
    let data = Body::default().attribute(1, &FIRST).attribute(2, &(how as u32).to_be_bytes()).nested(3, &value);
    with(list, "cmp", data)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_step_of_a_transaction_is_acknowledged() {
        let rules = [Rule(vec![Expression::Answer])];
        let (bytes, messages) = transaction(&rules);
        let mut rest = &bytes[..];
        let mut seen = 0;
        while let Some(Message { rest: next, .. }) = split_message(rest).expect("whole messages") {
            rest = next;
            seen += 1;
        }
        assert_eq!(seen, messages + 2, "a beginning and an end around them");
    }

    proptest! {
        #[test]
        fn any_acknowledgement_is_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = acknowledged(&bytes);
        }
    }
}
