//! `aios complete -- WORD…`: how the last word may go on, one candidate a line. The console asks on Tab; the words come
//! from the same definition as help and parser, so a new command is known here at once.

use clap::CommandFactory as _;
use serde_json::{Map, Value};

use crate::args::Args;
use crate::{action, agent, approval, service, settings, workflow};

/// What the last word is.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// One of these.
    Words(Vec<String>),
    /// The name of something that this machine has.
    Name(Thing),
}

/// What has names that a machine knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    Service,
    Agent,
    Setting,
    Action,
    Approval,
    Run,
}

/// Prints the candidates. A service that does not answer has none: completion is a help and never an error.
pub(crate) async fn run(words: &[String]) {
    let word = words.last().map(String::as_str).unwrap_or_default();
    let found = match wanted(words) {
        Wanted::Words(words) => words,
        Wanted::Name(thing) => names(thing).await,
    };
    for candidate in found.iter().filter(|candidate| candidate.starts_with(word)) {
        println!("{candidate}");
    }
}

async fn names(thing: Thing) -> Vec<String> {
    match thing {
        Thing::Service => service::services().unwrap_or_default().into_iter().map(|service| service.name).collect(),
        Thing::Agent => agent::agents().unwrap_or_default().into_iter().map(|agent| agent.name).collect(),
        Thing::Setting => setting_keys().await.unwrap_or_default(),
        Thing::Action => {
            action::all().await.unwrap_or_default().into_iter().map(|action| action.id.to_string()).collect()
        }
        Thing::Approval => {
            approval::all().await.unwrap_or_default().into_iter().map(|approval| approval.id.to_string()).collect()
        }
        Thing::Run => workflow::all().await.unwrap_or_default().into_iter().map(|run| run.id.to_string()).collect(),
    }
}

async fn setting_keys() -> Option<Vec<String>> {
    let listed = settings::connect().await.ok()?.list().await.ok()?;
    let all: Map<String, Value> = serde_json::from_str(&listed).ok()?;
    Some(all.into_iter().map(|(key, _)| key).collect())
}

/// What the last of these words may be.
fn wanted(words: &[String]) -> Wanted {
    let mut root = Args::command();
    root.build();
    let Some((last, before)) = words.split_last() else { return Wanted::Words(Vec::new()) };
    let mut command = &root;
    let mut path: Vec<&str> = Vec::new();
    let mut values: Vec<&str> = Vec::new();
    let mut open: Option<&clap::Arg> = None;
    for word in before {
        if open.take().is_some() {
            continue;
        }
        if let Some(flag) = word.strip_prefix("--") {
            open = command.get_arguments().find(|arg| arg.get_long() == Some(flag) && arg.get_action().takes_values());
        } else if let Some(next) = command.find_subcommand(word) {
            command = next;
            path.push(next.get_name());
        } else {
            values.push(word);
        }
    }
    if let Some(arg) = open {
        return of_argument(&path, arg);
    }
    if last.starts_with('-') {
        let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
        return Wanted::Words(shown.filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect());
    }
    if command.has_subcommands() {
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
        return Wanted::Words(shown.map(|command| command.get_name().to_owned()).collect());
    }
    let positionals: Vec<&clap::Arg> = command.get_positionals().collect();
    match positionals.get(values.len().min(positionals.len().saturating_sub(1))) {
        Some(arg) if arg.get_id() == "parameters" => Wanted::Words(parameters(&values)),
        Some(arg) => of_argument(&path, arg),
        None => Wanted::Words(Vec::new()),
    }
}

/// The parameters that the action type in front does not have yet.
fn parameters(values: &[&str]) -> Vec<String> {
    let Some((action_type, given)) = values.split_first() else { return Vec::new() };
    let known = aios_action::find(action_type).map(|found| found.parameters).unwrap_or_default();
    let open = known.iter().map(|parameter| format!("{}=", parameter.name));
    open.filter(|parameter| !given.iter().any(|word| word.starts_with(parameter))).collect()
}

fn of_argument(path: &[&str], arg: &clap::Arg) -> Wanted {
    let possible = arg.get_possible_values();
    if !possible.is_empty() {
        return Wanted::Words(possible.iter().map(|value| value.get_name().to_owned()).collect());
    }
    match (path, arg.get_id().as_str()) {
        (_, "action_type") => Wanted::Words(aios_action::CATALOGUE.iter().map(|found| found.name.to_owned()).collect()),
        (["service", ..], "name") => Wanted::Name(Thing::Service),
        (["agent", ..], "name") => Wanted::Name(Thing::Agent),
        (["settings", ..], "key") => Wanted::Name(Thing::Setting),
        (["action", ..], "id") | (["attest"], "action") => Wanted::Name(Thing::Action),
        (["approval", ..], "id") => Wanted::Name(Thing::Approval),
        (["workflow", ..], "id") => Wanted::Name(Thing::Run),
        _ => Wanted::Words(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Wanted {
        wanted(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    fn words(line: &str) -> Vec<String> {
        match asked(line) {
            Wanted::Words(words) => words,
            Wanted::Name(thing) => panic!("'{line}' asks for a {thing:?}"),
        }
    }

    #[test]
    fn commands_come_from_the_definition_of_the_parser() {
        let first = words("");
        for known in ["status", "service", "evidence", "help"] {
            assert!(first.iter().any(|word| word == known), "{known} is in {first:?}");
        }
        assert!(!first.iter().any(|word| word == "complete"), "what nobody types is not offered");
        assert!(words("service ").iter().any(|word| word == "restart"));
        assert!(words("evidence query --").iter().any(|word| word == "--since"));
        assert_eq!(words("evidence export out --format "), ["c2sp", "jsonl", "otlp"]);
    }

    #[test]
    fn names_are_asked_of_the_machine() {
        assert_eq!(asked("service restart net"), Wanted::Name(Thing::Service));
        assert_eq!(asked("settings get "), Wanted::Name(Thing::Setting));
        assert_eq!(asked("approval approve "), Wanted::Name(Thing::Approval));
        assert_eq!(asked("attest "), Wanted::Name(Thing::Action));
        assert_eq!(asked("workflow resume "), Wanted::Name(Thing::Run));
        assert_eq!(words("workflow answer run_0 look "), ["yes", "no"]);
    }

    #[test]
    fn an_action_offers_the_parameters_that_it_still_lacks() {
        assert!(words("action submit ").iter().any(|word| word == "settings.set"));
        assert_eq!(words("action submit settings.set "), ["key=", "value="]);
        assert_eq!(words("action submit --reason because settings.set key=network.mode "), ["value="]);
        assert!(words("action submit no.such.type ").is_empty());
    }
}
