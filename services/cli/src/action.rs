//! `aios action …`, and the one way in which every other command changes something.

use std::io::Read;
use std::path::Path;

use aios_action::{ActionType, ActionView, CATALOGUE, Constraints, Request, Reversal, State, canonical};
use aios_daemon::proxy::Actions1Proxy;
use aios_evidence::{Filter, Kind};
use aios_wire::plan::Plan;
use aios_wire::policy::Verdict;
use serde_json::{Map, Value};

use crate::args::ActionCommand;
use crate::evidence;
use crate::failure::Failure;
use crate::follow::{self, Until};
use crate::sentence::sentence;
use crate::show::{Format, harmless, read, table};

pub(crate) async fn run(command: ActionCommand, format: Format) -> Result<(), Failure> {
    match command {
        ActionCommand::Types => {
            let schemas: Vec<_> = CATALOGUE.iter().map(described).collect();
            format.print(&schemas, |_| {
                table(
                    ["TYPE", "RISK", "PARAMETERS", "WHAT IT DOES"],
                    CATALOGUE.iter().map(|entry| {
                        let parameters: Vec<_> = entry.parameters.iter().map(|p| p.name).collect();
                        [entry.name.into(), entry.risk().word().into(), parameters.join(" "), entry.summary.into()]
                    }),
                );
            });
            Ok(())
        }
        ActionCommand::Schema { action_type } => {
            let schema = find(&action_type)?.json_schema();
            println!("{}", serde_json::to_string_pretty(&schema).expect("a schema has only text keys"));
            Ok(())
        }
        ActionCommand::Submit { action_type, parameters, file, reason, key, at_most, dry_run } => {
            let mut request = request(action_type.as_deref(), &parameters, file.as_deref())?;
            if !reason.is_empty() {
                request.reason = reason;
            }
            request.idempotency_key = key.or(request.idempotency_key);
            if !at_most.is_empty() {
                request.constraints = Constraints::from_words(at_most.iter().map(String::as_str))
                    .map_err(|error| Failure::usage(error.to_string()))?;
            }
            if dry_run {
                return plan(&request, format).await;
            }
            submit_request(&request, format).await
        }
        ActionCommand::List => {
            format.print(&all().await?, |views| {
                table(
                    ["ACTION", "TYPE", "SUBJECT", "STATE"],
                    views.iter().map(|view| {
                        [
                            view.id.to_string(),
                            view.request.action_type.clone(),
                            view.subject.clone(),
                            view.state.word().into(),
                        ]
                    }),
                );
            });
            Ok(())
        }
        ActionCommand::Show { id } => {
            let view = view(&id).await?;
            format.print(&view, print_view);
            if format == Format::People {
                print_refusals(&view).await;
            }
            Ok(())
        }
        ActionCommand::Watch { id } => {
            let actions = actions().await?;
            let view: ActionView = read("action-runtime", &actions.show(&id).await?)?;
            conclude(&follow::to_the_end(&actions, view, Until::Ended, format).await?, format)
        }
        ActionCommand::Cancel { id } => Ok(actions().await?.cancel(&id).await?),
    }
}

/// A type with its schema and what is known of it beforehand.
fn described(entry: &ActionType) -> Value {
    let mut schema = entry.json_schema();
    schema["risk"] = entry.risk().word().into();
    schema["rights"] = entry.rights.iter().map(|right| right.word()).collect();
    schema["undone"] = (entry.reversal == Reversal::RestoresBefore).into();
    schema["afterwards"] = entry.post_condition.into();
    schema
}

/// Every action, as the runtime tells, oldest first.
pub(crate) async fn all() -> Result<Vec<ActionView>, Failure> {
    read("action-runtime", &actions().await?.list().await?)
}

/// One action, as the runtime tells.
pub(crate) async fn view(id: &str) -> Result<ActionView, Failure> {
    read("action-runtime", &actions().await?.show(id).await?)
}

/// Submits an action of the catalogue for the command that it is the meaning of.
pub(crate) async fn submit<const N: usize>(
    action_type: &str,
    parameters: [(&str, Value); N],
    format: Format,
) -> Result<(), Failure> {
    let parameters = parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let request = Request::new(action_type, parameters);
    submit_request(&request, format).await
}

async fn submit_request(request: &Request, format: Format) -> Result<(), Failure> {
    // The runtime checks again; here a slip of the fingers gets its answer without a record.
    request.check().map_err(|error| Failure::usage(aios_daemon::error_chain(&error)))?;
    let text = serde_json::to_string(request).expect("a request has only text keys");
    let actions = actions().await?;
    let view: ActionView = read("action-runtime", &actions.submit(&text).await?)?;
    conclude(&follow::to_the_end(&actions, view, Until::EndedOrWaiting, format).await?, format)
}

/// Shows what would become of a request.
async fn plan(request: &Request, format: Format) -> Result<(), Failure> {
    request.check().map_err(|error| Failure::usage(aios_daemon::error_chain(&error)))?;
    let text = serde_json::to_string(request).expect("a request has only text keys");
    let plan: Plan = read("action-runtime", &actions().await?.plan(&text).await?)?;
    format.print(&plan, print_plan);
    match plan.decision.verdict {
        Verdict::Denied => Err(Failure::denied(format!("it would be denied ({})", plan.decision.reason))),
        Verdict::Allowed | Verdict::NeedsApproval { .. } => Ok(()),
    }
}

fn print_plan(plan: &Plan) {
    let decision = &plan.decision;
    let answer = match decision.verdict {
        Verdict::Allowed => "allowed",
        Verdict::NeedsApproval { .. } => "allowed once a person approves",
        Verdict::Denied => "denied",
    };
    println!("{}: {}", plan.action_type, plan.summary);
    println!("  nothing has happened; without --dry-run this would be");
    println!("  decided    {answer}: {}", harmless(&decision.text));
    println!("  risk       {}; it touches {}", plan.risk, plan.rights.join(", "));
    if let Some(target) = &plan.target {
        println!("  for        {}", harmless(target));
    }
    println!("  holds when {}", plan.afterwards);
    match &plan.undone {
        Some(undone) => println!("  if not     {}", harmless(undone)),
        None => println!("  if not     it is not undone"),
    }
    if let Some(obstacle) = &plan.obstacle {
        println!("  obstacle   {}", harmless(obstacle));
    }
}

fn conclude(view: &ActionView, format: Format) -> Result<(), Failure> {
    format.print(view, print_view);
    let id = &view.id;
    match &view.state {
        State::Succeeded => Ok(()),
        State::Denied { reason, text } => Err(Failure::denied(format!("denied ({reason}): {}", harmless(text)))
            .hint(format!("'aios policy explain {} …' shows the rules", view.request.action_type))),
        State::Waiting { approval } => Err(Failure::waits(format!("{id} waits for a person"))
            .hint(format!("'aios approval show {approval}', then 'aios approval approve {approval}'"))),
        State::Failed { text } => Err(Failure::failed(format!("failed: {}", harmless(text)))),
        State::RolledBack { text } => {
            Err(Failure::failed(format!("failed, and the state from before is back: {}", harmless(text))))
        }
        other => Err(Failure::failed(format!("{id} is {}", other.word())).hint(format!("aios action watch {id}"))),
    }
}

fn print_view(view: &ActionView) {
    println!("{}  {}  {}", view.id, view.request.action_type, view.state.word());
    println!("  asked by   {}", view.subject);
    let parameters = canonical::write(&Value::Object(view.request.parameters.clone()));
    println!("  parameters {}", harmless(&parameters.chars().take(200).collect::<String>()));
    if !view.request.reason.is_empty() {
        println!("  reason     {}", harmless(&view.request.reason));
    }
    if let Some(target) = view.target {
        println!("  for        {}", target.text());
    }
    println!("  digest     {}", view.digest);
    let rules = if view.rules.is_empty() { "no rule".to_owned() } else { view.rules.join(", ") };
    println!("  decided by {rules} (policy epoch {})", view.epoch);
    if let Some(observed) = &view.observed {
        println!("  observed   {}", harmless(&canonical::write(observed).chars().take(400).collect::<String>()));
    }
    let receipts: Vec<_> = view.evidence.iter().map(|r| format!("{} {}", r.kind, r.index)).collect();
    println!("  evidence   {}", receipts.join(", "));
}

/// What the kernel refused to the action's program. A log that cannot be asked now is no reason to show nothing.
async fn print_refusals(view: &ActionView) {
    let filter = Filter { kind: Some(Kind::Denial), action: Some(view.id.to_string()), ..Filter::default() };
    match evidence::query(&filter).await {
        Ok(refusals) => refusals.iter().for_each(|refusal| println!("  refused    {}", sentence(refusal))),
        Err(failure) => println!("  refused    cannot say: {failure}"),
    }
}

/// The request that a type and words, or a file, mean.
pub(crate) fn request(action_type: Option<&str>, words: &[String], file: Option<&Path>) -> Result<Request, Failure> {
    if let Some(file) = file {
        let text = read_file(file)?;
        let (request, _) = Request::parse(&text)
            .map_err(|error| Failure::usage(format!("{}: {}", file.display(), aios_daemon::error_chain(&error))))?;
        return Ok(request);
    }
    let entry = find(action_type.unwrap_or_default())?;
    let pairs = words
        .iter()
        .map(|word| {
            word.split_once('=')
                .ok_or_else(|| Failure::usage(format!("'{}' is no parameter: write KEY=VALUE", word.escape_default())))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let parameters: Map<_, _> = entry
        .parameters_from_words(pairs)
        .map_err(|error| Failure::usage(error.to_string()).hint(format!("aios action schema {}", entry.name)))?;
    Ok(Request::new(entry.name, parameters))
}

/// A file's text, or the terminal's for `-`, of at most what a request may have.
pub(crate) fn read_file(file: &Path) -> Result<String, Failure> {
    let cannot = |error: std::io::Error| Failure::failed(format!("cannot read {}: {error}", file.display()));
    let limit = canonical::SIZE_LIMIT as u64 + 1;
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_string(&mut text).map_err(cannot)?;
    } else {
        std::fs::File::open(file).and_then(|f| f.take(limit).read_to_string(&mut text)).map_err(cannot)?;
    }
    Ok(text)
}

fn find(name: &str) -> Result<&'static ActionType, Failure> {
    aios_action::find(name).ok_or_else(|| {
        Failure::usage(format!("there is no action type '{}'", name.escape_default())).hint("aios action types")
    })
}

async fn actions() -> Result<Actions1Proxy<'static>, Failure> {
    let connection = aios_daemon::connect("action-runtime")
        .await
        .map_err(|error| Failure::not_reachable("action-runtime", error))?;
    Ok(Actions1Proxy::new(&connection).await?)
}
