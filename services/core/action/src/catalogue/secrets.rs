//! Secrets of the vault. Their values are no parameters, because parameters are recorded: a value is handed to the vault
//! before, and named here by what the vault called it. There is no type that reads one.

use super::{ActionType, Adapter, Kind, Reversal, Right, optional, required};
use crate::parameter::Parameter;

const NAME: Parameter = required("name", Kind::Name, "the secret");

pub(super) const PUT: ActionType = ActionType {
    name: "secret.put",
    summary: "Seals the value that was handed over, for these hosts alone; 'aios secret add' asks for the value",
    parameters: &[
        NAME,
        required("hosts", Kind::Words, "whom it may be sent to; a host alone means with TLS, http://HOST without"),
        required("offer", Kind::Digest, "what the vault called the value"),
        optional("header", Kind::Text(256), "the header it goes into; 'Authorization: Bearer {}' without it"),
    ],
    rights: &[Right::Secrets],
    reversal: Reversal::None,
    post_condition: "the vault lists the secret as put by this action",
    adapter: Adapter::Call("vault"),
    example: &[
        ("name", "push"),
        ("hosts", "api.example.org"),
        ("offer", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ],
};

pub(super) const REMOVE: ActionType = ActionType {
    name: "secret.remove",
    summary: "Forgets a secret",
    parameters: &[NAME],
    rights: &[Right::Secrets],
    reversal: Reversal::None,
    post_condition: "the vault does not list the secret",
    adapter: Adapter::Call("vault"),
    example: &[("name", "push")],
};
