//! What a person sees of a build: bars while something runs on a terminal, plain lines everywhere else.
//!
//! All of it goes to the error stream; the normal stream is for results.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Nothing is drawn, and no control characters are written, when the error stream is no terminal.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// What each step makes.
const ABOUT: &[(&str, &str)] = &[
    ("disk", "an installed disk"),
    ("esp", "the EFI system partition of the medium"),
    ("firmware", "virtual machines' firmware with our keys enrolled"),
    ("iso", "the image, its sums and its manifest"),
    ("kernel", "linux as one image, without modules"),
    ("kernel-source", "the source of linux, from the archive"),
    ("loader", "the signed loader"),
    ("programs", "every program of the image"),
    ("recovery", "the signed recovery image"),
    ("root", "the root file system and its hash tree"),
    ("uki", "the signed kernel image"),
    ("virt-firmware", "the editor of firmware variables"),
];

/// Something that runs and takes a while.
pub(crate) struct Step<'a> {
    name: &'a str,
    started: Instant,
    bar: ProgressBar,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Made,
    Failed,
}

impl<'a> Step<'a> {
    /// Says that it begins.
    pub(crate) fn begin(name: &'a str) -> Self {
        let about = ABOUT.iter().find(|(known, _)| *known == name).map_or("", |(_, about)| *about);
        if !is_terminal() {
            eprintln!("step {name:<16} begins{}{about}", if about.is_empty() { "" } else { ": " });
        }
        let bar = bar(ProgressBar::new_spinner(), "{spinner} {prefix:<16} {elapsed:>4} {msg}");
        bar.set_prefix(name.to_owned());
        bar.set_message(about);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { name, started: Instant::now(), bar }
    }

    /// Says that it ended, and how long it took.
    pub(crate) fn end(self, end: End) {
        self.bar.finish_and_clear();
        let failed = if end == End::Failed { " (failed)" } else { "" };
        say(&format!("step {:<16} {:.1} s{failed}", self.name, self.started.elapsed().as_secs_f64()));
    }
}

/// Says that a step was done earlier.
pub(crate) fn cached(name: &str) {
    say(&format!("step {name:<16} (cached)"));
}

/// A line that stays, above the bars.
pub(crate) fn say(line: &str) {
    BARS.suspend(|| eprintln!("{line}"));
}

/// Gives the terminal to a program with a display of its own.
pub(crate) fn without_bars<T>(work: impl FnOnce() -> T) -> T {
    BARS.suspend(work)
}

/// Takes all bars away, for the end.
pub(crate) fn clear() {
    let _ = BARS.clear();
}

/// Whether somebody sees bars.
pub(crate) fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Counts the lines of a long program's output; the same work of an earlier build says how many there will be.
pub(crate) fn lines(log: &Path) -> ProgressBar {
    let bar = match earlier_lines(log) {
        Some(count) => bar(ProgressBar::new(count), "  {bar:30} {pos}/{len} lines, {eta} left  {wide_msg}"),
        None => bar(ProgressBar::new_spinner(), "  {spinner} {pos} lines  {wide_msg}"),
    };
    if !is_terminal() {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    bar
}

fn bar(bar: ProgressBar, style: &str) -> ProgressBar {
    let bar = BARS.add(bar);
    // A wrong template is seen by the test below; then the plain form is good enough.
    bar.with_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// How many lines the newest log of the same name has, in a folder beside the log's.
fn earlier_lines(log: &Path) -> Option<u64> {
    let logs = std::fs::read_dir(log.parent()?.parent()?).ok()?;
    let logs = logs.flatten().map(|entry| entry.path().join(log.file_name().unwrap_or_default()));
    let newest = logs
        .filter(|path| path != log)
        .filter_map(|path| Some((std::fs::metadata(&path).ok()?.modified().ok()?, path)))
        .max()?;
    let text = std::fs::read(newest.1).ok()?;
    Some(text.iter().filter(|byte| **byte == b'\n').count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_log_says_how_long_it_will_be() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = |step: &str| folder.path().join(step).join("build.log");
        for (step, text) in [("old", "a\nb\nc\n"), (".new", "a\n")] {
            std::fs::create_dir(folder.path().join(step)).expect("made");
            std::fs::write(log(step), text).expect("written");
        }
        assert_eq!(earlier_lines(&log(".new")), Some(3));
        assert_eq!(earlier_lines(&folder.path().join("other/other.log")), None);
    }

    #[test]
    fn templates_are_understood() {
        for template in
            ["{spinner} {prefix:<16} {elapsed:>4} {msg}", "  {bar:30} {pos}/{len} lines, {eta} left  {wide_msg}"]
        {
            ProgressStyle::with_template(template).expect("a template");
        }
    }
}
