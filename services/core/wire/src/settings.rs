//! What the settings service answers. The settings themselves are typed in `aios-settings`; here their values travel by key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Every setting, as one generation has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettingsList {
    /// Counts from 0, the defaults; each change makes the next one.
    pub generation: u64,
    /// The values by key, such as `network.links`.
    pub values: BTreeMap<String, Value>,
}

/// The answer to `Set`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettingChanged {
    /// The setting.
    pub key: String,
    /// Its value before.
    pub old: Value,
    /// Its value now.
    pub new: Value,
    /// The generation that has the new value.
    pub generation: u64,
}

/// The answer to `Rollback`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettingsRolledBack {
    /// The generation whose values were taken again.
    pub from: u64,
    /// The new generation that has them.
    pub generation: u64,
    /// The keys whose values changed by it.
    pub changed: Vec<String>,
}
