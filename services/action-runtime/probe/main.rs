//! Tries to get out of the action sandbox and prints what came of each try.
//!
//! The runtime runs it at every start, confined exactly like an adapter, and takes no action while anything escapes. A
//! try counts as contained only with an error that the sandbox is meant to give: a new kernel that answers otherwise is
//! looked at by a person, not taken for safe. It proves nothing about what it does not try. Outside of a sandbox it
//! reports escapes; that is how its own test knows that it can.
//!
//! Its arguments are paths that the profile it runs in opens on purpose: what is below them, and the folders on the way,
//! are no targets. `--folder` says that descriptor 3 is a folder, out of which it then tries to get as well.

mod battery;
mod folder;
mod tries;

use std::process::ExitCode;

use aios_wire::probe::{FOLDER, ProbeReport};

fn main() -> ExitCode {
    let (words, paths): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|argument| argument == FOLDER);
    tries::leave_out(paths);
    if !words.is_empty() {
        match aios_linux::inherited::resource() {
            Ok(folder) => folder::give(folder),
            Err(error) => {
                eprintln!("{FOLDER} is given and there is no descriptor 3: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    let report = ProbeReport { attempts: battery::run() };
    match report.to_lines() {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cannot write the report: {error}");
            ExitCode::FAILURE
        }
    }
}
