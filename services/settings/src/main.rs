//! The machine's settings: kept with their history, rendered into `/etc`, changed only by an action.
//!
//! `/etc` lives in memory and is written here alone, at start and after each change, from one checked
//! `aios_settings::Settings`. This program has no privilege: it cannot set the kernel's host name, the clock or the keyboard;
//! what needs that reads the settings instead, or is asked of PID 1.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use aios_daemon::Fatal;
use aios_wire::init::{Reply, Request};

mod etc;
mod history;
mod interface;
mod machine;
mod zone;

use etc::Etc;
use history::History;
use interface::Settings1;
use machine::Machine;

/// Where the settings and their history are kept.
const STATE: &str = "/aios/system/settings";

/// What is rendered.
const ETC: &str = "/etc";

fn main() -> ExitCode {
    aios_daemon::run(run())
}

async fn run() -> Result<(), Fatal> {
    let etc = Etc::new(Path::new(ETC), &release());
    let history = History::open(Path::new(STATE))?;
    let machine = Arc::new(Machine::start(history, etc, Box::new(lay_keyboard_out))?);
    aios_daemon::status(&machine.summary())?;
    aios_daemon::ready()?;
    aios_daemon::serve("/org/aios/Settings1", move |caller| Settings1::new(caller, Arc::clone(&machine))).await?;
    Ok(())
}

/// Has PID 1 lay the console's keyboard out, which takes a right that this program does not have. A keyboard that stays as it
/// was is no reason to refuse what is kept already.
fn lay_keyboard_out(layout: &str) {
    if let Err(error) = aios_daemon::init::ask(&Request::SetKeyboard { layout: layout.to_owned() }) {
        eprintln!("<4>the keyboard is not laid out as '{layout}': {}", aios_daemon::error_chain(&error));
    }
}

/// The release's version as PID 1 knows it.
fn release() -> String {
    match aios_daemon::init::ask(&Request::Status) {
        Ok(Reply::Status(system)) => system.version,
        Ok(_) => env!("CARGO_PKG_VERSION").to_owned(),
        Err(error) => {
            eprintln!("the release's version is taken from this program: {}", aios_daemon::error_chain(&error));
            env!("CARGO_PKG_VERSION").to_owned()
        }
    }
}
