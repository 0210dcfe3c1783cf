//! DHCP messages as the client writes and reads them.

use std::net::Ipv4Addr;

use aios_settings::Subnet;
use dhcproto::v4::{DhcpOption, Flags, HType, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};

use crate::lease::{Answer, Lease, Question};

/// A link's hardware address.
pub type Mac = [u8; 6];

/// The largest datagram that is read: an Ethernet frame's.
pub const MESSAGE_LIMIT: usize = 1500;

/// No more name servers are taken than resolvers read.
const DNS_LIMIT: usize = 3;

/// A datagram is no answer to this client; it is left aside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is no DHCP message.
    #[error("it is no DHCP message: {0}")]
    Form(String),
    /// It is for another client or another transaction.
    #[error("it is for another client")]
    Other,
    /// It cannot be used.
    #[error("it is refused: {0}")]
    Refused(&'static str),
}

/// The bytes of a question; `transaction` ties the answer to it.
pub fn encode(question: Question, mac: Mac, transaction: u32) -> Vec<u8> {
    let none = Ipv4Addr::UNSPECIFIED;
    let own = match question {
        Question::Renew { address, .. } | Question::Rebind { address } => address,
        Question::Discover | Question::Request { .. } => none,
    };
    let mut message = Message::new_with_id(transaction, own, none, none, none, &mac);
    message.set_opcode(Opcode::BootRequest).set_htype(HType::Eth);
    if own == none {
        // Without an address this machine can hear only broadcasts.
        message.set_flags(Flags::default().set_broadcast());
    }
    let options = message.opts_mut();
    let kind = if question == Question::Discover { MessageType::Discover } else { MessageType::Request };
    options.insert(DhcpOption::MessageType(kind));
    if let Question::Request { address, server } = question {
        options.insert(DhcpOption::RequestedIpAddress(address));
        options.insert(DhcpOption::ServerIdentifier(server));
    }
    options.insert(DhcpOption::MaxMessageSize(MESSAGE_LIMIT as u16));
    options.insert(DhcpOption::ParameterRequestList(vec![
        OptionCode::SubnetMask,
        OptionCode::Router,
        OptionCode::DomainNameServer,
        OptionCode::AddressLeaseTime,
        OptionCode::Renewal,
        OptionCode::Rebinding,
    ]));
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).expect("a message of fixed options has an encoding");
    bytes
}

/// Reads the answer of a server to the question with this `transaction`.
pub fn decode(bytes: &[u8], mac: Mac, transaction: u32) -> Result<Answer, AnswerError> {
    // The library trusts the length of the hardware address, the third byte.
    if bytes.get(2).is_some_and(|length| usize::from(*length) != mac.len()) {
        return Err(AnswerError::Other);
    }
    let message = Message::decode(&mut Decoder::new(bytes)).map_err(|error| AnswerError::Form(error.to_string()))?;
    if message.opcode() != Opcode::BootReply || message.xid() != transaction || message.chaddr() != mac {
        return Err(AnswerError::Other);
    }
    match message.opts().msg_type() {
        Some(MessageType::Offer) => Ok(Answer::Offer(lease(&message)?)),
        Some(MessageType::Ack) => Ok(Answer::Ack(lease(&message)?)),
        Some(MessageType::Nak) => Ok(Answer::Nak),
        _ => Err(AnswerError::Refused("it is neither offer, ack nor nak")),
    }
}

fn lease(message: &Message) -> Result<Lease, AnswerError> {
    let options = message.opts();
    let Some(DhcpOption::ServerIdentifier(server)) = options.get(OptionCode::ServerIdentifier) else {
        return Err(AnswerError::Refused("it does not name its server"));
    };
    let prefix = match options.get(OptionCode::SubnetMask) {
        Some(DhcpOption::SubnetMask(mask)) => prefix_of(*mask).ok_or(AnswerError::Refused("its mask has holes"))?,
        _ => 32,
    };
    let address =
        Subnet::new(message.yiaddr(), prefix).map_err(|_| AnswerError::Refused("its address is no host's"))?;
    let seconds = match options.get(OptionCode::AddressLeaseTime) {
        Some(DhcpOption::AddressLeaseTime(seconds)) if *seconds > 0 => *seconds,
        _ => return Err(AnswerError::Refused("it does not say how long it lasts")),
    };
    let gateway = match options.get(OptionCode::Router) {
        Some(DhcpOption::Router(routers)) => routers.first().copied().filter(|router| !router.is_unspecified()),
        _ => None,
    };
    let mut dns = match options.get(OptionCode::DomainNameServer) {
        Some(DhcpOption::DomainNameServer(servers)) => servers.clone(),
        _ => Vec::new(),
    };
    dns.truncate(DNS_LIMIT);
    let (renew_after, rebind_after) = renewal_times(message, seconds);
    Ok(Lease { address, gateway, dns, server: *server, seconds, renew_after, rebind_after })
}

/// The server's times when they are in order, else the customary half and seven eighths.
fn renewal_times(message: &Message, seconds: u32) -> (u32, u32) {
    let (renew, rebind) = (message.opts().get(OptionCode::Renewal), message.opts().get(OptionCode::Rebinding));
    if let (Some(DhcpOption::Renewal(renew)), Some(DhcpOption::Rebinding(rebind))) = (renew, rebind)
        && 0 < *renew
        && renew < rebind
        && *rebind < seconds
    {
        return (*renew, *rebind);
    }
    (seconds / 2, seconds - seconds / 8)
}

fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    let prefix = bits.leading_ones();
    (bits.trailing_zeros() + prefix >= 32).then(|| u8::try_from(prefix).ok()).flatten()
}

#[cfg(test)]
mod tests {
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
