//! The service: every link that is there, kept as the settings want it. What it needs of its surroundings is passed in, so
//! that a test runs the same service in a network of its own.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use aios_daemon::error_chain;
use aios_settings::{Inet, LinkMode, Network, Rank};
use aios_wire::network::FilterState;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::board::Board;
use crate::clock::{self, SetClock};
use crate::dhcp6;
use crate::firewall;
use crate::lease6::Change;
use crate::link::Keeper;
use crate::netlink::{Carrier, Dhcp6, FilterSocket, Kind, Lifetimes, Link, LinkChanges, Netlink, NetlinkError, News};

/// How long to wait before a packet filter is tried again.
const PAUSE: Duration = Duration::from_secs(10);

/// For how many seconds an answer of DHCP for IPv6 is still good after it should have been asked for again.
const GRACE: u32 = 60;

/// What the service needs besides the kernel.
pub struct Surroundings {
    /// Where it says what it has.
    pub folder: PathBuf,
    /// What the settings want.
    pub wanted: watch::Receiver<Network>,
    /// Tells PID 1 a sentence.
    pub tell: Box<dyn Fn(&str)>,
    /// Sets the clock.
    pub set_clock: SetClock,
}

/// Keeps the network, for ever. It needs a `LocalSet`.
pub async fn run(surroundings: Surroundings) -> Result<Infallible, NetlinkError> {
    let Surroundings { folder, mut wanted, tell, set_clock } = surroundings;
    let netlink = Rc::new(Netlink::open()?);
    let mut changes = LinkChanges::listen()?;
    let board = Rc::new(Board::new(folder, tell, wanted.clone(), Rc::clone(&netlink)));
    let filter = FilterSocket::open()?;
    close(&filter, &board).await;
    for link in netlink.links()?.iter().filter(|link| link.kind == Kind::Loopback) {
        netlink.set_up(link)?;
    }
    tokio::task::spawn_local(clock::follow(Rc::clone(&board), set_clock));

    let mut kept: BTreeMap<u32, Kept> = BTreeMap::new();
    let mut believed = Vec::new();
    let mut asking: BTreeMap<u32, Asking> = BTreeMap::new();
    loop {
        let network = wanted.borrow_and_update().clone();
        // Listening began before the first list, so no link is missed between a list and the next change.
        let links = netlink.links()?;
        make_vlans(&netlink, &links, &network);
        let ours: Vec<Ours> = ours(links);
        let now_believed: Vec<u32> = ours
            .iter()
            .filter(|one| network.links.clause_of(&one.link.name, one.rank).mode == LinkMode::Dhcp)
            .map(|one| one.link.index)
            .collect();
        if believed != now_believed {
            match filter.load(&firewall::rules(&now_believed)) {
                Ok(()) => believed = now_believed,
                // The rules before are in force: fewer are believed than should be.
                Err(error) => eprintln!("the packet filter does not follow: {}", error_chain(&error)),
            }
        }
        kept.retain(|index, kept| ours.iter().any(|one| one.link.index == *index && one.rank == kept.rank));
        board.keep_links(ours.iter().map(|one| &one.link));
        ask_dhcp6(&mut asking, &netlink, &board, ours.iter().filter(|one| believed.contains(&one.link.index)));
        for Ours { link, mac, rank } in ours {
            if let Some(kept) = kept.get(&link.index) {
                kept.carrier.send_if_modified(|old| std::mem::replace(old, link.carrier) != link.carrier);
                continue;
            }
            let (sender, carrier) = watch::channel(link.carrier);
            kept.insert(link.index, Kept { carrier: sender, rank });
            let board = Rc::clone(&board);
            let (netlink, wanted) = (Rc::clone(&netlink), wanted.clone());
            tokio::task::spawn_local(async move {
                let keeper = Keeper { link: link.clone(), mac, rank, netlink, wanted, carrier };
                keeper.keep(|report| board.link(&link, report)).await;
            });
        }
        board.publish();
        tokio::select! {
            news = changes.next() => match news? {
                News::NameServers { link, servers, seconds } if believed.contains(&link) => {
                    board.announced(link, &servers, seconds);
                }
                News::NameServers { .. } | News::Links => {}
            },
            // Settings that nobody tells any more stay as they are.
            Ok(()) = wanted.changed() => {}
            () = at(board.next_end()) => {}
        }
    }
}

/// A link that is kept.
struct Kept {
    carrier: watch::Sender<Carrier>,
    rank: Rank,
}

/// A link that is this service's business.
struct Ours {
    link: Link,
    mac: crate::dhcp::Mac,
    rank: Rank,
}

fn ours(links: Vec<Link>) -> Vec<Ours> {
    let first = links.iter().filter(|link| matches!(link.kind, Kind::Ethernet(_))).map(|link| link.index).min();
    let ours = links.into_iter().filter_map(|link| match link.kind {
        Kind::Ethernet(mac) | Kind::Vlan(mac) => {
            let rank = if Some(link.index) == first { Rank::First } else { Rank::Later };
            Some(Ours { link, mac, rank })
        }
        Kind::Loopback | Kind::Other => None,
    });
    ours.collect()
}

/// A link on which DHCP for IPv6 is asked, and for what.
struct Asking {
    has: Dhcp6,
    task: JoinHandle<()>,
}

/// The address that DHCP for IPv6 lends a link. When nobody follows it any more it is taken away; when this service ends
/// before that, the kernel does so in its time.
struct Lent {
    netlink: Rc<Netlink>,
    link: Link,
    address: Option<Ipv6Addr>,
}

impl Lent {
    fn change(&mut self, change: Change) {
        match change {
            Change::Set(grant) => {
                let times = Lifetimes { preferred: grant.preferred, valid: grant.valid };
                match self.netlink.lend_address(&self.link, grant.address, times) {
                    Ok(()) => self.address = Some(grant.address),
                    Err(error) => eprintln!("{}", error_chain(&error)),
                }
            }
            Change::Unset(_) => self.give_back(),
        }
    }

    fn give_back(&mut self) {
        if let Some(address) = self.address.take() {
            // One whose time is over, or whose link is gone, is gone too.
            let _ = self.netlink.remove_address(&self.link, Inet::V6 { address, prefix: 128 });
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Asks DHCP for IPv6 on each believed link whose router says that it knows more, and on no other.
fn ask_dhcp6<'a>(
    asking: &mut BTreeMap<u32, Asking>,
    netlink: &Rc<Netlink>,
    board: &Rc<Board>,
    believed: impl Iterator<Item = &'a Ours>,
) {
    let wanted = netlink.with_dhcp6().unwrap_or_else(|error| {
        eprintln!("DHCP for IPv6 is not asked: {}", error_chain(&error));
        Vec::new()
    });
    // Behind another cable there may be another network: what was lent is given back with the carrier.
    let believed = believed.filter(|one| one.link.carrier == Carrier::Present);
    let believed: BTreeMap<u32, (&Ours, Dhcp6)> = believed
        .filter_map(|one| {
            let (index, has) = wanted.iter().find(|(index, _)| *index == one.link.index)?;
            Some((*index, (one, *has)))
        })
        .collect();
    asking.retain(|index, asking| {
        let goes_on = believed.get(index).is_some_and(|(_, has)| *has == asking.has);
        if !goes_on {
            asking.task.abort();
        }
        goes_on
    });
    for (index, (one, has)) in believed {
        asking.entry(index).or_insert_with(|| {
            let (board, name, mac) = (Rc::clone(board), one.link.name.clone(), one.mac);
            let mut lent = Lent { netlink: Rc::clone(netlink), link: one.link.clone(), address: None };
            let task = tokio::task::spawn_local(async move {
                // Good until the next answer should be there, and a little longer.
                let tell = |said: &dhcp6::Information| {
                    board.announced(index, &said.dns, said.refresh.saturating_add(GRACE));
                };
                match has {
                    Dhcp6::Others => dhcp6::follow(index, &name, mac, tell).await,
                    Dhcp6::Addresses => dhcp6::lease(index, &name, mac, |change| lent.change(change), tell).await,
                }
            });
            Asking { has, task }
        });
    }
}

/// Puts the first rules in force. Without them no link is brought up.
async fn close(filter: &FilterSocket, board: &Board) {
    loop {
        match filter.load(&firewall::rules(&[])) {
            Ok(()) => return board.filter(FilterState::Loaded),
            Err(error) => {
                board.filter(FilterState::Failed { why: error_chain(&error) });
                sleep(PAUSE).await;
            }
        }
    }
}

/// Makes the VLANs that the settings want on the links that are there, and removes those that they do not. What goes wrong
/// is told and tried again at the next change.
fn make_vlans(netlink: &Netlink, links: &[Link], network: &Network) {
    let wanted: Vec<(String, String, u16)> =
        network.links.vlans().map(|(parent, id)| (format!("{parent}.{id}"), parent.to_string(), id)).collect();
    for link in links.iter().filter(|link| matches!(link.kind, Kind::Vlan(_))) {
        if !wanted.iter().any(|(name, _, _)| *name == link.name)
            && let Err(error) = netlink.remove(link)
        {
            eprintln!("{}", error_chain(&error));
        }
    }
    for (name, parent, id) in &wanted {
        let parent = links.iter().find(|link| link.name == *parent);
        if let (Some(parent), false) = (parent, links.iter().any(|link| link.name == *name))
            && let Err(error) = netlink.make_vlan(parent, *id, name)
        {
            eprintln!("{}", error_chain(&error));
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
