//! Actions, and what a person says to them.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum ActionCommand {
    /// Every type of action there is
    Types,
    /// The parameters of a type as JSON Schema
    Schema {
        /// The type
        #[arg(value_name = "TYPE")]
        action_type: String,
    },
    /// Asks for an action
    Submit {
        /// The type, such as service.restart; left out with --file
        #[arg(value_name = "TYPE", required_unless_present = "file", conflicts_with = "file")]
        action_type: Option<String>,
        /// Its parameters, such as name=network
        #[arg(value_name = "KEY=VALUE")]
        parameters: Vec<String>,
        /// A request as JSON; '-' reads it from the terminal
        #[arg(short, long)]
        file: Option<PathBuf>,
        /// Why, for the record and for who approves
        #[arg(long, default_value = "")]
        reason: String,
        /// The same key means the same action
        #[arg(long, conflicts_with = "dry_run")]
        key: Option<String>,
        /// Allows less than the type does, such as cpu_ms=500; also deadline_ms, time_ms, memory, output, written
        #[arg(long, value_name = "NAME=NUMBER")]
        at_most: Vec<String>,
        /// Shows what would be decided, touched and undone; nothing happens and nobody is asked
        #[arg(long)]
        dry_run: bool,
    },
    /// Actions of this machine, newest last
    List,
    /// One action with its receipts
    Show {
        /// The action's id
        id: String,
    },
    /// Waits until an action ends
    Watch {
        /// The action's id
        id: String,
    },
    /// Takes back an action that waits for approval
    Cancel {
        /// The action's id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalCommand {
    /// What waits, what was decided
    List,
    /// One request, with exactly what would run
    Show {
        /// The request's id
        id: String,
        /// Prints only what a person signs to approve it from elsewhere, to the letter
        #[arg(long)]
        to_sign: bool,
    },
    /// Lets the action run, once
    Approve {
        /// The request's id
        id: String,
        /// The code beside the request, where the risk is high; asked for without it
        #[arg(long, value_name = "ABCD")]
        code: Option<String>,
        /// What 'ssh-keygen -Y sign -n aios-approval' made of the text to sign: its owner approves, not you; '-' reads it
        /// from the terminal
        #[arg(long, value_name = "FILE", conflicts_with = "code")]
        signature: Option<PathBuf>,
    },
    /// Refuses it
    Reject {
        /// The request's id
        id: String,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
}
