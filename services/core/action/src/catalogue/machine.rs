//! The machine as a whole: its power, its clock, whom it reaches.

use super::{ActionType, Adapter, Kind, Reversal, Right, required};

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

pub(super) const POWEROFF: ActionType = ActionType {
    name: "node.poweroff",
    summary: "Ends everything in order and turns the machine off",
    parameters: &[],
    rights: &[Right::Power],
    reversal: Reversal::None,
    post_condition: "when the machine runs again it does so with another boot id",
    adapter: Adapter::Call("init"),
    example: &[],
};

pub(super) const TIME_SET: ActionType = ActionType {
    name: "time.set",
    summary: "Sets the clock; time servers, where there are some, set it again",
    parameters: &[required("time", Kind::Moment, "the time")],
    rights: &[Right::Clock],
    reversal: Reversal::None,
    post_condition: "the clock shows the time, give or take a minute",
    adapter: Adapter::Call("init"),
    example: &[("time", "2027-01-01T12:00:00Z")],
};

pub(super) const NETWORK_CHECK: ActionType = ActionType {
    name: "network.check",
    summary: "Looks up a host and opens a TCP connection to it, which is closed at once; nothing is sent",
    parameters: &[required("host", Kind::Host, "the host"), required("port", Kind::Number(1, 65_535), "its TCP port")],
    rights: &[Right::Network],
    reversal: Reversal::None,
    post_condition: "the network service, asked again by the verifier, connects",
    adapter: Adapter::Call("network"),
    example: &[("host", "10.0.2.2"), ("port", "8080")],
};
