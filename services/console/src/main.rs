//! A person's place at the machine: one program a terminal, started by PID 1.
//!
//! As `console` it is a session: it reads a line, runs `aios` with its words, and marks prompt, output and end (OSC 133)
//! so that programs can drive it. As `console --login` it asks who is there. It has no shell in it and holds no right of
//! its own: what a line may do is decided where the line arrives.

mod complete;
mod editor;
mod greeting;
mod keys;
mod line;
mod login;
mod marks;
mod prompt;
mod session;

use std::process::ExitCode;

use aios_wire::init::SESSION_EXPIRED;
use session::Over;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let ended = match (args.next().as_deref(), args.next(), args.next()) {
        (None, ..) => session::run(),
        (Some("--login"), Some(terminal), None) => login::run(&terminal).map(|()| Over::Left),
        _ => {
            eprintln!("usage: console | console --login TERMINAL; PID 1 starts this program");
            return ExitCode::from(2);
        }
    };
    match ended {
        Ok(Over::Left) => ExitCode::SUCCESS,
        Ok(Over::Expired) => ExitCode::from(SESSION_EXPIRED),
        Err(error) => {
            eprintln!("the console ends: {}", aios_daemon::error_chain(&error));
            ExitCode::FAILURE
        }
    }
}
