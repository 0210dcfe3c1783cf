//! Who is speaking, and who may call what.
//!
//! A [`Peer`] is what PID 1's cgroup table says about the process at the other end of a socket; nothing that a message
//! claims ever becomes one. [`PeerTable`] is `rootfs/peers.toml`: for each service the verbs it offers and the callers
//! each verb is open to. What is not listed is closed.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A process, as PID 1 knows it by its cgroup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Peer {
    /// A service of the image.
    Service {
        /// Its unit's name.
        name: String,
    },
    /// A person's session on a console.
    Operator {
        /// The operator's name.
        name: String,
        /// What shows that it is this person.
        strength: SessionStrength,
    },
    /// A supervised program that proposes and never decides.
    Agent {
        /// Its manifest's name.
        name: String,
    },
}

/// What stood at the beginning of an operator's session, or in the place of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionStrength {
    /// Being at the machine: the live system's console.
    Presence,
    /// A pass phrase.
    PassPhrase,
    /// No session: an answer that was signed elsewhere with a key of this person. PID 1 gives this to nobody.
    Signature,
}

impl Peer {
    /// Whether this is a program that may only propose.
    pub fn is_ai(&self) -> bool {
        matches!(self, Self::Agent { .. })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { name } => write!(f, "service:{name}"),
            Self::Operator { name, .. } => write!(f, "operator:{name}"),
            Self::Agent { name } => write!(f, "agent:{name}"),
        }
    }
}

/// Which callers a verb of a service is open to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct PeerTable(BTreeMap<String, BTreeMap<String, Vec<Caller>>>);

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
enum Caller {
    Anyone,
    AnyOperator,
    AnyAgent,
    Service(String),
}

impl TryFrom<String> for Caller {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "anyone" => Ok(Self::Anyone),
            "operators" => Ok(Self::AnyOperator),
            "agents" => Ok(Self::AnyAgent),
            _ => match text.strip_prefix("service:") {
                Some(name) if !name.is_empty() => Ok(Self::Service(name.to_owned())),
                _ => Err(format!(
                    "'{}' is no caller: write anyone, operators, agents or service:NAME",
                    text.escape_default()
                )),
            },
        }
    }
}

/// The table cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the table of peers")]
pub struct PeerTableError(#[from] toml::de::Error);

impl PeerTable {
    /// Reads the table; unknown forms of caller are refused.
    pub fn parse(text: &str) -> Result<Self, PeerTableError> {
        Ok(toml::from_str(text)?)
    }

    /// Whether `peer` may use `verb` of `service`. What the table does not name is closed.
    #[must_use]
    pub fn allows(&self, service: &str, verb: &str, peer: &Peer) -> bool {
        let Some(callers) = self.0.get(service).and_then(|verbs| verbs.get(verb)) else { return false };
        callers.iter().any(|caller| match (caller, peer) {
            (Caller::Anyone, _) => true,
            (Caller::AnyOperator, Peer::Operator { .. }) => true,
            (Caller::AnyAgent, Peer::Agent { .. }) => true,
            (Caller::Service(expected), Peer::Service { name }) => expected == name,
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> PeerTable {
        PeerTable::parse(
            r#"
            [init]
            status = ["anyone"]
            restart = ["service:action-runtime"]
            [policy-kernel]
            approve = ["operators"]
            "#,
        )
        .expect("a good table")
    }

    #[test]
    fn what_is_not_listed_is_closed() {
        let agent = Peer::Agent { name: "helper".into() };
        let runtime = Peer::Service { name: "action-runtime".into() };
        let person = Peer::Operator { name: "ada".into(), strength: SessionStrength::PassPhrase };
        let table = table();
        assert!(table.allows("init", "status", &agent));
        assert!(table.allows("init", "restart", &runtime));
        assert!(table.allows("policy-kernel", "approve", &person));
        for (service, verb, peer) in [
            ("init", "restart", &agent),
            ("init", "restart", &person),
            ("policy-kernel", "approve", &agent),
            ("policy-kernel", "approve", &runtime),
            ("init", "nothing", &runtime),
            ("nobody", "status", &runtime),
        ] {
            assert!(!table.allows(service, verb, peer), "{service} {verb} {peer}");
        }
    }

    #[test]
    fn an_agent_cannot_be_named_like_a_service() {
        let impostor = Peer::Agent { name: "action-runtime".into() };
        assert!(!table().allows("init", "restart", &impostor));
    }

    #[test]
    fn a_misspelt_caller_is_an_error() {
        let error = PeerTable::parse("[init]\nstatus = [\"everyone\"]").expect_err("no such caller");
        assert!(std::error::Error::source(&error).expect("a cause").to_string().contains("everyone"));
    }
}
