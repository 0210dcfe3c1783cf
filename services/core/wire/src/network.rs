//! What the network service publishes, in a file that everybody may read: it has no socket, so nobody can make it wait.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where it is published.
pub const STATUS_FILE: &str = "/run/aios-network/status.json";

/// The network, as the service has it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// Every Ethernet link and VLAN, by name.
    pub links: Vec<LinkStatus>,
    /// In the order in which they are asked.
    pub name_servers: Vec<String>,
    /// What keeps strangers out.
    pub filter: FilterState,
    /// Where the time comes from.
    pub clock: ClockState,
    /// What is wrong and what to try; empty when all is well.
    pub attention: Vec<String>,
}

/// One link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// Its name.
    pub name: String,
    /// How far it came.
    #[serde(flatten)]
    pub state: LinkState,
    /// Its addresses, those by IPv6 routers included.
    pub addresses: Vec<String>,
}

/// How far a link came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum LinkState {
    /// It was just found or brought up; a carrier takes a few seconds.
    Starting,
    /// The settings keep it down.
    Off,
    /// Nothing is at its other end.
    NoCarrier,
    /// It asks for a lease.
    Asking {
        /// How often nobody answered.
        unanswered: u32,
    },
    /// A server refuses it.
    Refused {
        /// How often.
        times: u32,
    },
    /// The address that it should have is somebody else's.
    Taken {
        /// The address.
        address: String,
        /// The other's hardware address.
        by: String,
    },
    /// It has what a server granted.
    Leased {
        /// Who granted it.
        server: String,
        /// The way out.
        gateway: Option<String>,
    },
    /// It has what the settings say.
    Fixed {
        /// The ways out.
        gateways: Vec<String>,
    },
    /// The kernel refuses what the settings say.
    Failed {
        /// Why.
        why: String,
    },
}

/// The packet filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum FilterState {
    /// Not asked for yet.
    Starting,
    /// In force.
    Loaded,
    /// Not in force, so no link is brought up.
    Failed {
        /// Why.
        why: String,
    },
}

/// Where the time comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum ClockState {
    /// Neither the settings nor a lease names a server: the machine's own clock.
    Own,
    /// From a server.
    Followed {
        /// Who.
        server: String,
        /// By how much the clock was off at the last look, in milliseconds.
        offset_ms: i64,
    },
    /// Servers are named and give no time that can be used.
    Lost {
        /// Why.
        why: String,
    },
}

impl fmt::Display for LinkStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for address in &self.addresses {
            write!(f, " {address}")?;
        }
        match &self.state {
            LinkState::Starting => f.write_str(" starts"),
            LinkState::Off => f.write_str(" is off"),
            LinkState::NoCarrier => f.write_str(" has no carrier"),
            LinkState::Asking { unanswered: 0 } => f.write_str(" asks for a lease"),
            LinkState::Asking { unanswered } => write!(f, " asked {unanswered} times for a lease"),
            LinkState::Refused { times } => write!(f, " was refused {times} times"),
            LinkState::Taken { address, by } => write!(f, " does not use {address}: {by} has it"),
            LinkState::Leased { gateway: Some(gateway), .. } => write!(f, " from DHCP, gateway {gateway}"),
            LinkState::Leased { gateway: None, .. } => f.write_str(" from DHCP"),
            LinkState::Fixed { gateways } if gateways.is_empty() => f.write_str(" from the settings"),
            LinkState::Fixed { gateways } => write!(f, " from the settings, gateway {}", gateways.join(" ")),
            LinkState::Failed { why } => write!(f, " failed: {why}"),
        }
    }
}

impl fmt::Display for ClockState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("the machine's own clock; no time server is named"),
            Self::Followed { server, offset_ms } => {
                write!(f, "from {server}; it was {offset_ms} ms off at the last look")
            }
            Self::Lost { why } => write!(f, "no time server can be followed: {why}"),
        }
    }
}

impl fmt::Display for FilterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("not loaded yet"),
            Self::Loaded => f.write_str("in force: only answers, leases, neighbours and a few echoes come in"),
            Self::Failed { why } => write!(f, "not in force, so no link is up: {why}"),
        }
    }
}
