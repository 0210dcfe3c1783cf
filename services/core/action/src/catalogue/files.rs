//! Files below the granted folder, reached by its descriptor alone.

use super::{ActionType, Adapter, CONTENT_LIMIT, Kind, Reversal, Right, required};

pub(super) const WRITE: ActionType = ActionType {
    name: "file.write",
    summary: "Writes a file in the granted folder, whole or not at all",
    parameters: &[
        required("path", Kind::RelativePath, "the file"),
        required("content", Kind::Text(CONTENT_LIMIT), "its content"),
    ],
    rights: &[Right::Files],
    reversal: Reversal::RestoresBefore,
    post_condition: "the file's digest is the content's",
    adapter: Adapter::Folder,
    example: &[("path", "notes/today.txt"), ("content", "hello")],
};
