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
pub(crate) use policy::{OverrideCommand, PolicyCommand, SecretCommand, UserCommand};
pub(crate) use service::{LogsArgs, ServiceCommand};

use crate::app::AppCommand;
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
        command: ServiceCommand,
    },
    /// Typed actions: everything that changes something is one
    Action {
        #[command(subcommand)]
        command: ActionCommand,
    },
    /// Actions in an order, with conditions, questions, retries and repairs
    Workflow {
        #[command(subcommand)]
        command: WorkflowCommand,
    },
    /// What waits for a person
    Approval {
        #[command(subcommand)]
        command: ApprovalCommand,
    },
    /// The rules, and why they decide what they decide
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// The people who can log in
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// What the vault keeps and nobody reads out; http.fetch uses it
    Secret {
        #[command(subcommand)]
        command: SecretCommand,
    },
    /// The log of what happened, and its proofs
    Evidence {
        #[command(subcommand)]
        command: EvidenceCommand,
    },
    /// Who approved an action, what ran, what changed, and the proof
    Attest {
        /// The action's id
        action: String,
    },
    /// Supervised, confined programs that propose
    Agent {
        #[command(subcommand)]
        command: AgentCommand,
    },
    /// Named objects with versions
    Object {
        #[command(subcommand)]
        command: ObjectCommand,
    },
    /// Programs that somebody handed in and a person approved
    App {
        #[command(subcommand)]
        command: AppCommand,
    },
    /// The content-addressed store of software
    Store {
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Typed settings; /etc follows
    Settings {
        #[command(subcommand)]
        command: SettingsCommand,
    },
    /// The links, the packet filter and the clock
    Network {
        #[command(subcommand)]
        command: NetworkCommand,
    },
    /// The system itself
    Update {
        #[command(subcommand)]
        command: UpdateCommand,
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
