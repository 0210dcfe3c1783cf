//! Named objects with versions.

use super::{ActionType, Adapter, CONTENT_LIMIT, Kind, Reversal, Right, required};

pub(super) const PUT: ActionType = ActionType {
    name: "object.put",
    summary: "Stores a new version of a named object",
    parameters: &[
        required("name", Kind::ObjectName, "the object"),
        required("content", Kind::Text(CONTENT_LIMIT), "its content"),
    ],
    rights: &[Right::Objects],
    reversal: Reversal::None,
    post_condition: "the newest version's digest is the content's",
    adapter: Adapter::Call("object-store"),
    example: &[("name", "notes/today"), ("content", "hello")],
};
