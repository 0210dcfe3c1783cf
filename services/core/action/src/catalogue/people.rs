//! Who decides: the policy, the people who can log in, and whose signatures are theirs. Nothing secret is a parameter, because parameters are recorded:
//! a bundle is offered to the policy kernel before and named by its digest here, and so is a pass phrase, by its owner's
//! name.

use super::{ActionType, Adapter, Kind, Reversal, Right, required};

pub(super) const POLICY_LOAD: ActionType = ActionType {
    name: "policy.load",
    summary: "Puts a signed policy bundle with a higher epoch in force",
    parameters: &[required("digest", Kind::Digest, "the SHA-256 of the bundle that was offered")],
    rights: &[Right::Policy],
    reversal: Reversal::None,
    post_condition: "the policy kernel decides by the bundle with this digest",
    adapter: Adapter::Call("policy-kernel"),
    example: &[("digest", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")],
};

pub(super) const USER_ADD: ActionType = ActionType {
    name: "user.add",
    summary: "Lets one more person log in, with the pass phrase that was offered for the name",
    parameters: &[required("name", Kind::Name, "the person")],
    rights: &[Right::Identity],
    reversal: Reversal::None,
    post_condition: "the policy kernel lists the person",
    adapter: Adapter::Call("policy-kernel"),
    example: &[("name", "grace")],
};

pub(super) const USER_PASSPHRASE: ActionType = ActionType {
    name: "user.passphrase",
    summary: "Changes the pass phrase of the one who asks to the one that was offered",
    parameters: &[required("name", Kind::Name, "the person")],
    rights: &[Right::Identity],
    reversal: Reversal::None,
    post_condition: "the policy kernel has changed the person's pass phrase once more",
    adapter: Adapter::Call("policy-kernel"),
    example: &[("name", "ada")],
};

pub(super) const USER_KEY_ADD: ActionType = ActionType {
    name: "user.key.add",
    summary: "Takes what this key signs as an answer of the one who asks",
    parameters: &[
        required("name", Kind::Name, "the person"),
        required("key", Kind::PersonKey, "the public key, as OpenSSH writes it"),
    ],
    rights: &[Right::Identity],
    reversal: Reversal::None,
    post_condition: "the policy kernel lists the key for the person",
    adapter: Adapter::Call("policy-kernel"),
    example: &[
        ("name", "ada"),
        ("key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHeRuMaK1JUGpprU/AlfDyl/sGC+R2/nknB1ZLTY348A ada@desk"),
    ],
};

pub(super) const USER_KEY_REMOVE: ActionType = ActionType {
    name: "user.key.remove",
    summary: "Takes what this key signs as nobody's answer any more",
    parameters: &[
        required("name", Kind::Name, "the person"),
        required("fingerprint", Kind::KeyFingerprint, "the key's SHA-256, as ssh-keygen -l writes it"),
    ],
    rights: &[Right::Identity],
    reversal: Reversal::None,
    post_condition: "the policy kernel does not list the key for the person",
    adapter: Adapter::Call("policy-kernel"),
    example: &[("name", "ada"), ("fingerprint", "SHA256:xddShKmKB2KQVov09fhMchBxGguiRWp0ouYoTsWBmT8")],
};
