//! People's public keys: what the policy kernel lists for a person.

use aios_wire::policy::KeyView;
use serde_json::json;

use super::Judgement;

/// The key is there. What its owner wrote beside it is not part of it.
pub(super) fn listed(name: &str, wanted: &str, found: &[KeyView]) -> Judgement {
    let key = |line: &str| line.split(' ').take(2).map(str::to_owned).collect::<Vec<_>>();
    let there = found.iter().find(|listed| key(&listed.line) == key(wanted));
    let text = match there {
        Some(key) => format!("{} is a key of '{name}'", key.fingerprint),
        None => format!("the key is none of the {} of '{name}'", found.len()),
    };
    Judgement { held: there.is_some(), observed: json!({"keys": fingerprints(found)}), text }
}

/// The key is not there.
pub(super) fn gone(name: &str, fingerprint: &str, found: &[KeyView]) -> Judgement {
    let held = found.iter().all(|listed| listed.fingerprint != fingerprint);
    let text = format!("{fingerprint} is {} of '{name}'", if held { "no key" } else { "still a key" });
    Judgement { held, observed: json!({"keys": fingerprints(found)}), text }
}

fn fingerprints(keys: &[KeyView]) -> Vec<&str> {
    keys.iter().map(|key| key.fingerprint.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_there_by_its_bytes_and_gone_by_its_fingerprint() {
        let found = [KeyView { fingerprint: "SHA256:one".into(), line: "ssh-ed25519 AAAA ada@desk".into() }];
        assert!(listed("ada", "ssh-ed25519 AAAA", &found).held);
        assert!(listed("ada", "ssh-ed25519 AAAA another comment", &found).held);
        assert!(!listed("ada", "ssh-ed25519 AAAB ada@desk", &found).held);
        assert!(!listed("ada", "sk-ssh-ed25519@openssh.com AAAA", &found).held);
        assert!(!listed("ada", "ssh-ed25519 AAAA", &[]).held);
        assert!(gone("ada", "SHA256:two", &found).held && gone("ada", "SHA256:one", &[]).held);
        assert!(!gone("ada", "SHA256:one", &found).held);
    }
}
