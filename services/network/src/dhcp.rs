//! DHCP messages (RFC 2131, 2132) as the client writes and reads them.
//!
//! Both directions are here, not in a crate, because a message is little more than a list of options
//! and the crate at hand panics on values that any neighbour can send. It serves the tests as the
//! other party.

use std::net::Ipv4Addr;

use aios_settings::Subnet;

use crate::lease::{Answer, Lease, Question};

/// A link's hardware address.
pub type Mac = [u8; 6];

/// The largest datagram that is read: an Ethernet frame's.
pub const MESSAGE_LIMIT: usize = 1500;

/// No more name servers are taken than resolvers read.
const DNS_LIMIT: usize = 3;

/// Nor more time servers than are asked.
const TIME_LIMIT: usize = 4;

const TO_SERVER: u8 = 1;
const TO_CLIENT: u8 = 2;
const ETHERNET: u8 = 1;
const BROADCAST: u16 = 1 << 15;

/// Where the options begin, and the four bytes before them.
const OPTIONS_AT: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// The options this client knows, by their codes.
mod option {
    pub(super) const PAD: u8 = 0;
    pub(super) const MASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const DNS: u8 = 6;
    pub(super) const TIME: u8 = 42;
    pub(super) const ADDRESS: u8 = 50;
    pub(super) const LEASE_TIME: u8 = 51;
    pub(super) const KIND: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const WANTED: u8 = 55;
    pub(super) const MESSAGE_SIZE: u8 = 57;
    pub(super) const RENEW_AFTER: u8 = 58;
    pub(super) const REBIND_AFTER: u8 = 59;
    pub(super) const END: u8 = 255;
}

/// The kinds of message, as the option `KIND` has them.
mod kind {
    pub(super) const DISCOVER: u8 = 1;
    pub(super) const OFFER: u8 = 2;
    pub(super) const REQUEST: u8 = 3;
    pub(super) const DECLINE: u8 = 4;
    pub(super) const ACK: u8 = 5;
    pub(super) const NAK: u8 = 6;
}

/// A datagram is no answer to this client; it is left aside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is no DHCP message.
    #[error("it is no DHCP message: {0}")]
    Form(&'static str),
    /// It is for another client or another transaction.
    #[error("it is for another client")]
    Other,
    /// It cannot be used.
    #[error("it is refused: {0}")]
    Refused(&'static str),
}

/// The bytes of a question; `transaction` ties the answer to it.
pub fn encode(question: Question, mac: Mac, transaction: u32) -> Vec<u8> {
    let own = match question {
        Question::Renew { address, .. } | Question::Rebind { address } => address,
        Question::Discover | Question::Request { .. } | Question::Decline { .. } => Ipv4Addr::UNSPECIFIED,
    };
    // Without an address this machine can hear only broadcasts.
    let flags = if own.is_unspecified() { BROADCAST } else { 0 };
    let mut bytes = vec![TO_SERVER, ETHERNET, mac.len() as u8, 0];
    bytes.extend(transaction.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(flags.to_be_bytes());
    bytes.extend(own.octets());
    bytes.resize(28, 0);
    bytes.extend(mac);
    bytes.resize(OPTIONS_AT - COOKIE.len(), 0);
    bytes.extend(COOKIE);

    let mut add = |code: u8, value: &[u8]| {
        bytes.extend([code, value.len() as u8]);
        bytes.extend(value);
    };
    let kind = match question {
        Question::Discover => kind::DISCOVER,
        Question::Request { .. } | Question::Renew { .. } | Question::Rebind { .. } => kind::REQUEST,
        Question::Decline { .. } => kind::DECLINE,
    };
    add(option::KIND, &[kind]);
    if let Question::Request { address, server } | Question::Decline { address, server } = question {
        add(option::ADDRESS, &address.octets());
        add(option::SERVER, &server.octets());
    }
    if let Question::Decline { .. } = question {
        // It asks for nothing, so it says nothing more.
        bytes.push(option::END);
        return bytes;
    }
    add(option::MESSAGE_SIZE, &(MESSAGE_LIMIT as u16).to_be_bytes());
    let wanted = [
        option::MASK,
        option::ROUTER,
        option::DNS,
        option::TIME,
        option::LEASE_TIME,
        option::RENEW_AFTER,
        option::REBIND_AFTER,
    ];
    add(option::WANTED, &wanted);
    bytes.push(option::END);
    bytes
}

/// Reads the answer of a server to the question with this `transaction`.
pub fn decode(bytes: &[u8], mac: Mac, transaction: u32) -> Result<Answer, AnswerError> {
    let Some((header, options)) = bytes.split_at_checked(OPTIONS_AT) else {
        return Err(AnswerError::Form("it is too short"));
    };
    if !header.ends_with(&COOKIE) {
        return Err(AnswerError::Form("its options do not begin where they should"));
    }
    let for_us = header[0] == TO_CLIENT
        && usize::from(header[2]) == mac.len()
        && header[4..8] == transaction.to_be_bytes()
        && header[28..34] == mac;
    if !for_us {
        return Err(AnswerError::Other);
    }
    let options = Options::read(options)?;
    let offered = Ipv4Addr::from(word(header, 16));
    match options.value(option::KIND)? {
        Some([kind::OFFER]) => Ok(Answer::Offer(lease(offered, &options)?)),
        Some([kind::ACK]) => Ok(Answer::Ack(lease(offered, &options)?)),
        Some([kind::NAK]) => Ok(Answer::Nak),
        _ => Err(AnswerError::Refused("it is neither offer, ack nor nak")),
    }
}

/// The options of a message, in its order.
struct Options<'a>(Vec<(u8, &'a [u8])>);

impl<'a> Options<'a> {
    fn read(mut bytes: &'a [u8]) -> Result<Self, AnswerError> {
        let mut options = Vec::new();
        loop {
            match bytes {
                [option::END, ..] => return Ok(Self(options)),
                [option::PAD, rest @ ..] => bytes = rest,
                [code, length, rest @ ..] if rest.len() >= usize::from(*length) => {
                    let (value, rest) = rest.split_at(usize::from(*length));
                    options.push((*code, value));
                    bytes = rest;
                }
                _ => return Err(AnswerError::Form("it ends within its options")),
            }
        }
    }

    /// The value with this code. A value in several parts (RFC 3396) is longer than any this client
    /// has a use for.
    fn value(&self, code: u8) -> Result<Option<&'a [u8]>, AnswerError> {
        let mut values = self.0.iter().filter(|(own, _)| *own == code).map(|(_, value)| *value);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(AnswerError::Refused("it says one thing twice")),
            (value, None) => Ok(value),
        }
    }

    fn number(&self, code: u8) -> Result<Option<u32>, AnswerError> {
        match self.value(code)? {
            None => Ok(None),
            Some(value) if value.len() == 4 => Ok(Some(word(value, 0))),
            Some(_) => Err(AnswerError::Refused("an option has a wrong length")),
        }
    }

    fn addresses(&self, code: u8) -> Result<Vec<Ipv4Addr>, AnswerError> {
        let value = self.value(code)?.unwrap_or_default();
        if value.len() % 4 != 0 {
            return Err(AnswerError::Refused("an option has a wrong length"));
        }
        Ok((0..value.len()).step_by(4).map(|at| Ipv4Addr::from(word(value, at))).collect())
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn lease(offered: Ipv4Addr, options: &Options<'_>) -> Result<Lease, AnswerError> {
    let server = options.number(option::SERVER)?.ok_or(AnswerError::Refused("it does not name its server"))?;
    let prefix = match options.number(option::MASK)? {
        Some(mask) => prefix_of(mask).ok_or(AnswerError::Refused("its mask has holes"))?,
        None => 32,
    };
    let address = Subnet::new(offered, prefix).map_err(|_| AnswerError::Refused("its address is no host's"))?;
    let seconds = options
        .number(option::LEASE_TIME)?
        .filter(|seconds| *seconds > 0)
        .ok_or(AnswerError::Refused("it does not say how long it lasts"))?;
    let gateway = options.addresses(option::ROUTER)?.first().copied().filter(|router| !router.is_unspecified());
    let mut dns = options.addresses(option::DNS)?;
    dns.truncate(DNS_LIMIT);
    let mut time = options.addresses(option::TIME)?;
    time.truncate(TIME_LIMIT);
    let (renew_after, rebind_after) = renewal_times(options, seconds)?;
    Ok(Lease { address, gateway, dns, time, server: server.into(), seconds, renew_after, rebind_after })
}

/// The server's times when they are in order, else the customary half and seven eighths.
fn renewal_times(options: &Options<'_>, seconds: u32) -> Result<(u32, u32), AnswerError> {
    let (renew, rebind) = (options.number(option::RENEW_AFTER)?, options.number(option::REBIND_AFTER)?);
    Ok(match (renew, rebind) {
        (Some(renew), Some(rebind)) if 0 < renew && renew < rebind && rebind < seconds => (renew, rebind),
        _ => (seconds / 2, seconds - seconds / 8),
    })
}

fn prefix_of(mask: u32) -> Option<u8> {
    let prefix = mask.leading_ones();
    (mask.trailing_zeros() + prefix >= 32).then(|| u8::try_from(prefix).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
    use dhcproto::{Decodable, Decoder, Encodable, Encoder};
    use proptest::prelude::*;

    use super::*;

    const MAC: Mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

    fn offer(change: impl FnOnce(&mut Message)) -> Vec<u8> {
        let none = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new_with_id(7, none, Ipv4Addr::new(10, 0, 2, 15), none, none, &MAC);
        message.set_opcode(Opcode::BootReply);
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(MessageType::Offer));
        options.insert(DhcpOption::ServerIdentifier(SERVER));
        options.insert(DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)));
        options.insert(DhcpOption::Router(vec![SERVER]));
        options.insert(DhcpOption::DomainNameServer(vec![Ipv4Addr::new(10, 0, 2, 3)]));
        options.insert(DhcpOption::AddressLeaseTime(86_400));
        change(&mut message);
        let mut bytes = Vec::new();
        message.encode(&mut Encoder::new(&mut bytes)).expect("an encoding");
        bytes
    }

    #[test]
    fn an_offer_is_read() {
        let Ok(Answer::Offer(lease)) = decode(&offer(|_| {}), MAC, 7) else { panic!("an offer") };
        assert_eq!((lease.address.to_string().as_str(), lease.gateway), ("10.0.2.15/24", Some(SERVER)));
        assert_eq!((lease.seconds, lease.renew_after, lease.rebind_after), (86_400, 43_200, 75_600));
    }

    #[test]
    fn answers_to_others_and_useless_ones_are_left_aside() {
        assert_eq!(decode(&offer(|_| {}), MAC, 8), Err(AnswerError::Other));
        assert_eq!(decode(&offer(|_| {}), [0; 6], 7), Err(AnswerError::Other));
        assert_eq!(decode(&encode(Question::Discover, MAC, 7), MAC, 7), Err(AnswerError::Other));
        let changes: [fn(&mut Message); 5] = [
            |message| drop(message.opts_mut().remove(OptionCode::ServerIdentifier)),
            |message| drop(message.opts_mut().remove(OptionCode::AddressLeaseTime)),
            |message| drop(message.opts_mut().insert(DhcpOption::SubnetMask(Ipv4Addr::new(255, 0, 255, 0)))),
            |message| {
                message.set_yiaddr(Ipv4Addr::new(10, 0, 2, 255));
            },
            |message| drop(message.opts_mut().remove(OptionCode::MessageType)),
        ];
        for change in changes {
            assert!(matches!(decode(&offer(change), MAC, 7), Err(AnswerError::Refused(_))));
        }
    }

    #[test]
    fn a_neighbour_cannot_stop_the_client_with_an_odd_option() {
        let plain = offer(|_| {});
        let with = |option: &[u8]| [&plain[..plain.len() - 1], option, &[option::END]].concat();
        // A rapid commit with a value is ill formed, but none of this client's business.
        assert!(decode(&with(&[80, 1, 0]), MAC, 7).is_ok());
        assert!(matches!(decode(&with(&[option::MASK, 1, 0]), MAC, 7), Err(AnswerError::Refused(_))));
        assert!(matches!(decode(&with(&[80, 200, 0]), MAC, 7), Err(AnswerError::Form(_))));
        assert!(matches!(decode(&plain[..plain.len() - 1], MAC, 7), Err(AnswerError::Form(_))));
    }

    #[test]
    fn times_out_of_order_are_replaced() {
        let bytes = offer(|message| {
            message.opts_mut().insert(DhcpOption::Renewal(90_000));
            message.opts_mut().insert(DhcpOption::Rebinding(10));
        });
        let Ok(Answer::Offer(lease)) = decode(&bytes, MAC, 7) else { panic!("an offer") };
        assert_eq!((lease.renew_after, lease.rebind_after), (43_200, 75_600));
    }

    #[test]
    fn a_question_asks_for_broadcasts_until_there_is_an_address() {
        let read = |bytes: Vec<u8>| Message::decode(&mut Decoder::new(&bytes)).expect("a message");
        let address = Ipv4Addr::new(10, 0, 2, 15);
        assert!(read(encode(Question::Discover, MAC, 7)).flags().broadcast());
        let renewal = read(encode(Question::Renew { address, server: SERVER }, MAC, 7));
        assert!(!renewal.flags().broadcast());
        assert_eq!((renewal.ciaddr(), renewal.opts().get(OptionCode::ServerIdentifier)), (address, None));
        let decline = read(encode(Question::Decline { address, server: SERVER }, MAC, 7));
        assert_eq!((decline.ciaddr(), decline.opts().msg_type()), (Ipv4Addr::UNSPECIFIED, Some(MessageType::Decline)));
        assert_eq!(decline.opts().get(OptionCode::RequestedIpAddress), Some(&DhcpOption::RequestedIpAddress(address)));
        assert_eq!(decline.opts().get(OptionCode::ParameterRequestList), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(&bytes, MAC, 7);
        }

        #[test]
        fn a_changed_offer_gives_a_host_or_nothing(
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = offer(|_| {});
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if let Ok(Answer::Offer(lease) | Answer::Ack(lease)) = decode(&bytes, MAC, 7) {
                prop_assert!(lease.renew_after < lease.rebind_after || lease.seconds < 8);
                prop_assert!(lease.rebind_after <= lease.seconds && lease.dns.len() <= DNS_LIMIT);
                prop_assert!(!lease.address.address().is_unspecified());
            }
        }
    }
}
