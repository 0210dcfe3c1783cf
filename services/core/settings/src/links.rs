//! What each network link should have, in one line that a person can type:
//!
//! ```text
//! eth0 static 192.0.2.10/24 2001:db8::10/64 via 192.0.2.1 route 10.0.0.0/8 via 192.0.2.9; eth0.20 dhcp; * off
//! ```
//!
//! Clauses end with `;`. Each begins with a link: its name, a name with the number of a VLAN on it, `first` for the first
//! Ethernet link, or `*` for all that are not named. Then comes a mode, then what belongs to it. One value holds all of it,
//! so that a change from one whole network to another is one change.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::inet::{Destination, Inet, InetError, canonical};

/// More clauses than any machine has links.
const CLAUSES: usize = 32;

/// More words of a kind than any link has use for.
const WORDS: usize = 8;

/// What the links should have. Links that nothing is said about ask for a lease.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links(Vec<Clause>);

/// What one link should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// Which link.
    pub link: Which,
    /// Where its addresses come from.
    pub mode: LinkMode,
    /// Its addresses in static mode; in another mode they are kept and not used.
    pub addresses: Vec<Inet>,
    /// The ways out, at most one of each family.
    pub gateways: Vec<IpAddr>,
    /// Further routes.
    pub routes: Vec<Route>,
}

/// Which link a clause is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// The first Ethernet link of the machine.
    First,
    /// The link with this name.
    Named(LinkName),
    /// A VLAN on a link: made when that link is there.
    Vlan {
        /// The link that carries it.
        parent: LinkName,
        /// Its number, 1 to 4094.
        id: u16,
    },
    /// All that no other clause is about.
    Others,
}

/// A link's name as the kernel has it: 1 to 10 letters and digits, so that a VLAN's name fits behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkName(String);

/// Where a link's addresses come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LinkMode {
    /// From the network: DHCP, and the announcements of IPv6 routers.
    #[default]
    Dhcp,
    /// From the settings.
    Static,
    /// Nowhere: the link is not brought up.
    Off,
}

/// A way to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The network.
    pub to: Destination,
    /// Through whom.
    pub via: IpAddr,
}

/// What is wrong with the text of [`Links`]; the words go behind "network.links cannot be …:".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinksError {
    /// Too many clauses.
    #[error("it has more than {CLAUSES} clauses")]
    TooMany,
    /// The first word of a clause.
    #[error("'{0}' is no link: write a name such as eth0, a VLAN such as eth0.20, first, or * for all others")]
    Link(String),
    /// Two clauses about one link.
    #[error("'{0}' has two clauses")]
    Twice(String),
    /// The second word of a clause.
    #[error("'{0}' needs one of dhcp, static, off behind it")]
    Mode(String),
    /// A word that is none of what may stand there.
    #[error("'{word}' of '{link}' is not understood: {why}")]
    Word {
        /// The word, shortened.
        word: String,
        /// The link.
        link: String,
        /// What would do.
        why: &'static str,
    },
    /// Static mode needs something.
    #[error("'{0}' is static and has no address: write one behind it, such as 192.0.2.10/24")]
    NoAddress(String),
    /// A gateway is out of reach.
    #[error("{gateway} of '{link}' is outside the networks of its addresses: nothing would reach it")]
    OutOfReach {
        /// The link.
        link: String,
        /// Through whom.
        gateway: IpAddr,
    },
    /// Spaces, order or an address in another form than ours.
    #[error("it is written as \"{0}\"")]
    Form(String),
}

impl Links {
    /// Every clause, in their order.
    pub fn clauses(&self) -> &[Clause] {
        &self.0
    }

    /// These clauses, if they fit together.
    pub fn new(clauses: Vec<Clause>) -> Result<Self, LinksError> {
        if clauses.len() > CLAUSES {
            return Err(LinksError::TooMany);
        }
        let mut seen = BTreeSet::new();
        for clause in &clauses {
            if !seen.insert(&clause.link) {
                return Err(LinksError::Twice(clause.link.to_string()));
            }
            clause.check()?;
        }
        Ok(Self(clauses))
    }

    /// What the link of this name should have. `is_first` is whether it is the machine's first Ethernet link.
    pub fn clause_of(&self, name: &str, rank: Rank) -> Clause {
        let about = |wanted: &dyn Fn(&Which) -> bool| self.0.iter().find(|clause| wanted(&clause.link));
        about(&|which| !matches!(which, Which::First | Which::Others) && which.to_string() == name)
            .or_else(|| about(&|which| *which == Which::First && rank == Rank::First))
            .or_else(|| about(&|which| *which == Which::Others))
            .cloned()
            .unwrap_or_else(|| Clause::bare(Which::Others, LinkMode::Dhcp))
    }

    /// The VLANs: the link that carries each, and its number.
    pub fn vlans(&self) -> impl Iterator<Item = (&LinkName, u16)> {
        self.0.iter().filter_map(|clause| match &clause.link {
            Which::Vlan { parent, id } => Some((parent, *id)),
            _ => None,
        })
    }
}

/// Which of the machine's Ethernet links one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// The first that the kernel found.
    First,
    /// Another one.
    Later,
}

impl Clause {
    /// Only a mode.
    pub fn bare(link: Which, mode: LinkMode) -> Self {
        Self { link, mode, addresses: Vec::new(), gateways: Vec::new(), routes: Vec::new() }
    }

    /// The addresses in force.
    pub fn fixed(&self) -> &[Inet] {
        if self.mode == LinkMode::Static { &self.addresses } else { &[] }
    }

    /// The routes in force, ways out first.
    pub fn ways(&self) -> Vec<Route> {
        if self.mode != LinkMode::Static {
            return Vec::new();
        }
        let out = self.gateways.iter().map(|via| Route { to: Destination::everything(*via), via: *via });
        out.chain(self.routes.iter().copied()).collect()
    }

    fn check(&self) -> Result<(), LinksError> {
        let link = self.link.to_string();
        let too_many = |why| LinksError::Word { word: String::new(), link: link.clone(), why };
        if self.addresses.len() > WORDS || self.routes.len() > WORDS {
            return Err(too_many("at most 8 addresses and 8 routes"));
        }
        let of_old_family = self.gateways.iter().filter(|gateway| gateway.is_ipv4()).count();
        if of_old_family > 1 || self.gateways.len() - of_old_family > 1 {
            return Err(too_many("one gateway of each family; for others write a route"));
        }
        if self.mode != LinkMode::Static {
            return Ok(());
        }
        if self.addresses.is_empty() {
            return Err(LinksError::NoAddress(link));
        }
        let reaches = |via: IpAddr| self.addresses.iter().any(|address| address.contains(via));
        match self
            .ways()
            .into_iter()
            .find(|route| !reaches(route.via) || route.to.address().is_ipv4() != route.via.is_ipv4())
        {
            Some(route) => Err(LinksError::OutOfReach { link, gateway: route.via }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("first"),
            Self::Named(name) => f.write_str(&name.0),
            Self::Vlan { parent, id } => write!(f, "{}.{id}", parent.0),
            Self::Others => f.write_str("*"),
        }
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Which {
    type Err = LinksError;

    fn from_str(text: &str) -> Result<Self, LinksError> {
        let wrong = || LinksError::Link(short(text));
        let name = |text: &str| {
            let good = (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
            good.then(|| LinkName(text.to_owned())).ok_or_else(wrong)
        };
        match (text, text.split_once('.')) {
            ("first", _) => Ok(Self::First),
            ("*", _) => Ok(Self::Others),
            ("lo", _) => Err(wrong()),
            (_, None) => name(text).map(Self::Named),
            (_, Some((parent, number))) => {
                let id = number.parse().ok().filter(|id| (1..=4094).contains(id) && !number.starts_with(['0', '+']));
                Ok(Self::Vlan { parent: name(parent)?, id: id.ok_or_else(wrong)? })
            }
        }
    }
}

impl fmt::Display for LinkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dhcp => "dhcp",
            Self::Static => "static",
            Self::Off => "off",
        })
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.link, self.mode)?;
        for address in &self.addresses {
            write!(f, " {address}")?;
        }
        for gateway in &self.gateways {
            write!(f, " via {gateway}")?;
        }
        for Route { to, via } in &self.routes {
            write!(f, " route {to} via {via}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, clause) in self.0.iter().enumerate() {
            write!(f, "{}{clause}", if number == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl FromStr for Clause {
    type Err = LinksError;

    fn from_str(text: &str) -> Result<Self, LinksError> {
        let mut words = text.split_ascii_whitespace();
        let link: Which = words.next().unwrap_or_default().parse()?;
        let mode = match words.next() {
            Some("dhcp") => LinkMode::Dhcp,
            Some("static") => LinkMode::Static,
            Some("off") => LinkMode::Off,
            _ => return Err(LinksError::Mode(link.to_string())),
        };
        let mut clause = Self::bare(link, mode);
        while let Some(word) = words.next() {
            let wrong = |word: &str, why| LinksError::Word { word: short(word), link: clause.link.to_string(), why };
            let address = |word: Option<&str>| {
                let word = word.unwrap_or_default();
                canonical(word).ok_or_else(|| wrong(word, "behind via stands an address, such as 192.0.2.1"))
            };
            match word {
                "via" => {
                    let gateway = address(words.next())?;
                    clause.gateways.push(gateway);
                }
                "route" => {
                    let to = words.next().unwrap_or_default();
                    let to = to
                        .parse()
                        .map_err(|_: InetError| wrong(to, "behind route stands a network, such as 10.0.0.0/8"))?;
                    if words.next() != Some("via") {
                        return Err(wrong("route", "behind its network stand via and an address"));
                    }
                    let via = address(words.next())?;
                    clause.routes.push(Route { to, via });
                }
                word => {
                    let inet = word
                        .parse()
                        .map_err(|_: InetError| wrong(word, "write an address such as 192.0.2.10/24, via, or route"))?;
                    clause.addresses.push(inet);
                }
            }
        }
        Ok(clause)
    }
}

impl FromStr for Links {
    type Err = LinksError;

    fn from_str(text: &str) -> Result<Self, LinksError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        if text.matches(';').count() >= CLAUSES {
            return Err(LinksError::TooMany);
        }
        let links = Self::new(text.split(';').map(str::parse).collect::<Result<_, _>>()?)?;
        // One text for one meaning: what was set is what is read back.
        let written = links.to_string();
        if written == text { Ok(links) } else { Err(LinksError::Form(written)) }
    }
}

/// What somebody typed, short and harmless.
fn short(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<Links>().expect_err(text).to_string()
    }

    #[test]
    fn a_line_says_what_every_link_has() {
        let text = "eth0 static 192.0.2.10/24 2001:db8::10/64 via 192.0.2.1 via fe80::1 route 10.0.0.0/8 via 192.0.2.9; \
                    eth0.20 dhcp; first off; * dhcp";
        let links: Links = text.parse().expect("a good line");
        let eth0 = links.clause_of("eth0", Rank::First);
        assert_eq!((eth0.fixed().len(), eth0.ways().len()), (2, 3));
        assert_eq!(links.clause_of("eth1", Rank::First).mode, LinkMode::Off);
        assert_eq!(links.clause_of("eth1", Rank::Later).mode, LinkMode::Dhcp);
        assert_eq!(links.vlans().map(|(parent, id)| format!("{parent}.{id}")).collect::<Vec<_>>(), ["eth0.20"]);
        assert_eq!(Links::default().clause_of("eth0", Rank::First).mode, LinkMode::Dhcp);
    }

    #[test]
    fn addresses_of_another_mode_are_kept_and_not_used() {
        let links: Links = "first dhcp 192.0.2.10/24 via 198.51.100.1".parse().expect("set aside");
        let clause = links.clause_of("eth0", Rank::First);
        assert_eq!((clause.addresses.len(), clause.fixed().len(), clause.ways().len()), (1, 0, 0));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("eth0", "needs one of dhcp, static, off"),
            ("eth0 auto", "needs one of dhcp, static, off"),
            ("lo dhcp", "'lo' is no link"),
            ("eth0; reboot dhcp", "needs one of"),
            ("eth0.0 dhcp", "'eth0.0' is no link"),
            ("eth0.4095 dhcp", "is no link"),
            ("eth0 dhcp; eth0 off", "'eth0' has two clauses"),
            ("eth0 static", "has no address"),
            ("eth0 static 192.0.2.0/24", "'192.0.2.0/24' of 'eth0' is not understood"),
            ("eth0 static 192.0.2.10/24 via", "behind via stands an address"),
            ("eth0 static 192.0.2.10/24 via 198.51.100.1", "outside the networks"),
            ("eth0 static 192.0.2.10/24 via 192.0.2.1 via 192.0.2.2", "one gateway of each family"),
            ("eth0 static 192.0.2.10/24 route 10.0.0.1/8 via 192.0.2.1", "behind route stands a network"),
            ("eth0 static 192.0.2.10/24 route 10.0.0.0/8 192.0.2.1", "stand via and an address"),
            ("eth0 static 192.0.2.10/24 route ::/0 via 192.0.2.1", "outside the networks"),
            ("eth0  dhcp", "it is written as \"eth0 dhcp\""),
            ("eth0 dhcp;", "is no link"),
            ("\u{1b}[2J dhcp", "is no link"),
        ] {
            let error = refused(text);
            assert!(error.contains(part) && !error.contains('\u{1b}'), "{text}: {error}");
        }
        assert_eq!(refused(&"eth0 dhcp; ".repeat(40)), "it has more than 32 clauses");
    }

    proptest! {
        #[test]
        fn any_text_is_one_meaning_or_refused(
            words in proptest::collection::vec(
                proptest::sample::select(vec![
                    "eth0", "eth1.7", "first", "*", "dhcp", "static", "off", ";", "via", "route", "192.0.2.1", "10.0.0.0/8",
                    "192.0.2.10/24", "2001:db8::1/64", "fe80::1", "x",
                ]),
                0..12,
            ),
        ) {
            let text = words.join(" ").replace(" ;", ";");
            if let Ok(links) = text.parse::<Links>() {
                prop_assert_eq!(links.to_string(), text);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(text in "\\PC{0,80}") {
            if let Ok(links) = text.parse::<Links>() {
                prop_assert_eq!(links.to_string(), text);
            }
        }
    }
}
