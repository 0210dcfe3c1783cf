//! Which addresses a name may stand for. Whoever controls a name chooses its address, so a name never leads to this machine,
//! to its neighbours, or to what clouds put beside a machine; who wants that writes the address into the list.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::origin::Origin;

/// The address that a name stands for is not one of the open network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{host}' stands for {address}, which is no address of the open network; a neighbour is asked by its address, written \
     into fetch.allow"
)]
pub struct AddressRefused {
    host: String,
    address: IpAddr,
}

/// Whether `address`, which the origin's host stands for, may be connected to. One that is written as an address was allowed
/// as that.
pub fn check_address(origin: &Origin, address: IpAddr) -> Result<(), AddressRefused> {
    if origin.address() == Some(address) || is_public(address) {
        return Ok(());
    }
    Err(AddressRefused { host: origin.host().to_owned(), address })
}

pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// The special-purpose registry of IANA: what is not globally reachable, and multicast.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let number = address.to_bits();
    let within =
        |network: [u8; 4], length: u32| number >> (32 - length) == u32::from_be_bytes(network) >> (32 - length);
    ![
        ([0, 0, 0, 0], 8),
        ([10, 0, 0, 0], 8),
        ([100, 64, 0, 0], 10),
        ([127, 0, 0, 0], 8),
        ([169, 254, 0, 0], 16),
        ([172, 16, 0, 0], 12),
        ([192, 0, 0, 0], 24),
        ([192, 0, 2, 0], 24),
        ([192, 88, 99, 0], 24),
        ([192, 168, 0, 0], 16),
        ([198, 18, 0, 0], 15),
        ([198, 51, 100, 0], 24),
        ([203, 0, 113, 0], 24),
        ([224, 0, 0, 0], 3),
    ]
    .into_iter()
    .any(|(network, length)| within(network, length))
}

/// Only 2000::/3 is given out; in it, what tunnels to an IPv4 address or is for documents.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let given_out = first & 0xe000 == 0x2000;
    let tunnel = first == 0x2002 || (first == 0x2001 && second < 0x0200);
    let document = (first == 0x2001 && second == 0x0db8) || (first == 0x3fff && second < 0x1000);
    given_out && !tunnel && !document
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origin: &str, address: &str) -> bool {
        check_address(&origin.parse().expect("an origin"), address.parse().expect("an address")).is_ok()
    }

    #[test]
    fn a_name_leads_to_the_open_network_alone() {
        for address in ["1.1.1.1", "93.184.216.34", "223.255.255.255", "2606:4700::1111", "2a00::1"] {
            assert!(check("http://a.example", address), "{address}");
        }
        for address in [
            "0.0.0.0",
            "10.0.2.2",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:1.1.1.1",
            "64:ff9b::7f00:1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
        ] {
            assert!(!check("http://a.example", address), "{address}");
        }
    }

    #[test]
    fn an_address_that_was_written_down_is_only_that_one() {
        assert!(check("http://10.0.2.2:8080", "10.0.2.2") && check("http://[::1]", "::1"));
        assert!(!check("http://10.0.2.2:8080", "10.0.2.3"));
    }
}
