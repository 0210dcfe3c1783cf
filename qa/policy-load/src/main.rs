//! Measures decisions in process, for `cargo xtask bench policy`: prints a line `name value` for each figure. Beside ours, in
//! the same run and with the same rules and questions, stand the cedar-policy crate asked in the plain way and regorus.
//!
//! `policy-load memory COUNT` opens a bundle of so many rules and says what the process has of memory then; in one that has
//! measured before, memory that was used and given back hides what a bundle takes.
//!
//! `policy-load differential COUNT` puts so many random questions to random rules, to ours and to the plain crate, and fails
//! on the first different answer.

mod differential;
mod rules;

use std::collections::HashSet;
use std::error::Error;
use std::hint::black_box;
use std::str::FromStr as _;
use std::time::Instant;

use aios_policy::{Bundle, compare, decide, pack, public_key};
use cedar_policy::{Authorizer, Context, Entities, Entity, EntityUid, PolicySet, Request, Schema};
use serde_json::json;

use crate::rules::{Asked, asked, envelope, one_thing_each};

type Outcome<T> = Result<T, Box<dyn Error>>;

pub(crate) const SEED: [u8; 32] = [3; 32];

/// The words of the rules, as the crate reads them.
pub(crate) const SCHEMA: &str = include_str!("../../../services/core/policy/src/actions.cedarschema");

/// The things and subjects that the plain crate is given once.
const ENTITIES: usize = 1000;

/// Questions in one row; fewer where a peer looks at thousands of rules for each.
const ROUNDS: usize = 4000;
const ROUNDS_OF_MANY: usize = 400;

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => [10, 200, 1000, 5000].into_iter().try_for_each(figures),
        ["memory", count] => memory(count.parse()?),
        ["differential", count] => differential::run(count.parse()?),
        _ => Err("usage: policy-load [memory COUNT | differential COUNT]".into()),
    }
}

fn figures(count: usize) -> Outcome<()> {
    let rules = one_thing_each(count);
    let bundle = open(&rules, count)?;
    told(&format!("decide-{count}"), ROUNDS, |number| {
        let asked = asked(number);
        let envelope = envelope(&asked);
        let begun = Instant::now();
        black_box(decide(Some(&bundle), &envelope, &asked.peer));
        Ok(begun.elapsed().as_secs_f64())
    })?;
    let rounds = if count >= 1000 { ROUNDS_OF_MANY } else { ROUNDS };
    plain(count, &rules, rounds)?;
    rego(count, rounds)
}

/// What a process takes that has a bundle open and has answered from it.
fn memory(count: usize) -> Outcome<()> {
    let bundle = Bundle::open(&packed(&one_thing_each(count))?, &public_key(&SEED))?;
    for number in 0..ROUNDS {
        let asked = asked(number);
        black_box(decide(Some(&bundle), &envelope(&asked), &asked.peer));
    }
    println!("resident-{count}-kib {}", resident_kib()?);
    Ok(())
}

fn packed(rules: &str) -> Outcome<Vec<u8>> {
    let case = "epoch = 1\n[[case]]\nwho = 'operator:ada'\ntype = 'node.reboot'\nexpect = 'denied'\n";
    Ok(pack([("rules.cedar", rules), ("bundle.toml", case)], &SEED)?)
}

/// Opens and compares the rules, each measured.
fn open(rules: &str, count: usize) -> Outcome<Bundle> {
    let bytes = packed(rules)?;
    let begun = Instant::now();
    let bundle = Bundle::open(&bytes, &public_key(&SEED))?;
    println!("load-{count}-ms {}", begun.elapsed().as_secs_f64() * 1e3);
    let begun = Instant::now();
    let compared = compare(None, &bundle);
    println!("compare-{count}-ms {}", begun.elapsed().as_secs_f64() * 1e3);
    if count <= 1000 {
        compared?;
    }
    Ok(bundle)
}

/// The same rules and questions by the crate alone, with a thousand entities that it is given once.
fn plain(count: usize, rules: &str, rounds: usize) -> Outcome<()> {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA)?;
    let rules = PolicySet::from_str(rules)?;
    let authorizer = Authorizer::new();
    let mut uids = HashSet::new();
    for number in 0..ENTITIES {
        let (principal, _, resource) = named(&asked(number))?;
        uids.extend([principal, resource]);
    }
    for number in 0.. {
        if uids.len() >= ENTITIES {
            break;
        }
        uids.insert(EntityUid::from_str(&format!("Operator::\"o{number}\""))?);
    }
    let entities = uids.into_iter().map(|uid| Entity::new_no_attrs(uid, HashSet::new()));
    let entities = Entities::from_entities(entities, Some(&schema))?;
    told(&format!("plain-{count}"), rounds, |number| {
        let (principal, action, resource) = named(&asked(number))?;
        let begun = Instant::now();
        let request = Request::new(principal, action, resource, Context::empty(), Some(&schema))?;
        black_box(authorizer.is_authorized(&request, &rules, &entities));
        Ok(begun.elapsed().as_secs_f64())
    })
}

/// A question in the crate's own words.
fn named(asked: &Asked) -> Outcome<(EntityUid, EntityUid, EntityUid)> {
    let (kind, name) = asked.who();
    Ok((
        EntityUid::from_str(&format!("{kind}::\"{name}\""))?,
        EntityUid::from_str(&format!("Action::\"{}\"", asked.kind.action))?,
        EntityUid::from_str(&format!("{}::\"{}\"", asked.kind.thing, asked.thing))?,
    ))
}

/// The same rules, one for one, in Rego, asked of regorus.
fn rego(count: usize, rounds: usize) -> Outcome<()> {
    let mut text = "package aios\nimport rego.v1\ndefault allow := false\n".to_owned();
    for rule in rules::named_by_one_thing(count) {
        text += &format!(
            "allow if {{ input.kind == \"{}\"; input.action == \"{}\"; input.thing == \"{}\" }}\n",
            rule.whom, rule.kind.action, rule.thing
        );
    }
    let mut engine = regorus::Engine::new();
    engine.add_policy("rules.rego".into(), text)?;
    told(&format!("regorus-{count}"), rounds, |number| {
        let asked = asked(number);
        let input = json!({"kind": asked.who().0, "action": asked.kind.action, "thing": asked.thing}).to_string();
        let input = regorus::Value::from_json_str(&input)?;
        let begun = Instant::now();
        engine.set_input(input);
        black_box(engine.eval_rule("data.aios.allow".into())?);
        Ok(begun.elapsed().as_secs_f64())
    })
}

/// Measures `round` many times and prints its spread and how many go in a second.
fn told(name: &str, rounds: usize, mut round: impl FnMut(usize) -> Outcome<f64>) -> Outcome<()> {
    let mut times = (0..rounds).map(&mut round).collect::<Outcome<Vec<f64>>>()?;
    let total: f64 = times.iter().sum();
    times.sort_by(f64::total_cmp);
    println!("{name}-p50-us {}", times[times.len() / 2] * 1e6);
    println!("{name}-p99-us {}", times[times.len() * 99 / 100] * 1e6);
    println!("{name}-per-s {}", times.len() as f64 / total);
    Ok(())
}

/// The memory of this process.
fn resident_kib() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("the kernel tells no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}
