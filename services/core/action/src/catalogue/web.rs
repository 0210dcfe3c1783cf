//! Asking other machines.

use super::{ActionType, Adapter, CONTENT_LIMIT, Kind, Reversal, Right, optional, required};

const METHODS: &[&str] = &["GET", "HEAD", "POST"];

const MEDIA_TYPES: &[&str] =
    &["text/plain", "application/json", "application/x-www-form-urlencoded", "application/octet-stream"];

pub(super) const FETCH: ActionType = ActionType {
    name: "http.fetch",
    summary: "Asks a host that fetch.allow lists, and keeps the answer, of at most 8 MiB, as an object; of HEAD the head",
    parameters: &[
        required("url", Kind::WebUrl, "the address; it is recorded, so nothing secret belongs into it"),
        required("object", Kind::ObjectName, "the object that the answer becomes the newest version of"),
        optional("method", Kind::OneOf(METHODS), "what is asked for; GET without it"),
        optional("body", Kind::Text(CONTENT_LIMIT), "what a POST hands over"),
        optional("body_type", Kind::OneOf(MEDIA_TYPES), "what that is; text/plain without it"),
        optional("secret", Kind::Name, "a secret of the vault, which is sent only to the hosts it is for"),
    ],
    rights: &[Right::Network, Right::Objects],
    reversal: Reversal::None,
    post_condition: "the object store has the version that the vault names, and its bytes have the digest of the answer",
    adapter: Adapter::Call("vault"),
    example: &[("url", "http://10.0.2.2:8080/page.txt"), ("object", "web/page")],
};
