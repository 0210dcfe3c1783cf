//! What may come in: answers, leases, neighbours, a few echo requests. All else is dropped, and nothing is passed on.
//!
//! Pure rules; `netlink` loads them. They are in force before a link is brought up, and when they cannot be loaded no link
//! is. What goes out is not filtered: who may open a socket is decided by namespaces and system call lists.

use crate::netlink::{Expression, Rule};

const UDP: u8 = libc::IPPROTO_UDP as u8;
const ICMP: u8 = libc::IPPROTO_ICMP as u8;
const ICMP6: u8 = libc::IPPROTO_ICMPV6 as u8;
const V4: u8 = libc::NFPROTO_IPV4 as u8;
const V6: u8 = libc::NFPROTO_IPV6 as u8;

/// Types of ICMP for IPv6 (RFC 4861, 2710).
mod kind {
    pub(super) const ECHO_V4: u8 = 8;
    pub(super) const ECHO_V6: u8 = 128;
    pub(super) const LISTENERS: u8 = 130;
    pub(super) const ROUTER: u8 = 134;
    pub(super) const WHO_HAS: u8 = 135;
    pub(super) const I_HAVE: u8 = 136;
}

/// Enough for people and monitors, too little to be worth a flood.
const ECHOES: Expression = Expression::AtMost { a_second: 10, first: 20 };

/// The rules. `believed` are the numbers of the links whose DHCP servers and IPv6 routers are heard.
#[must_use]
pub fn rules(believed: &[u32]) -> Vec<Rule> {
    use Expression::{Answer, Byte, Family, Link, LinkType, Ports, Protocol};

    let is = |kind| Byte { at: 0, is: kind };
    let accept = |when: &[Expression]| Rule(when.to_vec());
    let mut rules = vec![
        accept(&[LinkType(libc::ARPHRD_LOOPBACK)]),
        accept(&[Answer]),
        accept(&[Family(V4), Protocol(ICMP), is(kind::ECHO_V4), ECHOES]),
        accept(&[Family(V6), Protocol(ICMP6), is(kind::ECHO_V6), ECHOES]),
    ];
    for neighbour in [kind::WHO_HAS, kind::I_HAVE, kind::LISTENERS] {
        rules.push(accept(&[Family(V6), Protocol(ICMP6), is(neighbour)]));
    }
    for link in believed {
        rules.push(accept(&[Link(*link), Family(V6), Protocol(ICMP6), is(kind::ROUTER)]));
        // Neither is what was asked of all servers at once answered by the address that was asked.
        rules.push(accept(&[Link(*link), Family(V6), Protocol(UDP), Ports { from: 547, to: 546 }]));
        // An offer is no answer to the filter: it goes to everybody, or to an address that is not ours yet.
        rules.push(accept(&[Link(*link), Family(V4), Protocol(UDP), Ports { from: 67, to: 68 }]));
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routers_and_leases_are_heard_only_on_links_that_want_them() {
        let speaks_of =
            |rules: &[Rule], link| rules.iter().filter(|rule| rule.0.contains(&Expression::Link(link))).count();
        let none = rules(&[]);
        let both = rules(&[2, 5]);
        assert_eq!((speaks_of(&none, 2), speaks_of(&both, 2), speaks_of(&both, 5)), (0, 3, 3));
        assert!(both.iter().all(|rule| !rule.0.is_empty()), "a rule without a condition would let everything in");
    }
}
