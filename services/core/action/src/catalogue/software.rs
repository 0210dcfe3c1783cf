//! Programs: brought onto the machine, run, started as agents, and the system itself.

use super::{ActionType, Adapter, Kind, Reversal, Right, optional, required};

pub(super) const STORE_ADD: ActionType = ActionType {
    name: "store.add",
    summary: "Fetches a store path with everything it refers to from a binary cache, verifies it, makes it visible",
    parameters: &[
        required("path", Kind::StorePath, "the store path"),
        required("cache", Kind::Url, "the binary cache"),
        required("key", Kind::PublicKey, "the only key whose signature counts"),
    ],
    rights: &[Right::Software],
    reversal: Reversal::None,
    post_condition: "the store lists the path with the signed hash",
    adapter: Adapter::Call("object-store"),
    example: &[
        ("path", "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-hello-1.0"),
        ("cache", "http://10.0.2.2:8080"),
        ("key", "cache:AAAA"),
    ],
};

pub(super) const TASK_RUN: ActionType = ActionType {
    name: "task.run",
    summary: "Runs a program of the store, or an app, in the action sandbox and keeps what it prints",
    parameters: &[required("program", Kind::Program, "the program"), optional("args", Kind::Words, "its arguments")],
    rights: &[Right::Execute],
    reversal: Reversal::None,
    post_condition: "the program ended with status 0",
    adapter: Adapter::Program,
    example: &[("program", "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-hello-1.0/bin/hello"), ("args", "--version")],
};

pub(super) const AGENT_RUN: ActionType = ActionType {
    name: "agent.run",
    summary: "Starts an agent from its manifest",
    parameters: &[required("name", Kind::Name, "the agent")],
    rights: &[Right::Agents],
    reversal: Reversal::None,
    post_condition: "PID 1 started the agent in its own cgroup",
    adapter: Adapter::Call("init"),
    example: &[("name", "example")],
};

pub(super) const UPDATE_APPLY: ActionType = ActionType {
    name: "update.apply",
    summary: "Writes a newer release of the system to the other slot; it is tried at the next start",
    parameters: &[required("source", Kind::Url, "the release's folder")],
    rights: &[Right::System],
    reversal: Reversal::None,
    post_condition: "the other slot holds the release and is next to start",
    adapter: Adapter::Call("updater"),
    example: &[("source", "http://10.0.2.2:8080/release")],
};
