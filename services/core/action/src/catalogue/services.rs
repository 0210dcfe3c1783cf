//! Services under PID 1.

use super::{ActionType, Adapter, Kind, Reversal, Right, required};

pub(super) const RESTART: ActionType = ActionType {
    name: "service.restart",
    summary: "Stops a service and starts it again",
    parameters: &[required("name", Kind::Name, "the service")],
    rights: &[Right::Services],
    reversal: Reversal::None,
    post_condition: "PID 1 started the service once more and it is ready",
    adapter: Adapter::Call("init"),
    example: &[("name", "network")],
};
