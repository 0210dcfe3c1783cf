//! Named objects with versions.

use super::{ActionType, Adapter, CONTENT_LIMIT, Kind, LARGEST, Reversal, Right, optional, required};
use crate::parameter::Parameter;

const NAME: Parameter = required("name", Kind::ObjectName, "the object");

pub(super) const PUT: ActionType = ActionType {
    name: "object.put",
    summary: "Stores a new version of a named object",
    parameters: &[
        NAME,
        required("content", Kind::Text(CONTENT_LIMIT), "its content"),
        optional("encoding", Kind::Choice(&["text", "base64"]), "how the content is written; text without it"),
    ],
    rights: &[Right::Objects],
    reversal: Reversal::None,
    post_condition: "the digest of the newest version's bytes is the content's",
    adapter: Adapter::Call("object-store"),
    example: &[("name", "notes/today"), ("content", "hello")],
};

pub(super) const TRANSACTION: ActionType = ActionType {
    name: "object.transaction",
    summary: "Stores new versions of several objects, all of them or none",
    parameters: &[required("objects", Kind::Contents(CONTENT_LIMIT), "the objects with their contents")],
    rights: &[Right::Objects],
    reversal: Reversal::None,
    post_condition: "the digest of each object's newest version is its content's",
    adapter: Adapter::Call("object-store"),
    example: &[("objects", r#"[{"content":"left","name":"notes/left"},{"content":"right","name":"notes/right"}]"#)],
};

pub(super) const ROLLBACK: ActionType = ActionType {
    name: "object.rollback",
    summary: "Makes the content of an earlier version an object's newest version",
    parameters: &[NAME, required("version", Kind::Number(1, LARGEST), "the earlier version")],
    rights: &[Right::Objects],
    reversal: Reversal::None,
    post_condition: "the newest version's bytes are those of the earlier one",
    adapter: Adapter::Call("object-store"),
    example: &[("name", "notes/today"), ("version", "1")],
};

pub(super) const TAG: ActionType = ActionType {
    name: "object.tag",
    summary: "Gives a version of an object a name of its own",
    parameters: &[
        NAME,
        required("tag", Kind::Tag, "the tag; one that is there moves"),
        required("version", Kind::Number(1, LARGEST), "the version"),
    ],
    rights: &[Right::Objects],
    reversal: Reversal::RestoresBefore,
    post_condition: "the object store lists the tag at the version",
    adapter: Adapter::Call("object-store"),
    example: &[("name", "notes/today"), ("tag", "kept"), ("version", "1")],
};

pub(super) const UNTAG: ActionType = ActionType {
    name: "object.untag",
    summary: "Removes a tag; the version stays",
    parameters: &[NAME, required("tag", Kind::Tag, "the tag")],
    rights: &[Right::Objects],
    reversal: Reversal::RestoresBefore,
    post_condition: "the object store does not list the tag",
    adapter: Adapter::Call("object-store"),
    example: &[("name", "notes/today"), ("tag", "kept")],
};
