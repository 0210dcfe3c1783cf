//! `cargo xtask check` and `cargo xtask test`: what must hold, part by part, with one summary.
//!
//! `check` is the quick loop. `test` is what continuous integration runs: the same, the tests with files and processes,
//! and whole machines. A part that fails does not keep the next ones from running.

use std::fmt::Write as _;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::programs::cargo;
use crate::tidy;
use crate::{foreign, fuzz, machine, tool::Tool};

/// Which machines `test` starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenarios {
    /// One for each promise.
    Ci,
    /// All of them.
    All,
}

/// How long the long set searches each fuzz target.
const FUZZ_SECONDS: u32 = 600;

/// How many questions it puts to our decisions and to the cedar-policy crate's.
const QUESTIONS: &str = "1000000";

/// How one part ended.
struct Part {
    name: &'static str,
    seconds: f64,
    failure: Option<Error>,
}

/// Parts done so far.
#[derive(Default)]
struct Parts(Vec<Part>);

/// What property tests draw their inputs from.
#[derive(Debug, Clone, Copy)]
enum Draws {
    /// The same inputs each time: the verdict is about the change, never about luck.
    Fixed,
    /// New ones each time, this many for each property: this is how faults are found.
    Fresh(u32),
    /// The same, and races are run this many times.
    Long(u32, u32),
}

/// Format, lints, unit tests, house rules.
pub(crate) fn check() -> Result<()> {
    let mut parts = Parts::default();
    quick(&mut parts, Draws::Fresh(256));
    parts.summary()
}

/// Everything that continuous integration asks.
pub(crate) fn test(scenarios: Scenarios) -> Result<()> {
    let draws = match scenarios {
        Scenarios::Ci => Draws::Fixed,
        Scenarios::All => Draws::Long(5000, 100_000),
    };
    let mut parts = Parts::default();
    quick(&mut parts, draws);
    // Tests that start confined processes need root and say so themselves when they are not given it.
    parts.run("program tests", || tests(draws).arg("--tests").shown());
    parts.run("foreign tools", foreign::run);
    parts.run("machines", || machine::test(scenarios));
    if scenarios == Scenarios::All {
        parts.run("fuzzing", || fuzz::run(&fuzz::Options::all(FUZZ_SECONDS)));
        parts.run("decisions", || {
            let words = ["run", "--release", "--quiet", "--package", "policy-load", "--", "differential", QUESTIONS];
            cargo().args(words).shown()
        });
    }
    parts.summary()
}

fn quick(parts: &mut Parts, draws: Draws) {
    parts.run("format", || cargo().args(["fmt", "--all", "--check"]).shown());
    let lints = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
    parts.run("lints", || cargo().args(lints).shown());
    parts.run("unit tests", || tests(draws).args(["--lib", "--bins"]).shown());
    parts.run("tidy", || tidy::run(tidy::Graph::Compare));
}

fn tests(draws: Draws) -> Tool {
    let tests = cargo().args(["test", "--quiet", "--workspace"]);
    match draws {
        Draws::Fixed => tests.env("PROPTEST_RNG_SEED", "1"),
        Draws::Fresh(cases) => tests.env("PROPTEST_CASES", cases.to_string()),
        Draws::Long(cases, races) => {
            tests.env("PROPTEST_CASES", cases.to_string()).env("AIOS_RACES", races.to_string())
        }
    }
}

impl Parts {
    fn run(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) {
        eprintln!("== {name}");
        let started = Instant::now();
        let failure = work().err();
        if let Some(error) = &failure {
            error.report();
        }
        self.0.push(Part { name, seconds: started.elapsed().as_secs_f64(), failure });
    }

    fn summary(self) -> Result<()> {
        let mut table = String::new();
        for part in &self.0 {
            let verdict = if part.failure.is_none() { "pass" } else { "FAIL" };
            // Writing to a string does not fail.
            let _ = writeln!(table, "  {verdict}  {:<16} {:>7.1} s", part.name, part.seconds);
        }
        let user = Tool::new("id").arg("-u").output().unwrap_or_default();
        if user.trim() != "0" {
            table += "  NOTE  tests that start confined processes were skipped: they need root\n";
        }
        println!("{table}");
        let failed: Vec<&str> = self.0.iter().filter(|part| part.failure.is_some()).map(|part| part.name).collect();
        if failed.is_empty() {
            return Ok(());
        }
        Err(Error::refused(format!("failed: {}", failed.join(", ")), "each part's own error stands above"))
    }
}
