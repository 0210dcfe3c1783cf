//! Links, addresses and routes.

use std::net::{IpAddr, Ipv6Addr};

use aios_settings::{Inet, Route};

use super::{Body, Netlink, NetlinkError, attribute, failed};
use crate::dhcp::Mac;

/// Routes of this service; several links keep their order by it.
const METRIC: u32 = 100;

/// "Believe that the gateway is at this link", which `libc` does not name.
const RTNH_F_ONLINK: u32 = 4;

/// The number of a VLAN, within what describes one; `libc` does not name it.
const IFLA_VLAN_ID: u16 = 1;

/// What the kernel keeps of IPv6 on a link, and there the flags of its router (`linux/if_link.h`, `net/if_inet6.h`):
/// DHCP has addresses, DHCP has other things.
const IFLA_INET6_FLAGS: u16 = 1;
const IF_RA_MANAGED: u32 = 0x40;
const IF_RA_OTHERCONF: u32 = 0x80;

/// One network link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name, such as `eth0`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Whether there is something at the other end.
    pub carrier: Carrier,
}

/// What a router says that DHCP for IPv6 has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dhcp6 {
    /// Addresses, and the rest with them.
    Addresses,
    /// Other things only.
    Others,
}

/// What a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The machine itself.
    Loopback,
    /// Ethernet, or what looks like it.
    Ethernet(Mac),
    /// A VLAN on an Ethernet link.
    Vlan(Mac),
    /// Anything else.
    Other,
}

/// Whether there is something at the other end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// There is, and the link is up.
    Present,
    /// There is not, or the link is down.
    Absent,
}

const DUMP: u16 = libc::NLM_F_DUMP as u16;
const REPLACE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;

impl Netlink {
    /// Every link.
    pub fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let body = Body::new(&[0; 16]);
        let answers = self.ask(libc::RTM_GETLINK, DUMP, body).map_err(failed("list the links"))?;
        Ok(answers.iter().filter(|(kind, _)| *kind == libc::RTM_NEWLINK).filter_map(|(_, body)| link(body)).collect())
    }

    /// The numbers of the links whose routers say that DHCP for IPv6 knows more, and what.
    pub(crate) fn with_dhcp6(&self) -> Result<Vec<(u32, Dhcp6)>, NetlinkError> {
        let mut body = [0; 16];
        body[0] = libc::AF_INET6 as u8;
        let step = failed("ask what IPv6 routers say");
        let answers = self.ask(libc::RTM_GETLINK, DUMP, Body::new(&body)).map_err(step)?;
        let links = answers.iter().filter(|(kind, _)| *kind == libc::RTM_NEWLINK);
        Ok(links.filter_map(|(_, body)| says_more(body)).collect())
    }

    /// Brings a link up.
    pub fn set_up(&self, link: &Link) -> Result<(), NetlinkError> {
        self.set_flags(link, libc::IFF_UP as u32, "up")
    }

    /// Takes a link down.
    pub fn set_down(&self, link: &Link) -> Result<(), NetlinkError> {
        self.set_flags(link, 0, "down")
    }

    fn set_flags(&self, link: &Link, flags: u32, word: &str) -> Result<(), NetlinkError> {
        let mut header = [0; 16];
        header[4..8].copy_from_slice(&link.index.to_ne_bytes());
        header[8..12].copy_from_slice(&flags.to_ne_bytes());
        header[12..16].copy_from_slice(&(libc::IFF_UP as u32).to_ne_bytes());
        self.tell(libc::RTM_NEWLINK, 0, Body::new(&header), || format!("bring {} {word}", link.name))
    }

    /// Makes the VLAN with this number on a link.
    pub fn make_vlan(&self, parent: &Link, id: u16, name: &str) -> Result<(), NetlinkError> {
        let data = Body::default().attribute(IFLA_VLAN_ID, &id.to_ne_bytes());
        let info = Body::default().attribute(libc::IFLA_INFO_KIND, b"vlan").nested(libc::IFLA_INFO_DATA, &data);
        let body = Body::new(&[0; 16])
            .attribute(libc::IFLA_IFNAME, format!("{name}\0").as_bytes())
            .attribute(libc::IFLA_LINK, &parent.index.to_ne_bytes())
            .nested(libc::IFLA_LINKINFO, &info);
        let flags = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
        self.tell(libc::RTM_NEWLINK, flags, body, || format!("make the VLAN {name}"))
    }

    /// Removes a link that was made.
    pub fn remove(&self, link: &Link) -> Result<(), NetlinkError> {
        let mut header = [0; 16];
        header[4..8].copy_from_slice(&link.index.to_ne_bytes());
        self.tell(libc::RTM_DELLINK, 0, Body::new(&header), || format!("remove {}", link.name))
    }

    /// The addresses of a link that somebody set. One that the kernel made (from a router's announcement, for the link) is
    /// left out, and so is one that is no host's: this service never set it.
    pub fn set_addresses(&self, link: &Link) -> Result<Vec<Inet>, NetlinkError> {
        Ok(self
            .every_address(link)?
            .into_iter()
            .filter(|(_, origin)| *origin == Origin::Set)
            .map(|(inet, _)| inet)
            .collect())
    }

    /// The addresses of a link that are good beyond it.
    pub fn addresses(&self, link: &Link) -> Result<Vec<Inet>, NetlinkError> {
        Ok(self.every_address(link)?.into_iter().map(|(inet, _)| inet).collect())
    }

    fn every_address(&self, link: &Link) -> Result<Vec<(Inet, Origin)>, NetlinkError> {
        let body = Body::new(&[libc::AF_UNSPEC as u8, 0, 0, 0, 0, 0, 0, 0]);
        let step = || format!("list the addresses of {}", link.name);
        let answers =
            self.ask(libc::RTM_GETADDR, DUMP, body).map_err(|source| NetlinkError { step: step(), source })?;
        let own = answers.iter().filter(|(kind, body)| {
            *kind == libc::RTM_NEWADDR && body.get(4..8) == Some(link.index.to_ne_bytes().as_slice())
        });
        Ok(own.filter_map(|(_, body)| address(body)).collect())
    }

    /// Gives a link an address; one that it has already stays.
    pub fn add_address(&self, link: &Link, address: Inet) -> Result<(), NetlinkError> {
        let mut body = address_body(link, address);
        if let Inet::V4(subnet) = address {
            body = body.attribute(libc::IFA_BROADCAST, &subnet.broadcast().octets());
        }
        self.tell(libc::RTM_NEWADDR, REPLACE, body, || format!("give {} the address {address}", link.name))
    }

    /// Gives a link an IPv6 address for so many seconds, which begin now; the kernel takes it away when they are over. Other
    /// machines of the link are not reached by it alone: routers say what is on the link.
    pub(crate) fn lend_address(&self, link: &Link, address: Ipv6Addr, times: Lifetimes) -> Result<(), NetlinkError> {
        let address = Inet::V6 { address, prefix: 128 };
        // `struct ifa_cacheinfo`; when it was made and changed is the kernel's to say.
        let times = [times.preferred.to_ne_bytes(), times.valid.to_ne_bytes(), [0; 4], [0; 4]].concat();
        let body = address_body(link, address).attribute(libc::IFA_CACHEINFO, &times);
        self.tell(libc::RTM_NEWADDR, REPLACE, body, || format!("lend {} the address {address}", link.name))
    }

    /// Takes an address from a link.
    pub fn remove_address(&self, link: &Link, address: Inet) -> Result<(), NetlinkError> {
        let step = || format!("take the address {address} from {}", link.name);
        self.tell(libc::RTM_DELADDR, 0, address_body(link, address), step)
    }

    /// Makes a way through a link. `own` are the link's addresses.
    pub fn add_route(&self, link: &Link, own: &[Inet], route: Route) -> Result<(), NetlinkError> {
        let step = || format!("make {} the way of {} to {}", route.via, link.name, route.to);
        self.tell(libc::RTM_NEWROUTE, REPLACE, route_body(link, own, route), step)
    }

    /// Takes a way through a link away.
    pub fn remove_route(&self, link: &Link, own: &[Inet], route: Route) -> Result<(), NetlinkError> {
        let step = || format!("take the way of {} to {} away", link.name, route.to);
        self.tell(libc::RTM_DELROUTE, 0, route_body(link, own, route), step)
    }
}

/// For how many seconds an address is one for new connections, and one at all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetimes {
    pub(crate) preferred: u32,
    pub(crate) valid: u32,
}

/// Where an address came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Set,
    Announced,
}

fn family(address: IpAddr) -> u8 {
    (if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address_body(link: &Link, address: Inet) -> Body {
    let host = octets(address.address());
    let mut fixed = [family(address.address()), address.prefix(), 0, libc::RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
    fixed[4..].copy_from_slice(&link.index.to_ne_bytes());
    Body::new(&fixed).attribute(libc::IFA_LOCAL, &host).attribute(libc::IFA_ADDRESS, &host)
}

fn route_body(link: &Link, own: &[Inet], route: Route) -> Body {
    let (table, protocol, scope, kind) =
        (libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST);
    let mut fixed = [family(route.via), route.to.prefix(), 0, 0, table, protocol, scope, kind, 0, 0, 0, 0];
    if !own.iter().any(|address| address.contains(route.via)) {
        // Some networks give single addresses and a gateway outside of them.
        fixed[8..12].copy_from_slice(&RTNH_F_ONLINK.to_ne_bytes());
    }
    let body = Body::new(&fixed);
    let body = if route.to.prefix() == 0 { body } else { body.attribute(libc::RTA_DST, &octets(route.to.address())) };
    body.attribute(libc::RTA_GATEWAY, &octets(route.via))
        .attribute(libc::RTA_OIF, &link.index.to_ne_bytes())
        .attribute(libc::RTA_PRIORITY, &(METRIC + link.index).to_ne_bytes())
}

/// The link's number, if its router says that DHCP knows more, and what.
fn says_more(body: &[u8]) -> Option<(u32, Dhcp6)> {
    let (fixed, attributes) = body.split_first_chunk::<16>()?;
    let flags = attribute(attribute(attributes, libc::IFLA_PROTINFO)?, IFLA_INET6_FLAGS)?;
    let flags = u32::from_ne_bytes(flags.try_into().ok()?);
    let index = u32::from_ne_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    match (flags & IF_RA_MANAGED != 0, flags & IF_RA_OTHERCONF != 0) {
        (true, _) => Some((index, Dhcp6::Addresses)),
        (false, true) => Some((index, Dhcp6::Others)),
        (false, false) => None,
    }
}

fn link(body: &[u8]) -> Option<Link> {
    let (fixed, attributes) = body.split_first_chunk::<16>()?;
    let hardware = u16::from_ne_bytes([fixed[2], fixed[3]]);
    let index = u32::from_ne_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    let flags = u32::from_ne_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]);
    let name = text(attribute(attributes, libc::IFLA_IFNAME)?)?;
    let mac = attribute(attributes, libc::IFLA_ADDRESS).and_then(|mac| Mac::try_from(mac).ok());
    let made = attribute(attributes, libc::IFLA_LINKINFO).and_then(|info| attribute(info, libc::IFLA_INFO_KIND));
    let kind = match (hardware, mac, made.and_then(text).as_deref()) {
        (libc::ARPHRD_LOOPBACK, _, _) => Kind::Loopback,
        (libc::ARPHRD_ETHER, Some(mac), Some("vlan")) => Kind::Vlan(mac),
        (libc::ARPHRD_ETHER, Some(mac), _) => Kind::Ethernet(mac),
        _ => Kind::Other,
    };
    let carrier = if flags & libc::IFF_RUNNING as u32 != 0 { Carrier::Present } else { Carrier::Absent };
    Some(Link { index, name, kind, carrier })
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.strip_suffix(&[0]).unwrap_or(bytes).to_vec()).ok()
}

/// An address beyond its link, and where it came from.
fn address(body: &[u8]) -> Option<(Inet, Origin)> {
    let (fixed, attributes) = body.split_first_chunk::<8>()?;
    let origin = if u32::from(fixed[2]) & libc::IFA_F_PERMANENT != 0 { Origin::Set } else { Origin::Announced };
    let address: IpAddr = if i32::from(fixed[0]) == libc::AF_INET {
        <[u8; 4]>::try_from(attribute(attributes, libc::IFA_LOCAL)?).ok()?.into()
    } else {
        <[u8; 16]>::try_from(attribute(attributes, libc::IFA_ADDRESS)?).ok()?.into()
    };
    format!("{address}/{}", fixed[1]).parse().ok().map(|inet| (inet, origin))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn this_machine_has_its_loopback() {
        let links = Netlink::open().and_then(|netlink| netlink.links()).expect("the kernel answers");
        assert!(links.iter().any(|link| link.name == "lo" && link.kind == Kind::Loopback), "{links:?}");
    }

    #[test]
    fn the_kernel_says_why_it_refuses() {
        let nowhere = Link { index: 1 << 30, name: "eth9".into(), kind: Kind::Other, carrier: Carrier::Absent };
        let error = Netlink::open().and_then(|netlink| netlink.set_up(&nowhere)).expect_err("there is no such link");
        assert_eq!(error.to_string(), "cannot bring eth9 up");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_link_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (link(&bytes), address(&bytes));
        }
    }
}
