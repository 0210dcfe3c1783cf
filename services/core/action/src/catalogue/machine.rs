//! The machine as a whole.

use super::{ActionType, Adapter, Reversal, Right};

pub(super) const REBOOT: ActionType = ActionType {
    name: "node.reboot",
    summary: "Ends everything in order and starts the machine again",
    parameters: &[],
    rights: &[Right::Power],
    reversal: Reversal::None,
    post_condition: "the machine runs with another boot id",
    adapter: Adapter::Call("init"),
    example: &[],
};
