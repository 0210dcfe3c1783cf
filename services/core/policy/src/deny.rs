//! What no bundle can permit: a table, asked before the rules.
//!
//! Each row has a stable id and code. The catalogue's own checks already refuse some of what is here; the rows hold
//! even if a parameter's kind is widened one day.

use aios_action::app::app_name;
use aios_action::{Envelope, store_path_and_rest};
use aios_identity::Peer;

/// One compiled-in deny.
pub(crate) struct Deny {
    /// What a decision names as the rule.
    pub(crate) id: &'static str,
    /// The stable reason code.
    pub(crate) code: &'static str,
    /// Why, and what to try.
    pub(crate) says: &'static str,
    applies: fn(&Peer, &Envelope) -> bool,
}

/// The first row that applies to this subject and envelope.
pub(crate) fn find(subject: &Peer, envelope: &Envelope) -> Option<&'static Deny> {
    DENIES.iter().find(|deny| (deny.applies)(subject, envelope))
}

/// In the order in which they are asked.
const DENIES: &[Deny] = &[
    Deny {
        id: "hd.ai_install",
        code: "AIInstallInitiationBlocked",
        says: "an agent never brings software onto the machine; it can hand a program in with 'app.install.request', or \
               ask an operator to run 'aios store add' or 'aios update apply'",
        applies: |subject, envelope| {
            let asked = envelope.request.action_type.as_str();
            subject.is_ai() && (["store.add", "update.apply"].contains(&asked) || is_app_change(asked))
        },
    },
    Deny {
        id: "hd.ai_policy",
        code: "PolicyChangeByPersonOnly",
        says: "only an operator changes the policy: nobody else takes part in saying what is permitted",
        applies: |subject, envelope| !is_person(subject) && envelope.request.action_type.starts_with("policy."),
    },
    Deny {
        id: "hd.ai_identity",
        code: "IdentityChangeByPersonOnly",
        says: "only an operator changes who can log in, and with what",
        applies: |subject, envelope| !is_person(subject) && envelope.request.action_type.starts_with("user."),
    },
    Deny {
        id: "hd.secret_by_ai",
        code: "SubjectKindRejectedForVault",
        says: "only an operator puts or removes a secret, and nobody reads one; 'http.fetch' with 'secret=NAME' uses one",
        applies: |subject, envelope| !is_person(subject) && envelope.request.action_type.starts_with("secret."),
    },
    Deny {
        id: "hd.foreign_pass_phrase",
        code: "ForeignPassPhrase",
        says: "everybody changes only the pass phrase of their own; who has lost theirs is added under another name",
        applies: |subject, envelope| envelope.request.action_type == "user.passphrase" && !is_own(subject, envelope),
    },
    Deny {
        id: "hd.foreign_key",
        code: "ForeignKey",
        says: "everybody adds keys only for themselves: whoever added one for another would answer in their name; anybody \
               can take a key away that was lost",
        applies: |subject, envelope| envelope.request.action_type == "user.key.add" && !is_own(subject, envelope),
    },
    Deny {
        id: "hd.disable_policy_kernel",
        code: "PolicyKernelProtected",
        says: "no action stops or restarts the policy kernel, because without it nothing is decided; PID 1 restarts it \
               when it fails",
        applies: |_, envelope| is_service(envelope, "policy-kernel"),
    },
    Deny {
        id: "hd.disable_evidence_log",
        code: "EvidenceLogProtected",
        says: "no action stops or restarts the evidence log, because without it nothing is recorded; PID 1 restarts it \
               when it fails",
        applies: |_, envelope| is_service(envelope, "evidence-log"),
    },
    Deny {
        id: "hd.disable_init",
        code: "InitProtected",
        says: "PID 1 is not a service that can be restarted; 'reboot' restarts the machine",
        applies: |_, envelope| is_service(envelope, "init"),
    },
    Deny {
        id: "hd.write_outside_granted_folder",
        code: "WriteOutsideGrantedFolder",
        says: "files are read and written only below the granted folder, /aios/groups/home/files; give a path below it",
        applies: |_, envelope| {
            let leaves = |name: &str| !stays_below(text(envelope, name));
            let moves = envelope.request.parameters.contains_key("to");
            envelope.request.action_type.starts_with("file.") && (leaves("path") || (moves && leaves("to")))
        },
    },
    Deny {
        id: "hd.program_outside_store",
        code: "ProgramOutsideStore",
        says: "only programs of the store and apps can be run, /nix/store/<hash>-<name>/bin/<program> or app:<name>; \
               'aios store add' brings the first, 'aios app list' shows the second",
        applies: |_, envelope| {
            envelope.request.action_type == "task.run"
                && app_name(text(envelope, "program")).is_none()
                && store_path_and_rest(text(envelope, "program"))
                    .is_none_or(|(_, below)| below.is_empty() || !stays_below(below))
        },
    },
];

fn is_person(subject: &Peer) -> bool {
    matches!(subject, Peer::Operator { .. })
}

/// Whether a person asks about themselves.
fn is_own(subject: &Peer, envelope: &Envelope) -> bool {
    matches!(subject, Peer::Operator { name, .. } if *name == text(envelope, "name"))
}

/// Which apps there are, and which of them run all the time, is a person's matter, in every verb but the one that only asks.
fn is_app_change(asked: &str) -> bool {
    (asked.starts_with("app.") && asked != "app.install.request")
        || ["service.enable", "service.disable"].contains(&asked)
}

/// Every verb on a service counts, those that the catalogue does not have yet too.
fn is_service(envelope: &Envelope, name: &str) -> bool {
    envelope.request.action_type.starts_with("service.") && text(envelope, "name") == name
}

fn text<'a>(envelope: &'a Envelope, parameter: &str) -> &'a str {
    envelope.request.parameters.get(parameter).and_then(|value| value.as_str()).unwrap_or("")
}

/// Whether a relative path cannot leave its folder.
fn stays_below(path: &str) -> bool {
    path.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use aios_action::Request;
    use aios_identity::SessionStrength;
    use aios_ids::ActionId;
    use serde_json::{Value, json};

    use super::*;

    /// The envelope is not checked against the catalogue: these rows must hold without it.
    fn code(subject: &Peer, action_type: &str, parameters: Value) -> Option<&'static str> {
        let Value::Object(parameters) = parameters else { panic!("parameters are an object") };
        let request = Request::new(action_type, parameters);
        let envelope = Envelope::new(ActionId::new(0, [0; 10]), subject.to_string(), request);
        find(subject, &envelope).map(|deny| deny.code)
    }

    #[test]
    fn the_table_holds_without_the_catalogue() {
        let agent = Peer::Agent { name: "helper".into() };
        let service = Peer::Service { name: "agent-door".into() };
        let ada = Peer::Operator { name: "ada".into(), strength: SessionStrength::PassPhrase };
        for (subject, action_type, parameters, expected) in [
            (&agent, "store.add", json!({}), Some("AIInstallInitiationBlocked")),
            (&agent, "update.apply", json!({}), Some("AIInstallInitiationBlocked")),
            (&service, "store.add", json!({}), None),
            (&agent, "app.install", json!({"name": "x"}), Some("AIInstallInitiationBlocked")),
            (&agent, "app.remove", json!({"name": "x"}), Some("AIInstallInitiationBlocked")),
            (&agent, "service.enable", json!({"name": "x"}), Some("AIInstallInitiationBlocked")),
            (&agent, "service.disable", json!({"name": "x"}), Some("AIInstallInitiationBlocked")),
            (&agent, "app.rollback", json!({"name": "x"}), Some("AIInstallInitiationBlocked")),
            (&agent, "app.install.request", json!({"name": "x"}), None),
            (&ada, "app.install", json!({"name": "x"}), None),
            (&agent, "task.run", json!({"program": "app:x"}), None),
            (&agent, "task.run", json!({"program": "app:../x"}), Some("ProgramOutsideStore")),
            (&agent, "policy.load", json!({}), Some("PolicyChangeByPersonOnly")),
            (&service, "policy.override", json!({}), Some("PolicyChangeByPersonOnly")),
            (&ada, "policy.load", json!({}), None),
            (&agent, "user.add", json!({"name": "eve"}), Some("IdentityChangeByPersonOnly")),
            (&service, "user.passphrase", json!({"name": "ada"}), Some("IdentityChangeByPersonOnly")),
            (&ada, "user.add", json!({"name": "eve"}), None),
            (&agent, "secret.put", json!({"name": "push"}), Some("SubjectKindRejectedForVault")),
            (&agent, "secret.get", json!({"name": "push"}), Some("SubjectKindRejectedForVault")),
            (&service, "secret.remove", json!({"name": "push"}), Some("SubjectKindRejectedForVault")),
            (&ada, "secret.put", json!({"name": "push"}), None),
            (&ada, "user.passphrase", json!({"name": "ada"}), None),
            (&ada, "user.passphrase", json!({"name": "bob"}), Some("ForeignPassPhrase")),
            (&ada, "user.passphrase", json!({}), Some("ForeignPassPhrase")),
            (&agent, "user.key.add", json!({"name": "helper"}), Some("IdentityChangeByPersonOnly")),
            (&service, "user.key.remove", json!({"name": "ada"}), Some("IdentityChangeByPersonOnly")),
            (&ada, "user.key.add", json!({"name": "ada"}), None),
            (&ada, "user.key.add", json!({"name": "bob"}), Some("ForeignKey")),
            (&ada, "user.key.add", json!({}), Some("ForeignKey")),
            (&ada, "user.key.remove", json!({"name": "bob"}), None),
            (&service, "service.restart", json!({"name": "policy-kernel"}), Some("PolicyKernelProtected")),
            (&service, "service.stop", json!({"name": "policy-kernel"}), Some("PolicyKernelProtected")),
            (&agent, "service.stop", json!({"name": "evidence-log"}), Some("EvidenceLogProtected")),
            (&service, "service.restart", json!({"name": "init"}), Some("InitProtected")),
            (&service, "service.restart", json!({"name": "network"}), None),
            (&agent, "agent.run", json!({"name": "policy-kernel"}), None),
            (&agent, "file.write", json!({"path": "notes/a.txt"}), None),
            (&agent, "file.write", json!({"path": "../a"}), Some("WriteOutsideGrantedFolder")),
            (&agent, "file.write", json!({"path": "a/../../b"}), Some("WriteOutsideGrantedFolder")),
            (&agent, "file.write", json!({"path": "/root/key"}), Some("WriteOutsideGrantedFolder")),
            (&agent, "file.write", json!({"path": ["a"]}), Some("WriteOutsideGrantedFolder")),
            (&agent, "file.write", json!({}), Some("WriteOutsideGrantedFolder")),
            (&agent, "file.read", json!({"path": "../key"}), Some("WriteOutsideGrantedFolder")),
            (&agent, "file.move", json!({"path": "a", "to": "b"}), None),
            (&agent, "file.move", json!({"path": "a", "to": "../b"}), Some("WriteOutsideGrantedFolder")),
            (&agent, "file.move", json!({"path": "/a", "to": "b"}), Some("WriteOutsideGrantedFolder")),
            (&service, "task.run", json!({"program": "/bin/sh"}), Some("ProgramOutsideStore")),
            (
                &service,
                "task.run",
                json!({"program": "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x/../../../bin/sh"}),
                Some("ProgramOutsideStore"),
            ),
            (&service, "task.run", json!({"program": "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x/bin/x"}), None),
        ] {
            assert_eq!(code(subject, action_type, parameters.clone()), expected, "{action_type} {parameters}");
        }
    }

    #[test]
    fn ids_and_codes_are_stable_and_unique() {
        for (place, deny) in DENIES.iter().enumerate() {
            assert!(deny.id.starts_with("hd."), "{}", deny.id);
            assert!(DENIES[..place].iter().all(|other| other.id != deny.id && other.code != deny.code), "{}", deny.id);
        }
    }
}
