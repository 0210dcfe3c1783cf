//! The program: everything it does is in the library of the same name, where tests can reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    aios_daemon::run(evidence_log::run())
}
