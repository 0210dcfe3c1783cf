//! Programs of the build machine that live as long as a value of ours does.
//!
//! Each one is ended by its process id when its [`Child`] is dropped, and by the kernel when this process dies before
//! that: nothing is left behind after Ctrl-C or a crash, and nothing is ever looked for by name.

use std::ffi::OsString;
use std::process::{self, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::VmError;

/// A running program.
#[derive(Debug)]
pub(crate) struct Child {
    child: process::Child,
}

impl Child {
    /// Starts a program that ends with the calling thread at the latest.
    pub(crate) fn spawn(invocation: &Invocation) -> Result<Self, VmError> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&invocation.program).args(&invocation.arguments);
        command.stdin(invocation.stdio.input()).stdout(invocation.stdio.output());
        match &invocation.errors {
            Some(file) => command.stderr(file.try_clone().map_err(|source| invocation.spawn_error(source))?),
            None => command.stderr(Stdio::inherit()),
        };
        let child = command.spawn().map_err(|source| invocation.spawn_error(source))?;
        Ok(Self { child })
    }

    /// The ends of the pipes to its standard input and output.
    pub(crate) fn pipes(&mut self) -> Option<(process::ChildStdin, process::ChildStdout)> {
        Some((self.child.stdin.take()?, self.child.stdout.take()?))
    }

    /// Waits for its end, at most this long.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
                _ => return None,
            }
        }
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        // Both fail only when it is already gone and reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What to start.
#[derive(Debug)]
pub(crate) struct Invocation {
    /// The program.
    pub(crate) program: String,
    /// The Debian package that has it, for the error text.
    pub(crate) package: &'static str,
    /// Its arguments.
    pub(crate) arguments: Vec<OsString>,
    /// Its standard input and output.
    pub(crate) stdio: Streams,
    /// Where its error messages go; absent: this process's.
    pub(crate) errors: Option<std::fs::File>,
}

/// A program's standard input and output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streams {
    /// This terminal.
    Terminal,
    /// Pipes to us.
    Pipes,
    /// Nothing.
    None,
}

impl Streams {
    fn input(self) -> Stdio {
        match self {
            Self::Terminal => Stdio::inherit(),
            Self::Pipes => Stdio::piped(),
            Self::None => Stdio::null(),
        }
    }

    fn output(self) -> Stdio {
        self.input()
    }
}

impl Invocation {
    fn spawn_error(&self, source: std::io::Error) -> VmError {
        VmError::Spawn { program: self.program.clone(), package: self.package, source }
    }
}

/// Runs a program to its end and gives its standard output.
pub(crate) fn output(program: &str, package: &'static str, arguments: &[OsString]) -> Result<Vec<u8>, VmError> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| VmError::Spawn { program: program.to_owned(), package, source })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let shown: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    Err(VmError::Program {
        program: format!("{program} {}", shown.join(" ")),
        text: format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()),
    })
}
