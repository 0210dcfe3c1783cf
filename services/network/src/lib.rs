//! Bringing the machine's network links up and giving them addresses, behind a packet filter that lets nothing in.
//!
//! Pure: [`dhcp`] and [`lease`] are a DHCP client, `lease6` is one for IPv6, for which `dhcp6` asks, [`sntp`] and [`dns`] read answers of time and name servers,
//! [`firewall`] has the rules, [`attention`] says what is wrong. [`netlink`] speaks with the kernel, [`link`] keeps one
//! link, `conflict` finds out whether an address is somebody's, [`clock`] follows time servers, [`reach`] tries a connection, and [`service`] holds all of it together. There is no Wi-Fi here; what
//! routers announce is the kernel's work.

pub mod attention;
mod board;
pub mod clock;
mod conflict;
pub mod dhcp;
mod dhcp6;
pub mod dns;
pub mod firewall;
pub mod lease;
mod lease6;
pub mod link;
pub mod netlink;
pub mod reach;
pub mod resolv;
pub mod service;
pub mod sntp;

pub use board::folder;
