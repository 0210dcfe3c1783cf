//! What the vault did: what it fetched, and which secrets there are.

use aios_ids::Digest;
use aios_wire::vault::{Fetched, SecretState, SecretView};
use serde_json::json;

use super::Judgement;

/// The answer that the vault had is what the object store keeps. `found` is the digest of the version's own bytes.
pub(super) fn fetched(wanted: &str, fetched: &Fetched, found: Digest) -> Judgement {
    let Fetched { url, status, object, version, sha256, size, redacted } = fetched;
    let held = object == wanted && *sha256 == found;
    let text = match held {
        true => format!("{url} answered {status}; its {size} bytes are version {version} of {object}, digest {found}"),
        false => format!("version {version} of {object} has the digest {found}, and the answer {sha256}"),
    };
    let observed = json!({
        "url": url, "status": status, "version": version, "sha256": found, "size": size, "redacted": redacted,
    });
    Judgement { held, observed, text }
}

/// The secret is there because of this action, or, without one, it is not there.
pub(super) fn listed(name: &str, put_by: Option<&str>, found: Option<SecretView>) -> Judgement {
    let (held, text) = match (put_by, &found) {
        (None, None) => (true, format!("the vault keeps no secret '{name}'")),
        (None, Some(_)) => (false, format!("the vault still keeps the secret '{name}'")),
        (Some(_), None) => (false, format!("the vault keeps no secret '{name}'")),
        (Some(put_by), Some(SecretView { state: SecretState::Kept { action, hosts, .. }, .. })) => {
            (action == put_by, format!("the secret '{name}' for {} was put by {action}", hosts.join(", ")))
        }
        (Some(_), Some(SecretView { state: SecretState::Damaged { why }, .. })) => (false, why.clone()),
    };
    Judgement { held, observed: json!({"secret": found}), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_fetched_is_what_is_kept() {
        let answer = Fetched {
            url: "http://10.0.2.2/x".into(),
            status: 200,
            object: "web/x".into(),
            version: 3,
            sha256: Digest::of(b"x"),
            size: 1,
            redacted: 0,
        };
        assert!(fetched("web/x", &answer, Digest::of(b"x")).held);
        assert!(!fetched("web/x", &answer, Digest::of(b"y")).held && !fetched("web/y", &answer, Digest::of(b"x")).held);
    }

    #[test]
    fn a_secret_is_there_because_of_the_action() {
        let kept = |action: &str| SecretView {
            name: "push".into(),
            state: SecretState::Kept { hosts: vec![], header: String::new(), action: action.into() },
        };
        let damaged = SecretView { name: "push".into(), state: SecretState::Damaged { why: "cut".into() } };
        let held = |put_by, found| listed("push", put_by, found).held;
        assert!(held(Some("one"), Some(kept("one"))) && held(None, None));
        assert!(!held(Some("one"), Some(kept("two"))) && !held(Some("one"), None) && !held(Some("one"), Some(damaged)));
        assert!(!held(None, Some(kept("one"))));
    }
}
