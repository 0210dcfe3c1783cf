//! Services under PID 1.

use super::{ActionType, Adapter, Kind, Reversal, Right, required};
use crate::parameter::Parameter;

const NAME: &[Parameter] = &[required("name", Kind::Name, "the service")];

pub(super) const RESTART: ActionType = ActionType {
    name: "service.restart",
    summary: "Stops a service and starts it again",
    parameters: NAME,
    rights: &[Right::Services],
    reversal: Reversal::None,
    post_condition: "PID 1 started the service once more and it is ready",
    adapter: Adapter::Call("init"),
    example: &[("name", "network")],
};

pub(super) const STOP: ActionType = ActionType {
    name: "service.stop",
    summary: "Stops a service until it is started again; a restart of the machine starts it too",
    parameters: NAME,
    rights: &[Right::Services],
    reversal: Reversal::RestoresBefore,
    post_condition: "PID 1 says that the service is stopped and has no process",
    adapter: Adapter::Call("init"),
    example: &[("name", "network")],
};

pub(super) const START: ActionType = ActionType {
    name: "service.start",
    summary: "Starts a service that is stopped; one that runs stays as it is",
    parameters: NAME,
    rights: &[Right::Services],
    reversal: Reversal::RestoresBefore,
    post_condition: "PID 1 says that the service is ready, or has done its work",
    adapter: Adapter::Call("init"),
    example: &[("name", "network")],
};
