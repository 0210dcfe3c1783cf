//! What the network service publishes, in a file that everybody may read: it has no socket, so nobody can make it wait.

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
