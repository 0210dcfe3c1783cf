//! Files below the granted folder, reached by its descriptor alone.

use super::{ActionType, Adapter, CONTENT_LIMIT, Kind, Reversal, Right, required};
use crate::parameter::Parameter;

const PATH: Parameter = required("path", Kind::RelativePath, "the file");

pub(super) const READ: ActionType = ActionType {
    name: "file.read",
    summary: "Reads a file of the granted folder of at most 32 KiB; the content is kept with the action",
    parameters: &[PATH],
    rights: &[Right::Files],
    reversal: Reversal::None,
    post_condition: "the content that was read has the digest of the file",
    adapter: Adapter::Folder,
    example: &[("path", "notes/today.txt")],
};

pub(super) const WRITE: ActionType = ActionType {
    name: "file.write",
    summary: "Writes a file in the granted folder, whole or not at all",
    parameters: &[PATH, required("content", Kind::Text(CONTENT_LIMIT), "its content")],
    rights: &[Right::Files],
    reversal: Reversal::RestoresBefore,
    post_condition: "the digest of the file's bytes is the content's",
    adapter: Adapter::Folder,
    example: &[("path", "notes/today.txt"), ("content", "hello")],
};

pub(super) const PATCH: ActionType = ActionType {
    name: "file.patch",
    summary: "Replaces the one place of a file where a text stands; none or two such places are refused",
    parameters: &[
        PATH,
        required("old", Kind::Text(CONTENT_LIMIT), "what stands there, exactly"),
        required("new", Kind::Text(CONTENT_LIMIT), "what shall stand there"),
    ],
    rights: &[Right::Files],
    reversal: Reversal::RestoresBefore,
    post_condition: "the file's bytes are those before with that one place replaced",
    adapter: Adapter::Folder,
    example: &[("path", "notes/today.txt"), ("old", "hello"), ("new", "goodbye")],
};

pub(super) const MOVE: ActionType = ActionType {
    name: "file.move",
    summary: "Gives a file another name in the granted folder; a name that is taken is refused",
    parameters: &[PATH, required("to", Kind::RelativePath, "its new path")],
    rights: &[Right::Files],
    reversal: Reversal::RestoresBefore,
    post_condition: "the new path has the bytes that the old one had, and the old one is not there",
    adapter: Adapter::Folder,
    example: &[("path", "notes/today.txt"), ("to", "notes/yesterday.txt")],
};

pub(super) const DELETE: ActionType = ActionType {
    name: "file.delete",
    summary: "Removes a file of the granted folder",
    parameters: &[PATH],
    rights: &[Right::Files],
    reversal: Reversal::RestoresBefore,
    post_condition: "the file was there and is not",
    adapter: Adapter::Folder,
    example: &[("path", "notes/today.txt")],
};
