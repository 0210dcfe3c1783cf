//! `cargo xtask`: builds, checks, runs and measures AIOS. It never ships.
//!
//! Every command is one module. What takes long is a cached step ([`cache`]); what the build machine lacks is named and
//! installed first ([`host`]). Nothing here needs root, a container or a loop device.

mod cache;
mod error;
mod files_list;
mod firmware;
mod host;
mod iso;
mod kernel;
mod keys;
mod manifest;
mod programs;
mod project;
mod root;
mod system;
mod tool;
mod uki;

use std::process::ExitCode;

use clap::Parser;

use crate::cache::Cache;
use crate::error::Result;
use crate::host::{Install, Need, prepare};
use crate::keys::Keys;

/// Builds, checks, runs and measures AIOS.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    /// Only report packages that this machine lacks.
    #[arg(long, global = true)]
    no_install: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Writes the ISO, its sums and its manifest to target/aios.
    Iso,
    /// Makes the signing keys if there are none, and shows them.
    Keys,
    /// Shows, checks, builds the kernel.
    Kernel {
        #[command(subcommand)]
        command: Option<kernel::Command>,
    },
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.report();
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<()> {
    let install = if args.no_install { Install::ReportOnly } else { Install::Allowed };
    match args.command {
        Command::Keys => {
            prepare(Need::Build, install)?;
            keys::run()
        }
        Command::Kernel { command } => {
            prepare(Need::Build, install)?;
            kernel::run(command, &Cache::open()?)
        }
        Command::Iso => {
            prepare(Need::Build, install)?;
            let iso = iso::make(&Cache::open()?, &Keys::open()?, project::VERSION)?;
            println!("{}", iso.path.display());
            Ok(())
        }
    }
}
