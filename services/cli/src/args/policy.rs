//! Who decides: the rules, the people, and what the vault keeps for them.

use std::path::PathBuf;

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
    /// What would be decided for you, and which rules would decide it; nothing runs
    Explain {
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
