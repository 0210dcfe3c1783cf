//! `aios user …`: the people who can log in, and their keys.
//!
//! A pass phrase goes from this program to the policy kernel and nowhere else; the action that follows has only the name.

use aios_action::{ActionView, Request, State};
use aios_daemon::proxy::{Actions1Proxy, Policy1Proxy};
use aios_identity::{Peer, SessionStrength};
use aios_wire::policy::{KeyView, People};
use serde_json::{Map, Value};

use crate::approval::{self, ask_hidden, ask_line};
use crate::args::{KeyCommand, UserCommand};
use crate::failure::Failure;
use crate::show::{Format, harmless, read, table};
use crate::{policy, status};

pub(crate) async fn run(command: UserCommand, format: Format) -> Result<(), Failure> {
    match command {
        UserCommand::List => {
            format.print(&people().await?, |people| {
                table(
                    ["NAME", "UID", "PASS PHRASE", "KEYS"],
                    people.operators.iter().map(|operator| {
                        let changed = match operator.changes {
                            0 => "as it was set".to_owned(),
                            count => format!("changed {count} times"),
                        };
                        [operator.name.clone(), operator.uid.to_string(), changed, operator.keys.len().to_string()]
                    }),
                );
                println!("you are {}", people.you);
            });
            Ok(())
        }
        UserCommand::Add { name } => {
            let new = ask_twice(&format!("pass phrase of {name}: "))?;
            change("user.add", [("name", name.clone())], Some(Offer { name, new }), format).await
        }
        UserCommand::Passwd => {
            let Peer::Operator { name, .. } = people().await?.you else {
                return Err(Failure::denied("only a person has a pass phrase"));
            };
            let new = ask_twice("new pass phrase: ")?;
            change("user.passphrase", [("name", name.clone())], Some(Offer { name, new }), format).await
        }
        UserCommand::Key { command } => key(command, format).await,
    }
}

async fn key(command: KeyCommand, format: Format) -> Result<(), Failure> {
    match command {
        KeyCommand::List { name } => {
            let mut operators = people().await?.operators;
            let place = operators.iter().position(|operator| operator.name == name).ok_or_else(|| {
                Failure::failed(format!("nobody named '{}' can log in", harmless(&name))).hint("aios user list")
            })?;
            format.print(&operators.swap_remove(place).keys, |keys| {
                for KeyView { fingerprint, line } in keys {
                    let (algorithm, rest) = line.split_once(' ').unwrap_or((line, ""));
                    let comment = rest.split_once(' ').map_or("no comment", |(_, comment)| comment);
                    println!("{fingerprint} {} ({})", harmless(comment), harmless(algorithm));
                }
            });
            Ok(())
        }
        KeyCommand::Add { name, key } => {
            let key = match key.as_slice() {
                [] => ask_line("public key, the line of the .pub file: ")?,
                words => words.join(" "),
            };
            change("user.key.add", [("name", name), ("key", key.trim().to_owned())], None, format).await
        }
        KeyCommand::Remove { name, fingerprint } => {
            change("user.key.remove", [("name", name), ("fingerprint", fingerprint)], None, format).await
        }
    }
}

/// A pass phrase for somebody, which goes to the policy kernel before the action that names them.
struct Offer {
    name: String,
    new: String,
}

async fn people() -> Result<People, Failure> {
    read("policy-kernel", &policy::connect().await?.people().await?)
}

fn ask_twice(question: &str) -> Result<String, Failure> {
    let new = ask_hidden(question)?;
    if new.is_empty() {
        return Err(Failure::usage("a pass phrase has at least one character; nothing was changed"));
    }
    if ask_hidden("once more: ")? != new {
        return Err(Failure::usage("the two are not the same; nothing was changed"));
    }
    Ok(new)
}

/// Offers the pass phrase where one is needed, asks for the action, and says yes to it as the person who asks.
async fn change<const N: usize>(
    action_type: &str,
    parameters: [(&str, String); N],
    offer: Option<Offer>,
    format: Format,
) -> Result<(), Failure> {
    let parameters = parameters.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value)));
    let request = Request::new(action_type, parameters.collect::<Map<_, _>>());
    request.check().map_err(|error| Failure::usage(aios_daemon::error_chain(&error)))?;
    let own = match status::session_strength() {
        Some(SessionStrength::PassPhrase) => ask_hidden("your own pass phrase, as it is now: ")?,
        _ => {
            eprintln!("this is the live system: it forgets who was added when it ends");
            String::new()
        }
    };
    let policy = policy::connect().await?;
    if let Some(Offer { name, new }) = offer {
        policy.offer_pass_phrase(&name, &new).await?;
    }
    let connection = aios_daemon::connect("action-runtime")
        .await
        .map_err(|error| Failure::not_reachable("action-runtime", error))?;
    let actions = Actions1Proxy::new(&connection).await?;
    let text = serde_json::to_string(&request).expect("a request has only text keys");
    let mut view: ActionView = read("action-runtime", &actions.submit(&text).await?)?;
    if let State::Waiting { approval } = &view.state
        && let Err(failure) = confirm(&policy, approval.as_str(), &own).await
    {
        // Nobody is to be asked about a change that the person could not confirm.
        actions.cancel(view.id.as_str()).await?;
        return Err(failure);
    }
    while !view.state.is_final() && !waits_for_others(&view).await? {
        view = read("action-runtime", &actions.watch(view.id.as_str()).await?)?;
    }
    format.print(&view, |view| println!("{}  {}  {}", view.id, view.request.action_type, view.state.word()));
    match &view.state {
        State::Succeeded => Ok(()),
        State::Denied { reason, text } => Err(Failure::denied(format!("denied ({reason}): {}", harmless(text)))),
        State::Waiting { approval } => Err(Failure::waits(format!("{} waits for somebody else", view.id))
            .hint(format!("aios approval show {approval}"))),
        State::Failed { text } => Err(Failure::failed(format!("failed: {}", harmless(text)))),
        other => Err(Failure::failed(format!("{} is {}", view.id, other.word()))),
    }
}

/// Says yes as the person who asks, with the request before them.
async fn confirm(policy: &Policy1Proxy<'_>, id: &str, pass_phrase: &str) -> Result<(), Failure> {
    let waiting = approval::find(id).await?;
    approval::print(&waiting);
    let code = approval::ask_code(&waiting)?;
    Ok(policy.approve(id, &code, pass_phrase).await?)
}

/// Whether the rules want more people than the one who has just said yes.
async fn waits_for_others(view: &ActionView) -> Result<bool, Failure> {
    let State::Waiting { approval } = &view.state else { return Ok(false) };
    let kept = approval::find(approval.as_str()).await?;
    Ok(kept.state == aios_wire::policy::ApprovalState::Waiting)
}
