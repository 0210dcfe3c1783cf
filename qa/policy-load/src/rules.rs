//! The rules and questions of the measurement.

use aios_action::{Envelope, Request, find};
use aios_identity::{Peer, SessionStrength};
use aios_ids::ActionId;

/// A type whose thing has one parameter as its name.
pub(crate) struct Kind {
    pub(crate) action: &'static str,
    /// The parameter that names the thing.
    parameter: &'static str,
    /// What the thing is to the rules.
    pub(crate) thing: &'static str,
}

const fn kind(action: &'static str, parameter: &'static str, thing: &'static str) -> Kind {
    Kind { action, parameter, thing }
}

pub(crate) const KINDS: [Kind; 4] = [
    kind("service.restart", "name", "Unit"),
    kind("settings.set", "key", "Setting"),
    kind("object.put", "name", "Object"),
    kind("agent.run", "name", "AgentManifest"),
];

/// So many different things are asked about: some that a rule names, and some that none does.
const THINGS: usize = 100;

/// A rule about one thing of one type, for one kind of subject.
pub(crate) struct Rule {
    pub(crate) whom: &'static str,
    pub(crate) kind: &'static Kind,
    pub(crate) thing: String,
}

/// As many rules, each about another thing.
pub(crate) fn named_by_one_thing(count: usize) -> impl Iterator<Item = Rule> {
    (0..count).map(|number| Rule {
        whom: ["Operator", "Agent"][number / KINDS.len() % 2],
        kind: &KINDS[number % KINDS.len()],
        thing: format!("n{}", number / KINDS.len() / 2),
    })
}

/// The same as Cedar.
pub(crate) fn one_thing_each(count: usize) -> String {
    let text = |(number, rule): (usize, Rule)| {
        format!(
            "@id(\"r{number}\")\npermit (principal is {}, action == Action::\"{}\", resource == {}::\"{}\");\n",
            rule.whom, rule.kind.action, rule.kind.thing, rule.thing
        )
    };
    named_by_one_thing(count).enumerate().map(text).collect()
}

/// One question.
pub(crate) struct Asked {
    pub(crate) peer: Peer,
    pub(crate) kind: &'static Kind,
    pub(crate) thing: String,
}

impl Asked {
    /// Who asks, in the words of the rules.
    pub(crate) fn who(&self) -> (&'static str, &str) {
        match &self.peer {
            Peer::Operator { name, .. } => ("Operator", name),
            Peer::Agent { name } => ("Agent", name),
            Peer::Service { name } => ("Service", name),
        }
    }
}

/// The questions in turn: both kinds of subject, every type, many things.
pub(crate) fn asked(number: usize) -> Asked {
    let peer = match number % 2 {
        0 => Peer::Operator { name: "ada".into(), strength: SessionStrength::PassPhrase },
        _ => Peer::Agent { name: "helper".into() },
    };
    Asked { peer, kind: &KINDS[number / 2 % KINDS.len()], thing: format!("n{}", number * 7 % THINGS) }
}

/// A question as the policy kernel gets it.
pub(crate) fn envelope(asked: &Asked) -> Envelope {
    let mut parameters = find(asked.kind.action).map(|entry| entry.example()).unwrap_or_default();
    parameters.insert(asked.kind.parameter.into(), asked.thing.clone().into());
    let request = Request::new(asked.kind.action, parameters);
    Envelope::new(ActionId::new(1, [1; 10]), asked.peer.to_string(), request)
}
