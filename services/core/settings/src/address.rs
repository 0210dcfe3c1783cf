//! An IPv4 address with the length of its network's prefix, as people write it: `192.0.2.10/24`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A host's address and its network. Never the network's own or its broadcast address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    address: Ipv4Addr,
    prefix: u8,
}

/// The text or the numbers are no host's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an address must be a host's, with its prefix length from 1 to 32, such as 192.0.2.10/24")]
pub struct AddressError;

impl Subnet {
    /// A host's address in the network that has the first `prefix` bits in common with it.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Result<Self, AddressError> {
        let subnet = Self { address, prefix };
        let host_bits = !subnet.mask();
        let host = address.to_bits() & host_bits;
        // With 31 and 32 bits there is neither a network's address nor a broadcast address (RFC 3021).
        let is_host = prefix >= 31 || (host != 0 && host != host_bits);
        let is_unicast =
            !(address.is_unspecified() || address.is_multicast() || address.is_broadcast() || address.is_loopback());
        if (1..=32).contains(&prefix) && is_host && is_unicast { Ok(subnet) } else { Err(AddressError) }
    }

    /// The host's address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// How many leading bits name the network.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether `other` is in the same network.
    pub fn contains(&self, other: Ipv4Addr) -> bool {
        (self.address.to_bits() ^ other.to_bits()) & self.mask() == 0
    }

    /// The address of everyone in the network.
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !self.mask())
    }

    fn mask(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (address, prefix) = text.split_once('/').ok_or(AddressError)?;
        if !prefix.bytes().all(|byte| byte.is_ascii_digit()) || (prefix.len() > 1 && prefix.starts_with('0')) {
            return Err(AddressError);
        }
        Self::new(address.parse().map_err(|_| AddressError)?, prefix.parse().map_err(|_| AddressError)?)
    }
}

impl TryFrom<String> for Subnet {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

/// Values with one space between: settings are plain values, never lists.
pub(crate) mod joined {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<T: Display, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        let words: Vec<String> = values.iter().map(T::to_string).collect();
        serializer.serialize_str(&words.join(" "))
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        match String::deserialize(deserializer)?.as_str() {
            "" => Ok(Vec::new()),
            text => text.split(' ').map(|word| word.parse().map_err(D::Error::custom)).collect(),
        }
    }
}

/// One value as its text.
pub(crate) mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A value that may be absent, as its text or none.
pub(crate) mod optional {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_str(""),
        }
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        match String::deserialize(deserializer)?.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_hosts_have_addresses() {
        for good in ["192.0.2.10/24", "10.0.0.1/8", "192.0.2.0/31", "192.0.2.255/32"] {
            assert_eq!(good.parse::<Subnet>().map(|subnet| subnet.to_string()), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "/",
            "192.0.2.10",
            "192.0.2.10/",
            "192.0.2.10/0",
            "192.0.2.10/33",
            "192.0.2.10/024",
            "192.0.2.10/+24",
            "192.0.2.0/24",
            "192.0.2.255/24",
            "0.0.0.0/32",
            "127.0.0.1/8",
            "224.0.0.1/4",
            "255.255.255.255/32",
            "192.0.2.256/24",
            "192.0.2.10/24/1",
            "::1/64",
        ] {
            assert_eq!(bad.parse::<Subnet>(), Err(AddressError), "{bad}");
        }
    }

    #[test]
    fn a_network_holds_its_hosts() {
        let subnet: Subnet = "192.0.2.10/25".parse().expect("a good address");
        assert!(subnet.contains(Ipv4Addr::new(192, 0, 2, 1)));
        assert!(!subnet.contains(Ipv4Addr::new(192, 0, 2, 129)));
        assert_eq!(subnet.broadcast(), Ipv4Addr::new(192, 0, 2, 127));
    }

    proptest! {
        #[test]
        fn text_round_trips_or_is_refused(text in "[0-9./]{0,20}") {
            if let Ok(subnet) = text.parse::<Subnet>() {
                prop_assert_eq!(subnet.to_string(), text);
            }
        }
    }
}
