//! What went over a machine's cable: reads the emulator's capture (pcap, Ethernet) and names each frame.
//!
//! Only headers are looked at, and only as far as is needed to say what kind of traffic it is.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;

use crate::scenario::Failure;

/// The largest capture that is read: a boot makes a few kilobytes.
const LIMIT: u64 = 64 * 1024 * 1024;

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Whose hardware address it comes from.
    pub(crate) from: [u8; 6],
    /// What it is.
    pub(crate) traffic: Traffic,
}

/// Kinds of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Who has an IPv4 address.
    Arp,
    /// A DHCP client's question.
    LeaseAsked,
    /// An IPv6 host's question for routers.
    RouterSolicitation,
    /// Who has an IPv6 address, and who it is.
    Neighbour,
    /// Which groups an IPv6 host listens to, as neighbour discovery asks of it.
    Listeners,
    /// A TCP segment.
    Tcp { from: u16, to: u16, kind: Segment },
    /// A UDP datagram that is none of the above.
    Udp { from: u16, to: u16 },
    /// Another protocol within IPv4.
    V4 { protocol: u8, to: Ipv4Addr },
    /// Another protocol within IPv6, and the first byte of it.
    V6 { protocol: u8, kind: u8 },
    /// No internet protocol at all.
    Other { ether_type: u16 },
    /// Too short for what it says that it is.
    Cut,
}

/// What a TCP segment does to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Segment {
    /// It asks for one.
    Opens,
    /// It is an answer, or part of one.
    Answers,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, last] = self.from;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{last:02x} {:?}", self.traffic)
    }
}

/// Reads a capture; the emulator may still be writing its last frame.
pub(crate) fn read(path: &Path) -> Result<Vec<Frame>, Failure> {
    let size = std::fs::metadata(path).map_err(Failure::file("look at", path))?.len();
    if size > LIMIT {
        return Err(Failure::broken(format!("{} has {size} bytes: that is no capture of a boot", path.display())));
    }
    let bytes = std::fs::read(path).map_err(Failure::file("read", path))?;
    frames(&bytes).ok_or_else(|| Failure::broken(format!("{} is no capture of an Ethernet", path.display())))
}

const MAGIC: [u8; 4] = 0xa1b2_c3d4_u32.to_le_bytes();
const ETHERNET: [u8; 4] = 1_u32.to_le_bytes();

fn frames(bytes: &[u8]) -> Option<Vec<Frame>> {
    let (header, mut rest) = bytes.split_at_checked(24)?;
    if !header.starts_with(&MAGIC) || header[20..] != ETHERNET {
        return None;
    }
    let mut frames = Vec::new();
    while let Some((record, behind)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes([record[8], record[9], record[10], record[11]]) as usize;
        let Some((frame, behind)) = behind.split_at_checked(length) else { break };
        if let Some(from) = frame.get(6..12).and_then(|from| from.try_into().ok()) {
            frames.push(Frame { from, traffic: traffic(frame).unwrap_or(Traffic::Cut) });
        }
        rest = behind;
    }
    Some(frames)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]))
}

fn traffic(frame: &[u8]) -> Option<Traffic> {
    let inner = frame.get(14..)?;
    match word(frame, 12)? {
        0x0806 => Some(Traffic::Arp),
        0x0800 => {
            let header = usize::from(inner.first()? & 0xf) * 4;
            let to: [u8; 4] = inner.get(16..20)?.try_into().ok()?;
            of_internet(*inner.get(9)?, inner.get(header..)?, |protocol, _| Traffic::V4 { protocol, to: to.into() })
        }
        0x86dd => {
            let (mut protocol, mut payload) = (*inner.get(6)?, inner.get(40..)?);
            if protocol == 0 {
                // Options for each hop stand before reports of listeners.
                let length = (usize::from(*payload.get(1)?) + 1) * 8;
                (protocol, payload) = (*payload.first()?, payload.get(length..)?);
            }
            of_internet(protocol, payload, |protocol, kind| match (protocol, kind) {
                (58, 133) => Traffic::RouterSolicitation,
                (58, 135 | 136) => Traffic::Neighbour,
                (58, 131 | 143) => Traffic::Listeners,
                _ => Traffic::V6 { protocol, kind },
            })
        }
        ether_type => Some(Traffic::Other { ether_type }),
    }
}

fn of_internet(protocol: u8, payload: &[u8], other: impl FnOnce(u8, u8) -> Traffic) -> Option<Traffic> {
    match protocol {
        6 => {
            let flags = *payload.get(13)?;
            let kind = if flags & 0x12 == 0x02 { Segment::Opens } else { Segment::Answers };
            Some(Traffic::Tcp { from: word(payload, 0)?, to: word(payload, 2)?, kind })
        }
        17 => match (word(payload, 0)?, word(payload, 2)?) {
            (68, 67) => Some(Traffic::LeaseAsked),
            (from, to) => Some(Traffic::Udp { from, to }),
        },
        protocol => Some(other(protocol, *payload.first()?)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn capture(frame: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([2, 0, 4, 0]);
        bytes.extend([0; 8]);
        bytes.extend(65_535_u32.to_le_bytes());
        bytes.extend(ETHERNET);
        bytes.extend([0; 8]);
        bytes.extend((frame.len() as u32).to_le_bytes());
        bytes.extend((frame.len() as u32).to_le_bytes());
        bytes.extend(frame);
        bytes
    }

    fn check(ether_type: u16, inner: &[u8], expected: Traffic) {
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 1]);
        frame.extend(ether_type.to_be_bytes());
        frame.extend(inner);
        let found = frames(&capture(&frame)).expect("a capture");
        assert_eq!(found, [Frame { from: [2, 0, 0, 0, 0, 1], traffic: expected }]);
    }

    fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2];
        packet.extend(payload);
        packet
    }

    fn v6(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, protocol, 255];
        packet.extend([0; 32]);
        packet.extend(payload);
        packet
    }

    #[test]
    fn frames_are_named() {
        check(0x0806, &[], Traffic::Arp);
        check(0x0800, &v4(17, &[0, 68, 0, 67]), Traffic::LeaseAsked);
        check(0x0800, &v4(17, &[1, 0, 0, 123]), Traffic::Udp { from: 256, to: 123 });
        let mut segment = [0; 20];
        (segment[1], segment[3], segment[13]) = (22, 80, 0x02);
        check(0x0800, &v4(6, &segment), Traffic::Tcp { from: 22, to: 80, kind: Segment::Opens });
        segment[13] = 0x12;
        check(0x0800, &v4(6, &segment), Traffic::Tcp { from: 22, to: 80, kind: Segment::Answers });
        check(0x0800, &v4(1, &[8]), Traffic::V4 { protocol: 1, to: Ipv4Addr::new(10, 0, 2, 2) });
        check(0x86dd, &v6(58, &[133]), Traffic::RouterSolicitation);
        check(0x86dd, &v6(58, &[135]), Traffic::Neighbour);
        check(0x86dd, &v6(0, &[58, 0, 5, 2, 0, 0, 1, 0, 143]), Traffic::Listeners);
        check(0x86dd, &v6(58, &[128]), Traffic::V6 { protocol: 58, kind: 128 });
        check(0x88cc, &[], Traffic::Other { ether_type: 0x88cc });
        check(0x0800, &[0x45], Traffic::Cut);
    }

    proptest! {
        #[test]
        fn any_frame_has_a_name(frame in proptest::collection::vec(any::<u8>(), 0..100), cut in 0..60_usize) {
            let bytes = capture(&frame);
            let _ = frames(&bytes[..bytes.len() - cut.min(bytes.len())]);
        }
    }
}
