//! `aios network …`: what the machine has of a network, from the file that the network service publishes.

use std::fs::File;
use std::io::Read as _;

use aios_wire::MESSAGE_LIMIT;
use aios_wire::network::{NetworkStatus, STATUS_FILE};

use crate::failure::Failure;
use crate::show::{Format, harmless};

pub(crate) fn run(format: Format) -> Result<(), Failure> {
    let status = status()?;
    format.print(&status, |status| {
        for link in &status.links {
            println!("  {}", harmless(&link.to_string()));
        }
        if status.links.is_empty() {
            println!("  this machine has no Ethernet link");
        }
        println!("  names      {}", or_none(&status.name_servers));
        println!("  filter     {}", harmless(&status.filter.to_string()));
        println!("  time       {}", harmless(&status.clock.to_string()));
        for line in &status.attention {
            println!("  ! {}", harmless(line));
        }
    });
    Ok(())
}

/// The network as its service published it last.
pub(crate) fn status() -> Result<NetworkStatus, Failure> {
    let mut text = String::new();
    let read = File::open(STATUS_FILE).and_then(|file| file.take(MESSAGE_LIMIT as u64).read_to_string(&mut text));
    read.map_err(|error| {
        Failure::failed(format!("cannot read {STATUS_FILE}: {error}; 'service show network' says whether it runs"))
    })?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::failed(format!("{STATUS_FILE} cannot be read: {error}; 'service restart network' writes it again"))
    })
}

/// All links in one line.
pub(crate) fn line(status: &NetworkStatus) -> String {
    let links: Vec<_> = status.links.iter().map(|link| harmless(&link.to_string())).collect();
    if links.is_empty() { "this machine has no Ethernet link".into() } else { links.join("; ") }
}

fn or_none(words: &[String]) -> String {
    if words.is_empty() { "no name server is known".into() } else { harmless(&words.join(" ")) }
}
