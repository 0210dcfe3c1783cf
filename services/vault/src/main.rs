//! Keeps secrets that nobody reads out, and asks other machines for actions that may use them.
//!
//! There is no call that answers with a secret. A person puts one in; from then on it leaves only in a header, only to the
//! hosts that it was bound to, and each time is a record before it is sent. What an answer repeats of it is taken out.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use aios_daemon::Fatal;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use vault::sealed::Sealed;

mod desk;
mod interface;
mod offers;
mod peers;

use desk::Desk;
use interface::Vault1;

/// The sealed secrets and their key.
const STATE: &str = "/aios/system/vault";

fn main() -> ExitCode {
    aios_daemon::run(run())
}

async fn run() -> Result<(), Fatal> {
    keep_memory_private().map_err(|error| Fatal::new("the memory of the vault can be looked into", &error))?;
    let sealed = Sealed::open(Path::new(STATE))?;
    let desk = Arc::new(Desk::new(sealed));
    aios_daemon::ready()?;
    desk.tell();
    aios_daemon::serve("/org/aios/Vault1", move |caller| Vault1::new(caller, Arc::clone(&desk))).await?;
    Ok(())
}

/// No process of the same user reads it, and no crash writes it to a file.
fn keep_memory_private() -> rustix::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
}
