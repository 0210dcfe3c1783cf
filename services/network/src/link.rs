//! Keeping one Ethernet link as the settings want it, for as long as it is there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket as StdUdpSocket};
use std::rc::Rc;
use std::time::Duration;

use aios_daemon::error_chain;
use aios_settings::{Clause, Destination, Inet, LinkMode, Network, Rank, Route};
use aios_wire::network::LinkState;
use rustix::net::sockopt::{set_socket_broadcast, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketAddrV4, SocketFlags, SocketType, bind, socket_with};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::conflict;
use crate::dhcp::{self, MESSAGE_LIMIT, Mac};
use crate::lease::{Client, Input, Lease, Output, Progress, Question};
use crate::netlink::{Carrier, Link, Netlink, NetlinkError};

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;

/// How long to leave a link alone that cannot be configured.
const PAUSE: Duration = Duration::from_secs(10);

/// What a link came to, and the servers that it heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How far it came.
    pub state: LinkState,
    /// Name servers of its lease.
    pub dns: Vec<IpAddr>,
    /// Time servers of its lease.
    pub time: Vec<IpAddr>,
}

impl From<LinkState> for Report {
    fn from(state: LinkState) -> Self {
        Self { state, dns: Vec::new(), time: Vec::new() }
    }
}

/// One link and what it depends on.
pub struct Keeper {
    /// The link.
    pub link: Link,
    /// Its hardware address.
    pub mac: Mac,
    /// Which of the machine's links it is.
    pub rank: Rank,
    /// The kernel.
    pub netlink: Rc<Netlink>,
    /// What the settings want.
    pub wanted: watch::Receiver<Network>,
    /// Whether there is something at the other end.
    pub carrier: watch::Receiver<Carrier>,
}

impl Keeper {
    /// Keeps the link until the settings or the carrier are no longer told, which is when it is gone. `report` is told of
    /// each change of what it has.
    pub async fn keep(mut self, report: impl Fn(Report)) {
        loop {
            let clause = self.clause();
            let kept = match clause.mode {
                LinkMode::Dhcp => self.keep_leased(&clause, &report).await,
                LinkMode::Static => self.keep_static(&clause, &report).await,
                LinkMode::Off => self.keep_down(&clause, &report).await,
            };
            match kept {
                Ok(Ended::Changed) => {}
                Ok(Ended::Gone) => return,
                Err(_) if self.carrier.has_changed().is_err() => return,
                Err(error) => {
                    let why = error_chain(&error);
                    eprintln!("{} has no network; it is tried again: {why}", self.link.name);
                    report(LinkState::Failed { why }.into());
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn clause(&mut self) -> Clause {
        self.wanted.borrow_and_update().links.clause_of(&self.link.name, self.rank)
    }

    /// Makes the link ready for an address: up, and without those of an earlier run of this service.
    fn clear(&self) -> Result<(), NetlinkError> {
        self.netlink.set_up(&self.link)?;
        for old in self.netlink.set_addresses(&self.link)? {
            self.netlink.remove_address(&self.link, old)?;
        }
        Ok(())
    }

    async fn keep_static(&mut self, clause: &Clause, report: &impl Fn(Report)) -> Result<Ended, LinkError> {
        self.clear()?;
        let (addresses, ways) = (clause.fixed().to_vec(), clause.ways());
        loop {
            // Without a carrier the kernel forgets routes of the link, so they are set with each new one.
            let carrier = *self.carrier.borrow_and_update();
            let state = match carrier {
                Carrier::Present => match self.first_taken(&addresses).await {
                    Some((address, by)) => {
                        self.unset(&addresses, &ways)?;
                        taken(address, by)
                    }
                    None => {
                        self.set(&addresses, &ways)?;
                        self.announce(&addresses);
                        LinkState::Fixed { gateways: clause.gateways.iter().map(IpAddr::to_string).collect() }
                    }
                },
                Carrier::Absent => LinkState::NoCarrier,
            };
            let again = matches!(state, LinkState::Taken { .. }).then(|| Instant::now() + PAUSE);
            report(state.into());
            let news = tokio::select! {
                news = self.news(clause) => news,
                () = at(again) => continue,
            };
            match news {
                News::Carrier => {}
                News::Ended(Ended::Changed) => {
                    self.unset(&addresses, &ways)?;
                    return Ok(Ended::Changed);
                }
                News::Ended(Ended::Gone) => return Ok(Ended::Gone),
            }
        }
    }

    async fn keep_down(&mut self, clause: &Clause, report: &impl Fn(Report)) -> Result<Ended, LinkError> {
        self.netlink.set_down(&self.link)?;
        report(LinkState::Off.into());
        loop {
            if let News::Ended(ended) = self.news(clause).await {
                return Ok(ended);
            }
        }
    }

    /// Waits until the settings want something else of this link, its carrier changes, or it is gone.
    async fn news(&mut self, clause: &Clause) -> News {
        loop {
            tokio::select! {
                changed = self.carrier.changed() => {
                    return if changed.is_ok() { News::Carrier } else { News::Ended(Ended::Gone) };
                }
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return News::Ended(Ended::Gone);
                    }
                    if self.clause() != *clause {
                        return News::Ended(Ended::Changed);
                    }
                }
            }
        }
    }

    async fn keep_leased(&mut self, clause: &Clause, report: &impl Fn(Report)) -> Result<Ended, LinkError> {
        self.clear()?;
        let talk = Talk::open(&self.link.name, self.mac)?;
        let started = Instant::now();
        let mut client = Client::new(u64::from(talk.transaction) % 1000);
        let mut input = self.carrier_now();
        loop {
            let now = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            let found_free = input == Input::Free;
            let (next, outputs) = client.step(now, input);
            client = next;
            let mut verdict = None;
            for output in outputs {
                match output {
                    Output::Say(question) => talk.say(question).await,
                    Output::Check(address) => {
                        let by = self.owner(address).await;
                        verdict = Some(by.map_or(Input::Free, |by| Input::Taken { by }));
                    }
                    Output::Set(lease) => {
                        let (address, way) = granted(&lease);
                        self.set(&address, &way)?;
                        if found_free {
                            self.announce(&address);
                        }
                    }
                    Output::Unset(lease) => {
                        let (address, way) = granted(&lease);
                        self.unset(&address, &way)?;
                    }
                }
            }
            if let Some(verdict) = verdict {
                input = verdict;
                continue;
            }
            report(reached(&client));
            let wake = client.wake_at().map(|wake| started + Duration::from_millis(wake));
            input = tokio::select! {
                answer = talk.hear() => Input::Answer(answer?),
                () = at(wake) => Input::Time,
                news = self.news(clause) => match news {
                    News::Carrier => self.carrier_now(),
                    News::Ended(ended) => {
                        if let (Some(lease), Ended::Changed) = (client.lease(), &ended) {
                            let (address, way) = granted(lease);
                            self.unset(&address, &way)?;
                        }
                        return Ok(ended);
                    }
                },
            };
        }
    }

    fn carrier_now(&mut self) -> Input {
        match *self.carrier.borrow_and_update() {
            Carrier::Present => Input::Up,
            Carrier::Absent => Input::Down,
        }
    }

    /// The first of these addresses that is somebody else's, and whose. The kernel asks by itself for those of IPv6.
    async fn first_taken(&self, addresses: &[Inet]) -> Option<(Ipv4Addr, Mac)> {
        for address in addresses {
            if let Inet::V4(subnet) = address
                && let Some(by) = self.owner(subnet.address()).await
            {
                return Some((subnet.address(), by));
            }
        }
        None
    }

    /// Who has an address. Where nobody can be asked the address is used: a network without this question is better than
    /// none.
    async fn owner(&self, address: Ipv4Addr) -> Option<Mac> {
        conflict::owner(self.link.index, self.mac, address).await.unwrap_or_else(|error| {
            eprintln!("nobody on {} was asked whether {address} is free: {error}", self.link.name);
            None
        })
    }

    fn announce(&self, addresses: &[Inet]) {
        for address in addresses {
            if let Inet::V4(subnet) = address
                && let Err(error) = conflict::announce(self.link.index, self.mac, subnet.address())
            {
                eprintln!("{} was not announced on {}: {error}", subnet.address(), self.link.name);
            }
        }
    }

    fn set(&self, addresses: &[Inet], ways: &[Route]) -> Result<(), NetlinkError> {
        addresses.iter().try_for_each(|address| self.netlink.add_address(&self.link, *address))?;
        ways.iter().try_for_each(|way| self.netlink.add_route(&self.link, addresses, *way))
    }

    fn unset(&self, addresses: &[Inet], ways: &[Route]) -> Result<(), NetlinkError> {
        for way in ways {
            // The kernel removes the routes of a link that went down, and this one may have.
            let _ = self.netlink.remove_route(&self.link, addresses, *way);
        }
        // A link that went down has lost its IPv6 addresses as well; what counts is that none is left.
        for address in addresses {
            if let Err(error) = self.netlink.remove_address(&self.link, *address)
                && self.netlink.addresses(&self.link)?.contains(address)
            {
                return Err(error);
            }
        }
        Ok(())
    }
}

/// What a lease puts on a link.
fn granted(lease: &Lease) -> (Vec<Inet>, Vec<Route>) {
    let way = lease.gateway.map(|via| Route { to: Destination::everything(via.into()), via: via.into() });
    (vec![Inet::V4(lease.address)], way.into_iter().collect())
}

fn taken(address: Ipv4Addr, by: Mac) -> LinkState {
    let by = by.map(|byte| format!("{byte:02x}")).join(":");
    LinkState::Taken { address: address.to_string(), by }
}

/// How far a DHCP client came, for the report.
fn reached(client: &Client) -> Report {
    let all = |addresses: &[Ipv4Addr]| addresses.iter().copied().map(IpAddr::from).collect();
    match (client.lease(), client.progress()) {
        (Some(lease), _) => Report {
            state: LinkState::Leased {
                server: lease.server.to_string(),
                gateway: lease.gateway.map(|gateway| gateway.to_string()),
            },
            dns: all(&lease.dns),
            time: all(&lease.time),
        },
        (None, Some(Progress::Asking { unanswered })) => LinkState::Asking { unanswered }.into(),
        (None, Some(Progress::Taken { address, by })) => taken(address, by).into(),
        (None, Some(Progress::Refused { times })) => LinkState::Refused { times }.into(),
        (None, None) => LinkState::NoCarrier.into(),
    }
}

/// Something that a keeper has to look at.
enum News {
    /// The carrier came or went.
    Carrier,
    /// It has to stop what it does.
    Ended(Ended),
}

/// Why keeping a link ended.
enum Ended {
    /// The settings want something else.
    Changed,
    /// The link or this service goes away.
    Gone,
}

#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("the kernel refused")]
    Netlink(#[from] NetlinkError),
    #[error("cannot listen for DHCP")]
    Socket(#[from] io::Error),
}

/// A DHCP client's socket on one link.
struct Talk {
    socket: UdpSocket,
    mac: Mac,
    transaction: u32,
    name: String,
}

impl Talk {
    fn open(name: &str, mac: Mac) -> io::Result<Self> {
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        // Each link has its own socket on the same port.
        set_socket_reuseaddr(&socket, true)?;
        set_socket_broadcast(&socket, true)?;
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT))?;
        let socket = StdUdpSocket::from(socket);
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        socket.bind_device(Some(name.as_bytes()))?;
        let mut random = [0; 4];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self { socket, mac, transaction: u32::from_ne_bytes(random), name: name.to_owned() })
    }

    /// Says it once. What is lost on the way is said again when its time comes, so an error is only told.
    async fn say(&self, question: Question) {
        let to = match question {
            Question::Renew { server, .. } => server,
            Question::Discover | Question::Request { .. } | Question::Rebind { .. } | Question::Decline { .. } => {
                Ipv4Addr::BROADCAST
            }
        };
        let bytes = dhcp::encode(question, self.mac, self.transaction);
        if let Err(error) = self.socket.send_to(&bytes, SocketAddr::from((to, SERVER_PORT))).await {
            eprintln!("a DHCP message on {} was not sent: {error}", self.name);
        }
    }

    /// The next answer to this client. Others' are frequent and of no interest.
    async fn hear(&self) -> io::Result<crate::lease::Answer> {
        let mut buffer = [0; MESSAGE_LIMIT];
        loop {
            let (length, from) = self.socket.recv_from(&mut buffer).await?;
            match dhcp::decode(&buffer[..length], self.mac, self.transaction) {
                Ok(answer) if from.port() == SERVER_PORT => return Ok(answer),
                Ok(_) | Err(dhcp::AnswerError::Other | dhcp::AnswerError::Form(_)) => {}
                Err(error @ dhcp::AnswerError::Refused(_)) => {
                    eprintln!("a DHCP answer of {} on {} was left aside: {error}", from.ip(), self.name);
                }
            }
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
