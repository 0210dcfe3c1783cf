//! Settings, from which `/etc` follows.

use super::{ActionType, Adapter, Kind, Reversal, Right, required};

pub(super) const SET: ActionType = ActionType {
    name: "settings.set",
    summary: "Changes one setting; /etc follows",
    parameters: &[required("key", Kind::SettingKey, "the setting"), required("value", Kind::Value, "its new value")],
    rights: &[Right::Settings],
    reversal: Reversal::RestoresBefore,
    post_condition: "the settings service returns the value",
    adapter: Adapter::Call("settings"),
    example: &[("key", "hostname"), ("value", "workshop")],
};
