//! `org.aios.Settings1`: what callers may ask, and the words they get when it fails.

use std::sync::Arc;

use aios_daemon::{Caller, error_chain};
use serde_json::json;
use zbus::fdo;

use crate::machine::{ChangeError, Machine};

/// The settings as one caller sees them.
pub(crate) struct Settings1 {
    caller: Caller,
    machine: Arc<Machine>,
}

impl Settings1 {
    pub(crate) fn new(caller: Caller, machine: Arc<Machine>) -> Self {
        Self { caller, machine }
    }

    fn require(&self, verb: &str) -> fdo::Result<()> {
        self.caller.require("settings", verb)
    }
}

#[zbus::interface(name = "org.aios.Settings1")]
impl Settings1 {
    /// One setting's value, as JSON.
    async fn get(&self, key: &str) -> fdo::Result<String> {
        self.require("get")?;
        let value = self.machine.get(key).map_err(|error| fdo::Error::InvalidArgs(error.to_string()))?;
        Ok(value.to_string())
    }

    /// Every setting, as one object of values by key.
    async fn list(&self) -> fdo::Result<String> {
        self.require("list")?;
        Ok(json!(self.machine.list().values).to_string())
    }

    /// A `SettingsList`, as soon as the generation is another one than `generation`.
    async fn watch(&self, generation: u64) -> fdo::Result<String> {
        self.require("watch")?;
        Ok(json!(self.machine.list_after(generation).await).to_string())
    }

    /// Changes one setting to a JSON value; answers with a `SettingChanged`.
    async fn set(&self, key: &str, value: &str) -> fdo::Result<String> {
        self.require("set")?;
        Ok(json!(self.machine.set(key, value).map_err(told)?).to_string())
    }

    /// The values of an earlier generation, as one object of values by key.
    async fn earlier(&self, generation: u64) -> fdo::Result<String> {
        self.require("earlier")?;
        Ok(json!(self.machine.earlier(generation).map_err(told)?).to_string())
    }

    /// Takes the values of an earlier generation again; answers with a `SettingsRolledBack`.
    async fn rollback(&self, generation: u64) -> fdo::Result<String> {
        self.require("rollback")?;
        Ok(json!(self.machine.roll_back(generation).map_err(told)?).to_string())
    }
}

fn told(error: ChangeError) -> fdo::Error {
    match error {
        ChangeError::Refused(_)
        | ChangeError::NotJson(_)
        | ChangeError::NoSuchZone { .. }
        | ChangeError::NoSuchLayout { .. } => fdo::Error::InvalidArgs(error_chain(&error)),
        ChangeError::Etc(_) | ChangeError::History(_) => fdo::Error::Failed(error_chain(&error)),
    }
}
