//! Keeping one Ethernet link as the settings want it, for as long as it is there.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket as StdUdpSocket};
use std::rc::Rc;
use std::time::Duration;

use aios_daemon::error_chain;
use aios_settings::{Network, NetworkMode, Subnet};
use rustix::net::sockopt::{set_socket_broadcast, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketAddrV4, SocketFlags, SocketType, bind, socket_with};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::dhcp::{self, MESSAGE_LIMIT, Mac};
use crate::lease::{Client, Input, Output, Question};
use crate::netlink::{Carrier, Link, Netlink, NetlinkError};

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;

/// How long to leave a link alone that cannot be configured.
const PAUSE: Duration = Duration::from_secs(10);

/// What a link has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// Where it came from.
    pub mode: NetworkMode,
    /// The machine's address.
    pub address: Subnet,
    /// The way out.
    pub gateway: Option<Ipv4Addr>,
    /// The name servers that came with it.
    pub dns: Vec<Ipv4Addr>,
}

/// Which of the machine's links it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// The one that a static address is for.
    First,
    /// One that is left without an address in static mode.
    Later,
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
    /// What the settings want of this link.
    pub wanted: watch::Receiver<Network>,
    /// Whether there is something at the other end.
    pub carrier: watch::Receiver<Carrier>,
}

impl Keeper {
    /// Keeps the link until the settings or the carrier are no longer told, which is when it is gone. `report` is told of
    /// each change of what it has.
    pub async fn keep(mut self, report: impl Fn(Option<Configured>)) {
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            let kept = match (wanted.mode, self.rank, wanted.address) {
                (NetworkMode::Dhcp, _, _) => self.keep_leased(&report).await,
                (NetworkMode::Static, Rank::First, Some(address)) => {
                    self.keep_static(address, wanted.gateway, &report).await
                }
                // The settings refuse static mode without an address.
                (NetworkMode::Static, _, _) => self.keep_bare().await,
            };
            report(None);
            match kept {
                Ok(Ended::Changed) => {}
                Ok(Ended::Gone) => return,
                Err(_) if self.carrier.has_changed().is_err() => return,
                Err(error) => {
                    eprintln!("{} has no network; it is tried again: {}", self.link.name, error_chain(&error));
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Makes the link ready for an address: up, and without those of an earlier run of this service.
    fn clear(&self) -> Result<(), NetlinkError> {
        self.netlink.set_up(&self.link)?;
        for old in self.netlink.addresses(&self.link)? {
            self.netlink.remove_address(&self.link, old)?;
        }
        Ok(())
    }

    async fn keep_static(
        &mut self,
        address: Subnet,
        gateway: Option<Ipv4Addr>,
        report: &impl Fn(Option<Configured>),
    ) -> Result<Ended, LinkError> {
        self.clear()?;
        self.set(address, gateway)?;
        report(Some(Configured { mode: NetworkMode::Static, address, gateway, dns: Vec::new() }));
        let ended = self.other_wish().await;
        if let Ended::Changed = ended {
            self.unset(address, gateway)?;
        }
        Ok(ended)
    }

    async fn keep_bare(&mut self) -> Result<Ended, LinkError> {
        self.clear()?;
        Ok(self.other_wish().await)
    }

    /// Waits until the settings want something else or the link is gone.
    async fn other_wish(&mut self) -> Ended {
        loop {
            tokio::select! {
                changed = self.wanted.changed() => return if changed.is_ok() { Ended::Changed } else { Ended::Gone },
                changed = self.carrier.changed() => if changed.is_err() { return Ended::Gone },
            }
        }
    }

    async fn keep_leased(&mut self, report: &impl Fn(Option<Configured>)) -> Result<Ended, LinkError> {
        self.clear()?;
        let talk = Talk::open(&self.link.name, self.mac)?;
        let started = Instant::now();
        let mut client = Client::new(u64::from(talk.transaction) % 1000);
        let mut input = self.carrier_now();
        loop {
            let now = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            let (next, outputs) = client.step(now, input);
            client = next;
            for output in outputs {
                match output {
                    Output::Say(question) => talk.say(question).await,
                    Output::Set(lease) => {
                        self.set(lease.address, lease.gateway)?;
                        let mode = NetworkMode::Dhcp;
                        let (address, gateway, dns) = (lease.address, lease.gateway, lease.dns);
                        report(Some(Configured { mode, address, gateway, dns }));
                    }
                    Output::Unset(lease) => {
                        self.unset(lease.address, lease.gateway)?;
                        report(None);
                    }
                }
            }
            let wake = client.wake_at().map(|wake| started + Duration::from_millis(wake));
            input = tokio::select! {
                answer = talk.hear() => Input::Answer(answer?),
                () = at(wake) => Input::Time,
                changed = self.carrier.changed() => match changed {
                    Ok(()) => self.carrier_now(),
                    Err(_) => return Ok(Ended::Gone),
                },
                changed = self.wanted.changed() => {
                    if let Some(lease) = client.lease() {
                        self.unset(lease.address, lease.gateway)?;
                    }
                    return Ok(if changed.is_ok() { Ended::Changed } else { Ended::Gone });
                }
            };
        }
    }

    fn carrier_now(&mut self) -> Input {
        match *self.carrier.borrow_and_update() {
            Carrier::Present => Input::Up,
            Carrier::Absent => Input::Down,
        }
    }

    fn set(&self, address: Subnet, gateway: Option<Ipv4Addr>) -> Result<(), NetlinkError> {
        self.netlink.add_address(&self.link, address)?;
        match gateway {
            Some(gateway) => self.netlink.add_default_route(&self.link, address, gateway),
            None => Ok(()),
        }
    }

    fn unset(&self, address: Subnet, gateway: Option<Ipv4Addr>) -> Result<(), NetlinkError> {
        if let Some(gateway) = gateway {
            // The kernel removes the routes of a link that went down, and this one may have.
            let _ = self.netlink.remove_default_route(&self.link, address, gateway);
        }
        self.netlink.remove_address(&self.link, address)
    }
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
            Question::Discover | Question::Request { .. } | Question::Rebind { .. } => Ipv4Addr::BROADCAST,
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
