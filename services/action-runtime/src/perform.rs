//! One allowed action, step by step to its end.
//!
//! The order is the promise: look, make the intent durable, mark the action as running, use the approval up, record the
//! start, start the adapter, let the verifier measure, record. Whatever fails before the adapter starts leaves no effect;
//! whatever comes after is measured by somebody else. Where no approval is to be used up, intent and start are made durable
//! together; where nothing is left however far the action comes, the journal's notes are written beside the steps
//! ([`Note`]).

use std::io;
use std::sync::Arc;
use std::time::Instant;

use action_runtime::budget::TooLate;
use action_runtime::journal::{Entry, JournalError};
use action_runtime::launch::{self, Finished, Given, Launch, LaunchError, User};
use action_runtime::target::{self, TargetChanged};
use action_runtime::task::{Bytes, Report, Task};
use aios_action::{ActionType, ActionView, Adapter, Event, Receipt, State, find};
use aios_daemon::error_chain;
use aios_ids::{ActionId, Digest};
use aios_wire::evidence::RoomState;
use aios_wire::launch::{Ending, Limits, Program};
use aios_wire::verify::Outcome;
use serde_json::{Value, json};

use crate::note::Note;
use crate::peers::{self, PeerError};
use crate::roll_back::roll_back;
use crate::runtime::{Runtime, target_of};
use crate::turns::Turn;
use crate::undo::{self, UndoError};
use crate::{app, redact, resource, services, spend};

/// A step failed; its text is the action's end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error("the action's type is not in this system's catalogue")]
    Unknown,
    #[error("it did not begin: {0}")]
    Unit(String),
    #[error("it did not begin: no action of this kind is taken: {0}")]
    NotContained(String),
    #[error("it did not begin")]
    TooLate(#[from] TooLate),
    #[error("it did not begin: the verifier cannot see the state before")]
    Before(#[source] PeerError),
    #[error("it did not begin: what would bring the state from before back cannot be kept")]
    Undo(#[from] UndoError),
    #[error("it did not begin: it would work on something else")]
    Target(#[from] TargetChanged),
    #[error("it did not begin")]
    App(#[from] app::RunError),
    #[error("it did not begin: the evidence log cannot say how much room it has")]
    Room(#[source] PeerError),
    #[error(
        "it did not begin: the evidence log is full; free space on the data partition, or export the log and begin a new one"
    )]
    NoRoom,
    #[error("it did not begin: the evidence log is read-only: {0}")]
    ReadOnly(String),
    #[error("it did not begin: the intent cannot be recorded")]
    Intent(#[source] PeerError),
    #[error("it did not begin: the approval cannot be used")]
    Approval(#[source] PeerError),
    #[error("it did not begin: its start cannot be recorded")]
    Started(#[source] PeerError),
    #[error("it did not begin: its resource cannot be opened")]
    Resource(#[source] io::Error),
    #[error("it was not run")]
    Launch(#[source] LaunchError),
    #[error("the adapter says: {0}")]
    Adapter(String),
    #[error("the adapter ended before it could say what it did: {0}")]
    Cut(String),
    #[error("what came of it cannot be measured")]
    Measure(#[source] PeerError),
    #[error("{0}")]
    NotHeld(String),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl StepError {
    /// Whether the state may be another one than before. An adapter that was cut off may have done everything but say so,
    /// and what could not be measured may be there; an adapter that says no has not done it.
    fn may_have_had_an_effect(&self) -> bool {
        matches!(self, Self::NotHeld(_) | Self::Cut(_) | Self::Measure(_))
    }
}

/// How far an action came that did not fail.
enum Came {
    /// What was promised was measured.
    Held,
    /// The machine goes down now; the next boot measures.
    ToTheNextBoot,
}

/// Does an allowed action and brings it to its end.
pub(crate) async fn perform(runtime: Arc<Runtime>, entry: Entry) {
    let _turn = runtime.turn(&entry.view).await;
    let id = entry.view.id.clone();
    // One for the effect and for taking it back, so that what either is refused is found under the action.
    let user = match runtime.users.take() {
        Ok(user) => user,
        Err(error) => return finish(&runtime, &id, Event::Failed(error_chain(&error))).await,
    };
    let boot = entry.boot.clone();
    let came = steps(&runtime, entry, &user).await;
    conclude(&runtime, &id, &boot, &user, came).await;
}

/// Ends an action as it came, or undoes it where that is possible and called for.
async fn conclude(runtime: &Arc<Runtime>, id: &ActionId, boot: &str, user: &User, came: Result<Came, StepError>) {
    let error = match came {
        Ok(Came::Held) => return finish(runtime, id, Event::Held).await,
        Ok(Came::ToTheNextBoot) => return,
        Err(error) => error,
    };
    let why = error_chain(&error);
    let kept = match runtime.journal.undo(id) {
        Ok(kept) if error.may_have_had_an_effect() => kept,
        Ok(_) => None,
        Err(error) => {
            eprintln!("{id} cannot be undone: {}", error_chain(&error));
            None
        }
    };
    match kept.filter(|kept| boot == runtime.boot || kept.undo.outlives_the_boot()) {
        Some(kept) => roll_back(runtime, id, user, kept.undo, why).await,
        None => finish(runtime, id, Event::Failed(why)).await,
    }
}

async fn steps(runtime: &Arc<Runtime>, entry: Entry, user: &User) -> Result<Came, StepError> {
    let view = &entry.view;
    let id = &view.id;
    let action_type = find(&view.request.action_type).ok_or(StepError::Unknown)?;
    let envelope = view.envelope();
    let text = envelope.canonical();

    // It may have waited for a person since an earlier runtime took it.
    runtime.require_containment(resource::tier(action_type)).await.map_err(StepError::NotContained)?;
    spend::limits(action_type, view)?;
    target::check(view.target, target_of(&view.request).await)?;
    let app = app::ready(&view.request, view.target).await?;
    if let Some(app) = &app {
        runtime.require_containment(app.program.tier()).await.map_err(StepError::NotContained)?;
    }
    resource::check_unit(&view.request).map_err(StepError::Unit)?;
    let room = peers::room().await.map_err(StepError::Room)?;
    match room.state {
        RoomState::Ample => {}
        RoomState::NearEnd => {
            eprintln!("{id}: the evidence log is near its end: {} of {} bytes", room.used, room.limit)
        }
        RoomState::Full => return Err(StepError::NoRoom),
        RoomState::ReadOnly(why) => return Err(StepError::ReadOnly(why)),
    }
    let before = peers::before(&text).await.map_err(StepError::Before)?;
    let prepared = undo::prepare(&view.request).await?;
    let intent = json!({
        "type": view.request.action_type,
        "subject": view.subject,
        "parameters": redact::parameters(&view.request),
        "digest": view.digest,
        "epoch": view.epoch,
        "rules": view.rules,
    });
    let started = |token: Option<String>| json!({"digest": view.digest, "token": token, "uid": user.uid()});
    let at_most = spend::at_most(spend::limits(action_type, view)?);
    let opened = resource::open(action_type).map_err(StepError::Resource)?;
    let begin = |receipts: Vec<Receipt>| {
        let (runtime, id, before) = (Arc::clone(runtime), id.clone(), before.clone());
        move || {
            runtime.begin(&id, prepared, |entry| {
                entry.before = Some(before);
                entry.at_most = Some(at_most);
                entry.view.evidence.extend(receipts);
            })
        }
    };

    let (mut program, args) = resource::program(action_type, &view.request);
    let given = match app {
        Some(app) => {
            program = app.program.clone();
            app.given()
        }
        None => opened,
    };
    let input = match action_type.adapter {
        Adapter::Program => Vec::new(),
        _ => task(&Task::Do(envelope)),
    };
    let limits = spend::limits(action_type, view)?;
    let note = Note::of(action_type);
    let run = async {
        let began = Instant::now();
        (began, launch(user, id.clone(), program, args, input, given, limits).await)
    };
    let (began, finished) = if let State::Allowed { approval: Some(approval) } = &view.state {
        let intent = peers::append("intent", id.as_str(), &intent).await.map_err(StepError::Intent)?;
        begin(vec![receipt("intent", intent)])()?;
        let token = peers::consume(approval, &view.digest, &view.epoch, id).await.map_err(StepError::Approval)?;
        let started = peers::append("started", id.as_str(), &started(Some(token))).await.map_err(StepError::Started)?;
        runtime.journal.remember(id, |entry| entry.view.evidence.push(receipt("started", started)))?;
        run.await
    } else {
        let records = [("intent", &intent), ("started", &started(None))];
        let [intent, started] = peers::append_all(id.as_str(), records).await.map_err(StepError::Intent)?;
        note.and(begin(vec![receipt("intent", intent), receipt("started", started)]), run).await?
    };
    let used = spend::launched(runtime, &view.subject, began, &finished);
    let (ran, observed) = match came_of(action_type, finished) {
        Ok(came) => came,
        Err(error) => {
            runtime.journal.note(id, |entry| entry.used = Some(used))?;
            return Err(error);
        }
    };
    let before = handed_back(&before, &ran);
    let done = {
        let (runtime, id, before) = (Arc::clone(runtime), id.clone(), before.clone());
        move || {
            runtime.advance(&id, Event::EffectDone, |entry| {
                entry.used = Some(used);
                entry.before = Some(before);
                entry.view.observed = observed;
            })
        }
    };
    if action_type.ends_the_boot() {
        done()?;
        return Ok(Came::ToTheNextBoot);
    }
    let measured = async {
        services::follow_after(action_type).await;
        measure(&text, &before).await
    };
    let outcome = note.and(done, measured).await??;
    judged(runtime, id, outcome)
}

/// What is to be measured of a launch, and what a program printed; or why there is nothing to measure.
fn came_of(
    action_type: &ActionType,
    finished: Result<Finished, LaunchError>,
) -> Result<(Value, Option<Value>), StepError> {
    let finished = match finished {
        Ok(finished) => finished,
        // The effect may have happened without anybody hearing of it: the verifier looks.
        Err(LaunchError::Lost(_)) => return Ok((json!({"lost": true}), None)),
        Err(error) => return Err(StepError::Launch(error)),
    };
    let ending = finished.exit.ending;
    let mut ran = json!({
        "ending": ending.to_string(),
        "status": if let Ending::Status(status) = ending { Some(status) } else { None },
        "output": {"sha256": Digest::of(&finished.output), "size": finished.output.len()},
        "cpu_us": finished.exit.cpu_us,
        "memory_peak": finished.exit.memory_peak,
    });
    if action_type.adapter == Adapter::Program {
        let printed = json!({"output": printed(&finished.output), "complaints": printed(&finished.complaints)});
        return Ok((ran, Some(printed)));
    }
    let complaint = || StepError::Cut(format!("{ending}; {}", printed(&finished.complaints).escape_default()));
    if ending != Ending::Status(0) {
        return Err(complaint());
    }
    match serde_json::from_slice(&finished.output) {
        Ok(Report::Done(answer)) if action_type.name == "file.read" => {
            let content = answer.get("content").and_then(|content| serde_json::from_value(content.clone()).ok());
            let Bytes(content) = content.ok_or_else(complaint)?;
            let about = json!({"sha256": Digest::of(&content), "size": content.len()});
            ran["read"] = about.clone();
            let content = match String::from_utf8(content) {
                Ok(text) => json!({"text": text}),
                Err(other) => json!({"base64": Bytes(other.into_bytes())}),
            };
            Ok((ran, Some(json!({"content": content, "digest": about}))))
        }
        Ok(Report::Done(_)) => Ok((ran, None)),
        Ok(Report::Failed(text)) => Err(StepError::Adapter(text)),
        Err(_) => Err(complaint()),
    }
}

/// The part of what a program printed that is kept with its action.
fn printed(bytes: &[u8]) -> String {
    const KEPT: usize = 16 * 1024;
    String::from_utf8_lossy(&bytes[..bytes.len().min(KEPT)]).into_owned()
}

async fn measure(envelope: &str, before: &str) -> Result<Outcome, StepError> {
    peers::measure(envelope, before).await.map_err(StepError::Measure)
}

/// Keeps what was measured, and says whether it is what was promised.
fn judged(runtime: &Runtime, id: &ActionId, outcome: Outcome) -> Result<Came, StepError> {
    runtime.journal.remember(id, |entry| {
        entry.used = Some(spend::measured(runtime, entry, &outcome.observed));
        entry.view.evidence.push(receipt("outcome", outcome.evidence));
        entry.view.observed = match entry.view.observed.take() {
            Some(printed) => Some(json!({"measured": outcome.observed, "printed": printed})),
            None => Some(outcome.observed),
        };
    })?;
    if outcome.held { Ok(Came::Held) } else { Err(StepError::NotHeld(outcome.text)) }
}

/// What the verifier is handed back: what it saw before, and what the launcher told.
fn handed_back(before: &str, ran: &Value) -> String {
    json!({"before": before, "ran": ran}).to_string()
}

/// Measures an action whose effect was done when the runtime, or the boot, ended.
pub(crate) async fn measure_after_restart(runtime: &Arc<Runtime>, entry: Entry, _turn: Option<Turn>) {
    let (view, boot) = (entry.view, entry.boot);
    let before = entry.before.unwrap_or_default();
    let measured = async {
        let before = if view.state == State::Running {
            let before = handed_back(&before, &json!({}));
            runtime.advance(&view.id, Event::EffectDone, |entry| entry.before = Some(before.clone()))?;
            before
        } else {
            before
        };
        judged(runtime, &view.id, measure(&view.envelope().canonical(), &before).await?)
    };
    let came = measured.await;
    match runtime.users.take() {
        Ok(user) => conclude(runtime, &view.id, &boot, &user, came).await,
        Err(error) => finish(runtime, &view.id, Event::Failed(error_chain(&error))).await,
    }
}

pub(crate) async fn launch(
    user: &User,
    action: ActionId,
    program: Program,
    args: Vec<Vec<u8>>,
    input: Vec<u8>,
    resource: Given,
    limits: Limits,
) -> Result<Finished, LaunchError> {
    let user = user.clone();
    let launched = tokio::task::spawn_blocking(move || {
        let launcher = aios_daemon::open_socket("launcher").map_err(LaunchError::Reach)?;
        launch::run(launcher, Launch { action, user, program, args, input, resource, limits })
    });
    launched.await.unwrap_or_else(|error| Err(LaunchError::Lost(io::Error::other(error))))
}

pub(crate) fn task(task: &Task) -> Vec<u8> {
    serde_json::to_vec(task).expect("a task has only text keys")
}

fn receipt(kind: &str, index: u64) -> Receipt {
    Receipt { kind: kind.into(), index }
}

/// Records how an action ends, and ends it: who sees the end sees its record too. A crash between the two leaves an
/// action that is measured or undone again, or is found to have been interrupted; it then has two records of its result.
pub(crate) async fn finish(runtime: &Runtime, id: &ActionId, event: Event) {
    finish_through(runtime, id, vec![event]).await;
}

/// The same through several states in one step.
pub(crate) async fn finish_through(runtime: &Runtime, id: &ActionId, events: Vec<Event>) {
    let ended = async {
        let view = runtime.show(id)?;
        let next = events.iter().cloned().try_fold(view.state.clone(), |state, event| state.after(event));
        let recorded = append_result(&view, &next.map_err(JournalError::from)?, json!({})).await;
        runtime.advance_through(id, events, |entry| entry.view.evidence.extend(recorded))
    };
    if let Err(error) = ended.await {
        eprintln!("{id}'s end cannot be kept: {}", error_chain(&error));
    }
}

/// Records how an action has ended.
pub(crate) async fn record_result(runtime: &Runtime, entry: &Entry, more: Value) {
    if let Some(receipt) = append_result(&entry.view, &entry.view.state, more).await
        && let Err(error) = runtime.journal.note(&entry.view.id, |entry| entry.view.evidence.push(receipt))
    {
        eprintln!("the receipt of {} cannot be kept: {}", entry.view.id, error_chain(&error));
    }
}

async fn append_result(view: &ActionView, state: &State, more: Value) -> Option<Receipt> {
    let mut payload = json!({"type": view.request.action_type, "digest": view.digest, "result": state});
    if let (Some(payload), Value::Object(more)) = (payload.as_object_mut(), more) {
        payload.extend(more);
    }
    match peers::insist_append("result", view.id.as_str(), &payload).await {
        Ok(index) => Some(receipt("result", index)),
        Err(error) => {
            eprintln!("the result of {} cannot be recorded: {}", view.id, error_chain(&error));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use aios_wire::launch::Exit;

    use super::*;

    fn finished(ending: Ending, output: &str) -> Result<Finished, LaunchError> {
        let exit = Exit { ending, cpu_us: 1, memory_peak: 2 };
        Ok(Finished { exit, output: output.as_bytes().to_vec(), complaints: b"oh\x1b".to_vec(), printed: 4 })
    }

    #[test]
    fn what_was_cut_off_is_undone_and_what_was_refused_is_not() {
        let settings = find("settings.set").expect("in the catalogue");
        let undone = |finished| came_of(settings, finished).err().map(|error| error.may_have_had_an_effect());
        for ending in
            [Ending::Signal(9), Ending::TimeOver, Ending::ProcessorOver, Ending::OutputOver, Ending::Status(1)]
        {
            assert_eq!(undone(finished(ending, "")), Some(true), "{ending}");
        }
        assert_eq!(undone(finished(Ending::Status(0), "half a rep")), Some(true));
        assert_eq!(undone(finished(Ending::Status(0), "{\"failed\":\"no such setting\"}")), Some(false));
        assert_eq!(undone(Err(LaunchError::Refused("no Landlock".into()))), Some(false));
        assert_eq!(undone(finished(Ending::Status(0), "{\"done\":{}}")), None, "the verifier says");
    }

    fn came(action_type: &str, finished: Result<Finished, LaunchError>) -> Result<Value, String> {
        let action_type = find(action_type).expect("in the catalogue");
        came_of(action_type, finished).map(|(ran, _)| ran).map_err(|error| error_chain(&error))
    }

    #[test]
    fn only_a_report_of_a_call_that_was_made_leads_to_measuring() {
        let done = "{\"done\":{}}";
        assert!(came("settings.set", finished(Ending::Status(0), done)).is_ok());
        let refused = came("settings.set", finished(Ending::Status(0), "{\"failed\":\"no such setting\"}"));
        assert_eq!(refused, Err("the adapter says: no such setting".into()));
        for (ending, output) in [
            (Ending::Status(1), done),
            (Ending::TimeOver, done),
            (Ending::ForbiddenCall, done),
            (Ending::Status(0), "nonsense"),
            (Ending::Status(0), ""),
        ] {
            let error = came("settings.set", finished(ending, output)).expect_err("nothing to measure");
            assert!(error.contains("oh") && !error.contains('\u{1b}'), "{error}");
        }
    }

    #[test]
    fn what_was_read_is_kept_and_only_its_digest_is_measured() {
        let read_file = find("file.read").expect("in the catalogue");
        let report = |bytes: &[u8]| json!(Report::Done(json!({"content": Bytes(bytes.to_vec())}))).to_string();
        let (ran, kept) = came_of(read_file, finished(Ending::Status(0), &report(b"text"))).expect("it was read");
        assert_eq!((&ran["read"]["sha256"], &ran["read"]["size"]), (&json!(Digest::of(b"text")), &json!(4)));
        assert!(!ran.to_string().contains("text"), "the content is not for the log: {ran}");
        assert_eq!(kept.expect("kept")["content"], json!({"text": "text"}));
        let (_, kept) = came_of(read_file, finished(Ending::Status(0), &report(&[0xff]))).expect("it was read");
        assert_eq!(kept.expect("kept")["content"], json!({"base64": "/w=="}));
        let empty = came("file.read", finished(Ending::Status(0), "{\"done\":{}}")).expect_err("nothing was read");
        assert!(empty.starts_with("the adapter ended before it could say"), "{empty}");
    }

    #[test]
    fn only_what_may_have_happened_is_undone() {
        let step = |finished| came_of(find("settings.set").expect("known"), finished).expect_err("failed");
        assert!(step(finished(Ending::TimeOver, "")).may_have_had_an_effect());
        assert!(!step(finished(Ending::Status(0), "{\"failed\":\"no\"}")).may_have_had_an_effect());
        assert!(!step(Err(LaunchError::Refused("no".into()))).may_have_had_an_effect());
        assert!(StepError::NotHeld("x".into()).may_have_had_an_effect());
    }

    #[test]
    fn a_program_is_measured_however_it_ended() {
        let ran = came("task.run", finished(Ending::Status(3), "text")).expect("it ran");
        assert_eq!((&ran["status"], &ran["output"]["size"]), (&json!(3), &json!(4)));
        assert_eq!(came("task.run", finished(Ending::MemoryOver, "")).expect("it ran")["status"], Value::Null);
    }

    #[test]
    fn what_nobody_heard_of_is_looked_at_and_what_was_refused_is_not() {
        assert!(came("settings.set", Err(LaunchError::Lost(io::Error::other("gone")))).is_ok());
        let refused = came("settings.set", Err(LaunchError::Refused("no Landlock".into())));
        assert_eq!(refused, Err("it was not run: the launcher refused: no Landlock".into()));
    }
}
