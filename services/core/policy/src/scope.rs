//! Rules by whom, what and which thing they name, so that a question is put to those that can apply and the cost does not
//! grow with the rules about others.
//!
//! A rule of another action, another kind of subject or another thing is neither satisfied nor broken: Cedar looks at the
//! scope before anything else. So leaving it out changes no answer, and whatever is in doubt is left in.

use std::collections::HashMap;

use cedar_policy::{
    ActionConstraint, EntityTypeName, EntityUid, Policy, PolicySet, PolicySetError, PrincipalConstraint, Request,
    ResourceConstraint, Schema,
};

/// All rules, and for each kind of subject and each action those that can apply.
pub(crate) struct Scopes {
    all: PolicySet,
    sets: HashMap<(EntityTypeName, EntityUid), Scope>,
}

/// The rules for one kind of subject and one action.
#[derive(Default)]
struct Scope {
    /// Those that are about many things.
    many: PolicySet,
    /// Those that are about one thing only.
    one: HashMap<EntityUid, PolicySet>,
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
                let mut scope = Scope::default();
                for rule in all.policies().filter(|rule| can_apply(rule, principal, action)) {
                    let set = match rule.resource_constraint() {
                        ResourceConstraint::Eq(thing) => scope.one.entry(thing).or_default(),
                        _ => &mut scope.many,
                    };
                    set.add(rule.clone()).map_err(Box::new)?;
                }
                sets.insert(key, scope);
            }
        }
        Ok(Self { all, sets })
    }

    /// The rules that a request has to be put to.
    pub(crate) fn of(&self, request: &Request) -> Vec<&PolicySet> {
        let scope = match (request.principal(), request.action()) {
            (Some(principal), Some(action)) => self.sets.get(&(principal.type_name().clone(), action.clone())),
            _ => None,
        };
        match (scope, request.resource()) {
            (Some(scope), Some(thing)) => std::iter::once(&scope.many).chain(scope.one.get(thing)).collect(),
            _ => vec![&self.all],
        }
    }

    /// All rules.
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
        // No action is in a group, so it is in a list only by its name.
        ActionConstraint::In(these) => these.contains(action),
        ActionConstraint::Any => true,
    };
    whom && what
}

#[cfg(test)]
mod tests {
    use aios_action::{CATALOGUE, Envelope, Request as Asked};
    use aios_identity::{Peer, SessionStrength};
    use aios_ids::ActionId;
    use proptest::prelude::*;

    use crate::request::{self, Question};
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
        let effects = ["permit", "forbid", "@approval(\"person\") permit", "@approval(\"2 other persons\") permit"];
        let things = [
            "resource",
            "resource == Unit::\"network\"",
            "resource == File::\"/aios/groups/home/files/notes/today.txt\"",
        ];
        for (effect, thing) in effects.into_iter().flat_map(|effect| things.map(|thing| (effect, thing))) {
            for whom in whom {
                for action in &actions {
                    for condition in conditions.into_iter().take(if thing == "resource" { 4 } else { 1 }) {
                        all.push(format!("{effect} ({whom}, {action}, {thing}){condition};"));
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
                let asked = Asked::new(entry.name, entry.example());
                let envelope = Envelope::new(ActionId::new(1, [1; 10]), peer.to_string(), asked);
                all.extend(request::questions(rules.schema(), &envelope, &peer).expect("questions"));
            }
        }
        all
    }

    #[test]
    fn leaving_out_what_cannot_apply_changes_no_answer() {
        let candidates = candidates();
        assert!(candidates.len() > 100, "{}", candidates.len());
        let places = proptest::collection::vec(0..candidates.len(), 1..40);
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(24));
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
