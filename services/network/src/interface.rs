//! `org.aios.Network1`: the questions that this service answers.

use std::path::PathBuf;

use aios_daemon::{Caller, error_chain};
use network::reach::{self, Reached};
use serde_json::json;
use zbus::fdo;

/// The network as one caller sees it.
pub(crate) struct Network1 {
    caller: Caller,
    folder: PathBuf,
}

impl Network1 {
    pub(crate) fn new(caller: Caller) -> Self {
        Self { caller, folder: network::folder() }
    }
}

#[zbus::interface(name = "org.aios.Network1")]
impl Network1 {
    /// Connects to a port of a host and hangs up; answers with the address and how long it took.
    async fn check(&self, host: &str, port: u16) -> fdo::Result<String> {
        self.caller.require("network", "check")?;
        let reached = reach::check(&self.folder, host, port).await;
        let Reached { address, port, ms } = reached.map_err(|error| fdo::Error::Failed(error_chain(&error)))?;
        Ok(json!({"address": address, "port": port, "ms": ms}).to_string())
    }

    /// The address of a name, or the address that it is.
    async fn resolve(&self, host: &str) -> fdo::Result<String> {
        self.caller.require("network", "resolve")?;
        let found = reach::address(&self.folder, host).await;
        Ok(found.map_err(|error| fdo::Error::Failed(error_chain(&error)))?.to_string())
    }
}
