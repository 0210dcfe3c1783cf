//! The words, in one definition for parser and help. What belongs to one subject stands in a file below.

mod action;
mod evidence;
mod machine;
mod policy;
mod service;

use clap::{Parser, Subcommand};

pub(crate) use action::{ActionCommand, ApprovalCommand};
pub(crate) use evidence::{EvidenceCommand, ExportFormat};
pub(crate) use machine::{AgentCommand, NetworkCommand, ObjectCommand, SettingsCommand, StoreCommand, UpdateCommand};
pub(crate) use policy::{KeyCommand, OverrideCommand, PolicyCommand, SecretCommand, UserCommand};
pub(crate) use service::{LogsArgs, ServiceCommand};

use crate::app::AppCommand;
use crate::lazily::Lazily;
use crate::show::Format;
use crate::workflow::WorkflowCommand;

/// AIOS: AI proposes, the system decides.
#[derive(Debug, Parser)]
#[command(
    name = "aios",
    version,
    disable_help_subcommand = false,
    after_help = "Exit status: 0 done, 1 failed, 2 wrong usage, 3 denied by policy, 4 waits for approval, 5 service not \
                  reachable."
)]
pub(crate) struct Args {
    /// Answer as JSON with stable names
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::People }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The machine on one screen
    Status,
    /// Where the boot time went
    Boot,
    /// The supervised services
    Service {
        #[command(subcommand)]
        command: Lazily<ServiceCommand>,
    },
    /// Typed actions: everything that changes something is one
    Action {
        #[command(subcommand)]
        command: Lazily<ActionCommand>,
    },
    /// Actions in an order, with conditions, questions, retries and repairs
    Workflow {
        #[command(subcommand)]
        command: Lazily<WorkflowCommand>,
    },
    /// What waits for a person
    Approval {
        #[command(subcommand)]
        command: Lazily<ApprovalCommand>,
    },
    /// The rules, and why they decide what they decide
    Policy {
        #[command(subcommand)]
        command: Lazily<PolicyCommand>,
    },
    /// The people who can log in
    User {
        #[command(subcommand)]
        command: Lazily<UserCommand>,
    },
    /// What the vault keeps and nobody reads out; http.fetch uses it
    Secret {
        #[command(subcommand)]
        command: Lazily<SecretCommand>,
    },
    /// The log of what happened, and its proofs
    Evidence {
        #[command(subcommand)]
        command: Lazily<EvidenceCommand>,
    },
    /// Who approved an action, what ran, what changed, and the proof
    Attest {
        /// The action's id
        action: String,
    },
    /// Supervised, confined programs that propose
    Agent {
        #[command(subcommand)]
        command: Lazily<AgentCommand>,
    },
    /// Named objects with versions
    Object {
        #[command(subcommand)]
        command: Lazily<ObjectCommand>,
    },
    /// Programs that somebody handed in and a person approved
    App {
        #[command(subcommand)]
        command: Lazily<AppCommand>,
    },
    /// The content-addressed store of software
    Store {
        #[command(subcommand)]
        command: Lazily<StoreCommand>,
    },
    /// Typed settings; /etc follows
    Settings {
        #[command(subcommand)]
        command: Lazily<SettingsCommand>,
    },
    /// The links, the packet filter and the clock
    Network {
        #[command(subcommand)]
        command: Lazily<NetworkCommand>,
    },
    /// The system itself
    Update {
        #[command(subcommand)]
        command: Lazily<UpdateCommand>,
    },
    /// How the last of these words may go on; the console asks
    #[command(hide = true)]
    Complete {
        /// The words of a line, the last one unfinished
        #[arg(last = true)]
        words: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Args;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }
}
