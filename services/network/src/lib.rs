//! Bringing the machine's network links up and giving them addresses.
//!
//! [`netlink`] speaks with the kernel, [`dhcp`] with the network's server, [`lease`] decides what to do next and does
//! nothing itself; [`link`] keeps one link as the settings want it. There is no firewall, no Wi-Fi and no IPv6 of its own
//! here: an agent or an action is kept off the network by having no link at all.

pub mod dhcp;
pub mod lease;
pub mod link;
pub mod netlink;
pub mod resolv;
