//! Ours against the plain crate: random rules, random questions, the same answers.

use std::collections::HashSet;
use std::str::FromStr as _;

use aios_identity::{Peer, SessionStrength};
use aios_policy::{Bundle, decide, pack, public_key};
use aios_wire::policy::Verdict;
use cedar_policy::{Authorizer, Context, Decision, Entities, Entity, EntityUid, PolicySet, Request, Schema};

use crate::rules::{Asked, KINDS, envelope};
use crate::{Outcome, SCHEMA, SEED};

/// Questions for one set of rules.
const QUESTIONS: u64 = 2000;

/// A generator of numbers, so that a difference comes again.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap_or(0)
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// Puts `count` questions to both and fails on the first difference.
pub(crate) fn run(count: u64) -> Outcome<()> {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA)?;
    let mut numbers = Numbers(0x5eed_cafe);
    let (mut done, mut sets, mut allowed, mut failed) = (0, 0u64, 0u64, 0u64);
    while done < count {
        let text = rules(&mut numbers);
        let case = "epoch = 1\n[[case]]\nwho = 'service:none'\ntype = 'shell.run'\nexpect = 'denied'\n";
        // What the schema does not take is no policy for either.
        let Ok(bytes) = pack([("rules.cedar", text.as_str()), ("bundle.toml", case)], &SEED) else { continue };
        let bundle = Bundle::open(&bytes, &public_key(&SEED))?;
        // The crate numbers rules by their place; ours are named, so it is given the same names.
        let named = PolicySet::from_str(&text)?;
        let named = PolicySet::from_policies(named.policies().map(|rule| {
            let id = rule.annotation("id").unwrap_or_default();
            rule.new_id(cedar_policy::PolicyId::new(id))
        }))?;
        sets += 1;
        for _ in 0..QUESTIONS.min(count - done) {
            let asked = question(&mut numbers);
            let ours = decide(Some(&bundle), &envelope(&asked), &asked.peer);
            let plain = plain(&schema, &named, &asked)?;
            let same = match &plain {
                Plain::Failed => ours.verdict == Verdict::Denied && ours.reason == "PolicyError",
                Plain::Allowed(rules) => ours.verdict == Verdict::Allowed && ours.rules == *rules,
                Plain::Denied(rules) => ours.verdict == Verdict::Denied && ours.rules == *rules,
            };
            if !same {
                return Err(format!("question {done}: ours {ours:?}, the crate {plain:?}, with\n{text}").into());
            }
            allowed += u64::from(matches!(plain, Plain::Allowed(_)));
            failed += u64::from(matches!(plain, Plain::Failed));
            done += 1;
        }
    }
    println!("differential-questions {done}");
    println!("differential-policies {sets}");
    println!("differential-allowed {allowed}");
    println!("differential-failing {failed}");
    Ok(())
}

#[derive(Debug)]
enum Plain {
    Allowed(Vec<String>),
    Denied(Vec<String>),
    Failed,
}

fn plain(schema: &Schema, rules: &PolicySet, asked: &Asked) -> Outcome<Plain> {
    let (kind, name) = asked.who();
    let principal = EntityUid::from_str(&format!("{kind}::\"{name}\""))?;
    let action = EntityUid::from_str(&format!("Action::\"{}\"", asked.kind.action))?;
    let resource = EntityUid::from_str(&format!("{}::\"{}\"", asked.kind.thing, asked.thing))?;
    let entities = [&principal, &resource].map(|uid| Entity::new_no_attrs(uid.clone(), HashSet::new()));
    let entities = Entities::from_entities(entities, Some(schema))?;
    let request = Request::new(principal, action, resource, Context::empty(), Some(schema))?;
    let response = Authorizer::new().is_authorized(&request, rules, &entities);
    if response.diagnostics().errors().next().is_some() {
        return Ok(Plain::Failed);
    }
    let mut reasons: Vec<_> = response.diagnostics().reason().map(ToString::to_string).collect();
    reasons.sort();
    Ok(match response.decision() {
        Decision::Allow => Plain::Allowed(reasons),
        Decision::Deny => Plain::Denied(reasons),
    })
}

/// Up to sixty rules of every form that a scope has.
fn rules(numbers: &mut Numbers) -> String {
    let mut text = String::new();
    for id in 0..=numbers.below(60) {
        let effect = numbers.one(&["permit", "permit", "permit", "forbid"]);
        let whom = numbers.one(&[
            "principal",
            "principal is Agent",
            "principal is Operator",
            "principal == Agent::\"p1\"",
            "principal == Operator::\"p0\"",
        ]);
        let kind = &KINDS[numbers.below(KINDS.len())];
        let thing = format!("n{}", numbers.below(6));
        let (action, resource) = match numbers.below(5) {
            0 => ("action".to_owned(), "resource".to_owned()),
            1 => (format!("action == Action::\"{}\"", kind.action), "resource".to_owned()),
            2 => ("action".to_owned(), format!("resource == {}::\"{thing}\"", kind.thing)),
            3 => (format!("action in [Action::\"{}\", Action::\"node.reboot\"]", kind.action), "resource".to_owned()),
            _ => (format!("action == Action::\"{}\"", kind.action), format!("resource == {}::\"{thing}\"", kind.thing)),
        };
        let condition = match numbers.below(12) {
            0..=5 => String::new(),
            6 | 7 => format!(" when {{ resource == {}::\"{thing}\" }}", kind.thing),
            8 | 9 => " unless { principal is Agent }".to_owned(),
            10 => format!(" when {{ [{}::\"{thing}\"].contains(resource) }}", kind.thing),
            // A rule that fails when it is asked.
            _ => " when { principal is Agent && 9223372036854775807 + 1 == 0 }".to_owned(),
        };
        text += &format!("@id(\"r{id}\") {effect} ({whom}, {action}, {resource}){condition};\n");
    }
    text
}

fn question(numbers: &mut Numbers) -> Asked {
    let name = format!("p{}", numbers.below(3));
    let peer = match numbers.below(3) {
        0 => Peer::Operator { name, strength: SessionStrength::PassPhrase },
        1 => Peer::Agent { name },
        _ => Peer::Service { name },
    };
    Asked { peer, kind: &KINDS[numbers.below(KINDS.len())], thing: format!("n{}", numbers.below(8)) }
}
