//! The log.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

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
