//! What changes when one policy follows another, asked and not guessed: every action type, every kind of subject, everything
//! that a rule of either names, and one thing that none names.
//!
//! This is the whole space and no sample of it: what rules see of a request has no attributes and no context, so they can
//! tell two subjects or two things apart only by comparing them with what they name, and with each other. A test holds the
//! schema to that. What a permit wants besides is compared as it stands: no time of day and no budget has to be tried.

use std::collections::{BTreeMap, BTreeSet};

use aios_action::{ActionType, CATALOGUE, Envelope, GRANTED_FOLDER, Kind, Parameter, Request};
use aios_identity::{Peer, SessionStrength};
use aios_ids::{ActionId, Digest};
use cedar_policy::EntityUid;
use serde_json::{Map, Value, json};

use crate::bundle::Bundle;
use crate::decide::standing;
use crate::request;
use crate::terms::Terms;

/// More questions than this are no list that a person can judge, and would keep the policy kernel busy for long.
const QUESTIONS: usize = 50_000;

/// What changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What agents could do that they could not before, or with fewer people asked; a sentence each.
    pub widens_agents: Vec<String>,
    /// Everything else that changes.
    pub changes: Vec<String>,
}

/// The policies name so much that the difference cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the two policies name so much that comparing them takes more than {QUESTIONS} questions; use rules about kinds of \
     things instead of rules about each"
)]
pub struct TooDifferent;

/// The answer to one question, as far as it can be wider or narrower than another.
#[derive(Debug, Clone)]
enum Answer {
    Denied,
    Permitted(Terms),
}

/// One question: who, what, on which thing. Empty names stand for all that no rule names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    kind: &'static str,
    who: String,
    action_type: &'static str,
    thing: String,
}

/// What changes when `after` takes the place of `before`.
pub fn compare(before: Option<&Bundle>, after: &Bundle) -> Result<Comparison, TooDifferent> {
    let named: BTreeSet<EntityUid> =
        before.into_iter().chain([after]).flat_map(|bundle| bundle.rules().named()).collect();
    let fresh = Fresh::beside(&named);
    let subjects = subjects(&named, &fresh);
    let mut answers = BTreeMap::new();
    let mut asked = 0;
    for entry in CATALOGUE {
        for (thing, parameters) in things(entry, after, &named, &fresh) {
            asked += subjects.len();
            if asked > QUESTIONS {
                return Err(TooDifferent);
            }
            for (who, peer) in &subjects {
                let question =
                    Asked { kind: kind(peer), who: who.clone(), action_type: entry.name, thing: thing.clone() };
                let envelope = envelope(entry, peer, &parameters);
                let answer = |bundle| answer(bundle, &envelope, peer);
                answers.insert(question, (answer(before), answer(Some(after))));
            }
        }
    }
    let mut found = told(&answers);
    let (old, new) = (before.map_or_else(Default::default, Bundle::times), after.times());
    if old != new {
        found.changes.push(format!(
            "requests for approval wait {} min (before: {}), granted ones last {} min (before: {})",
            new.waits_ms / 60_000,
            old.waits_ms / 60_000,
            new.lasts_ms / 60_000,
            old.lasts_ms / 60_000
        ));
    }
    Ok(found)
}

fn told(answers: &BTreeMap<Asked, (Answer, Answer)>) -> Comparison {
    let mut found = Comparison::default();
    for (asked, change) in answers {
        let (before, after) = change;
        // What holds for everything else need not be said again of each thing that has a name.
        let general = [
            Asked { thing: String::new(), ..asked.clone() },
            Asked { who: String::new(), ..asked.clone() },
            Asked { who: String::new(), thing: String::new(), ..asked.clone() },
        ];
        if before == after || general.iter().any(|more| more != asked && answers.get(more) == Some(change)) {
            continue;
        }
        let sentence = format!("{}: {} -> {}", asked.words(), before.words(), after.words());
        if asked.kind == "agent" && after.is_wider_than(before) {
            found.widens_agents.push(sentence);
        } else {
            found.changes.push(sentence);
        }
    }
    found
}

impl Asked {
    fn words(&self) -> String {
        let who = match self.who.as_str() {
            "" => format!("every {}", self.kind),
            name => format!("{} '{}'", self.kind, name.escape_default()),
        };
        match self.thing.as_str() {
            "" => format!("{who}, {}", self.action_type),
            thing => format!("{who}, {} on '{}'", self.action_type, thing.escape_default()),
        }
    }
}

impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Denied, Self::Denied) => true,
            (Self::Permitted(one), Self::Permitted(two)) => one.are_the_same_as(two),
            _ => false,
        }
    }
}

impl Answer {
    fn words(&self) -> String {
        match self {
            Self::Denied => "denied".into(),
            Self::Permitted(terms) => terms.to_string(),
        }
    }

    fn is_wider_than(&self, before: &Self) -> bool {
        match (before, self) {
            (Self::Denied, Self::Permitted(_)) => true,
            (Self::Permitted(old), Self::Permitted(new)) => new.want_less_than(old),
            (_, Self::Denied) => false,
        }
    }
}

fn answer(bundle: Option<&Bundle>, envelope: &Envelope, peer: &Peer) -> Answer {
    standing(bundle, envelope, peer).map_or(Answer::Denied, Answer::Permitted)
}

fn envelope(entry: &ActionType, peer: &Peer, parameters: &Map<String, Value>) -> Envelope {
    let request = Request::new(entry.name, parameters.clone());
    Envelope::new(ActionId::new(0, [0; 10]), peer.to_string(), request)
}

fn kind(peer: &Peer) -> &'static str {
    match peer {
        Peer::Operator { .. } => "operator",
        Peer::Agent { .. } => "agent",
        Peer::Service { .. } => "service",
    }
}

/// Names that no rule has.
struct Fresh {
    name: String,
}

impl Fresh {
    fn beside(named: &BTreeSet<EntityUid>) -> Self {
        let taken = |name: &str| named.iter().any(|uid| uid.id().unescaped().contains(name));
        let mut names = (0..).map(|number| format!("zz{number}"));
        Self { name: names.find(|name| !taken(name)).unwrap_or_default() }
    }

    /// One thing of each form that parameters have.
    fn values(&self) -> Vec<String> {
        let name = &self.name;
        let path = format!("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-{name}");
        vec![
            name.clone(),
            format!("{path}/bin/{name}"),
            path,
            format!("http://{name}"),
            Digest::of(name.as_bytes()).to_string(),
        ]
    }
}

/// One subject of each kind that no rule names, and every one that a rule names.
fn subjects(named: &BTreeSet<EntityUid>, fresh: &Fresh) -> Vec<(String, Peer)> {
    let peer = |kind: &str, name: String| match kind {
        "Operator" => Some(Peer::Operator { name, strength: SessionStrength::PassPhrase }),
        "Agent" => Some(Peer::Agent { name }),
        "Service" => Some(Peer::Service { name }),
        _ => None,
    };
    let mut all: Vec<_> = ["Operator", "Agent", "Service"]
        .into_iter()
        .filter_map(|kind| Some((String::new(), peer(kind, fresh.name.clone())?)))
        .collect();
    for uid in named {
        let name = uid.id().unescaped();
        all.extend(peer(&uid.type_name().to_string(), name.to_owned()).map(|peer| (name.to_owned(), peer)));
    }
    all
}

/// Parameters about each thing of this type that a rule names or has around it, about the example's, and about one that no
/// rule names, which has no name here.
fn things(
    entry: &'static ActionType,
    bundle: &Bundle,
    named: &BTreeSet<EntityUid>,
    fresh: &Fresh,
) -> Vec<(String, Map<String, Value>)> {
    let example = entry.example();
    let mut candidates = fresh.values();
    for uid in named {
        let id = uid.id().unescaped();
        candidates.push(id.to_owned());
        // A folder or a store path is asked about by something in it.
        candidates.push(format!("{id}/bin/{}", fresh.name));
        // A host is asked about by an address at it.
        candidates.push(format!("http://{id}"));
        if let Some(path) = id.strip_prefix(GRANTED_FOLDER) {
            let path = path.trim_start_matches('/');
            candidates.extend([path.to_owned(), format!("{path}/{}", fresh.name)]);
        }
    }
    let mut found = BTreeMap::new();
    let mut keep = |parameters: Map<String, Value>| {
        if entry.check(&parameters).is_err() {
            return;
        }
        let anybody = Peer::Agent { name: fresh.name.clone() };
        let asked = envelope(entry, &anybody, &parameters);
        let Ok(questions) = request::questions(bundle.rules().schema(), &asked, &anybody) else { return };
        let things = questions.iter().filter_map(|question| question.request.resource());
        // All settings and the machine itself are what their types are always about; no parameter names them.
        let is_named = |thing: &String| {
            !fresh.values().contains(thing)
                && *thing != format!("{GRANTED_FOLDER}/{}", fresh.name)
                && !["*", "this"].contains(&thing.as_str())
        };
        let named: Vec<String> = things.map(|thing| thing.id().unescaped().to_owned()).filter(is_named).collect();
        let thing = named.join(" and ");
        found.entry(thing).or_insert(parameters);
    };
    if example.is_empty() {
        return vec![(String::new(), example)];
    }
    for candidate in &candidates {
        for parameter in entry.parameters {
            keep(with(&example, [parameter], candidate));
        }
        // A move within one folder is another question than one into it or out of it.
        keep(with(
            &example,
            entry.parameters.iter().filter(|parameter| parameter.kind == Kind::RelativePath),
            candidate,
        ));
    }
    keep(example);
    found.into_iter().collect()
}

/// The example with a candidate in the place of these parameters.
fn with<'a>(
    example: &Map<String, Value>,
    parameters: impl IntoIterator<Item = &'a Parameter>,
    candidate: &str,
) -> Map<String, Value> {
    let mut changed = example.clone();
    for parameter in parameters {
        let value = match parameter.kind {
            Kind::Contents(_) => json!([{"name": candidate, "content": ""}]),
            _ => candidate.into(),
        };
        changed.insert(parameter.name.into(), value);
    }
    // A manifest is the one of the app that is named.
    let name = changed.get("name").cloned();
    if let (Some(Value::String(manifest)), Some(name)) = (changed.get_mut("manifest"), name)
        && let Ok(Value::Object(mut fields)) = serde_json::from_str(manifest)
    {
        fields.insert("name".into(), name);
        *manifest = Value::Object(fields).to_string();
    }
    changed
}

#[cfg(test)]
mod tests {
    use cedar_policy::SchemaFragment;

    use super::*;
    use crate::bundle::pack;
    use crate::request::SCHEMA;
    use crate::seal::public_key;

    const SEED: [u8; 32] = [9; 32];

    fn bundle(rules: &str) -> Bundle {
        let case = "epoch = 1\n[[case]]\nwho = 'service:none'\ntype = 'no.such'\nexpect = 'denied'\n";
        let bytes = pack([("rules.cedar", rules), ("bundle.toml", case)], &SEED).expect("packs");
        Bundle::open(&bytes, &public_key(&SEED)).expect("opens")
    }

    fn check(before: &str, after: &str, agents: &[&str], others: &[&str]) {
        let found = compare(Some(&bundle(before)), &bundle(after)).expect("few questions");
        assert_eq!((found.widens_agents, found.changes), (strings(agents), strings(others)), "{before}\n{after}");
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    const PLAIN: &str = "@id(\"a\") permit (principal is Operator, action == Action::\"node.reboot\", resource);\n";

    #[test]
    fn a_type_about_several_things_is_compared_too() {
        let bundle = bundle(
            "@id(\"a\") permit (principal is Agent, action, resource in Folder::\"/aios/groups/home/files/d\");",
        );
        let named = ["Folder::\"/aios/groups/home/files/d\"", "Object::\"o\""];
        let named = named.iter().map(|uid| uid.parse().expect("a name")).collect();
        let fresh = Fresh::beside(&named);
        let asked = |action_type: &str| -> Vec<String> {
            let entry = aios_action::find(action_type).expect("known");
            things(entry, &bundle, &named, &fresh).into_iter().map(|(thing, _)| thing).collect()
        };
        let inside = format!("{GRANTED_FOLDER}/d/{}", fresh.name);
        assert!(asked("file.move").contains(&format!("{inside} and {inside}")), "{:?}", asked("file.move"));
        assert!(asked("object.transaction").contains(&"o".to_owned()), "{:?}", asked("object.transaction"));
    }

    #[test]
    fn what_becomes_allowed_or_denied_is_said_and_nothing_else() {
        check(PLAIN, PLAIN, &[], &[]);
        let agents =
            format!("{PLAIN}@id(\"b\") permit (principal is Agent, action == Action::\"node.reboot\", resource);");
        check(PLAIN, &agents, &["every agent, node.reboot: denied -> allowed"], &[]);
        check(&agents, PLAIN, &[], &["every agent, node.reboot: allowed -> denied"]);
        let asked = agents.replace("@id(\"b\")", "@id(\"b\") @approval(\"2 persons\")");
        check(&asked, &agents, &["every agent, node.reboot: needs 2 persons -> allowed"], &[]);
        let one = asked.replace("2 persons", "person");
        check(&asked, &one, &["every agent, node.reboot: needs 2 persons -> needs a person"], &[]);
        check(&one, &asked, &[], &["every agent, node.reboot: needs a person -> needs 2 persons"]);
    }

    #[test]
    fn what_a_permit_wants_besides_is_a_difference() {
        let with = |annotations: &str| {
            format!(
                "{PLAIN}@id(\"b\") {annotations} permit (principal is Agent, action == Action::\"node.reboot\", resource);"
            )
        };
        let window = "@window(\"08:00-18:00\")";
        let to = |before: &str, after: &str| format!("every agent, node.reboot: {before} -> {after}");
        // Nothing is allowed at the moment in which a person compares, and the person is told all the same.
        let open = to("denied", "allowed, from 08:00 to 18:00 UTC");
        check(PLAIN, &with(window), &[&open], &[]);
        check(&with(window), &with(window), &[], &[]);
        check(&with(window), &with(""), &[&to("allowed, from 08:00 to 18:00 UTC", "allowed")], &[]);
        check(&with(""), &with("@plan(\"first\")"), &[], &[&to("allowed", "allowed, after a plan")]);
        check(&with("@mode(\"recovery\")"), &with(""), &[&to("allowed, in recovery only", "allowed")], &[]);
        // Which of two windows or budgets is the wider one, a person judges.
        let other = to("allowed, from 08:00 to 18:00 UTC", "allowed, from 09:00 to 17:00 UTC");
        check(&with(window), &with("@window(\"09:00-17:00\")"), &[&other], &[]);
        let both = format!("{window} @approval(\"person\")");
        let less = to("needs a person, from 08:00 to 18:00 UTC", "needs a person, with cpu_ms=5 at most");
        check(&with(&both), &with("@approval(\"person\") @budget(\"cpu_ms=5\")"), &[&less], &[]);
    }

    #[test]
    fn one_agent_one_thing_and_one_folder_are_found_by_the_names_in_the_rules() {
        let after = format!(
            "{PLAIN}@id(\"b\") permit (principal == Agent::\"helper\", action == Action::\"service.restart\", resource) \
             when {{ resource == Unit::\"settings\" }};\n\
             @id(\"c\") permit (principal is Agent, action == Action::\"file.write\", resource in \
             Folder::\"/aios/groups/home/files/notes\");\n\
             @id(\"d\") permit (principal is Agent, action == Action::\"task.run\", resource in \
             StorePath::\"/nix/store/0123456789abcdfghijklmnpqrsvwxyz-tool\");"
        );
        check(
            PLAIN,
            &after,
            &[
                "every agent, file.write on '/aios/groups/home/files/notes/today.txt': denied -> allowed",
                "every agent, file.write on '/aios/groups/home/files/notes/zz0': denied -> allowed",
                "every agent, task.run on '/nix/store/0123456789abcdfghijklmnpqrsvwxyz-tool/bin/zz0': denied -> allowed",
                "agent 'helper', service.restart on 'settings': denied -> allowed",
            ],
            &[],
        );
    }

    /// What [`compare`] may conclude from a few questions it may conclude only as long as this holds.
    #[test]
    fn the_words_of_the_rules_have_no_attributes_and_no_context() {
        let (schema, _) = SchemaFragment::from_cedarschema_str(SCHEMA).expect("the schema reads");
        let schema = schema.to_json_value().expect("it has a JSON form");
        let text = schema.to_string();
        assert!(!text.contains("\"attributes\""), "{text}");
        assert!(!text.contains("\"context\""), "{text}");
        assert!(!text.contains("\"tags\""), "{text}");
    }

    #[test]
    fn every_action_type_is_asked_about() {
        let everything = bundle("@id(\"a\") permit (principal, action, resource);");
        let named = everything.rules().named();
        let fresh = Fresh::beside(&named);
        for entry in CATALOGUE {
            let things = things(entry, &everything, &named, &fresh);
            assert!(things.iter().any(|(thing, _)| thing.is_empty()), "nothing unnamed for {}", entry.name);
        }
    }

    #[test]
    fn policies_that_name_very_much_are_refused() {
        let rule = |number: usize| {
            format!(
                "@id(\"r{number}\") permit (principal == Agent::\"a{number}\", action == Action::\"service.restart\", \
                 resource == Unit::\"u{number}\");\n"
            )
        };
        let many: String = (0..300).map(rule).collect();
        assert_eq!(compare(None, &bundle(&many)), Err(TooDifferent));
    }
}
