//! Every action type there is. A type is here because an adapter does it and the verifier can measure it.
//!
//! The modules below hold the types by what they are about; [`CATALOGUE`] puts them in the order in which people read.

mod apps;
mod evidence;
mod files;
mod machine;
mod objects;
mod people;
mod secrets;
mod services;
mod settings;
mod software;
mod web;

use serde_json::{Map, Value, json};

use crate::parameter::{self, GRANTED_FOLDER, Kind, Parameter, ParameterError, Presence};

/// One kind of action.
#[derive(Debug, PartialEq, Eq)]
pub struct ActionType {
    /// Its dotted name.
    pub name: &'static str,
    /// What it does, for people.
    pub summary: &'static str,
    /// What it is told.
    pub parameters: &'static [Parameter],
    /// What it needs to be allowed to touch; the risk follows from it.
    pub rights: &'static [Right],
    /// Whether a bad outcome can be undone.
    pub reversal: Reversal,
    /// What must hold afterwards, as the verifier measures it.
    pub post_condition: &'static str,
    /// What carries it out.
    pub adapter: Adapter,
    /// Parameters that are right, as words of the command line.
    pub example: Example,
}

/// Parameters as a person types them.
pub type Example = &'static [(&'static str, &'static str)];

/// Something of the machine that an action may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Write named objects.
    Objects,
    /// Read and write files in the granted folder.
    Files,
    /// Connect to other machines.
    Network,
    /// Run a program of the store in a sandbox.
    Execute,
    /// Start agents.
    Agents,
    /// Hand out what is in the evidence log.
    Evidence,
    /// Start, stop, restart services.
    Services,
    /// Change settings.
    Settings,
    /// Bring software onto the machine.
    Software,
    /// Set the clock, by which signatures and certificates are judged.
    Clock,
    /// Restart the machine or turn it off.
    Power,
    /// Change which secrets there are and where they go.
    Secrets,
    /// Replace the system itself.
    System,
    /// Change who can log in.
    Identity,
    /// Change what is permitted.
    Policy,
}

impl Right {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Objects => "objects",
            Self::Files => "files",
            Self::Network => "network",
            Self::Execute => "execute",
            Self::Agents => "agents",
            Self::Evidence => "evidence",
            Self::Services => "services",
            Self::Settings => "settings",
            Self::Software => "software",
            Self::Clock => "clock",
            Self::Power => "power",
            Self::Secrets => "secrets",
            Self::System => "system",
            Self::Identity => "identity",
            Self::Policy => "policy",
        }
    }
}

/// How much harm an action can do at worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    /// Only data that has versions or its own folder.
    Low,
    /// Something that other programs depend on.
    Medium,
    /// The machine itself, or what runs on it from now on.
    High,
}

impl Risk {
    /// The word people and policies use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// Whether a bad outcome can be undone by the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reversal {
    /// The runtime restores the state from before.
    RestoresBefore,
    /// It cannot.
    None,
}

/// What carries an action out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adapter {
    /// One typed call to the service that owns the resource.
    Call(&'static str),
    /// Work on a descriptor of the granted folder.
    Folder,
    /// A program of the store, run in the sandbox itself.
    Program,
}

const fn required(name: &'static str, kind: Kind, summary: &'static str) -> Parameter {
    Parameter { name, kind, summary, presence: Presence::Required }
}

const fn optional(name: &'static str, kind: Kind, summary: &'static str) -> Parameter {
    Parameter { name, kind, summary, presence: Presence::Optional }
}

/// So much content travels in a request; more belongs into the store.
pub const CONTENT_LIMIT: usize = 32 * 1024;

/// The area of the types that put objects.
const OBJECTS: &str = "object";

/// Versions and generations are whole numbers that every reader of JSON has.
const LARGEST: u64 = (1 << 53) - 1;

/// The closed catalogue, in the order people read it.
pub const CATALOGUE: &[ActionType] = &[
    services::RESTART,
    services::STOP,
    services::START,
    services::ENABLE,
    services::DISABLE,
    settings::SET,
    settings::ROLLBACK,
    objects::PUT,
    objects::TRANSACTION,
    objects::ROLLBACK,
    objects::TAG,
    objects::UNTAG,
    evidence::EXPORT,
    files::READ,
    files::WRITE,
    files::PATCH,
    files::MOVE,
    files::DELETE,
    machine::NETWORK_CHECK,
    web::FETCH,
    secrets::PUT,
    secrets::REMOVE,
    machine::TIME_SET,
    machine::REBOOT,
    machine::POWEROFF,
    software::STORE_ADD,
    software::TASK_RUN,
    apps::REQUEST,
    apps::INSTALL,
    apps::REMOVE,
    apps::ROLLBACK,
    software::AGENT_RUN,
    software::UPDATE_APPLY,
    people::POLICY_LOAD,
    people::USER_ADD,
    people::USER_PASSPHRASE,
    people::USER_KEY_ADD,
    people::USER_KEY_REMOVE,
];

/// The type with this name.
pub fn find(name: &str) -> Option<&'static ActionType> {
    CATALOGUE.iter().find(|entry| entry.name == name)
}

impl ActionType {
    /// The risk: the worst that any of its rights allows. A caller's claim plays no part.
    pub fn risk(&self) -> Risk {
        let worst = |right: &Right| match right {
            Right::Objects | Right::Files => Risk::Low,
            Right::Network | Right::Execute | Right::Agents | Right::Evidence | Right::Services | Right::Settings => {
                Risk::Medium
            }
            Right::Software
            | Right::Clock
            | Right::Power
            | Right::Secrets
            | Right::System
            | Right::Identity
            | Right::Policy => Risk::High,
        };
        self.rights.iter().map(worst).max().unwrap_or(Risk::High)
    }

    /// Checks parameters against the type.
    pub fn check(&'static self, given: &Map<String, Value>) -> Result<(), ParameterError> {
        parameter::check(self.name, self.parameters, given)
    }

    /// The parameters that words such as `name=network` mean.
    pub fn parameters_from_words<'a>(
        &'static self,
        words: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Map<String, Value>, ParameterError> {
        let given = words
            .into_iter()
            .map(|(name, word)| {
                let kind = self.parameters.iter().find(|p| p.name == name).map_or(Kind::Value, |p| p.kind);
                (name.to_owned(), kind.from_word(word))
            })
            .collect();
        self.check(&given)?;
        Ok(given)
    }

    /// Parameters that are right.
    pub fn example(&self) -> Map<String, Value> {
        let value = |name: &str, word| {
            let kind = self.parameters.iter().find(|parameter| parameter.name == name).map(|parameter| parameter.kind);
            kind.unwrap_or(Kind::Value).from_word(word)
        };
        self.example.iter().map(|(name, word)| ((*name).to_owned(), value(name, word))).collect()
    }

    /// The parameters as JSON Schema, for tools that AI models see and for people's editors.
    pub fn json_schema(&self) -> Value {
        let properties: Map<_, _> =
            self.parameters.iter().map(|p| (p.name.to_owned(), p.kind.json_schema(p.summary))).collect();
        let required: Vec<_> =
            self.parameters.iter().filter(|p| p.presence == Presence::Required).map(|p| p.name).collect();
        json!({
            "type": "object",
            "title": self.name,
            "description": self.summary,
            "examples": [self.example()],
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        })
    }

    /// Where an action on files goes, for people; the adapter works on a descriptor, never on this path.
    pub fn granted_folder(&self) -> Option<&'static str> {
        (self.adapter == Adapter::Folder).then_some(GRANTED_FOLDER)
    }

    /// Whether its effect ends the boot, so that only a later one can measure it.
    pub fn ends_the_boot(&self) -> bool {
        [machine::REBOOT.name, machine::POWEROFF.name].contains(&self.name)
    }

    /// What takes turns: actions on the same kind of thing wait for each other, so that what the verifier measures is the
    /// effect of one. Programs and checks have nothing in common that would make one wait for another.
    pub fn turn(&self) -> Option<&'static str> {
        match self.adapter {
            Adapter::Program => None,
            _ if self.rights == [Right::Network] => None,
            // What it leaves is an object, and another version of that on top of it would be measured in its place.
            _ if self.name == evidence::EXPORT.name => Some(OBJECTS),
            // Which version is in use must not change while it becomes a service.
            _ if self.is_about_a_service_app() => Some("app"),
            _ => self.name.split_once('.').map(|(area, _)| area),
        }
    }

    /// Whether everything is as it was, however far it came: a program gets nothing that it could leave anything in, a file
    /// that is read stays, and a connection that is tried is closed at once.
    pub fn leaves_nothing(&self) -> bool {
        self.adapter == Adapter::Program || [files::READ.name, machine::NETWORK_CHECK.name].contains(&self.name)
    }

    /// Whether it makes an app a service, or takes that back.
    pub fn is_about_a_service_app(&self) -> bool {
        [services::ENABLE.name, services::DISABLE.name].contains(&self.name)
    }

    /// Whether a program is handed in that has to be tried before anybody is asked.
    pub fn is_tried(&self) -> bool {
        [apps::REQUEST.name, apps::INSTALL.name].contains(&self.name)
    }

    /// The parameter that names the file whose content an approval is also for.
    pub fn bound_file(&self) -> Option<&'static str> {
        (self.adapter == Adapter::Folder && self.reversal == Reversal::RestoresBefore).then_some("path")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_type_takes_a_shell_line() {
        for entry in CATALOGUE {
            assert!(!entry.name.contains("shell"), "{}", entry.name);
            assert!(
                !entry.parameters.iter().any(|p| ["command", "line", "script"].contains(&p.name)),
                "{}",
                entry.name
            );
        }
    }

    #[test]
    fn each_example_is_right_and_each_name_is_one_type() {
        for (place, entry) in CATALOGUE.iter().enumerate() {
            assert_eq!(entry.check(&entry.example()), Ok(()), "{}", entry.name);
            assert_eq!(entry.parameters_from_words(entry.example.iter().copied()), Ok(entry.example()));
            assert!(CATALOGUE[..place].iter().all(|other| other.name != entry.name), "{} stands twice", entry.name);
        }
    }

    #[test]
    fn risk_follows_from_the_rights() {
        assert_eq!(find("object.put").map(ActionType::risk), Some(Risk::Low));
        assert_eq!(find("settings.set").map(ActionType::risk), Some(Risk::Medium));
        assert_eq!(find("node.reboot").map(ActionType::risk), Some(Risk::High));
        assert_eq!(find("time.set").map(ActionType::risk), Some(Risk::High));
    }

    #[test]
    fn only_what_can_change_nothing_leaves_nothing() {
        let names: Vec<_> = CATALOGUE.iter().filter(|entry| entry.leaves_nothing()).map(|entry| entry.name).collect();
        assert_eq!(names, ["file.read", "network.check", "task.run"]);
        for entry in CATALOGUE.iter().filter(|entry| entry.leaves_nothing()) {
            assert_eq!(entry.reversal, Reversal::None, "{} has something to undo", entry.name);
            assert!(!entry.ends_the_boot(), "{}", entry.name);
        }
    }

    #[test]
    fn what_works_on_the_same_things_takes_turns() {
        let turn = |name: &str| find(name).expect("in the catalogue").turn();
        assert_eq!(turn("file.write"), turn("file.delete"));
        assert_eq!(turn("evidence.export"), turn("object.put"));
        assert_eq!(turn("service.enable"), turn("app.rollback"));
        assert_ne!(turn("service.enable"), turn("service.stop"));
        assert_eq!((turn("task.run"), turn("network.check")), (None, None));
        assert!(find("node.poweroff").is_some_and(ActionType::ends_the_boot));
        assert_eq!(find("file.read").and_then(ActionType::bound_file), None);
        assert_eq!(find("file.move").and_then(ActionType::bound_file), Some("path"));
    }

    #[test]
    fn words_are_checked_like_any_parameters() {
        let restart = find("service.restart").expect("in the catalogue");
        assert!(restart.parameters_from_words([("name", "network")]).is_ok());
        let missing = restart.parameters_from_words([]).expect_err("name is required");
        assert_eq!(missing.to_string(), "service.restart needs the parameter 'name': the service");
        let unknown = restart.parameters_from_words([("name", "network"), ("force", "yes")]).expect_err("no force");
        assert_eq!(unknown.to_string(), "service.restart has no parameter 'force'; it has: name");
    }
}
