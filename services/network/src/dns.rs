//! Finding the addresses of a name (RFC 1035): one question to one server, as a client without a cache.
//!
//! Pure: the bytes of a question, the addresses in an answer. The C library's way is closed to static programs, and a
//! resolver crate is a cache, a configuration and an event loop of its own for the one question that is asked here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The largest answer over UDP without extensions.
pub const MESSAGE_LIMIT: usize = 512;

/// No more addresses are taken than anybody tries.
const ADDRESSES: usize = 8;

/// A chain of other names that is longer leads nowhere.
const POINTERS: usize = 32;

const INTERNET: u16 = 1;

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Of the old family.
    V4,
    /// Of the new one.
    V6,
}

impl Family {
    fn code(self) -> u16 {
        match self {
            Self::V4 => 1,
            Self::V6 => 28,
        }
    }
}

/// An answer that gives no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// To another question.
    #[error("it is no answer to this question")]
    Other,
    /// Not as RFC 1035 has it.
    #[error("the answer ends too early or points in circles")]
    Form,
    /// It does not fit.
    #[error("the answer is too long for this client")]
    Truncated,
    /// There is no such name.
    #[error("there is no such name")]
    NoSuchName,
    /// Another error of the server.
    #[error("the server answers with error {0}")]
    Server(u8),
}

/// The bytes of a question. Names come from the settings, where their form is checked.
#[must_use]
pub fn question(number: u16, name: &str, family: Family) -> Vec<u8> {
    let mut bytes = Vec::new();
    // One question, recursion desired.
    for word in [number, 0x0100, 1, 0, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(encoded(name));
    bytes.extend(family.code().to_be_bytes());
    bytes.extend(INTERNET.to_be_bytes());
    bytes
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(label.len() as u8 & 0x3f);
        bytes.extend(label.bytes().take(63));
    }
    bytes.push(0);
    bytes
}

/// The addresses in the answer to a question; none: the name has none of this family.
pub fn read(bytes: &[u8], number: u16, name: &str, family: Family) -> Result<Vec<IpAddr>, DnsError> {
    let word = |at: usize| bytes.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]])).ok_or(DnsError::Form);
    let (flags, questions, answers) = (word(2)?, word(4)?, word(6)?);
    let asked = &question(number, name, family)[12..];
    let same = bytes.get(12..12 + asked.len()).is_some_and(|question| question.eq_ignore_ascii_case(asked));
    if word(0)? != number || flags & 0x8000 == 0 || questions != 1 || !same {
        return Err(DnsError::Other);
    }
    match flags & 0xf {
        _ if flags & 0x0200 != 0 => return Err(DnsError::Truncated),
        0 => {}
        3 => return Err(DnsError::NoSuchName),
        code => return Err(DnsError::Server(code as u8)),
    }
    let mut at = 12 + asked.len();
    // The name that is followed: an answer may say first that it is another's.
    let mut wanted = name.to_ascii_lowercase();
    let mut addresses = Vec::new();
    for _ in 0..answers {
        let (owner, end) = expanded(bytes, at)?;
        let (kind, class, length) = (word(end)?, word(end + 2)?, usize::from(word(end + 8)?));
        let data = bytes.get(end + 10..end + 10 + length).ok_or(DnsError::Form)?;
        if class == INTERNET && owner == wanted {
            match (kind, family) {
                (5, _) => wanted = expanded(bytes, end + 10)?.0,
                (1, Family::V4) => {
                    addresses.push(Ipv4Addr::from(<[u8; 4]>::try_from(data).map_err(|_| DnsError::Form)?).into());
                }
                (28, Family::V6) => {
                    addresses.push(Ipv6Addr::from(<[u8; 16]>::try_from(data).map_err(|_| DnsError::Form)?).into());
                }
                _ => {}
            }
        }
        at = end + 10 + length;
    }
    addresses.retain(|address: &IpAddr| !(address.is_unspecified() || address.is_multicast() || address.is_loopback()));
    addresses.truncate(ADDRESSES);
    Ok(addresses)
}

/// The name at a place, in lower-case letters, and the place behind it.
fn expanded(bytes: &[u8], mut at: usize) -> Result<(String, usize), DnsError> {
    let mut name = String::new();
    let mut end = None;
    let mut pointers = 0;
    loop {
        let length = *bytes.get(at).ok_or(DnsError::Form)?;
        match length {
            0 => return Ok((name, end.unwrap_or(at + 1))),
            1..=63 => {
                let label = bytes.get(at + 1..at + 1 + usize::from(length)).ok_or(DnsError::Form)?;
                if !name.is_empty() {
                    name.push('.');
                }
                name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
                at += 1 + usize::from(length);
            }
            0xc0.. => {
                let low = *bytes.get(at + 1).ok_or(DnsError::Form)?;
                end.get_or_insert(at + 2);
                at = usize::from(length & 0x3f) << 8 | usize::from(low);
                pointers += 1;
            }
            _ => return Err(DnsError::Form),
        }
        if pointers > POINTERS || name.len() > 255 {
            return Err(DnsError::Form);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "time.example.org";

    /// An answer with these records; each is owner, kind, data.
    fn answer(flags: u16, records: &[(&[u8], u16, &[u8])]) -> Vec<u8> {
        let mut bytes = question(7, NAME, Family::V4);
        bytes[2..4].copy_from_slice(&flags.to_be_bytes());
        bytes[7] = records.len() as u8;
        for (owner, kind, data) in records {
            bytes.extend(*owner);
            bytes.extend(kind.to_be_bytes());
            bytes.extend([0, 1, 0, 0, 0, 60]);
            bytes.extend((data.len() as u16).to_be_bytes());
            bytes.extend(*data);
        }
        bytes
    }

    fn read_v4(bytes: &[u8]) -> Result<Vec<IpAddr>, DnsError> {
        read(bytes, 7, NAME, Family::V4)
    }

    const POINTER_TO_NAME: &[u8] = &[0xc0, 12];

    #[test]
    fn addresses_are_found_behind_another_name() {
        let pool = encoded("pool.example.org");
        let bytes = answer(
            0x8180,
            &[
                (POINTER_TO_NAME, 5, &pool),
                (&pool, 1, &[192, 0, 2, 1]),
                (&pool, 1, &[127, 0, 0, 1]),
                (&encoded("other.example.org"), 1, &[192, 0, 2, 66]),
            ],
        );
        assert_eq!(read_v4(&bytes), Ok(vec![IpAddr::from([192, 0, 2, 1])]));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let good = answer(0x8180, &[(POINTER_TO_NAME, 1, &[192, 0, 2, 1])]);
        assert_eq!(read(&good, 8, NAME, Family::V4), Err(DnsError::Other));
        assert_eq!(read(&good, 7, "other.example.org", Family::V4), Err(DnsError::Other));
        assert_eq!(read_v4(&answer(0x8183, &[])), Err(DnsError::NoSuchName));
        assert_eq!(read_v4(&answer(0x8185, &[])), Err(DnsError::Server(5)));
        assert_eq!(read_v4(&answer(0x8380, &[])), Err(DnsError::Truncated));
        assert_eq!(read_v4(&good[..good.len() - 1]), Err(DnsError::Form));
        assert_eq!(read_v4(&answer(0x8180, &[(&[0xc0, 34], 1, &[192, 0, 2, 1])])), Err(DnsError::Form), "a circle");
        assert_eq!(read_v4(&answer(0x8180, &[(POINTER_TO_NAME, 1, &[192])])), Err(DnsError::Form));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_v4(&bytes);
            let mut bytes = [answer(0x8180, &[]), bytes].concat();
            bytes[7] = 3;
            if let Ok(addresses) = read_v4(&bytes) {
                prop_assert!(addresses.len() <= ADDRESSES);
            }
        }
    }
}
