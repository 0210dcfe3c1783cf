//! An envelope and its subject in the words of the rules: who, what, on which thing.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::{LazyLock, Mutex, PoisonError};

use aios_action::app::app_name;
use aios_action::{Envelope, GRANTED_FOLDER, contents, store_path_and_rest};
use aios_identity::Peer;
use cedar_policy::{Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, Schema, SchemaError};

/// The words that rules can use, as people read and change them.
pub(crate) const SCHEMA: &str = include_str!("actions.cedarschema");

/// The same words in the form that is read six times as fast. A test compares the two and says what belongs here.
const SCHEMA_AS_JSON: &str = include_str!("actions.cedarschema.json");

/// The words, ready for use.
pub(crate) fn schema() -> Result<Schema, Box<SchemaError>> {
    Schema::from_json_str(SCHEMA_AS_JSON).map_err(Box::new)
}

/// What the rules are asked.
pub(crate) struct Question {
    pub(crate) request: Request,
    pub(crate) entities: Entities,
}

/// The envelope cannot be put into the words of the rules. A checked envelope always can.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QuestionError {
    #[error("no kind of thing is known for the action type '{0}'")]
    Type(String),
    #[error("the parameter '{0}' that names the thing is missing")]
    Parameter(&'static str),
    #[error("the request does not fit the schema")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Asks whether `subject` may do what `envelope` says: one question about each thing that the action is about. It may be
/// done when the answer to each is yes.
pub(crate) fn questions(schema: &Schema, envelope: &Envelope, subject: &Peer) -> Result<Vec<Question>, QuestionError> {
    things(envelope)?.into_iter().map(|thing| question(schema, envelope, subject, thing)).collect()
}

fn question(schema: &Schema, envelope: &Envelope, subject: &Peer, thing: Thing) -> Result<Question, QuestionError> {
    let principal = match subject {
        Peer::Operator { name, .. } => uid("Operator", name),
        Peer::Agent { name } => uid("Agent", name),
        Peer::Service { name } => uid("Service", name),
    };
    let action = uid("Action", &envelope.request.action_type);
    let does_not_fit = |error: Box<dyn std::error::Error + Send + Sync>| QuestionError::Request(error);
    let resource = thing.uid.clone();
    // A thing that is in nothing has to be told to nobody: nothing here has attributes. Not with the schema, which would add
    // every action there is, and no action is in a group. That all of it fits the schema, a test sees for each action type;
    // the request itself is compared with it below.
    let entities = if thing.above.is_empty() {
        Entities::empty()
    } else {
        let above = thing.above.iter().map(|above| Entity::new_no_attrs(above.clone(), HashSet::new()));
        let below = Entity::new_no_attrs(thing.uid, thing.above.iter().cloned().collect());
        Entities::from_entities(above.chain([below]), None).map_err(|error| does_not_fit(Box::new(error)))?
    };
    let request = Request::new(principal, action, resource, Context::empty(), Some(schema))
        .map_err(|error| does_not_fit(Box::new(error)))?;
    Ok(Question { request, entities })
}

/// The thing that an action is about, and what it is in.
struct Thing {
    uid: EntityUid,
    above: Vec<EntityUid>,
}

fn things(envelope: &Envelope) -> Result<Vec<Thing>, QuestionError> {
    let parameters = &envelope.request.parameters;
    let parameter = |name: &'static str| {
        let value = parameters.get(name).and_then(|value| value.as_str());
        value.ok_or(QuestionError::Parameter(name))
    };
    let alone = |kind: &'static str, id: &str| Thing { uid: uid(kind, id), above: Vec::new() };
    let thing = match envelope.request.action_type.as_str() {
        "service.restart" | "service.start" | "service.stop" => alone("Unit", parameter("name")?),
        "settings.set" => alone("Setting", parameter("key")?),
        "settings.rollback" => alone("Setting", ALL_SETTINGS),
        "object.put" | "object.rollback" | "object.tag" | "object.untag" => alone("Object", parameter("name")?),
        "evidence.export" => alone("Object", parameter("object")?),
        "object.transaction" => {
            let objects = parameters.get("objects").and_then(contents).ok_or(QuestionError::Parameter("objects"))?;
            return Ok(objects.into_iter().map(|(name, _)| alone("Object", name)).collect());
        }
        "file.read" | "file.write" | "file.patch" | "file.delete" => file(parameter("path")?),
        // Whoever may not delete here or write there may not do both at once.
        "file.move" => return Ok(vec![file(parameter("path")?), file(parameter("to")?)]),
        "node.reboot" | "node.poweroff" | "time.set" => alone("Machine", "this"),
        "network.check" => alone("Host", parameter("host")?),
        "http.fetch" => {
            let url = parameter("url")?.parse::<aios_fetch::Url>().map_err(|_| QuestionError::Parameter("url"))?;
            alone("Host", url.origin().host())
        }
        "secret.put" | "secret.remove" => alone("Secret", parameter("name")?),
        "store.add" => alone("StorePath", parameter("path")?),
        "task.run" => program(parameter("program")?),
        "app.install.request"
        | "app.install"
        | "app.remove"
        | "app.rollback"
        | "service.enable"
        | "service.disable" => alone("App", parameter("name")?),
        "agent.run" => alone("AgentManifest", parameter("name")?),
        "update.apply" => alone("Release", parameter("source")?),
        "policy.load" => alone("PolicyBundle", parameter("digest")?),
        "user.add" | "user.passphrase" | "user.key.add" | "user.key.remove" => alone("Operator", parameter("name")?),
        other => return Err(QuestionError::Type(other.to_owned())),
    };
    Ok(vec![thing])
}

/// The setting that stands for all of them; no key has this form.
const ALL_SETTINGS: &str = "*";

fn file(path: &str) -> Thing {
    let whole = format!("{GRANTED_FOLDER}/{path}");
    let folder_ends = whole.match_indices('/').map(|(place, _)| place).filter(|place| *place >= GRANTED_FOLDER.len());
    let above = folder_ends.map(|end| uid("Folder", &whole[..end])).collect();
    Thing { uid: uid("File", &whole), above }
}

fn program(path: &str) -> Thing {
    let above = store_path_and_rest(path)
        .map(|(store_path, _)| uid("StorePath", store_path))
        .or_else(|| app_name(path).map(|name| uid("App", name)));
    Thing { uid: uid("Program", path), above: above.into_iter().collect() }
}

fn uid(kind: &'static str, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind_named(kind), EntityId::new(id))
}

/// A kind of thing. Each is read once: reading one anew takes longer than asking a rule.
fn kind_named(kind: &'static str) -> EntityTypeName {
    static KINDS: LazyLock<Mutex<HashMap<&'static str, EntityTypeName>>> = LazyLock::new(Mutex::default);
    let mut kinds = KINDS.lock().unwrap_or_else(PoisonError::into_inner);
    let read = || EntityTypeName::from_str(kind).expect("the kinds in this file are identifiers");
    kinds.entry(kind).or_insert_with(read).clone()
}

#[cfg(test)]
mod tests {
    use aios_action::{CATALOGUE, Request as Asked};
    use aios_identity::SessionStrength;
    use aios_ids::ActionId;
    use cedar_policy::SchemaFragment;

    use super::*;

    #[test]
    fn both_forms_of_the_schema_say_the_same() {
        let (schema, warnings) = SchemaFragment::from_cedarschema_str(SCHEMA).expect("the schema reads");
        assert_eq!(warnings.count(), 0);
        let expected = schema.to_json_value().expect("it has a JSON form");
        let found: serde_json::Value = serde_json::from_str(SCHEMA_AS_JSON).expect("JSON");
        let text = serde_json::to_string_pretty(&expected).expect("text keys");
        assert!(found == expected, "actions.cedarschema.json has to be:\n{text}");
    }

    #[test]
    fn the_schema_has_every_action_type_and_no_other() {
        let (schema, warnings) = Schema::from_cedarschema_str(SCHEMA).expect("the schema reads");
        assert_eq!(warnings.count(), 0);
        let mut known: Vec<String> = schema.actions().map(|action| action.id().unescaped().to_owned()).collect();
        let mut expected: Vec<_> = CATALOGUE.iter().map(|entry| entry.name.to_owned()).collect();
        known.sort();
        expected.sort();
        assert_eq!(known, expected);
    }

    #[test]
    fn no_action_is_in_a_group() {
        let actions = schema().expect("the schema reads").action_entities().expect("actions");
        assert!(actions.iter().count() > 30);
        for action in actions.iter() {
            let mut above = actions.ancestors(&action.uid()).expect("it is there");
            assert_eq!(above.next(), None, "questions would have to know the groups of {}", action.uid());
        }
    }

    #[test]
    fn the_things_of_every_question_fit_the_schema() {
        let schema = schema().expect("the schema reads");
        let ada = Peer::Operator { name: "ada".into(), strength: SessionStrength::PassPhrase };
        for peer in [ada, Peer::Agent { name: "helper".into() }, Peer::Service { name: "console".into() }] {
            for entry in CATALOGUE {
                let asked = Asked::new(entry.name, entry.example());
                let envelope = Envelope::new(ActionId::new(1, [1; 10]), peer.to_string(), asked);
                for question in questions(&schema, &envelope, &peer).expect("questions") {
                    let things = question.entities.iter().cloned();
                    Entities::from_entities(things, Some(&schema))
                        .unwrap_or_else(|error| panic!("{}: {error}", entry.name));
                }
            }
        }
    }

    #[test]
    fn a_file_is_in_every_folder_above_it_up_to_the_granted_one() {
        let thing = file("notes/2026/a.txt");
        let above: Vec<_> = thing.above.iter().map(|folder| folder.id().unescaped().to_owned()).collect();
        assert_eq!(
            above,
            ["/aios/groups/home/files", "/aios/groups/home/files/notes", "/aios/groups/home/files/notes/2026"]
        );
    }
}
