//! An address of either family with its prefix, as people write it: `192.0.2.10/24`, `2001:db8::10/64`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::address::Subnet;

/// A host's address and its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inet {
    /// Of the old family.
    V4(Subnet),
    /// Of the new one: unicast, not the loopback, not only of one link.
    V6 {
        /// The host's address.
        address: Ipv6Addr,
        /// How many leading bits name the network.
        prefix: u8,
    },
}

/// A network, for a route: no bit is set behind the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    address: IpAddr,
    prefix: u8,
}

/// The text is no address of a host, or no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InetError {
    /// Not a host's.
    #[error("an address must be a host's, with its prefix length, such as 192.0.2.10/24 or 2001:db8::10/64")]
    Host,
    /// Not a network's.
    #[error("a route must lead to a network, such as 10.0.0.0/8 or 2001:db8::/32")]
    Network,
}

impl Inet {
    /// The host's address.
    pub fn address(&self) -> IpAddr {
        match self {
            Self::V4(subnet) => subnet.address().into(),
            Self::V6 { address, .. } => (*address).into(),
        }
    }

    /// How many leading bits name the network.
    pub fn prefix(&self) -> u8 {
        match self {
            Self::V4(subnet) => subnet.prefix(),
            Self::V6 { prefix, .. } => *prefix,
        }
    }

    /// Whether `other` can be spoken to without a gateway.
    pub fn contains(&self, other: IpAddr) -> bool {
        match (self, other) {
            (Self::V4(subnet), IpAddr::V4(other)) => subnet.contains(other),
            (Self::V6 { address, prefix }, IpAddr::V6(other)) => {
                other.is_unicast_link_local() || (address.to_bits() ^ other.to_bits()) & mask_of_128(*prefix) == 0
            }
            _ => false,
        }
    }
}

impl Destination {
    /// The network's address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits name the network.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Everything that nothing else leads to, of the family of `gateway`.
    pub fn everything(gateway: IpAddr) -> Self {
        let address = match gateway {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Self { address, prefix: 0 }
    }
}

impl fmt::Display for Inet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.prefix())
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Inet {
    type Err = InetError;

    fn from_str(text: &str) -> Result<Self, InetError> {
        let (IpAddr::V6(address), prefix) = parts(text).ok_or(InetError::Host)? else {
            return text.parse().map(Self::V4).map_err(|_| InetError::Host);
        };
        let host_bits = address.to_bits() & !mask_of_128(prefix);
        let is_unicast = !(address.is_unspecified()
            || address.is_multicast()
            || address.is_loopback()
            || address.is_unicast_link_local()
            || address.to_ipv4_mapped().is_some());
        // The network's own address belongs to its routers (RFC 4291, 2.6.1).
        if is_unicast && (1..=128).contains(&prefix) && (host_bits != 0 || prefix >= 127) {
            Ok(Self::V6 { address, prefix })
        } else {
            Err(InetError::Host)
        }
    }
}

impl FromStr for Destination {
    type Err = InetError;

    fn from_str(text: &str) -> Result<Self, InetError> {
        let (address, prefix) = parts(text).ok_or(InetError::Network)?;
        let rest = match address {
            IpAddr::V4(address) if prefix <= 32 => {
                u128::from(address.to_bits()) & !(mask_of_128(prefix + 96) & u128::from(u32::MAX))
            }
            IpAddr::V6(address) if prefix <= 128 => address.to_bits() & !mask_of_128(prefix),
            _ => return Err(InetError::Network),
        };
        if rest == 0 && !address.is_multicast() { Ok(Self { address, prefix }) } else { Err(InetError::Network) }
    }
}

/// An address in the one way in which it is written, and a prefix without leading zeros.
fn parts(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let address = canonical(address)?;
    if !prefix.bytes().all(|byte| byte.is_ascii_digit()) || (prefix.len() > 1 && prefix.starts_with('0')) {
        return None;
    }
    Some((address, prefix.parse().ok()?))
}

/// An address as people should write it (RFC 5952): a value that was set is read back as the same text.
pub(crate) fn canonical(text: &str) -> Option<IpAddr> {
    text.parse().ok().filter(|address: &IpAddr| address.to_string() == text)
}

fn mask_of_128(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_and_networks_are_told_apart() {
        for good in ["192.0.2.10/24", "2001:db8::10/64", "fd00::1/127", "2001:db8::/128"] {
            assert_eq!(good.parse::<Inet>().map(|inet| inet.to_string()), Ok(good.to_owned()));
        }
        for bad in
            ["", "::1/128", "fe80::1/64", "2001:db8::/64", "2001:DB8::1/64", "ff02::1/16", "::ffff:192.0.2.1/96", "1/2"]
        {
            assert_eq!(bad.parse::<Inet>(), Err(InetError::Host), "{bad}");
        }
        for good in ["10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32", "::/0", "192.0.2.1/32"] {
            assert_eq!(good.parse::<Destination>().map(|to| to.to_string()), Ok(good.to_owned()));
        }
        for bad in ["10.0.0.1/8", "10.0.0.0/33", "2001:db8::1/64", "ff00::/8", "10.0.0.0", "::/129"] {
            assert_eq!(bad.parse::<Destination>(), Err(InetError::Network), "{bad}");
        }
    }

    #[test]
    fn a_router_of_the_link_is_in_every_network_of_its_family() {
        let inet: Inet = "2001:db8::10/64".parse().expect("a host");
        let contains = |text: &str| inet.contains(text.parse().expect("an address"));
        assert!(contains("2001:db8::1") && contains("fe80::1"));
        assert!(!contains("2001:db8:1::1") && !contains("192.0.2.1"));
    }

    proptest! {
        #[test]
        fn text_round_trips_or_is_refused(text in "[0-9a-f:./]{0,24}") {
            if let Ok(inet) = text.parse::<Inet>() {
                prop_assert_eq!(inet.to_string(), text.clone());
            }
            if let Ok(destination) = text.parse::<Destination>() {
                prop_assert_eq!(destination.to_string(), text);
            }
        }
    }
}
