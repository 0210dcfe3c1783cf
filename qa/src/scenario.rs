//! Scenarios: each shows one promise on a whole machine, and is named, run and reported here.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::Context;
use crate::vm::VmError;

/// A promise and the function that shows it.
pub struct Scenario {
    /// Its name, as in `cargo xtask qa NAME`.
    pub name: &'static str,
    /// What it shows, in one line.
    pub promise: &'static str,
    /// When it runs.
    pub set: Set,
    /// How many times a machine starts in it.
    pub boots: u32,
    pub(crate) show: fn(&Stage<'_>) -> Result<(), Failure>,
}

/// When a scenario runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// With every change: `cargo xtask test`.
    Ci,
    /// With `--long` or by name.
    Long,
}

/// What a scenario works with: what was built, and a folder of its own.
pub(crate) struct Stage<'a> {
    /// What was built.
    pub(crate) context: &'a Context,
    /// Console logs and disks; empty at the start and kept afterwards.
    pub(crate) folder: PathBuf,
}

impl<'a> Stage<'a> {
    /// An empty folder below the results.
    pub(crate) fn fresh(context: &'a Context, folder: PathBuf) -> Result<Self, Failure> {
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(Failure::file("empty", &folder))?;
        }
        fs::create_dir_all(&folder).map_err(Failure::file("make", &folder))?;
        Ok(Self { context, folder })
    }

    /// The file for a machine's console log.
    pub(crate) fn log(&self, machine: &str) -> PathBuf {
        self.folder.join(format!("{machine}.console.log"))
    }
}

/// Why a scenario's promise does not hold.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The machine itself.
    #[error(transparent)]
    Machine(#[from] VmError),
    /// Something was other than promised.
    #[error("{0}")]
    Broken(String),
}

impl Failure {
    pub(crate) fn broken(text: impl Into<String>) -> Self {
        Self::Broken(text.into())
    }

    pub(crate) fn file(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let text = format!("cannot {what} {}", path.display());
        move |error| Self::Broken(format!("{text}: {error}"))
    }
}

/// Ends the scenario unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::Failure::Broken(format!($($text)+)));
        }
    };
}
pub(crate) use ensure;

/// How a run of scenarios ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// How many promises hold.
    pub passed: usize,
    /// How many do not.
    pub failed: usize,
}

/// Runs scenarios one after the other: a machine under translation needs the whole host.
pub fn run(scenarios: &[&Scenario], context: &Context) -> Summary {
    let mut summary = Summary { passed: 0, failed: 0 };
    for scenario in scenarios {
        println!("{}: {}", scenario.name, scenario.promise);
        let begin = Instant::now();
        let stage = Stage::fresh(context, context.results().join(scenario.name));
        let result = stage.and_then(|stage| (scenario.show)(&stage));
        let seconds = begin.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                summary.passed += 1;
                println!("  pass  {seconds:.1} s");
            }
            Err(failure) => {
                summary.failed += 1;
                let log = context.results().join(scenario.name);
                println!("  FAIL  {seconds:.1} s  {failure}\n  console logs: {}", log.display());
            }
        }
    }
    println!("{} passed, {} failed", summary.passed, summary.failed);
    summary
}
