//! What the machine has: agents, objects, software, settings, a network, a system.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// The agents of this machine
    List,
    /// Starts an agent from its manifest
    Run {
        /// The agent
        name: String,
    },
    /// One agent, and what it asked for
    Show {
        /// The agent
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ObjectCommand {
    /// Every object with its newest version
    List,
    /// Stores a new version
    Put {
        /// The object
        name: String,
        /// Its content; '-' reads it from the terminal
        content: String,
    },
    /// Prints a version's content
    Get {
        /// The object
        name: String,
        /// Which version; the newest without it
        #[arg(long, default_value_t = 0)]
        version: u64,
    },
    /// The versions of an object
    Log {
        /// The object
        name: String,
    },
    /// The tags of an object
    Tags {
        /// The object
        name: String,
    },
    /// Makes an earlier version's content the newest
    Rollback {
        /// The object
        name: String,
        /// The earlier version
        version: u64,
    },
    /// Gives a version a name of its own
    Tag {
        /// The object
        name: String,
        /// The tag; one that is there moves
        tag: String,
        /// The version
        version: u64,
    },
    /// Removes a tag; the version stays
    Untag {
        /// The object
        name: String,
        /// The tag
        tag: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Every path in the store
    List,
    /// Fetches a path with everything it refers to, verified
    Add {
        /// The store path
        path: String,
        /// The binary cache
        #[arg(long)]
        cache: String,
        /// The only key whose signature counts
        #[arg(long)]
        key: String,
    },
    /// One path: hash, size, references, who signed it
    Info {
        /// The store path
        path: String,
    },
    /// Hashes a path again and compares with what was signed
    Verify {
        /// The store path
        path: String,
    },
    /// Runs a program of the store in the action sandbox
    Run {
        /// The program
        program: String,
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SettingsCommand {
    /// Every setting
    List,
    /// One setting
    Get {
        /// The setting
        key: String,
    },
    /// What differs from the defaults
    Diff,
    /// Changes one setting
    Set {
        /// The setting
        key: String,
        /// Its new value
        value: String,
    },
    /// Takes every value of an earlier generation again
    Rollback {
        /// The earlier generation; 0 is a new machine's
        generation: u64,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// What the machine has of a network, and what is wrong with it
    Status,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UpdateCommand {
    /// Which release runs and which is next
    Status,
    /// What the source in the setting update.source offers
    Check,
    /// Writes a newer release to the other slot
    Apply {
        /// The release's folder; the setting update.source when it is left out
        source: Option<String>,
    },
}
