//! One allowed action, step by step to its end.
//!
//! The order is the promise: look, make the intent durable, mark the action as running, use the approval up, start the
//! adapter, let the verifier measure, record. Whatever fails before the adapter starts leaves no effect; whatever comes
//! after is measured by somebody else.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use action_runtime::budget::{self, TooLate};
use action_runtime::journal::{Entry, JournalError};
use action_runtime::launch::{self, Finished, Given, Launch, LaunchError, User};
use action_runtime::task::{Report, Task, Undo};
use aios_action::allowance::Use;
use aios_action::{ActionType, ActionView, Adapter, Envelope, Event, Receipt, State, find};
use aios_daemon::error_chain;
use aios_ids::{ActionId, Digest};
use aios_wire::evidence::RoomState;
use aios_wire::launch::{Ending, Limits, Program};
use serde_json::{Value, json};

use crate::peers::{self, PeerError};
use crate::runtime::{Runtime, now_ms};
use crate::undo::{self, UndoError};
use crate::{redact, resource};

/// A step failed; its text is the action's end.
#[derive(Debug, thiserror::Error)]
enum StepError {
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
    /// Whether the state may be another one than before. An adapter that was cut off may have done everything but say so;
    /// one that says no has not done it.
    fn may_have_had_an_effect(&self) -> bool {
        matches!(self, Self::NotHeld(_) | Self::Cut(_))
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
    let turn = match entry.view.request.action_type.as_str() {
        // Programs have nothing in common that would make one wait for another.
        "task.run" => None,
        action_type => Some(runtime.turn(action_type)),
    };
    let _turn = match &turn {
        Some(turn) => Some(turn.lock().await),
        None => None,
    };
    let id = entry.view.id.clone();
    // One for the effect and for taking it back, so that what either is refused is found under the action.
    let user = match runtime.users.take() {
        Ok(user) => user,
        Err(error) => return finish(&runtime, &id, Event::Failed(error_chain(&error))).await,
    };
    let mut undo = None;
    match steps(&runtime, entry, &user, &mut undo).await {
        Ok(Came::Held) => finish(&runtime, &id, Event::Held).await,
        Ok(Came::ToTheNextBoot) => {}
        Err(error) => {
            let why = error_chain(&error);
            match undo.filter(|_| error.may_have_had_an_effect()) {
                Some(undo) => roll_back(&runtime, &id, &user, undo, why).await,
                None => finish(&runtime, &id, Event::Failed(why)).await,
            }
        }
    }
}

async fn steps(runtime: &Arc<Runtime>, entry: Entry, user: &User, undo: &mut Option<Undo>) -> Result<Came, StepError> {
    let view = &entry.view;
    let id = &view.id;
    let action_type = find(&view.request.action_type).ok_or(StepError::Unknown)?;
    let envelope = Envelope::new(id.clone(), view.subject.clone(), view.request.clone());
    let text = envelope.canonical();

    // It may have waited for a person since an earlier runtime took it.
    runtime.require_containment(resource::tier(action_type)).await.map_err(StepError::NotContained)?;
    limits(action_type, view)?;
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
        "parameters": redact::parameters(&view.request.parameters),
        "digest": view.digest,
        "epoch": view.epoch,
        "rules": view.rules,
    });
    let intent = peers::append("intent", id.as_str(), &intent).await.map_err(StepError::Intent)?;
    runtime.advance(id, Event::Started, |entry| {
        entry.before = Some(before.clone());
        entry.view.evidence.push(Receipt { kind: "intent".into(), index: intent });
    })?;

    let token = match &view.state {
        State::Allowed { approval: Some(approval) } => {
            let token = peers::consume(approval, &view.digest, &view.epoch, id).await;
            Some(token.map_err(StepError::Approval)?)
        }
        _ => None,
    };
    let given = resource::open(action_type).map_err(StepError::Resource)?;
    let started = json!({"digest": view.digest, "token": token, "uid": user.uid()});
    let started = peers::append("started", id.as_str(), &started).await.map_err(StepError::Started)?;
    note(runtime, id, "started", started)?;

    let (program, args) = resource::program(action_type, &view.request);
    let input = match action_type.adapter {
        Adapter::Program => Vec::new(),
        _ => task(&Task::Do(envelope)),
    };
    let limits = limits(action_type, view)?;
    let began = Instant::now();
    let finished = launch(user, id.clone(), program, args, input, given, limits).await;
    charge(runtime, &view.subject, began, &finished);
    *undo = prepared;
    let (ran, observed) = came_of(action_type, finished)?;
    let before = handed_back(&before, &ran);
    runtime.advance(id, Event::EffectDone, |entry| {
        entry.before = Some(before.clone());
        entry.view.observed = observed;
    })?;
    if action_type.name == "node.reboot" {
        return Ok(Came::ToTheNextBoot);
    }
    measure(runtime, id, &text, &before).await
}

/// What the action may use up, from now on.
fn limits(action_type: &ActionType, view: &ActionView) -> Result<Limits, TooLate> {
    let age_ms = now_ms().saturating_sub(view.id.unix_ms());
    budget::lowered(resource::limits(action_type), &view.request.constraints, age_ms)
}

/// Notes what the subject used. A launch that nobody heard the end of is charged with its time alone.
fn charge(runtime: &Runtime, subject: &str, began: Instant, finished: &Result<Finished, LaunchError>) {
    let time_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let used = finished.as_ref().map_or_else(
        |_| Use::default(),
        |finished| Use { cpu_ms: finished.exit.cpu_us / 1000, output: finished.printed, ..Use::default() },
    );
    runtime.charge(subject, Use { time_ms, ..used });
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
    let ran = json!({
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

async fn measure(runtime: &Arc<Runtime>, id: &ActionId, envelope: &str, before: &str) -> Result<Came, StepError> {
    let outcome = peers::measure(envelope, before).await.map_err(StepError::Measure)?;
    runtime.journal.note(id, |entry| {
        entry.view.evidence.push(Receipt { kind: "outcome".into(), index: outcome.evidence });
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
pub(crate) async fn measure_after_restart(runtime: &Arc<Runtime>, entry: Entry) {
    let view = entry.view;
    let before = entry.before.unwrap_or_default();
    let measured = async {
        let before = if view.state == State::Running {
            let before = handed_back(&before, &json!({}));
            runtime.advance(&view.id, Event::EffectDone, |entry| entry.before = Some(before.clone()))?;
            before
        } else {
            before
        };
        let envelope = Envelope::new(view.id.clone(), view.subject, view.request).canonical();
        measure(runtime, &view.id, &envelope, &before).await
    };
    let event = match measured.await {
        Ok(_) => Event::Held,
        Err(error) => Event::Failed(error_chain(&error)),
    };
    finish(runtime, &view.id, event).await;
}

/// Brings the state from before back, and only then says that the action failed: who waits for its end sees the whole.
async fn roll_back(runtime: &Arc<Runtime>, id: &ActionId, user: &User, undo: Undo, why: String) {
    let undone = async {
        let given = resource::open_for_undo(&undo).map_err(StepError::Resource)?;
        let (program, args) = resource::adapter();
        let input = task(&Task::Undo(undo));
        let finished = launch(user, id.clone(), program, args, input, given, resource::CALL_LIMITS).await;
        match serde_json::from_slice(&finished.map_err(StepError::Launch)?.output) {
            Ok(Report::Done(_)) => Ok(()),
            Ok(Report::Failed(text)) => Err(StepError::Adapter(text)),
            Err(error) => Err(StepError::Adapter(error.to_string())),
        }
    };
    match undone.await {
        Ok(()) => match runtime.journal.advance(id, Event::Failed(why), |_| {}) {
            Ok(_) => finish(runtime, id, Event::RolledBack).await,
            Err(error) => eprintln!("{id}'s failure cannot be kept: {}", error_chain(&error)),
        },
        Err(error) => {
            let text = format!("{why}; and the state from before could not be brought back: {}", error_chain(&error));
            finish(runtime, id, Event::Failed(text)).await;
        }
    }
}

async fn launch(
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

fn task(task: &Task) -> Vec<u8> {
    serde_json::to_vec(task).expect("a task has only text keys")
}

fn note(runtime: &Runtime, id: &ActionId, kind: &str, index: u64) -> Result<(), JournalError> {
    runtime.journal.note(id, |entry| entry.view.evidence.push(Receipt { kind: kind.into(), index })).map(drop)
}

/// Records how an action ends, and ends it: who sees the end sees its record too. A crash between the two leaves an
/// action that is measured again, or is found to have been interrupted.
pub(crate) async fn finish(runtime: &Runtime, id: &ActionId, event: Event) {
    let ended = async {
        let view = runtime.show(id)?;
        let next = view.state.after(event.clone()).map_err(JournalError::from)?;
        let recorded = append_result(&view, &next, json!({})).await;
        runtime.advance(id, event, |entry| entry.view.evidence.extend(recorded))
    };
    if let Err(error) = ended.await {
        eprintln!("{id}'s end cannot be kept: {}", error_chain(&error));
    }
}

/// Records how an action has ended.
pub(crate) async fn record_result(runtime: &Runtime, entry: &Entry, more: Value) {
    if let Some(receipt) = append_result(&entry.view, &entry.view.state, more).await
        && let Err(error) = note(runtime, &entry.view.id, &receipt.kind, receipt.index)
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
        Ok(index) => Some(Receipt { kind: "result".into(), index }),
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
