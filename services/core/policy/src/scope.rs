//! Rules by whom and what they name, so that a question is put to those that can apply and the cost does not grow with the
//! rules about others.
//!
//! A rule of another action or another kind of subject is neither satisfied nor broken: Cedar looks at the scope before
//! anything else. So leaving it out changes no answer, and whatever is in doubt is left in.

use std::collections::HashMap;

use cedar_policy::{
    ActionConstraint, EntityTypeName, EntityUid, Policy, PolicySet, PolicySetError, PrincipalConstraint, Request,
    Schema,
};

/// All rules, and for each kind of subject and each action those that can apply.
pub(crate) struct Scopes {
    all: PolicySet,
    sets: HashMap<(EntityTypeName, EntityUid), PolicySet>,
}

impl Scopes {
    /// Sorts the rules by the words of a schema.
    pub(crate) fn sort(all: PolicySet, schema: &Schema) -> Result<Self, Box<PolicySetError>> {
        let mut sets = HashMap::new();
        for principal in schema.principals() {
            for action in schema.actions() {
                let key = (principal.clone(), action.clone());
                if sets.contains_key(&key) {
                    continue;
                }
                let rules = all.policies().filter(|rule| can_apply(rule, principal, action)).cloned();
                sets.insert(key, PolicySet::from_policies(rules).map_err(Box::new)?);
            }
        }
        Ok(Self { all, sets })
    }

    /// The rules that a request has to be put to.
    pub(crate) fn of(&self, request: &Request) -> &PolicySet {
        let (Some(principal), Some(action)) = (request.principal(), request.action()) else { return &self.all };
        self.sets.get(&(principal.type_name().clone(), action.clone())).unwrap_or(&self.all)
    }

    /// All rules.
    #[cfg(test)]
    pub(crate) fn all(&self) -> &PolicySet {
        &self.all
    }
}

fn can_apply(rule: &Policy, principal: &EntityTypeName, action: &EntityUid) -> bool {
    let whom = match rule.principal_constraint() {
        PrincipalConstraint::Eq(only) => only.type_name() == principal,
        PrincipalConstraint::Is(kind) | PrincipalConstraint::IsIn(kind, _) => kind == *principal,
        PrincipalConstraint::Any | PrincipalConstraint::In(_) => true,
    };
    let what = match rule.action_constraint() {
        ActionConstraint::Eq(only) => only == *action,
        // A group has its actions in it, which only the question knows.
        ActionConstraint::Any | ActionConstraint::In(_) => true,
    };
    whom && what
}

#[cfg(test)]
mod tests {
    use aios_action::{CATALOGUE, Constraints, Envelope, Request as Asked};
    use aios_identity::{Peer, SessionStrength};
    use aios_ids::ActionId;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use crate::request::{Question, question};
    use crate::rules::Rules;

    /// Every rule that can be made of these parts and that the schema takes.
    fn candidates() -> Vec<String> {
        let mut all = Vec::new();
        let whom = ["principal", "principal is Operator", "principal is Agent", "principal == Agent::\"helper\""];
        let actions = CATALOGUE.iter().map(|entry| format!("action == Action::\"{}\"", entry.name));
        let groups = ["action in [Action::\"object.put\", Action::\"node.reboot\"]".to_owned(), "action".to_owned()];
        let actions: Vec<_> = actions.chain(groups).collect();
        let conditions = [
            "",
            " when { resource == Unit::\"network\" }",
            " when { resource has name }",
            " unless { principal is Agent }",
        ];
        for effect in ["permit", "forbid", "@approval(\"person\") permit"] {
            for whom in whom {
                for action in &actions {
                    for condition in conditions {
                        all.push(format!("{effect} ({whom}, {action}, resource){condition};"));
                    }
                }
            }
        }
        all.retain(|rule| Rules::compile([("one", format!("@id(\"x\") {rule}").as_str())]).is_ok());
        all
    }

    fn questions(rules: &Rules) -> Vec<Question> {
        let peers = [
            Peer::Operator { name: "ada".into(), strength: SessionStrength::PassPhrase },
            Peer::Agent { name: "helper".into() },
            Peer::Agent { name: "other".into() },
            Peer::Service { name: "console".into() },
        ];
        let mut all = Vec::new();
        for peer in peers {
            for entry in CATALOGUE {
                let everything = json!({"name": "network", "key": "hostname", "value": "box", "path": "a/b", "content": "x",
                    "program": "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x/bin/x", "source": "http://h", "cache": "http://h"});
                let Value::Object(mut parameters) = everything else { panic!("an object") };
                if entry.name == "store.add" {
                    parameters.insert("path".into(), "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x".into());
                }
                let asked = Asked {
                    action_type: entry.name.into(),
                    parameters,
                    reason: String::new(),
                    idempotency_key: None,
                    constraints: Constraints::default(),
                };
                let envelope = Envelope::new(ActionId::new(1, [1; 10]), peer.to_string(), asked);
                all.push(question(rules.schema(), &envelope, &peer).expect("a question"));
            }
        }
        all
    }

    #[test]
    fn leaving_out_what_cannot_apply_changes_no_answer() {
        let candidates = candidates();
        assert!(candidates.len() > 100, "{}", candidates.len());
        let places = proptest::collection::vec(0..candidates.len(), 1..40);
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(48));
        let ran = runner.run(&places, |places| {
            let named = places.iter().enumerate();
            let text: String = named.map(|(id, place)| format!("@id(\"r{id}\") {}\n", candidates[*place])).collect();
            let rules = Rules::compile([("many", text.as_str())]).expect("each is sound");
            for question in questions(&rules) {
                prop_assert_eq!(rules.ask(&question), rules.ask_all(&question), "{}", text);
            }
            Ok(())
        });
        ran.expect("the same answers");
    }
}
