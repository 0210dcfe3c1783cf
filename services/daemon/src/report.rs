//! How a daemon ends: one line that says what failed and why.

use std::error::Error;
use std::fmt::{Display, Write};
use std::process::ExitCode;

/// A failure that a daemon cannot work on with, as one line.
#[derive(Debug)]
pub struct Fatal(String);

impl Fatal {
    /// What could not be done, and why.
    pub fn new(what: impl Display, why: &dyn Error) -> Self {
        Self(format!("{what}: {}", error_chain(why)))
    }
}

impl<E: Error> From<E> for Fatal {
    fn from(error: E) -> Self {
        Self(error_chain(&error))
    }
}

/// An error with its causes in one line.
pub fn error_chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let text = source.to_string();
        // Some libraries repeat the cause in their own text.
        if !line.contains(&text) {
            let _ = write!(line, ": {text}");
        }
        cause = source.source();
    }
    line
}

/// Runs a daemon to its end on one thread; an error becomes its last line and exit status 1.
pub fn run(daemon: impl Future<Output = Result<(), Fatal>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the event loop: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(daemon) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Fatal(line)) => {
            // PID 1 reads the number as the line's priority, and leaves it out where the line is shown.
            eprintln!("<3>{line}");
            ExitCode::FAILURE
        }
    }
}
