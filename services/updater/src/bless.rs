//! Marking the running release good, once: when everything runs and the evidence log verified.
//!
//! Until then the boot loader counts; a release that never gets here is left behind after its tries.

use std::time::Duration;

use aios_daemon::proxy::Evidence1Proxy;
use aios_daemon::{connect, error_chain};
use aios_slots::SlotError;
use aios_wire::init::{Reply, Request, ServiceState};

use crate::entries::Entries as _;
use crate::machine::{self, Esp, MachineError};

/// Between two looks at the services.
const PAUSE: Duration = Duration::from_secs(1);

/// The release stays on trial.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlessError {
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error("the running release has no boot entry to mark")]
    Entry(#[from] SlotError),
    #[error("cannot rename the boot entry")]
    Rename(#[source] std::io::Error),
    #[error("the evidence log did not verify")]
    Evidence(#[from] zbus::Error),
}

/// Waits until the system deserves it and marks it good. Says what it did.
pub(crate) async fn bless() -> Result<String, BlessError> {
    let system = machine::system()?;
    let disk = match machine::disk(&system) {
        Ok(disk) => disk,
        Err(MachineError::NotInstalled) => return Ok("started from its medium; nothing to mark".to_owned()),
        Err(error) => return Err(error.into()),
    };
    let running = machine::running(&system)?;
    // A release that was marked before needs no proof again, and a disk that needs no change is not written.
    let change = aios_slots::bless(&running.version, &Esp::mount(disk)?.entries().list().map_err(BlessError::Rename)?)?;
    let Some(change) = change else { return Ok(format!("release {} is marked good", running.version)) };
    while !everything_runs() {
        tokio::time::sleep(PAUSE).await;
    }
    Evidence1Proxy::new(&connect("evidence-log").await?).await?.verify().await?;
    Esp::mount(disk)?.entries().rename(&change).map_err(BlessError::Rename)?;
    Ok(format!("release {} was marked good: {} is now {}", running.version, change.from, change.to))
}

/// Whether the boot is complete, no unit has given up, and what starts on call has answered a call: a release is not good
/// whose agents find a door that does not open.
fn everything_runs() -> bool {
    let complete = match machine::system() {
        Ok(system) => system.boot_ms.system.is_some() && system.frozen.is_none(),
        Err(error) => {
            eprintln!("{}", error_chain(&error));
            false
        }
    };
    let Ok(Reply::Services { mut services }) = aios_daemon::init::ask(&Request::Services) else { return false };
    // What a person let in says nothing about the release.
    services.retain(|service| !service.role.is_of_an_app());
    for waiting in services.iter().filter(|service| complete && service.state == ServiceState::OnCall) {
        // That it is called is all; whether it starts shows in its state.
        let _ = aios_daemon::open_socket(&waiting.name);
    }
    use ServiceState::{Failed, OnCall, Restarting, Starting};
    complete && !services.iter().any(|service| matches!(service.state, Failed | Restarting | Starting | OnCall))
}
