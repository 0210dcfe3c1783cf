//! What the service knows of the network at one moment, and where it says so: a file for everybody, the name servers, a
//! sentence for PID 1.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use aios_daemon::error_chain;
use aios_settings::{Network, TimeServer};
use aios_wire::network::{ClockState, FilterState, LinkState, LinkStatus, NetworkStatus, STATUS_FILE};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::attention;
use crate::link::Report;
use crate::netlink::{Link, Netlink};
use crate::resolv;

/// The service's folder on the machine.
pub fn folder() -> PathBuf {
    PathBuf::from(STATUS_FILE).parent().map(PathBuf::from).unwrap_or_default()
}

/// What is known, by everybody who works here.
pub(crate) struct Board {
    folder: PathBuf,
    tell: Box<dyn Fn(&str)>,
    wanted: watch::Receiver<Network>,
    netlink: Rc<Netlink>,
    known: RefCell<Known>,
    /// Time servers or name servers changed.
    pub(crate) servers_changed: Notify,
}

/// How long a link may be without a carrier before that is worth a word: its two ends agree on a speed first.
const CARRIER_WITHIN: Duration = Duration::from_secs(10);

struct Known {
    links: BTreeMap<u32, One>,
    announced: Vec<Announced>,
    filter: FilterState,
    clock: ClockState,
    published: Option<NetworkStatus>,
}

/// One link.
struct One {
    link: Link,
    report: Report,
    /// Since when it has had no carrier.
    bare_since: Instant,
}

/// Name servers of an IPv6 router.
struct Announced {
    link: u32,
    server: Ipv6Addr,
    until: Instant,
}

impl Board {
    pub(crate) fn new(
        folder: PathBuf,
        tell: Box<dyn Fn(&str)>,
        wanted: watch::Receiver<Network>,
        netlink: Rc<Netlink>,
    ) -> Self {
        let known = Known {
            links: BTreeMap::new(),
            announced: Vec::new(),
            filter: FilterState::Starting,
            clock: ClockState::Own,
            published: None,
        };
        Self { folder, tell, wanted, netlink, known: RefCell::new(known), servers_changed: Notify::new() }
    }

    pub(crate) fn filter(&self, state: FilterState) {
        self.known.borrow_mut().filter = state;
        self.publish();
    }

    pub(crate) fn clock(&self, state: ClockState) {
        self.known.borrow_mut().clock = state;
        self.publish();
    }

    pub(crate) fn link(&self, link: &Link, report: Report) {
        let now = Instant::now();
        let mut known = self.known.borrow_mut();
        // Its keeper may have something to say after it was removed.
        let Some(one) = known.links.get_mut(&link.index) else { return };
        if report.state != LinkState::NoCarrier {
            one.bare_since = now;
        }
        one.report = report;
        drop(known);
        self.publish();
    }

    /// Knows these links from now on and forgets all others.
    pub(crate) fn keep_links<'a>(&self, there: impl Iterator<Item = &'a Link> + Clone) {
        let mut known = self.known.borrow_mut();
        let is_there = |index: u32| there.clone().any(|link| link.index == index);
        known.links.retain(|index, _| is_there(*index));
        known.announced.retain(|one| is_there(one.link));
        for link in there.clone() {
            known.links.entry(link.index).or_insert_with(|| One {
                link: link.clone(),
                report: LinkState::NoCarrier.into(),
                bare_since: Instant::now(),
            });
        }
    }

    /// Takes name servers of a router that is believed on this link; `seconds` of 0 takes them back.
    pub(crate) fn announced(&self, link: u32, servers: &[Ipv6Addr], seconds: u32) {
        let mut known = self.known.borrow_mut();
        known.announced.retain(|one| one.link != link || !servers.contains(&one.server));
        let until = Instant::now() + Duration::from_secs(seconds.into());
        if seconds > 0 {
            known.announced.extend(servers.iter().map(|server| Announced { link, server: *server, until }));
        }
        // One router has few; a stranger must not fill the memory.
        known.announced.truncate(16);
        drop(known);
        self.publish();
    }

    /// When time alone makes a difference next: an announcement ends, or a link is without a carrier for too long.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        let known = self.known.borrow();
        let bare = known.links.values().filter(|one| one.report.state == LinkState::NoCarrier);
        let bare = bare.map(|one| one.bare_since + CARRIER_WITHIN).filter(|end| *end > Instant::now());
        known.announced.iter().map(|one| one.until).chain(bare).min()
    }

    /// The name servers, in the order in which they are asked.
    pub(crate) fn name_servers(&self) -> Vec<IpAddr> {
        let now = Instant::now();
        let known = self.known.borrow();
        let leased = known.links.values().flat_map(|one| one.report.dns.clone());
        let announced = known.announced.iter().filter(|one| one.until > now).map(|one| one.server.into());
        resolv::servers(&self.wanted.borrow().dns, leased.chain(announced))
    }

    /// The time servers: the operator's, else those of the leases.
    pub(crate) fn time_servers(&self) -> Vec<TimeServer> {
        let named = self.wanted.borrow().time.clone();
        if !named.is_empty() {
            return named;
        }
        let known = self.known.borrow();
        let mut leased: Vec<_> =
            known.links.values().flat_map(|one| one.report.time.clone()).map(TimeServer::Address).collect();
        leased.sort();
        leased.dedup();
        leased.truncate(4);
        leased
    }

    /// Says what is new to everybody who listens.
    pub(crate) fn publish(&self) {
        let now = Instant::now();
        self.known.borrow_mut().announced.retain(|one| one.until > now);
        // Time servers are not part of the status; who follows them compares for itself.
        self.servers_changed.notify_one();
        let status = self.status();
        if self.known.borrow().published.as_ref() == Some(&status) {
            return;
        }
        let servers: Vec<IpAddr> = self.name_servers();
        let json = serde_json::to_vec_pretty(&status).expect("a status has only text keys");
        for (name, content) in [(resolv::FILE, resolv::text(&servers).into_bytes()), (STATUS_NAME, json)] {
            if let Err(error) = aios_store::replace(&self.folder.join(name), &content, 0o644) {
                eprintln!("{name} is not written: {}", error_chain(&error));
            }
        }
        let sentence = attention::sentence(&status);
        let mut known = self.known.borrow_mut();
        if known.published.as_ref().map(attention::sentence).as_ref() != Some(&sentence) {
            (self.tell)(&sentence);
            eprintln!("{sentence}");
        }
        known.published = Some(status);
    }

    fn status(&self) -> NetworkStatus {
        let known = self.known.borrow();
        let now = Instant::now();
        let links = known.links.values().map(|one| {
            let addresses = self.netlink.addresses(&one.link).unwrap_or_default();
            let state = match &one.report.state {
                LinkState::NoCarrier if now < one.bare_since + CARRIER_WITHIN => LinkState::Starting,
                state => state.clone(),
            };
            let addresses = addresses.iter().map(ToString::to_string).collect();
            LinkStatus { name: one.link.name.clone(), state, addresses }
        });
        let mut status = NetworkStatus {
            links: links.collect(),
            name_servers: self.name_servers().iter().map(ToString::to_string).collect(),
            filter: known.filter.clone(),
            clock: known.clock.clone(),
            attention: Vec::new(),
        };
        status.attention = attention::of(&status);
        status
    }
}

const STATUS_NAME: &str = "status.json";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{Carrier, Kind};

    #[test]
    fn a_link_that_is_gone_has_nothing_more_to_say() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_settings, wanted) = watch::channel(Network::default());
        let netlink = Rc::new(Netlink::open().expect("the kernel answers"));
        let board = Board::new(folder.path().into(), Box::new(|_| {}), wanted, netlink);
        let link = |index, name: &str| Link { index, name: name.into(), kind: Kind::Other, carrier: Carrier::Present };
        let (card, vlan) = (link(1 << 30, "eth0"), link((1 << 30) + 1, "eth0.20"));
        board.keep_links([&card, &vlan].into_iter());
        board.link(&vlan, LinkState::Off.into());
        board.keep_links([&card].into_iter());
        board.link(&vlan, LinkState::Off.into());
        let names: Vec<String> = board.status().links.into_iter().map(|link| link.name).collect();
        assert_eq!(names, ["eth0"]);
    }
}
