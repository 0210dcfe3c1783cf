//! What is wrong with a network, and what to try: pure, from the status.

use aios_wire::network::{ClockState, FilterState, LinkState, LinkStatus, NetworkStatus};

/// So many questions without an answer are no longer a slow start: fourteen seconds.
const PATIENCE: u32 = 3;

/// What is wrong; empty when all is well. A machine without a link, or with all of them switched off, is not wrong.
#[must_use]
pub fn of(status: &NetworkStatus) -> Vec<String> {
    let mut lines = Vec::new();
    if let FilterState::Failed { why } = &status.filter {
        lines.push(format!(
            "no link is brought up, because the packet filter cannot be loaded: {why}; 'service restart network' tries again"
        ));
    }
    let reached = status.links.iter().any(has_network);
    lines.extend(status.links.iter().filter_map(|link| wrong(link, reached)));
    if let ClockState::Lost { why } = &status.clock {
        lines.push(format!(
            "the clock is not set from the network: {why}; 'settings set network.time' names other servers"
        ));
    }
    lines
}

fn has_network(link: &LinkStatus) -> bool {
    !link.addresses.is_empty() || matches!(link.state, LinkState::Leased { .. } | LinkState::Fixed { .. })
}

fn wrong(link: &LinkStatus, reached: bool) -> Option<String> {
    let name = &link.name;
    match &link.state {
        LinkState::Failed { why } => {
            Some(format!("{name} cannot be set up: {why}; look at 'settings get network.links'"))
        }
        LinkState::Refused { times } => Some(format!(
            "the DHCP server of {name} refused it {times} times: ask whoever runs that network, or set an address with \
             'settings set network.links'"
        )),
        LinkState::Taken { address, by } => Some(format!(
            "{name} does not use {address}, because another machine ({by}) has it: give one of the two another with \
             'settings set network.links', or ask whoever runs that network"
        )),
        // With addresses of an IPv6 router, or with another link, the machine has a network.
        LinkState::Asking { unanswered } if *unanswered >= PATIENCE && link.addresses.is_empty() => Some(format!(
            "no DHCP server answers on {name}, asked {} times: look at the other end of its cable, or set an address with \
             'settings set network.links'",
            unanswered + 1
        )),
        LinkState::NoCarrier if !reached => Some(format!("{name} has nothing at its other end: look at its cable")),
        _ => None,
    }
}

/// The network in one sentence, for `service list`.
#[must_use]
pub fn sentence(status: &NetworkStatus) -> String {
    if let FilterState::Failed { .. } = status.filter {
        return "no packet filter, so no link is up".into();
    }
    if status.links.is_empty() {
        return "no Ethernet link".into();
    }
    let each: Vec<String> = status.links.iter().map(ToString::to_string).collect();
    each.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(links: &[(&str, LinkState, &[&str])]) -> NetworkStatus {
        NetworkStatus {
            links: links
                .iter()
                .map(|(name, state, addresses)| LinkStatus {
                    name: (*name).into(),
                    state: state.clone(),
                    addresses: addresses.iter().map(|address| (*address).into()).collect(),
                })
                .collect(),
            name_servers: Vec::new(),
            filter: FilterState::Loaded,
            clock: ClockState::Own,
            attention: Vec::new(),
        }
    }

    fn leased() -> LinkState {
        LinkState::Leased { server: "192.0.2.1".into(), gateway: Some("192.0.2.1".into()) }
    }

    #[test]
    fn what_is_well_needs_no_words() {
        for links in [
            &[][..],
            &[("eth0", leased(), &["192.0.2.9/24"][..])],
            &[("eth0", LinkState::Off, &[])],
            &[("eth0", LinkState::Starting, &[])],
            &[("eth0", LinkState::Asking { unanswered: 1 }, &[])],
            &[("eth0", leased(), &["192.0.2.9/24"]), ("eth1", LinkState::NoCarrier, &[])],
            &[("eth0", LinkState::Asking { unanswered: 9 }, &["2001:db8::9/64"])],
        ] {
            assert_eq!(of(&status(links)), Vec::<String>::new(), "{links:?}");
        }
        assert_eq!(
            sentence(&status(&[("eth0", leased(), &["192.0.2.9/24"])])),
            "eth0 192.0.2.9/24 from DHCP, gateway 192.0.2.1"
        );
    }

    #[test]
    fn what_is_wrong_says_what_to_try() {
        for (state, words) in [
            (LinkState::Asking { unanswered: 3 }, "no DHCP server answers on eth0, asked 4 times"),
            (LinkState::Refused { times: 2 }, "refused it 2 times"),
            (
                LinkState::Taken { address: "192.0.2.9".into(), by: "02:00:00:00:00:01".into() },
                "another machine (02:00:00:00:00:01) has it",
            ),
            (LinkState::NoCarrier, "look at its cable"),
            (LinkState::Failed { why: "it is gone".into() }, "it is gone"),
        ] {
            let lines = of(&status(&[("eth0", state, &[])]));
            assert!(lines.len() == 1 && lines[0].contains(words), "{lines:?}");
        }
        let mut lost = status(&[]);
        lost.clock = ClockState::Lost { why: "nobody answers".into() };
        lost.filter = FilterState::Failed { why: "no such thing".into() };
        assert_eq!(of(&lost).len(), 2);
        assert_eq!(sentence(&lost), "no packet filter, so no link is up");
    }
}
