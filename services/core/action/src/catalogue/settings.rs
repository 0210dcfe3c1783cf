//! Settings, from which `/etc` follows.

use super::{ActionType, Adapter, Kind, LARGEST, Reversal, Right, required};

pub(super) const SET: ActionType = ActionType {
    name: "settings.set",
    summary: "Changes one setting; /etc follows",
    parameters: &[required("key", Kind::SettingKey, "the setting"), required("value", Kind::Value, "its new value")],
    rights: &[Right::Settings],
    reversal: Reversal::RestoresBefore,
    post_condition: "the settings service returns the value; for the host name /etc says it too",
    adapter: Adapter::Call("settings"),
    example: &[("key", "hostname"), ("value", "workshop")],
};

pub(super) const ROLLBACK: ActionType = ActionType {
    name: "settings.rollback",
    summary: "Takes every value of an earlier generation of the settings again, as a new generation",
    parameters: &[required("generation", Kind::Number(0, LARGEST), "the earlier generation; 0 is a new machine's")],
    rights: &[Right::Settings],
    reversal: Reversal::RestoresBefore,
    post_condition: "every setting has the value of that generation",
    adapter: Adapter::Call("settings"),
    example: &[("generation", "0")],
};
