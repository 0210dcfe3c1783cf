//! Who decides: the rules, the people, and what the vault keeps for them.

use std::path::PathBuf;

use aios_identity::{Peer, SessionStrength};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// The rules in force
    Show,
    /// What a bundle would change; nothing is kept
    Check {
        /// The bundle, as 'cargo xtask policy' makes it
        bundle: PathBuf,
    },
    /// Puts a bundle in force, once a person has approved what it changes
    Load {
        /// The bundle
        bundle: PathBuf,
    },
    /// The policy's own test cases, run now
    Test,
    /// An emergency: lifts, for you alone and for a while, denials of what no rule permits; recorded for ever
    Override {
        #[command(subcommand)]
        command: OverrideCommand,
    },
    /// What would be decided, and which rules would decide it; nothing runs
    Explain {
        /// For whom: agent:NAME, service:NAME or operator:NAME; you without it
        #[arg(long = "as", value_name = "WHO", value_parser = who)]
        subject: Option<Peer>,
        /// The type, such as service.restart; left out with --file
        #[arg(value_name = "TYPE", required_unless_present = "file", conflicts_with = "file")]
        action_type: Option<String>,
        /// Its parameters, such as name=network
        #[arg(value_name = "KEY=VALUE")]
        parameters: Vec<String>,
        /// A request as JSON; '-' reads it from the terminal
        #[arg(short, long)]
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum OverrideCommand {
    /// Declares an emergency of your own
    Start {
        /// For how long; at most an hour
        #[arg(long)]
        minutes: u32,
        /// Why, for the record
        #[arg(long)]
        reason: String,
    },
    /// Ends it, whoever declared it
    End,
    /// The emergency that lasts, if there is one
    Show,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Everybody who can log in
    List,
    /// Lets one more person log in; asks for their pass phrase, and for yours
    Add {
        /// The person's name
        name: String,
    },
    /// Changes your own pass phrase; asks for the old one and the new one
    Passwd,
    /// Public keys: what they sign is an answer of their owner
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// The keys of a person
    List {
        /// The person's name
        name: String,
    },
    /// Takes what a key signs as your answer; asks for your pass phrase
    Add {
        /// Your name
        name: String,
        /// The line of the .pub file; asked for without it
        #[arg(value_name = "KEY", trailing_var_arg = true)]
        key: Vec<String>,
    },
    /// Takes what a key signs as nobody's answer any more; asks for your pass phrase
    Remove {
        /// The person's name
        name: String,
        /// The key's SHA-256, as the list and 'ssh-keygen -l' write it
        fingerprint: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Every secret: its name and hosts, never its value
    List,
    /// Keeps a secret, in place of one of the same name; asks for its value, or reads it as one line of standard input
    Add {
        /// Its name
        name: String,
        /// Whom it may be sent to, in TLS; http://HOST allows it in the clear; repeat it for several
        #[arg(long = "host", required = true)]
        hosts: Vec<String>,
        /// The header it goes into, with {} in its place [default: 'Authorization: Bearer {}']
        #[arg(long)]
        header: Option<String>,
    },
    /// Forgets a secret
    Remove {
        /// Its name
        name: String,
    },
}

fn who(word: &str) -> Result<Peer, String> {
    let (kind, name) = word.split_once(':').unwrap_or_default();
    // What is asked about them is not asked by them: how their session began is not looked at.
    let strength = SessionStrength::PassPhrase;
    let name = name.parse::<aios_ids::UnitName>().map_err(|error| error.to_string()).map(|name| name.to_string());
    match kind {
        "agent" => Ok(Peer::Agent { name: name? }),
        "service" => Ok(Peer::Service { name: name? }),
        "operator" => Ok(Peer::Operator { name: name?, strength }),
        _ => Err("agent:NAME, service:NAME or operator:NAME".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_about_has_a_kind_and_a_name() {
        for word in ["agent:helper", "service:agent-door", "operator:ada"] {
            assert_eq!(who(word).map(|peer| peer.to_string()).as_deref(), Ok(word));
        }
        for word in ["", "helper", "agent:", "agent:Helper", "root:ada", "agent:a b"] {
            assert!(who(word).is_err(), "{word}");
        }
    }
}
