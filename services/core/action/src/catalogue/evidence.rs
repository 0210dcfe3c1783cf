//! The log of what happened, for somebody outside.

use super::{ActionType, Adapter, Kind, Reversal, Right, required};

pub(super) const EXPORT: ActionType = ActionType {
    name: "evidence.export",
    summary: "Keeps the whole evidence log with its proofs, of at most 32 MiB, as an object for 'aios evidence verify'",
    parameters: &[required("object", Kind::ObjectName, "the object that the export becomes the newest version of")],
    rights: &[Right::Evidence, Right::Objects],
    reversal: Reversal::None,
    post_condition: "the object's newest version verifies under the key of this log and holds this action's own intent",
    adapter: Adapter::Call("evidence-log"),
    example: &[("object", "logs/today")],
};
