//! Programs of the build machine, run in one fixed surrounding so that language and time zone do not reach the output.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, OnFile, Result};
use crate::{interrupt, progress};

/// How many of the last lines of a failed program's output are shown.
const LAST_LINES: usize = 25;

/// A program about to run.
pub(crate) struct Tool {
    command: Command,
}

impl Tool {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").env("TZ", "UTC").stdin(Stdio::null());
        Self { command }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn without_env(mut self, name: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(name);
        self
    }

    pub(crate) fn directory(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Runs it and gives what it printed; shows the end of its output only when it fails.
    pub(crate) fn output(mut self) -> Result<String> {
        let output = self.command.output().map_err(|source| self.not_started(source))?;
        interrupt::stop_if_coming();
        let standard = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(standard);
        }
        let shown = format!("{standard}\n{}", String::from_utf8_lossy(&output.stderr));
        Err(self.failed(output.status.to_string(), &shown))
    }

    /// What it prints, however it ends: erofs-utils 1.5 says its version and fails.
    pub(crate) fn said(mut self) -> Option<String> {
        let output = self.command.output().ok()?;
        interrupt::stop_if_coming();
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it for its effect.
    pub(crate) fn run(self) -> Result<()> {
        self.output().map(|_| ())
    }

    /// Runs it on this terminal, for programs with a progress display of their own.
    pub(crate) fn shown(mut self) -> Result<()> {
        let status = progress::without_bars(|| self.command.status()).map_err(|source| self.not_started(source))?;
        interrupt::stop_if_coming();
        if status.success() { Ok(()) } else { Err(self.failed(status.to_string(), "")) }
    }

    /// Runs something long: all output goes to `log`, and a terminal sees how far it is.
    pub(crate) fn logged(mut self, log: &Path) -> Result<()> {
        let mut file = File::create(log).on("write", log)?;
        let errors = file.try_clone().on("write", log)?;
        self.command.stdout(Stdio::piped()).stderr(errors);
        let mut child = self.command.spawn().map_err(|source| self.not_started(source))?;
        let output = child.stdout.take().expect("stdout was set to a pipe above");
        let bar = progress::lines(log);
        let copied = (|| {
            for line in BufReader::new(output).split(b'\n') {
                let mut line = line.on("read the output that goes to", log)?;
                bar.set_message(String::from_utf8_lossy(&line).trim().to_owned());
                bar.inc(1);
                line.push(b'\n');
                file.write_all(&line).on("write", log)?;
            }
            Ok(())
        })();
        bar.finish_and_clear();
        if copied.is_err() {
            // Its log cannot be kept: nobody waits for the rest of it.
            let _ = child.kill();
        }
        let status = child.wait().map_err(|source| self.not_started(source))?;
        interrupt::stop_if_coming();
        copied?;
        if status.success() {
            return Ok(());
        }
        let text = std::fs::read(log).on("read", log)?;
        let shown = format!("{}\nthe whole log is {}", String::from_utf8_lossy(&text), log.display());
        Err(self.failed(status.to_string(), &shown))
    }

    fn not_started(&self, source: std::io::Error) -> Error {
        Error::Start { program: self.command.get_program().to_string_lossy().into_owned(), source }
    }

    fn failed(&self, status: String, output: &str) -> Error {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let mut command = words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ");
        if command.len() > 300 {
            command.truncate(command.floor_char_boundary(300));
            command.push_str(" …");
        }
        let lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        let output = last.iter().map(|line| format!("\n    {line}")).collect();
        Error::Tool { command, status, output }
    }
}
