//! What can go wrong with a machine, in words for the person who started it.

use std::io;
use std::path::PathBuf;

/// A machine could not be started, or did not do what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// A program of the build machine is missing or does not start.
    #[error("cannot start {program}; install the package {package}")]
    Spawn {
        /// The program.
        program: String,
        /// The Debian package that has it.
        package: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program of the build machine failed.
    #[error("{program} failed: {text}")]
    Program {
        /// The program with its arguments.
        program: String,
        /// What it said.
        text: String,
    },
    /// A file that the machine needs.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Options that contradict each other.
    #[error("{what}; {hint}")]
    Options {
        /// The contradiction.
        what: String,
        /// What to write instead.
        hint: &'static str,
    },
    /// The machine monitor refused or did not answer.
    #[error("the machine's monitor did not carry out {command}: {reason}")]
    Monitor {
        /// The command.
        command: String,
        /// Why.
        reason: String,
    },
    /// Something did not come in time.
    #[error("waited {seconds} s for {what} on the console; it last said:\n{tail}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// The console's last lines.
        tail: String,
    },
    /// The machine ended while something was waited for.
    #[error("the machine ended while waiting for {what}; it last said:\n{tail}")]
    Ended {
        /// What was waited for.
        what: String,
        /// The console's last lines.
        tail: String,
    },
    /// A script has a line that cannot be read.
    #[error(transparent)]
    Script(#[from] super::script::ScriptError),
    /// A command of a script failed, or one that must fail did not.
    #[error("line {line}: '{command}' {expected} and ended with status {status}")]
    Command {
        /// The script's line, counted from 1.
        line: usize,
        /// The command.
        command: String,
        /// What should have happened.
        expected: &'static str,
        /// How it ended.
        status: u8,
    },
}

impl VmError {
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}
