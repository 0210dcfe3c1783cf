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

const APP: &[Parameter] = &[required("name", Kind::Name, "the app")];

pub(super) const ENABLE: ActionType = ActionType {
    name: "service.enable",
    summary: "Makes the version of an app that is in use a service, now and at each start of the machine",
    parameters: APP,
    rights: &[Right::Services, Right::Software],
    reversal: Reversal::RestoresBefore,
    post_condition: "the object store lists the app as a service, and PID 1 says that it is ready",
    adapter: Adapter::Call("object-store"),
    example: &[("name", "greeter")],
};

pub(super) const DISABLE: ActionType = ActionType {
    name: "service.disable",
    summary: "Ends an app that is a service; the app stays in use",
    parameters: APP,
    rights: &[Right::Services, Right::Software],
    reversal: Reversal::RestoresBefore,
    post_condition: "the object store does not list the app as a service, and PID 1 has no unit of it",
    adapter: Adapter::Call("object-store"),
    example: &[("name", "greeter")],
};
