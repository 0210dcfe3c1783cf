//! Apps: handed in with a manifest, tried, approved by a person, run by `task.run`.

use super::{ActionType, Adapter, Example, Kind, LARGEST, Reversal, Right, required};
use crate::parameter::Parameter;

const NAME: Parameter = required("name", Kind::Name, "the app");

const HANDED_IN: &[Parameter] = &[NAME, required("manifest", Kind::AppManifest, "its manifest")];

/// A program of 159 bytes that says hello.
const GREETER: Example = &[
    ("name", "greeter"),
    (
        "manifest",
        concat!(
            r#"{"schema":"aios.app.v1","name":"greeter","summary":"Says hello","origin":"written by hand","tier":"T0","#,
            r#""program":{"sha256":"db4bd4fca191857d7bceff8d5fd1dbc3527f8f470d8952ecf305408e1b54e541","#,
            r#""parts":["apps/greeter"]},"composition":{"tried":["file.read"],"why_not":"no type says hello"},"#,
            r#""tests":[{"output_sha256":"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"}]}"#,
        ),
    ),
];

const INSTALLED: &str = "the object store lists the app at this manifest, and its program has the digest";

pub(super) const REQUEST: ActionType = ActionType {
    name: "app.install.request",
    summary: "Hands in a program with its manifest: it is tried in quarantine, and exists once a person has approved it",
    parameters: HANDED_IN,
    rights: &[Right::Software],
    reversal: Reversal::RestoresBefore,
    post_condition: INSTALLED,
    adapter: Adapter::Call("object-store"),
    example: GREETER,
};

pub(super) const INSTALL: ActionType = ActionType {
    name: "app.install",
    summary: "The same, asked for by a person",
    parameters: HANDED_IN,
    rights: &[Right::Software],
    reversal: Reversal::RestoresBefore,
    post_condition: INSTALLED,
    adapter: Adapter::Call("object-store"),
    example: GREETER,
};

pub(super) const REMOVE: ActionType = ActionType {
    name: "app.remove",
    summary: "Takes an app out of use; its versions stay and can be come back to",
    parameters: &[NAME],
    rights: &[Right::Software],
    reversal: Reversal::RestoresBefore,
    post_condition: "the object store lists no version of the app as the one in use",
    adapter: Adapter::Call("object-store"),
    example: &[("name", "greeter")],
};

pub(super) const ROLLBACK: ActionType = ActionType {
    name: "app.rollback",
    summary: "Takes an earlier version of an app into use again, one that a person approved",
    parameters: &[NAME, required("version", Kind::Number(1, LARGEST), "the earlier version")],
    rights: &[Right::Software],
    reversal: Reversal::RestoresBefore,
    post_condition: "the object store lists that version as the one in use",
    adapter: Adapter::Call("object-store"),
    example: &[("name", "greeter"), ("version", "1")],
};
