//! The words, in one definition for parser and help.

use std::path::PathBuf;

use aios_wire::logs::Priority;
use clap::{Parser, Subcommand, ValueEnum};

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

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Every service with its state
    List,
    /// One service
    Show {
        /// The service
        name: String,
    },
    /// What services, the kernel and PID 1 said, across boots
    Logs(LogsArgs),
    /// Stops a service and starts it again
    Restart {
        /// The service
        name: String,
    },
    /// Starts a service that is stopped
    Start {
        /// The service
        name: String,
    },
    /// Stops a service until it, or the machine, is started again
    Stop {
        /// The service
        name: String,
    },
    /// Makes an app a service, now and at each start of the machine
    Enable {
        /// The app
        name: String,
    },
    /// Ends an app that is a service; the app stays
    Disable {
        /// The app
        name: String,
    },
    /// What PID 1 saw of a service in this boot
    History {
        /// The service
        name: String,
    },
}

/// Which lines.
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// The service, 'kernel' or 'init'; all without it
    pub(crate) name: Option<String>,
    /// Goes on with each new line until Ctrl-C
    #[arg(short, long, conflicts_with = "boot")]
    pub(crate) follow: bool,
    /// Not before this time: 2026-11-21T10:30 (UTC), or 15m, 2h, 3d ago
    #[arg(long)]
    pub(crate) since: Option<String>,
    /// At least so urgent: emerg, alert, crit, err, warning, notice, info, debug
    #[arg(short, long, value_parser = priority)]
    pub(crate) priority: Option<Priority>,
    /// Which boot: 0 is the running one, -1 the one before
    #[arg(short, long, default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-100_000..=0))]
    pub(crate) boot: i32,
    /// At most this many, the newest
    #[arg(short = 'n', long, default_value_t = 200)]
    pub(crate) lines: usize,
}

fn priority(word: &str) -> Result<Priority, String> {
    let found = Priority::ALL.into_iter().find(|priority| priority.word() == word);
    found.ok_or_else(|| {
        let words: Vec<_> = Priority::ALL.iter().map(|priority| priority.word()).collect();
        format!("one of {}", words.join(", "))
    })
}

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
    },
    /// Lets the action run, once
    Approve {
        /// The request's id
        id: String,
        /// The code beside the request, where the risk is high; asked for without it
        #[arg(long, value_name = "ABCD")]
        code: Option<String>,
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

#[derive(Debug, Subcommand)]
pub(crate) enum EvidenceCommand {
    /// The newest records
    Tail {
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        count: u64,
        /// Goes on with each new one until Ctrl-C
        #[arg(short, long)]
        follow: bool,
    },
    /// Records that match
    Query {
        /// Only this kind, such as decision or outcome
        #[arg(long)]
        kind: Option<String>,
        /// Only about or from this process, such as agent:example
        #[arg(long)]
        subject: Option<String>,
        /// Only this action
        #[arg(long)]
        action: Option<String>,
        /// Only what ended so, such as allowed, denied, held, succeeded, failed
        #[arg(long)]
        outcome: Option<String>,
        /// Not before this time: 2026-11-21T10:30 (UTC), or 15m, 2h, 3d ago
        #[arg(long)]
        since: Option<String>,
        /// Not after this time
        #[arg(long)]
        until: Option<String>,
        /// Only records after this index
        #[arg(long)]
        after: Option<u64>,
        /// At most this many
        #[arg(long, default_value_t = 1000)]
        limit: u64,
    },
    /// One record
    Show {
        /// Its index
        index: u64,
    },
    /// The proof that a record is in the log
    Prove {
        /// Its index
        index: u64,
    },
    /// Checks every record, tile and signature, here or in an export
    Verify {
        /// An export: a folder, or a bundle in one file
        export: Option<PathBuf>,
        /// The log's key (first line of the file key), known from elsewhere: a log that was forged as a whole is found
        #[arg(long, requires = "export")]
        key: Option<String>,
        /// An earlier export of the same log, which this one must continue
        #[arg(long, requires = "export")]
        older: Option<PathBuf>,
    },
    /// Writes the whole log where it can be verified without this machine
    Export {
        /// A folder to make (with another format a file); '-' writes to the terminal
        target: PathBuf,
        /// c2sp proves everything; jsonl and otlp are records for other programs
        #[arg(long, value_enum, default_value_t = ExportFormat::C2sp)]
        format: ExportFormat,
    },
    /// The newest signed checkpoint
    Checkpoint,
}

/// What an export is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Tiles, head and keys: checked anywhere, by anybody's program
    C2sp,
    /// One record a line, as the log has it
    Jsonl,
    /// OpenTelemetry logs in OTLP's JSON form
    Otlp,
}

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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Args;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }
}
