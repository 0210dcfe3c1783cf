//! Measures decisions beside the cedar-policy crate asked in the plain way, for `cargo xtask bench policy`: prints a line
//! `name value` for each figure. Each decision is a whole one: envelope, catalogue, denies, rules, sentence, digest.

use std::collections::HashSet;
use std::error::Error;
use std::hint::black_box;
use std::str::FromStr as _;
use std::time::Instant;

use aios_action::{Constraints, Envelope, Request as Asked};
use aios_identity::{Peer, SessionStrength};
use aios_ids::ActionId;
use aios_policy::{Bundle, decide, pack, public_key};
use cedar_policy::{Authorizer, Context, Entities, Entity, EntityUid, PolicySet, Request, Schema};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

const SEED: [u8; 32] = [3; 32];
const ROUNDS: usize = 4000;

/// A type whose thing has one parameter as its name.
struct Type {
    action: &'static str,
    name: &'static str,
    other: Option<&'static str>,
    thing: &'static str,
}

const fn kind(action: &'static str, name: &'static str, other: Option<&'static str>, thing: &'static str) -> Type {
    Type { action, name, other, thing }
}

const TYPES: [Type; 4] = [
    kind("service.restart", "name", None, "Unit"),
    kind("settings.set", "key", Some("value"), "Setting"),
    kind("object.put", "name", Some("content"), "Object"),
    kind("agent.run", "name", None, "AgentManifest"),
];

fn main() -> Outcome<()> {
    for count in [10, 100, 500] {
        let rules = rules(count);
        let case = "epoch = 1\n[[case]]\nwho = 'operator:ada'\ntype = 'node.reboot'\nexpect = 'denied'\n";
        let bytes = pack([("rules.cedar", rules.as_str()), ("bundle.toml", case)], &SEED)?;
        let begun = Instant::now();
        let bundle = Bundle::open(&bytes, &public_key(&SEED))?;
        println!("load-{count}-ms {}", begun.elapsed().as_secs_f64() * 1e3);
        ours(count, &bundle)?;
        plain(count, &rules)?;
    }
    Ok(())
}

/// As many rules, each about one thing of one type for one kind of subject.
fn rules(count: usize) -> String {
    let rule = |number: usize| {
        let Type { action, thing: kind, .. } = TYPES[number % TYPES.len()];
        let whom = ["Operator", "Agent"][number / TYPES.len() % 2];
        let thing = number / TYPES.len() / 2;
        format!(
            "@id(\"r{number}\")\npermit (principal is {whom}, action == Action::\"{action}\", resource == {kind}::\"n{thing}\");\n"
        )
    };
    (0..count).map(rule).collect()
}

/// The questions in turn: both kinds of subject, every type, things that a rule names and that none does.
fn asked(number: usize) -> (Peer, &'static Type, String) {
    let peer = match number % 2 {
        0 => Peer::Operator { name: "ada".into(), strength: SessionStrength::PassPhrase },
        _ => Peer::Agent { name: "helper".into() },
    };
    (peer, &TYPES[number / 2 % TYPES.len()], format!("n{}", number * 7 % 100))
}

fn ours(count: usize, bundle: &Bundle) -> Outcome<()> {
    let mut times = Vec::with_capacity(ROUNDS);
    for number in 0..ROUNDS {
        let (peer, Type { action, name, other, .. }, thing) = asked(number);
        let mut given = json!({ *name: thing });
        if let Some(other) = other {
            given[*other] = json!("x");
        }
        let Value::Object(parameters) = given else { return Err("parameters are an object".into()) };
        let request = Asked {
            action_type: (*action).into(),
            parameters,
            reason: String::new(),
            idempotency_key: None,
            constraints: Constraints::default(),
        };
        let envelope = Envelope::new(ActionId::new(number as u64, [1; 10]), peer.to_string(), request);
        let begun = Instant::now();
        black_box(decide(Some(bundle), &envelope, &peer));
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    told(&format!("decide-{count}"), times);
    Ok(())
}

/// The same rules and questions by the crate alone.
fn plain(count: usize, rules: &str) -> Outcome<()> {
    let (schema, _) = Schema::from_cedarschema_str(include_str!("../src/actions.cedarschema"))?;
    let rules = PolicySet::from_str(rules)?;
    let authorizer = Authorizer::new();
    let mut times = Vec::with_capacity(ROUNDS);
    for number in 0..ROUNDS {
        let (peer, Type { action, thing: kind, .. }, thing) = asked(number);
        let principal = match &peer {
            Peer::Operator { name, .. } => format!("Operator::\"{name}\""),
            Peer::Agent { name } | Peer::Service { name } => format!("Agent::\"{name}\""),
        };
        let principal = EntityUid::from_str(&principal)?;
        let action = EntityUid::from_str(&format!("Action::\"{action}\""))?;
        let resource = EntityUid::from_str(&format!("{kind}::\"{thing}\""))?;
        let begun = Instant::now();
        let entities = [&principal, &resource].map(|uid| Entity::new_no_attrs(uid.clone(), HashSet::new()));
        let entities = Entities::from_entities(entities, Some(&schema))?;
        let request = Request::new(principal, action, resource, Context::empty(), Some(&schema))?;
        black_box(authorizer.is_authorized(&request, &rules, &entities));
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    told(&format!("plain-{count}"), times);
    Ok(())
}

fn told(name: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    println!("{name}-p50-us {}", times[times.len() / 2]);
    println!("{name}-p99-us {}", times[times.len() * 99 / 100]);
}
