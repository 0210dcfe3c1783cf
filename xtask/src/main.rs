//! `cargo xtask`: builds, checks, runs and measures AIOS. It never ships.
//!
//! Every command is one module. What takes long is a cached step ([`cache`]); what the build machine lacks is named and
//! installed first ([`host`]). Nothing here needs root, a container or a loop device.

mod budget;
mod cache;
mod check;
mod contents;
mod disk;
mod error;
mod esp;
mod files_list;
mod firmware;
mod foreign;
mod format;
mod fuzz;
mod host;
mod interrupt;
mod iso;
mod kernel;
mod keys;
mod lock;
mod machine;
mod manifest;
mod output;
mod pcr;
mod peers;
mod policy;
mod programs;
mod progress;
mod project;
mod release;
mod reproduce;
mod root;
mod sbom;
mod shim;
mod shipped;
mod signer;
mod sources;
mod sums;
mod system;
mod tidy;
mod tool;
mod uki;
mod units;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::cache::Cache;
use crate::check::Scenarios;
use crate::error::Result;
use crate::host::{Install, Need, prepare};
use crate::keys::Keys;
use crate::system::{Order, System};

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
    /// Boots the live system on this terminal; leave with `poweroff` or Ctrl-A X.
    Run {
        #[command(flatten)]
        options: qa::vm::Options,
    },
    /// Checks everything: what `check` does, tests with files and processes, and whole machines.
    Test {
        /// All scenarios, also those that take long.
        #[arg(long)]
        long: bool,
    },
    /// The quick loop: format, lints, unit tests, house rules.
    Check,
    /// Writes the ISO, its sums and its manifest to target/aios.
    Iso {
        /// Other forms of the live system to write as well; may be repeated.
        #[arg(long, value_enum)]
        format: Vec<format::Format>,
        /// Have the tools of others judge everything that was made.
        #[arg(long)]
        judge: bool,
    },
    /// Collects the sources that licences ask for.
    Sources {
        /// The folder to fill.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Makes an installed disk as an image file.
    Disk(disk::Options),
    /// Boots an image or a disk; without one, the live ISO.
    Vm {
        #[command(flatten)]
        options: qa::vm::Options,
    },
    /// Runs scenarios on whole machines; `qa list` shows them.
    Qa {
        /// Their names, or `list`.
        names: Vec<String>,
        /// All of them.
        #[arg(long, conflicts_with = "names")]
        all: bool,
        /// Takes hours where that says more: an hour of a hostile agent, a hundred thousand actions and races.
        #[arg(long)]
        long: bool,
    },
    /// Measures beside the named peers, prints a table and writes target/aios/bench.json.
    Bench {
        /// Some measurements only.
        names: Vec<String>,
        /// Takes hours where that says more: 100,000 starts and stops of a service in `init`.
        #[arg(long)]
        long: bool,
    },
    /// Searches for inputs that break a parser; without a target, lists them.
    Fuzz(fuzz::Options),
    /// Makes an update repository, ready to serve as static files.
    Release {
        /// Its version.
        #[arg(long)]
        version: String,
        /// The folder to fill.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Also with keys that were made for development, for tests.
        #[arg(long)]
        development: bool,
    },
    /// Builds twice in different surroundings and compares every byte.
    Reproduce(reproduce::Options),
    /// Makes the signing keys if there are none, shows them, or changes one.
    Keys {
        #[command(subcommand)]
        command: Option<keys::Command>,
    },
    /// Makes and checks policy bundles.
    Policy {
        #[command(subcommand)]
        command: policy::Command,
    },
    /// Shows, checks, builds the kernel.
    Kernel {
        #[command(subcommand)]
        command: Option<kernel::Command>,
    },
    /// Checks the house rules.
    Tidy {
        /// Write the graph of crates in place of comparing it.
        #[arg(long)]
        write: bool,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    match interrupt::watch().and_then(|()| run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            interrupt::stop_if_coming();
            error.report();
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<()> {
    let install = if args.no_install { Install::ReportOnly } else { Install::Allowed };
    prepare(args.command.need(), install)?;
    match args.command {
        Command::Run { options } | Command::Vm { options } => machine::vm(options),
        Command::Test { long } => check::test(if long { Scenarios::All } else { Scenarios::Ci }),
        Command::Check => check::check(),
        Command::Iso { format, judge } => iso(&format, judge),
        Command::Sources { out } => {
            let (cache, keys) = (Cache::open()?, Keys::open()?);
            let system = System::build(&cache, &keys, &Order::working(project::VERSION))?;
            let shipped = shipped::all(&cache, &system, &esp::make(&cache, &system)?)?;
            sources::run(&cache, &system, &shipped, &out)?;
            show(&out)
        }
        Command::Disk(options) => show(&disk::make(&Cache::open()?, &Keys::open()?, &options)?),
        Command::Qa { names, all: false, .. } if names == ["list"] => {
            machine::list();
            Ok(())
        }
        Command::Qa { names, all, long } => machine::run_named(&names, all, extent(long)),
        Command::Bench { names, long } => machine::bench(&names, extent(long)),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Release { version, out, development } => {
            let keys = Keys::open()?;
            if !development {
                release::check_purpose(keys.purpose())?;
                kernel::build(&Cache::open()?)?.must_be_pinned()?;
            }
            release::write(&Cache::open()?, &keys, &Order::working(&version), &out)?;
            show(&out)
        }
        Command::Reproduce(options) => reproduce::run(&options),
        Command::Keys { command } => keys::run(command),
        Command::Policy { command } => policy::run(&command),
        Command::Kernel { command } => kernel::run(command, &Cache::open()?),
        Command::Tidy { write } => tidy::run(if write { tidy::Graph::Write } else { tidy::Graph::Compare }),
    }
}

/// Writes the medium and its other forms, and shows where they are.
fn iso(formats: &[format::Format], judge: bool) -> Result<()> {
    let (cache, keys) = (Cache::open()?, Keys::open()?);
    let iso = iso::make(&cache, &keys, project::VERSION, formats)?;
    if judge {
        foreign::judge(&cache, &keys, &iso)?;
    }
    iso.published.iter().try_for_each(|path| show(path))
}

impl Command {
    /// What the build machine needs for it.
    fn need(&self) -> Need {
        match self {
            Self::Reproduce(_) => Need::Reproduce,
            Self::Check | Self::Tidy { .. } => Need::Nothing,
            Self::Iso { judge: false, .. }
            | Self::Sources { .. }
            | Self::Disk(_)
            | Self::Release { .. }
            | Self::Keys { .. }
            | Self::Policy { .. }
            | Self::Kernel { .. } => Need::Build,
            Self::Iso { judge: true, .. }
            | Self::Run { .. }
            | Self::Test { .. }
            | Self::Vm { .. }
            | Self::Qa { .. } => Need::Machine,
            Self::Fuzz(options) if options.searches() => Need::Compile,
            Self::Fuzz(_) => Need::Nothing,
            Self::Bench { .. } => Need::Bench,
        }
    }
}

fn extent(long: bool) -> qa::Extent {
    if long { qa::Extent::Long } else { qa::Extent::Usual }
}

fn show(path: &Path) -> Result<()> {
    println!("{}", path.display());
    Ok(())
}
