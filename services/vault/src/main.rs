//! Keeps secrets that nobody reads out, and asks other machines for actions that may use them.
//!
//! There is no call that answers with a secret. A person puts one in; from then on it leaves only in a header, only to the
//! hosts that it was bound to, and each time is a record before it is sent. What an answer repeats of it is taken out.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use aios_daemon::{Fatal, error_chain};
use aios_linux::inherited;
use aios_linux::tpm::Managed;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use vault::key::Keeper;
use vault::policies;
use vault::sealed::Sealed;

mod desk;
mod interface;
mod offers;
mod peers;

use desk::Desk;
use interface::Vault1;

/// The sealed secrets and their key.
const STATE: &str = "/aios/system/vault";

/// Where PID 1 keeps what came with the kernel image.
const POLICIES: &str = "/run/aios-tpm";

fn main() -> ExitCode {
    aios_daemon::run(run())
}

async fn run() -> Result<(), Fatal> {
    keep_memory_private().map_err(|error| Fatal::new("the memory of the vault can be looked into", &error))?;
    let sealed = Sealed::open(Path::new(STATE), keeper())?;
    let desk = Arc::new(Desk::new(sealed));
    aios_daemon::ready()?;
    desk.tell();
    aios_daemon::serve("/org/aios/Vault1", move |caller| Vault1::new(caller, Arc::clone(&desk))).await?;
    Ok(())
}

/// The TPM, where PID 1 passed it. It is let go once the key is there.
fn keeper() -> Keeper<Managed> {
    let tpm = match inherited::tpm() {
        Ok(Some(tpm)) => Managed(tpm),
        Ok(None) => return Keeper::none("this machine has no TPM, or keeps nothing"),
        Err(error) => return Keeper::none(format!("the TPM cannot be used: {error}")),
    };
    match policies::read(Path::new(POLICIES)) {
        Ok((key, signed)) => Keeper::Tpm { chip: tpm, key, signed },
        Err(error) => Keeper::none(error_chain(&error)),
    }
}

/// No process of the same user reads it, and no crash writes it to a file.
fn keep_memory_private() -> rustix::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
}
