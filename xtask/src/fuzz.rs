//! `cargo xtask fuzz`: searches for inputs that break one of the targets of `qa/fuzz`, guided by what of the program each
//! input reaches.
//!
//! The program is built with the stable compiler and LLVM's own counters. What the search finds worth keeping stays in the
//! cache, outside of the tree, and the next search goes on from there. An input that breaks its target is kept in
//! `target/aios/fuzz` and named.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::Cache;
use crate::error::{Error, OnFile, Result};
use crate::programs::cargo;
use crate::project;
use crate::tool::Tool;

/// The targets with a line about each.
const LIST: &str = include_str!("../../qa/fuzz/targets.txt");

/// The compiler counts edges, keeps what comparisons compare, and tells where its counters are. Without a sanitizer: our
/// code has no `unsafe` that one would watch, and stable compilers have none. With the C library as a file of its own:
/// libFuzzer puts its comparison of texts before the library's and finds that by its name.
const COUNTERS: &str = "-C target-feature=-crt-static -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
     -C llvm-args=-sanitizer-coverage-trace-compares -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
     -C llvm-args=-sanitizer-coverage-pc-table";

/// The cargo profile of the searching program.
const PROFILE: &str = "fuzz";

/// One input may take so long and so much: more is a fault of its own.
const SECONDS_OF_ONE: u32 = 20;
const MEMORY_MIB: u32 = 1024;

/// What to search, and for how long.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Targets, or `all`; without one they are listed.
    targets: Vec<String>,
    /// How long each is searched.
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u32,
    /// Only tries this input, such as one that was found.
    #[arg(long, value_name = "FILE", conflicts_with = "seconds")]
    input: Option<PathBuf>,
}

impl Options {
    /// Every target for so long, for the set that takes long.
    pub(crate) fn all(seconds: u32) -> Self {
        Self { targets: vec!["all".into()], seconds, input: None }
    }

    /// Whether anything is to be built.
    pub(crate) fn searches(&self) -> bool {
        !self.targets.is_empty()
    }
}

/// Lists, searches or tries.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.searches() {
        print!("{LIST}");
        return Ok(());
    }
    let targets = chosen(&options.targets)?;
    let program = build()?;
    if let Some(input) = &options.input {
        let input = std::path::absolute(input).on("find", input)?;
        for target in targets {
            Tool::new(&program).env("AIOS_FUZZ_TARGET", target).arg(&input).shown()?;
            println!("{target}: holds for {}", input.display());
        }
        return Ok(());
    }
    let cache = Cache::open()?;
    let mut broken = Vec::new();
    for target in targets {
        match search(&cache, &program, target, options.seconds)? {
            Found::Nothing(figures) => println!("{target}: {figures}"),
            Found::Input(path) => {
                println!("{target}: BROKEN by {}", path.display());
                broken.push(format!("cargo xtask fuzz {target} --input {}", path.display()));
            }
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    Err(Error::refused(
        format!("{} of the targets are broken", broken.len()),
        format!("try each again, then make it a test of the parser: {}", broken.join("; ")),
    ))
}

fn names() -> impl Iterator<Item = &'static str> {
    LIST.lines().filter_map(|line| line.split(' ').next())
}

fn chosen(wanted: &[String]) -> Result<Vec<&'static str>> {
    if wanted == ["all"] {
        return Ok(names().collect());
    }
    let one = |wanted: &String| {
        let unknown = || {
            Error::refused(format!("there is no fuzz target '{wanted}'"), "`cargo xtask fuzz` lists them; all is all")
        };
        names().find(|name| name == wanted).ok_or_else(unknown)
    };
    wanted.iter().map(one).collect()
}

/// Builds the searching program.
fn build() -> Result<PathBuf> {
    let words =
        ["build", "--profile", PROFILE, "--package", "fuzz", "--features", "search", "--target", project::TARGET];
    cargo().args(words).env("RUSTFLAGS", COUNTERS).shown()?;
    Ok(project::target().join(project::TARGET).join(PROFILE).join("fuzz"))
}

/// How a search ended.
enum Found {
    /// With these figures.
    Nothing(String),
    /// With an input that breaks the target.
    Input(PathBuf),
}

fn search(cache: &Cache, program: &Path, target: &str, seconds: u32) -> Result<Found> {
    let corpus = cache.results_of("fuzz").join(target);
    fs::create_dir_all(&corpus).on("make", &corpus)?;
    let seeds = cache.scratch(&format!("fuzz-{target}"))?;
    let folder = project::output()?.join("fuzz").join(target);
    fs::create_dir_all(&folder).on("make", &folder)?;
    let log = folder.join("log");
    let before = inputs_in(&folder)?;
    let searched = Tool::new(program)
        .env("AIOS_FUZZ_TARGET", target)
        .env("AIOS_FUZZ_SEEDS", &seeds)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={SECONDS_OF_ONE}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-artifact_prefix={}/", folder.display()))
        .args(["-use_value_profile=1", "-print_final_stats=1", "-verbosity=1"])
        .args([&corpus, &seeds])
        .logged(&log);
    if let Err(error) = searched {
        let new = inputs_in(&folder)?.into_iter().find(|path| !before.contains(path));
        return new.map(Found::Input).ok_or(error);
    }
    let said = fs::read(&log).on("read", &log)?;
    Ok(Found::Nothing(figures(&String::from_utf8_lossy(&said))))
}

/// The inputs that broke something, by the names that libFuzzer gives them.
fn inputs_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(folder).on("list", folder)? {
        let entry = entry.on("list", folder)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if ["crash-", "timeout-", "oom-", "slow-unit-"].iter().any(|kind| name.starts_with(kind)) {
            inputs.push(entry.path());
        }
    }
    Ok(inputs)
}

/// What libFuzzer's last lines say, in one line.
fn figures(log: &str) -> String {
    let statistic = |name: &str| {
        let line = log.lines().rev().find(|line| line.starts_with("stat::") && line.contains(name));
        line.and_then(|line| line.rsplit(' ').next()).unwrap_or("?").to_owned()
    };
    let done = log.lines().rev().find(|line| line.contains("cov: "));
    let after = |word: &str| {
        let mut words = done.unwrap_or_default().split_whitespace().skip_while(|found| *found != word);
        words.nth(1).unwrap_or("?").to_owned()
    };
    format!(
        "no fault; {} inputs, {} a second, {} edges reached, {} inputs kept",
        statistic("number_of_executed_units"),
        statistic("average_exec_per_sec"),
        after("cov:"),
        after("corp:").split('/').next().unwrap_or("?"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_search_are_read() {
        let log = "#2\tINITED cov: 7 ft: 7 corp: 2/1b exec/s: 0 rss: 27Mb\n\
                   #2633\tDONE   cov: 812 ft: 3001 corp: 240/12Kb lim: 4096 exec/s: 1316 rss: 27Mb\n\
                   Done 2633 runs in 2 second(s)\nstat::number_of_executed_units: 2633\n\
                   stat::average_exec_per_sec:     1316\n";
        assert_eq!(figures(log), "no fault; 2633 inputs, 1316 a second, 812 edges reached, 240 inputs kept");
    }

    #[test]
    fn targets_are_chosen_by_name() {
        let chosen = |words: &[&str]| chosen(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(chosen(&["proof", "entry"]).expect("both are there"), ["proof", "entry"]);
        assert_eq!(chosen(&["all"]).expect("all").len(), LIST.lines().count());
        assert!(chosen(&["nothing"]).is_err());
    }
}
