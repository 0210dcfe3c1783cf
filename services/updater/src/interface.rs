//! `org.aios.Updater1`: applying a release, and how things stand.

use std::sync::Arc;

use aios_daemon::{Caller, Work, error_chain};
use aios_fetch::Proxy;
use aios_image::release::ReleaseKey;
use aios_settings::{ReleaseSource, SourceError};
use serde_json::json;
use tokio::sync::Mutex;
use zbus::fdo;

use crate::apply::{self, Applied, Offer, Running};
use crate::entries::Entries as _;
use crate::machine::{self, Esp, MachineError};
use crate::source::Source;

/// The updater as one caller sees it.
pub(crate) struct Updater1 {
    caller: Caller,
    shared: Arc<Shared>,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) key: ReleaseKey,
    /// One update at a time.
    pub(crate) writing: Mutex<()>,
    /// What has to come to its end whether or not anybody still waits for it.
    pub(crate) work: Work,
}

impl Updater1 {
    pub(crate) fn new(caller: Caller, shared: Arc<Shared>) -> Self {
        Self { caller, shared }
    }
}

#[zbus::interface(name = "org.aios.Updater1")]
impl Updater1 {
    /// Applies the release of a source; answers with `{version, root, slot, entry}` when it is tried at the next start.
    async fn apply(&self, source: &str) -> fdo::Result<String> {
        self.caller.require("updater", "apply")?;
        let source: ReleaseSource =
            source.parse().map_err(|error: SourceError| fdo::Error::InvalidArgs(error.to_string()))?;
        let source = prepared(source).await?;
        let Ok(_writing) = self.shared.writing.try_lock() else {
            return Err(fdo::Error::Failed("an update is being applied: wait for its end".to_owned()));
        };
        let (key, piece) = (self.shared.key, self.shared.work.begin());
        // Fetching and writing block, and status is asked meanwhile.
        let work = tokio::task::spawn_blocking(move || {
            let applied = apply_here(&source, &key);
            drop(piece);
            applied
        });
        let work = work.await;
        match work {
            Ok(result) => Ok(json!(result.map_err(fdo::Error::Failed)?).to_string()),
            Err(_) => Err(fdo::Error::Failed("the update was interrupted; apply it again".to_owned())),
        }
    }

    /// `{source, running, offer}`: what the source of the settings has. There is no other to be looked at, so that whoever
    /// may ask this cannot have a privileged program call any server.
    async fn check(&self) -> fdo::Result<String> {
        self.caller.require("updater", "check")?;
        let source = chosen_source().await?;
        let Ok(_writing) = self.shared.writing.try_lock() else {
            return Err(fdo::Error::Failed("an update is being applied: wait for its end".to_owned()));
        };
        let (key, from) = (self.shared.key, source.to_string());
        let source = prepared(source).await?;
        let work = tokio::task::spawn_blocking(move || look_here(&source, &key)).await;
        let (running, offer) = match work {
            Ok(result) => result.map_err(fdo::Error::Failed)?,
            Err(_) => return Err(fdo::Error::Failed("looking was interrupted; ask again".to_owned())),
        };
        Ok(json!({"source": from, "running": running.version.to_string(), "offer": offer}).to_string())
    }

    /// `{running, origin, busy, entries: [names]}`: the boot entries say what is on trial, spent or good.
    async fn status(&self) -> fdo::Result<String> {
        self.caller.require("updater", "status")?;
        let failed = |error: MachineError| fdo::Error::Failed(error_chain(&error));
        let system = machine::system().map_err(failed)?;
        let busy = self.shared.writing.try_lock().is_err();
        // While an update writes, the partition is its alone.
        let entries = match machine::disk(&system) {
            Ok(disk) if !busy => {
                let names = Esp::mount(disk).map_err(failed)?.entries().list();
                let names =
                    names.map_err(|error| fdo::Error::Failed(format!("cannot list the boot entries: {error}")))?;
                Some(names.iter().map(ToString::to_string).collect::<Vec<_>>())
            }
            _ => None,
        };
        let status = json!({
            "running": system.version,
            "origin": system.origin,
            "busy": busy,
            "entries": entries,
        });
        Ok(status.to_string())
    }
}

/// The source that the settings name.
async fn chosen_source() -> fdo::Result<ReleaseSource> {
    match setting("update.source").await?.as_str() {
        "" => Err(fdo::Error::Failed(
            "no source of releases is set: 'aios settings set update.source http://ADDRESS/FOLDER' sets one".to_owned(),
        )),
        text => text.parse().map_err(|error: SourceError| fdo::Error::Failed(error.to_string())),
    }
}

async fn setting(key: &'static str) -> fdo::Result<String> {
    aios_daemon::setting(key).await.map_err(|error| fdo::Error::Failed(error_chain(&error)))
}

/// A source and the way to it.
async fn prepared(source: ReleaseSource) -> fdo::Result<Source> {
    let proxy = Proxy::of_setting(&setting("network.proxy").await?);
    let proxy = proxy.map_err(|error| fdo::Error::Failed(format!("network.proxy cannot be used: {error}")))?;
    Source::of(source, proxy).map_err(|error| fdo::Error::Failed(error_chain(&error)))
}

fn look_here(source: &Source, key: &ReleaseKey) -> Result<(Running, Offer), String> {
    let told = |error: &dyn std::error::Error| error_chain(error);
    let system = machine::system().map_err(|error| told(&error))?;
    let running = machine::running(&system).map_err(|error| told(&error))?;
    let esp = Esp::mount(machine::disk(&system).map_err(|error| told(&error))?).map_err(|error| told(&error))?;
    let offer = apply::look(&esp.entries(), source, key, &running).map_err(|error| told(&error))?;
    Ok((running, offer))
}

fn apply_here(source: &Source, key: &ReleaseKey) -> Result<Applied, String> {
    let told = |error: &dyn std::error::Error| error_chain(error);
    let system = machine::system().map_err(|error| told(&error))?;
    let running = machine::running(&system).map_err(|error| told(&error))?;
    let disk = machine::disk(&system).map_err(|error| told(&error))?;
    let esp = Esp::mount(disk).map_err(|error| told(&error))?;
    let target = machine::target(disk, &esp).map_err(|error| told(&error))?;
    let say = |line: &str| {
        eprintln!("{line}");
        let _ = aios_daemon::status(line);
    };
    apply::apply(&target, source, key, &running, say).map_err(|error| told(&error))
}
