//! Makes action sandboxes. The one service that is root and starts programs for others.
//!
//! It reads one fixed structure, checks that PID 1's table calls the sender `action-runtime`, builds every layer of the
//! sandbox or refuses with the layer's name, and tells how the program ended. It decides nothing: which action may run
//! was decided before, and no layer can be asked to be weaker. Because each sandbox's cgroup lies below `actions/`,
//! what freezes that folder freezes all of them.
//!
//! It has one thread, which `spawn` needs, and one loop; a caller that hangs up ends what it started.

mod caller;
mod connection;
mod serve;

use std::process::ExitCode;

use launcher::chain;

fn main() -> ExitCode {
    let Err(error) = serve::run();
    eprintln!("{}", chain(&error));
    ExitCode::FAILURE
}
