//! The way to the open network where there is no direct one: a proxy that makes tunnels (`CONNECT`, RFC 9110).
//!
//! It carries bytes and is believed nothing. What is asked for is a tunnel to an address that was judged here, never to a name:
//! what a name stands for is not left to somebody else.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use crate::address::is_public;

/// A proxy, by its address and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxy(SocketAddr);

/// The text names no proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a proxy must be http:// with the numeric address of one host and a port, such as http://192.0.2.7:3128")]
pub struct ProxyError;

impl Proxy {
    /// What the setting `network.proxy` says: one, or none.
    pub fn of_setting(text: &str) -> Result<Option<Self>, ProxyError> {
        if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
    }

    /// Where it listens.
    pub fn listens_at(&self) -> SocketAddr {
        self.0
    }

    /// Whether it is the way to `address`: to the open network it is, a neighbour is asked directly.
    pub fn leads_to(&self, address: IpAddr) -> bool {
        is_public(address)
    }

    /// What it is asked for a tunnel to `target`.
    pub fn request(target: SocketAddr) -> String {
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: aios\r\n\r\n")
    }
}

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        let read: SocketAddr = text.strip_prefix("http://").and_then(|rest| rest.parse().ok()).ok_or(ProxyError)?;
        // Without the link that an IPv6 address may name.
        let (host, listens_at) = (read.ip(), SocketAddr::new(read.ip(), read.port()));
        let is_one_host = !(host.is_unspecified() || host.is_multicast() || host == Ipv4Addr::BROADCAST);
        let proxy = Self(listens_at);
        // One proxy has one text: a setting that reads back otherwise than it was written would look changed.
        let is_canonical = proxy.to_string() == text;
        if is_one_host && is_canonical && listens_at.port() > 0 { Ok(proxy) } else { Err(ProxyError) }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_proxy_is_one_host_and_a_port() {
        for good in ["http://192.0.2.7:3128", "http://[2001:db8::7]:8080", "http://10.0.2.2:80"] {
            assert_eq!(good.parse::<Proxy>().map(|proxy| proxy.to_string()), Ok(good.to_owned()));
        }
        assert_eq!(Proxy::of_setting(""), Ok(None));
        for bad in [
            "",
            "192.0.2.7:3128",
            "https://192.0.2.7:3128",
            "socks5://192.0.2.7:1080",
            "http://192.0.2.7",
            "http://192.0.2.7:0",
            "http://192.0.2.7:65536",
            "http://192.0.2.7:03128",
            "http://192.0.2.7:3128/",
            "http://proxy.example:3128",
            "http://ada:phrase@192.0.2.7:3128",
            "http://[2001:DB8::7]:8080",
            "http://[fe80::1%2]:8080",
            "http://0.0.0.0:3128",
            "http://[::]:3128",
            "http://224.0.0.1:3128",
            "http://255.255.255.255:3128",
            "http://192.0.2.7:3128\r\nx",
        ] {
            assert_eq!(bad.parse::<Proxy>(), Err(ProxyError), "{bad}");
        }
    }

    #[test]
    fn the_open_network_is_behind_it_and_neighbours_are_not() {
        let proxy: Proxy = "http://192.0.2.7:3128".parse().expect("a proxy");
        for (address, behind) in [("1.1.1.1", true), ("2606:4700::1111", true), ("10.0.2.2", false), ("fd00::1", false)]
        {
            assert_eq!(proxy.leads_to(address.parse().expect("an address")), behind, "{address}");
        }
    }

    #[test]
    fn a_tunnel_is_asked_for_by_address() {
        let request = Proxy::request("[2606:4700::1111]:443".parse().expect("an address"));
        assert!(request.starts_with("CONNECT [2606:4700::1111]:443 HTTP/1.1\r\nHost: [2606:4700::1111]:443\r\n"));
        assert!(request.ends_with("\r\n\r\n"));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back_as_itself(text in "http://[0-9.:\\[\\]a-f%/@]{0,30}|.{0,40}") {
            if let Ok(proxy) = text.parse::<Proxy>() {
                prop_assert_eq!(proxy.to_string(), text);
            }
        }
    }
}
