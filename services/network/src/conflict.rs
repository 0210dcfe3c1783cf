//! Whether an IPv4 address is somebody else's already (RFC 5227): asked before it is used, said once it is.
//!
//! The messages are ARP's. Three questions go out a fifth of a second apart, faster than the seconds of the RFC: a
//! neighbour on an Ethernet answers in milliseconds, and a machine should not wait longer for its network than it must.
//! An address that is in use is not watched any more.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use aios_linux::arp::ArpSocket;
use tokio::time::{Instant, sleep};

use crate::dhcp::Mac;

const QUESTIONS: u32 = 3;
const SPACING: Duration = Duration::from_millis(200);
/// How often is looked for an answer, for less than a second in all.
const LOOK: Duration = Duration::from_millis(10);

/// What is said in a message, beside who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Who has this address? Nobody's table of neighbours changes by it.
    Question,
    /// The address is mine.
    Announcement,
}

/// Hardware: Ethernet; protocol: IPv4; the lengths of their addresses.
const FORM: [u8; 6] = [0, 1, 8, 0, 6, 4];
const LENGTH: usize = 28;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// Who has this address on the link with this number, if anybody says so.
pub(crate) async fn owner(link: u32, own: Mac, address: Ipv4Addr) -> io::Result<Option<Mac>> {
    let socket = ArpSocket::open(link)?;
    let mut buffer = [0; 64];
    for _ in 0..QUESTIONS {
        socket.say(&message(Said::Question, own, address))?;
        let end = Instant::now() + SPACING;
        // Whatever else is said on the link does not move the end.
        while Instant::now() < end {
            match socket.hear(&mut buffer) {
                Ok(length) => {
                    if let Some(other) = claims(&buffer[..length], own, address) {
                        return Ok(Some(other));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(LOOK).await,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(None)
}

/// Says that the address is this link's now, so that nobody sends to who had it before.
pub(crate) fn announce(link: u32, own: Mac, address: Ipv4Addr) -> io::Result<()> {
    ArpSocket::open(link)?.say(&message(Said::Announcement, own, address))
}

fn message(said: Said, own: Mac, address: Ipv4Addr) -> Vec<u8> {
    let from = match said {
        Said::Question => Ipv4Addr::UNSPECIFIED,
        Said::Announcement => address,
    };
    [&FORM[..], &[0, REQUEST], &own, &from.octets(), &[0; 6], &address.octets()].concat()
}

/// Who says in this message that it has, or wants to have, the address. Own messages that come back are nobody's.
fn claims(bytes: &[u8], own: Mac, address: Ipv4Addr) -> Option<Mac> {
    let bytes = bytes.get(..LENGTH)?;
    if bytes[..6] != FORM || bytes[6] != 0 || ![REQUEST, REPLY].contains(&bytes[7]) {
        return None;
    }
    let other: Mac = bytes[8..14].try_into().ok()?;
    let (from, about) = (&bytes[14..18], &bytes[24..28]);
    let has = from == address.octets();
    let wants = bytes[7] == REQUEST && from == [0; 4] && about == address.octets();
    (other != own && (has || wants)).then_some(other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWN: Mac = [2, 0, 0, 0, 0, 1];
    const OTHER: Mac = [2, 0, 0, 0, 0, 2];
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
    const ELSE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

    #[test]
    fn who_has_it_or_asks_for_it_too_is_told_from_who_only_talks() {
        let of = |said, mac, address| claims(&message(said, mac, address), OWN, ADDRESS);
        assert_eq!(of(Said::Announcement, OTHER, ADDRESS), Some(OTHER));
        assert_eq!(of(Said::Question, OTHER, ADDRESS), Some(OTHER));
        assert_eq!(of(Said::Question, OWN, ADDRESS), None, "an own question that came back");
        assert_eq!(of(Said::Announcement, OTHER, ELSE), None);

        let mut answer = message(Said::Announcement, OTHER, ADDRESS);
        answer[7] = REPLY;
        assert_eq!(claims(&answer, OWN, ADDRESS), Some(OTHER));
        // Who has another address and looks for this one has a right to.
        let mut looks = message(Said::Question, OTHER, ADDRESS);
        looks[14..18].copy_from_slice(&ELSE.octets());
        assert_eq!(claims(&looks, OWN, ADDRESS), None);
        answer[1] = 6;
        assert_eq!(claims(&answer, OWN, ADDRESS), None, "no Ethernet");
        assert_eq!(claims(&answer[..LENGTH - 1], OWN, ADDRESS), None);
    }

    #[test]
    fn a_question_changes_nobodys_table() {
        let question = message(Said::Question, OWN, ADDRESS);
        assert_eq!((question.len(), &question[14..18]), (LENGTH, &[0; 4][..]));
    }

    proptest! {
        #[test]
        fn any_bytes_claim_the_address_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(other) = claims(&bytes, OWN, ADDRESS) {
                prop_assert_eq!(&bytes[8..14], &other[..]);
            }
        }
    }
}
