//! An IPv6 address by DHCP (RFC 8415, a non-temporary one): what is asked next, and what an answer changes.
//!
//! | state | until | then |
//! |---|---|---|
//! | `Soliciting` | an offer; asks again after 1, 2, 4 … s, an hour at most | `Requesting` |
//! | `Requesting` | it is granted; it is refused, or ten silences | `Held`; `Soliciting` |
//! | `Held` | T1: its server is asked, T2: any server; until a refusal or the end of its time | `Held`; `Soliciting` |
//!
//! A server that refuses is left alone for a time that doubles, but for the first refusal of what was held. Times are milliseconds
//! of a clock that never goes back. Pure; `dhcp6` asks.

use std::net::Ipv6Addr;

use crate::dhcp::Mac;
use crate::dhcp6::{DNS_LIMIT, client, option, options};
use crate::netlink::is_name_server;

/// How often an offer is asked for before it is given up (`REQ_MAX_RC`).
const REQUESTS: u32 = 10;

/// The first waits and the longest (`SOL_TIMEOUT`, `SOL_MAX_RT`, `REQ_MAX_RT`, `REN_TIMEOUT`, `REN_MAX_RT`).
const SOLICIT_MS: (u64, u64) = (1_000, 3_600_000);
const REQUEST_MS: (u64, u64) = (1_000, 30_000);
const RENEW_MS: (u64, u64) = (10_000, 600_000);

/// How long a server that refuses is left alone.
const REFUSED_MS: (u64, u64) = (10_000, 3_600_000);

/// No server has us ask more often than this.
const SHORTEST_RENEWAL: u32 = 2;

/// "For ever", in seconds.
const FOREVER: u32 = u32::MAX;

/// The longest name of a server (`DUID`).
const SERVER_LIMIT: usize = 130;

/// An address for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) address: Ipv6Addr,
    /// For how many seconds new connections may begin from it, and any may use it.
    pub(crate) preferred: u32,
    pub(crate) valid: u32,
    renew_after: u32,
    rebind_after: u32,
    pub(crate) dns: Vec<Ipv6Addr>,
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It could grant an address.
    Offer(Vec<u8>, Grant),
    /// It grants it.
    Granted(Vec<u8>, Grant),
    /// It grants nothing.
    Refused,
}

/// What is asked. A server is named where only it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    Solicit,
    Request { server: Vec<u8>, address: Ipv6Addr },
    Renew { server: Vec<u8>, address: Ipv6Addr },
    Rebind { address: Ipv6Addr },
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Todo {
    /// Ask, and listen for so long.
    Ask { question: Question, wait_ms: u64 },
    /// Nothing for so long.
    Rest { ms: u64 },
}

/// What becomes of the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Set(Grant),
    Unset(Ipv6Addr),
}

/// The client of one link.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    state: State,
    /// How often in a row it was refused.
    refused: u32,
}

#[derive(Debug, Clone)]
enum State {
    Soliciting { silent: u32, from_ms: u64 },
    Requesting { server: Vec<u8>, grant: Grant, silent: u32 },
    Held { server: Vec<u8>, grant: Grant, since_ms: u64, silent: u32 },
}

fn doubled((first, longest): (u64, u64), times: u32) -> u64 {
    first.saturating_mul(1 << times.min(20)).min(longest)
}

fn ms(seconds: u32) -> u64 {
    if seconds == FOREVER { u64::MAX } else { u64::from(seconds) * 1000 }
}

impl Client {
    pub(crate) fn new() -> Self {
        Self { state: State::Soliciting { silent: 0, from_ms: 0 }, refused: 0 }
    }

    /// Whether it looks for an address and nobody has offered one yet.
    pub(crate) fn is_without_an_offer(&self) -> bool {
        matches!(self.state, State::Soliciting { silent, .. } if silent > 0)
    }

    pub(crate) fn todo(&self, now_ms: u64) -> Todo {
        match &self.state {
            State::Soliciting { from_ms, .. } if now_ms < *from_ms => Todo::Rest { ms: from_ms - now_ms },
            State::Soliciting { silent, .. } => {
                Todo::Ask { question: Question::Solicit, wait_ms: doubled(SOLICIT_MS, *silent) }
            }
            State::Requesting { server, grant, silent } => Todo::Ask {
                question: Question::Request { server: server.clone(), address: grant.address },
                wait_ms: doubled(REQUEST_MS, *silent),
            },
            State::Held { server, grant, since_ms, silent } => {
                let age = now_ms.saturating_sub(*since_ms);
                let (renew, rebind, end) = (ms(grant.renew_after), ms(grant.rebind_after), ms(grant.valid));
                let wait = doubled(RENEW_MS, *silent);
                match () {
                    () if age < renew => Todo::Rest { ms: renew - age },
                    () if age < rebind => Todo::Ask {
                        question: Question::Renew { server: server.clone(), address: grant.address },
                        wait_ms: wait.min(rebind - age),
                    },
                    () => Todo::Ask {
                        question: Question::Rebind { address: grant.address },
                        wait_ms: wait.min(end.saturating_sub(age)),
                    },
                }
            }
        }
    }

    /// Whether an answer is one to what was asked; others are not waited with.
    pub(crate) fn wants(&self, answer: &Answer) -> bool {
        match (&self.state, answer) {
            (State::Soliciting { .. }, answer) => matches!(answer, Answer::Offer(..)),
            (State::Requesting { server, .. }, Answer::Granted(by, _)) => by == server,
            (_, answer) => !matches!(answer, Answer::Offer(..)),
        }
    }

    /// What an answer that is wanted changes, or that none came in its time.
    pub(crate) fn heard(&mut self, now_ms: u64, answer: Option<Answer>) -> Vec<Change> {
        let state = std::mem::replace(&mut self.state, State::Soliciting { silent: 0, from_ms: now_ms });
        let (next, changes) = match (state, answer) {
            (State::Soliciting { .. }, Some(Answer::Offer(server, grant))) => {
                (State::Requesting { server, grant, silent: 0 }, Vec::new())
            }
            (State::Soliciting { silent, from_ms }, _) => {
                (State::Soliciting { silent: silent.saturating_add(1), from_ms }, Vec::new())
            }
            (State::Requesting { .. }, Some(Answer::Refused)) => (self.turned_down(now_ms), Vec::new()),
            (State::Held { grant, .. }, Some(Answer::Refused)) => {
                (self.turned_down(now_ms), vec![Change::Unset(grant.address)])
            }
            (State::Requesting { .. }, Some(Answer::Granted(server, grant))) => {
                self.refused = 0;
                (hold(server, &grant, now_ms), vec![Change::Set(grant)])
            }
            (State::Held { grant: old, .. }, Some(Answer::Granted(server, grant))) => {
                self.refused = 0;
                let mut changes = vec![Change::Set(grant.clone())];
                if old.address != grant.address {
                    changes.insert(0, Change::Unset(old.address));
                }
                (hold(server, &grant, now_ms), changes)
            }
            (State::Requesting { server, grant, silent }, None | Some(Answer::Offer(..))) => match silent + 1 {
                REQUESTS.. => (State::Soliciting { silent: 0, from_ms: now_ms }, Vec::new()),
                silent => (State::Requesting { server, grant, silent }, Vec::new()),
            },
            (State::Held { grant, since_ms, .. }, None | Some(Answer::Offer(..)))
                if now_ms.saturating_sub(since_ms) >= ms(grant.valid) =>
            {
                (State::Soliciting { silent: 0, from_ms: now_ms }, vec![Change::Unset(grant.address)])
            }
            (State::Held { server, grant, since_ms, silent }, None | Some(Answer::Offer(..))) => {
                (State::Held { server, grant, since_ms, silent: silent.saturating_add(1) }, Vec::new())
            }
        };
        self.state = next;
        changes
    }

    /// It asks anew: at once after the first refusal, later after each that follows.
    fn turned_down(&mut self, now_ms: u64) -> State {
        let pause = self.refused.checked_sub(1).map_or(0, |times| doubled(REFUSED_MS, times));
        self.refused = self.refused.saturating_add(1);
        State::Soliciting { silent: 0, from_ms: now_ms + pause }
    }
}

fn hold(server: Vec<u8>, grant: &Grant, since_ms: u64) -> State {
    State::Held { server, grant: grant.clone(), since_ms, silent: 0 }
}

/// The lasting name of what one link asks for: the end of its hardware address.
fn association(mac: Mac) -> [u8; 4] {
    [mac[2], mac[3], mac[4], mac[5]]
}

mod kind {
    pub(super) const SOLICIT: u8 = 1;
    pub(super) const ADVERTISE: u8 = 2;
    pub(super) const REQUEST: u8 = 3;
    pub(super) const RENEW: u8 = 5;
    pub(super) const REBIND: u8 = 6;
    pub(super) const REPLY: u8 = 7;
}

/// A question as it travels. `elapsed_ms` is since this exchange began.
pub(crate) fn encode(question: &Question, mac: Mac, transaction: [u8; 3], elapsed_ms: u64) -> Vec<u8> {
    let (kind, server, address) = match question {
        Question::Solicit => (kind::SOLICIT, None, None),
        Question::Request { server, address } => (kind::REQUEST, Some(server), Some(address)),
        Question::Renew { server, address } => (kind::RENEW, Some(server), Some(address)),
        Question::Rebind { address } => (kind::REBIND, None, Some(address)),
    };
    let mut bytes = vec![kind];
    bytes.extend(transaction);
    let add = |bytes: &mut Vec<u8>, code: u16, value: &[u8]| {
        bytes.extend(code.to_be_bytes());
        bytes.extend((value.len() as u16).to_be_bytes());
        bytes.extend(value);
    };
    add(&mut bytes, option::CLIENT, &client(mac));
    if let Some(server) = server {
        add(&mut bytes, option::SERVER, server);
    }
    // T1 and T2 are the server's to choose.
    let mut wanted = [association(mac).as_slice(), &[0; 8]].concat();
    if let Some(address) = address {
        add(&mut wanted, option::ADDRESS, &[address.octets().as_slice(), &[0; 8]].concat());
    }
    add(&mut bytes, option::ASSOCIATION, &wanted);
    let hundredths = u16::try_from(elapsed_ms / 10).unwrap_or(u16::MAX);
    add(&mut bytes, option::ELAPSED, &hundredths.to_be_bytes());
    add(&mut bytes, option::WANTED, &option::DNS.to_be_bytes());
    bytes
}

/// What a server says in answer to the question with this transaction; nothing when it is not for this client or of no use.
pub(crate) fn decode(bytes: &[u8], mac: Mac, transaction: [u8; 3]) -> Option<Answer> {
    let (header, rest) = bytes.split_first_chunk::<4>()?;
    let make = match header[0] {
        kind::ADVERTISE => Answer::Offer,
        kind::REPLY => Answer::Granted,
        _ => return None,
    };
    if header[1..] != transaction {
        return None;
    }
    let (mut for_us, mut server, mut granted, mut dns, mut refused) = (false, None, None, Vec::new(), false);
    for (code, value) in options(rest)? {
        match code {
            option::CLIENT => for_us = value == client(mac),
            option::SERVER => server = Some(value).filter(|name| (1..=SERVER_LIMIT).contains(&name.len())),
            option::STATUS => refused |= !value.starts_with(&[0, 0]),
            option::ASSOCIATION if value.starts_with(&association(mac)) => granted = grant(value)?,
            option::DNS => {
                let (addresses, odd) = value.as_chunks::<16>();
                if !odd.is_empty() {
                    return None;
                }
                let servers = addresses.iter().map(|octets| Ipv6Addr::from(*octets)).filter(is_name_server);
                dns = servers.take(DNS_LIMIT).collect();
            }
            _ => {}
        }
    }
    let server = server.filter(|_| for_us)?.to_vec();
    Some(match granted.filter(|_| !refused) {
        Some(grant) => make(server, Grant { dns, ..grant }),
        None => Answer::Refused,
    })
}

/// The first good address of an association; none when the server gives none. An association that contradicts itself makes
/// the whole answer useless.
fn grant(association: &[u8]) -> Option<Option<Grant>> {
    let (fixed, rest) = association.split_first_chunk::<12>()?;
    let number = |bytes: &[u8]| Some(u32::from_be_bytes(bytes.try_into().ok()?));
    let (renew, rebind) = (number(&fixed[4..8])?, number(&fixed[8..12])?);
    if renew > rebind && rebind != 0 {
        return None;
    }
    let mut found = None;
    for (code, value) in options(rest)? {
        match code {
            option::STATUS if !value.starts_with(&[0, 0]) => return Some(None),
            option::ADDRESS if found.is_none() => {
                let (octets, rest) = value.split_first_chunk::<16>()?;
                let (preferred, valid) = (number(rest.get(..4)?)?, number(rest.get(4..8)?)?);
                let address = Ipv6Addr::from(*octets);
                // What a name server's address must not be, a host's must not be either.
                if valid > 0 && preferred <= valid && is_name_server(&address) {
                    found = Some((address, preferred, valid));
                }
            }
            _ => {}
        }
    }
    Some(found.map(|(address, preferred, valid)| {
        // Half and four fifths of the time, unless the server says otherwise (RFC 8415, 21.4).
        let part = |said: u32, tenths: u64| match (said, preferred) {
            (0, FOREVER) => FOREVER,
            (0, _) => u32::try_from(u64::from(preferred) * tenths / 10).unwrap_or(FOREVER),
            (said, _) => said,
        };
        let renew_after = part(renew, 5).max(SHORTEST_RENEWAL).min(valid);
        let rebind_after = part(rebind, 8).max(renew_after).min(valid);
        Grant { address, preferred, valid, renew_after, rebind_after, dns: Vec::new() }
    }))
}

#[cfg(test)]
mod tests;
