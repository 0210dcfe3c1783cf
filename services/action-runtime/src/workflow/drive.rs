//! The task that goes on with one run: it carries out the one thing that is next, writes what came of it, and asks again.
//!
//! Whatever ends it (the process that it speaks for, a stop, the machine), the next task begins at the same decision.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use action_runtime::journal::{Entry, Interrupted};
use action_runtime::runs::RunsError;
use aios_action::State;
use aios_daemon::{error_chain, identify};
use aios_identity::Peer;
use aios_ids::RunId;
use aios_workflow::{Definition, Ending, Event, Next, Purpose, Row, Submission, resume};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Result, WorkflowError, Workflows};
use crate::runtime::SubmitError;

/// The longest text of an ending that is kept.
const TEXT_KEPT: usize = 1024;

/// The longest text of an output that a condition can look at.
const OUTPUT_KEPT: usize = 4096;

/// Denials that are nobody's word.
const AWAY: [&str; 2] = ["PolicyUnavailable", "EvidenceUnavailable"];

/// Why a task ends.
enum Left {
    /// The run has ended.
    Ended,
    /// Another task takes over, or the run was cancelled.
    Stopped,
    /// Somebody has to resume it.
    Suspended(String),
}

/// What came of carrying out a decision.
enum Came {
    /// An event to write.
    Event(Event),
    /// An event to write; there is nobody to go on for then.
    Last(Event, String),
    /// The journal may have more than is known here.
    Look,
    /// The task ends.
    Left(Left),
}

/// How long the run has taken: what its journal says, and the time since it was last written.
struct Clock {
    before_ms: u64,
    since: Instant,
}

impl Clock {
    fn from(before_ms: u64) -> Self {
        Self { before_ms, since: Instant::now() }
    }

    fn spent_ms(&self) -> u64 {
        let passed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.before_ms.saturating_add(passed)
    }

    /// When the run will have taken so long.
    fn at(&self, spent_ms: u64) -> Instant {
        self.since + Duration::from_millis(spent_ms.saturating_sub(self.before_ms))
    }
}

/// For whom a run speaks.
struct Voice {
    peer: Peer,
    subject: OwnedFd,
    stop: Arc<Notify>,
}

pub(super) async fn drive(workflows: Arc<Workflows>, id: RunId, peer: Peer, subject: OwnedFd, stop: Arc<Notify>) {
    let voice = Voice { peer, subject, stop };
    match go(&workflows, &id, &voice).await {
        Ok(Left::Ended | Left::Stopped) => workflows.leave(&id, &voice.stop, None),
        Ok(Left::Suspended(why)) => workflows.suspend(&id, &voice.stop, why),
        Err(error) => {
            let why = error_chain(&error);
            eprintln!("{id} does not go on: {why}");
            workflows.suspend(&id, &voice.stop, why);
        }
    }
}

async fn go(workflows: &Workflows, id: &RunId, voice: &Voice) -> Result<Left> {
    loop {
        // From before the journal is read: what is written later is seen as a change.
        let mut changes = workflows.changes.subscribe();
        let run = workflows.runs.show(id)?;
        if run.closed.is_some() {
            return Ok(Left::Ended);
        }
        let definition = Definition::parse(&run.definition)?;
        let (mut progress, mut chain) = resume(&definition, id, &run.rows)?;
        let mut known = run.rows.len();
        let mut clock = Clock::from(progress.spent_ms());
        // Until somebody else writes to the same journal, what is known here is all of it.
        loop {
            let next = progress.next();
            let came = match &next {
                Next::End(outcome) => {
                    workflows.close_with(&run, outcome, chain, progress.submitted()).await?;
                    return Ok(Left::Ended);
                }
                Next::Ask { step, until_ms, .. } => {
                    tokio::select! {
                        // An answer is written by whoever takes it.
                        _ = changes.changed() => Came::Look,
                        () = sleep_until(clock.at(*until_ms)) => {
                            let spent_ms = clock.spent_ms().max(*until_ms);
                            Came::Event(Event::TimeOver { step: step.clone(), spent_ms })
                        }
                        () = voice.stop.notified() => Came::Left(Left::Stopped),
                    }
                }
                Next::Submit(submission) => {
                    let place = definition.place_of(&submission.step).unwrap_or_default();
                    let asked: Vec<&str> = definition.asked_of(place).collect();
                    carry_out(workflows, voice, &clock, submission, &asked).await?
                }
            };
            let (event, then) = match came {
                Came::Event(event) => (event, None),
                Came::Last(event, why) => (event, Some(Left::Suspended(why))),
                Came::Look => break,
                Came::Left(left) => return Ok(left),
            };
            let row = Row { chain: chain.with_event(&next, &event), event };
            match workflows.runs.append(id, known, &row) {
                Ok(()) => {}
                Err(RunsError::Moved(_)) => break,
                Err(RunsError::Closed(_)) => return Ok(Left::Ended),
                Err(error) => return Err(error.into()),
            }
            progress.apply(&row.event).map_err(|error| WorkflowError::Unfit { id: id.clone(), source: error })?;
            (chain, known) = (row.chain, known + 1);
            clock = Clock::from(progress.spent_ms());
            workflows.tell_change();
            if let Some(left) = then {
                return Ok(left);
            }
        }
    }
}

/// Submits what is next, unless that was done before, and waits for its end.
async fn carry_out(
    workflows: &Workflows,
    voice: &Voice,
    clock: &Clock,
    submission: &Submission,
    asked: &[&str],
) -> Result<Came> {
    let runtime = &workflows.runtime;
    let subject = voice.peer.to_string();
    let ended = |action, end, output| Event::Ended {
        step: submission.step.clone(),
        number: submission.number,
        action,
        end,
        output,
        spent_ms: clock.spent_ms(),
    };
    let known = runtime.journal.with_key(&subject, submission.key())?;
    if known.as_ref().is_some_and(|known| known.view.request != submission.request) {
        let end = Ending::NotTaken { text: "its idempotency key belongs to another action of the same subject".into() };
        return Ok(Came::Event(ended(None, end, BTreeMap::new())));
    }
    if known.is_none() {
        if submission.wait_ms > 0 {
            tokio::select! {
                () = sleep(Duration::from_millis(submission.wait_ms)) => {}
                () = voice.stop.notified() => return Ok(Came::Left(Left::Stopped)),
            }
        }
        // Without the process the policy kernel could not say who asks, and a decision would be lost for nothing.
        if !identify(voice.subject.as_fd()).is_ok_and(|peer| peer == voice.peer) {
            return Ok(Came::Left(Left::Suspended("the session that ran it has ended".into())));
        }
        let text = serde_json::to_string(&submission.request).expect("a request has only text keys");
        match runtime.submit(&voice.peer, voice.subject.as_fd(), &text).await {
            Ok(_) => {}
            Err(error @ (SubmitError::Request(_) | SubmitError::KeyTaken(_) | SubmitError::TooMany { .. })) => {
                let end = Ending::NotTaken { text: kept(&error_chain(&error)) };
                return Ok(Came::Event(ended(None, end, BTreeMap::new())));
            }
            Err(error) => return Ok(Came::Left(Left::Suspended(error_chain(&error)))),
        }
    }
    let Some(entry) = runtime.journal.with_key(&subject, submission.key())? else { return Ok(Came::Look) };
    let id = entry.view.id;
    loop {
        let entry = runtime.journal.show(&id)?;
        if let Some(end) = ending(&entry) {
            let output = match (&end, submission.purpose) {
                (Ending::Succeeded, Purpose::Try(_)) => output(entry.view.observed.as_ref(), asked),
                _ => BTreeMap::new(),
            };
            let void = matches!(&end, Ending::Void { .. }) && entry.interrupted.is_none();
            let event = ended(Some(id), end, output);
            return Ok(if void { Came::Last(event, "policy or evidence was away".into()) } else { Came::Event(event) });
        }
        let time_over = async {
            match submission.until_ms {
                Some(until) => sleep_until(clock.at(until)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            watched = runtime.watch(&id) => drop(watched?),
            () = time_over => {
                if matches!(entry.view.state, State::Waiting { .. })
                    && let Err(error) = runtime.cancel(&id, &voice.peer).await
                {
                    eprintln!("the time of {id} is over, and it is not taken back: {}", error_chain(&error));
                }
                let spent_ms = clock.spent_ms().max(submission.until_ms.unwrap_or_default());
                return Ok(Came::Event(Event::TimeOver { step: submission.step.clone(), spent_ms }));
            }
            () = voice.stop.notified() => return Ok(Came::Left(Left::Stopped)),
        }
    }
}

/// What the end of an action means for its run; none while it has not ended.
fn ending(entry: &Entry) -> Option<Ending> {
    Some(match &entry.view.state {
        State::Denied { .. } | State::Failed { .. } if entry.interrupted == Some(Interrupted::BeforeEffect) => {
            Ending::Void { text: "the action runtime ended".into() }
        }
        State::Failed { .. } if entry.interrupted == Some(Interrupted::WhileRunning) => Ending::Interrupted,
        State::Succeeded => Ending::Succeeded,
        State::Failed { text } => Ending::Failed { text: kept(text) },
        State::RolledBack { text } => Ending::RolledBack { text: kept(text) },
        State::Denied { reason, text } if AWAY.contains(&reason.as_str()) => Ending::Void { text: kept(text) },
        State::Denied { reason, .. } => Ending::Denied { reason: reason.clone() },
        State::Cancelled => Ending::Cancelled,
        State::Proposed | State::Waiting { .. } | State::Allowed { .. } | State::Running | State::Verifying => {
            return None;
        }
    })
}

/// The parts of what was observed that conditions look at; what is no plain value, or too long, is not there.
fn output(observed: Option<&Value>, asked: &[&str]) -> BTreeMap<String, Value> {
    let plain = |value: &&Value| match value {
        Value::String(text) => text.len() <= OUTPUT_KEPT,
        Value::Number(number) => number.is_i64() || number.is_u64(),
        Value::Bool(_) => true,
        _ => false,
    };
    let part = |pointer: &&str| {
        let value = observed?.pointer(pointer).filter(plain)?;
        Some(((*pointer).to_owned(), value.clone()))
    };
    asked.iter().filter_map(part).collect()
}

fn kept(text: &str) -> String {
    text.chars().take(TEXT_KEPT).collect()
}

#[cfg(test)]
mod tests {
    use aios_action::{ActionView, Envelope, Request};
    use aios_ids::{ActionId, ApprovalId};
    use serde_json::json;

    use super::*;

    fn entry(state: State, interrupted: Option<Interrupted>) -> Entry {
        let (request, _) = Request::parse(r#"{"type":"node.reboot"}"#).expect("a good request");
        let envelope = Envelope::new(ActionId::new(0, [0; 10]), "operator:ada".into(), request);
        let view = ActionView { state, ..ActionView::proposed(&envelope) };
        Entry { interrupted, ..Entry::new(view, "one") }
    }

    fn check(state: State, interrupted: Option<Interrupted>, expected: Option<Ending>) {
        assert_eq!(ending(&entry(state.clone(), interrupted)), expected, "{state:?} {interrupted:?}");
    }

    #[test]
    fn only_what_cannot_have_happened_comes_to_nothing() {
        let text = || "x".to_owned();
        let denied = |reason: &str| State::Denied { reason: reason.into(), text: text() };
        let failed = || State::Failed { text: text() };
        check(State::Succeeded, None, Some(Ending::Succeeded));
        check(failed(), None, Some(Ending::Failed { text: text() }));
        check(State::RolledBack { text: text() }, None, Some(Ending::RolledBack { text: text() }));
        check(State::Cancelled, None, Some(Ending::Cancelled));
        check(denied("NoMatchingPermit"), None, Some(Ending::Denied { reason: "NoMatchingPermit".into() }));
        check(denied("Rejected"), None, Some(Ending::Denied { reason: "Rejected".into() }));
        for away in AWAY {
            check(denied(away), None, Some(Ending::Void { text: text() }));
        }
        let void = || Some(Ending::Void { text: "the action runtime ended".into() });
        check(denied("Interrupted"), Some(Interrupted::BeforeEffect), void());
        check(failed(), Some(Interrupted::BeforeEffect), void());
        check(failed(), Some(Interrupted::WhileRunning), Some(Ending::Interrupted));
        // What was brought back afterwards did not happen.
        let back = || State::RolledBack { text: text() };
        check(back(), Some(Interrupted::WhileRunning), Some(Ending::RolledBack { text: text() }));
        for goes_on in [
            State::Proposed,
            State::Waiting { approval: ApprovalId::new(0, [0; 10]) },
            State::Allowed { approval: None },
            State::Running,
            State::Verifying,
        ] {
            check(goes_on.clone(), None, None);
            check(goes_on, Some(Interrupted::WhileRunning), None);
        }
    }

    #[test]
    fn of_an_output_only_plain_parts_that_were_asked_for_are_kept() {
        let observed = json!({"measured": {"size": 3, "sha256": "ab", "held": true, "list": [1], "half": 0.5},
            "printed": "y".repeat(OUTPUT_KEPT + 1)});
        let asked = ["/measured/size", "/measured/held", "/measured/list", "/measured/half", "/printed", "/nowhere"];
        let kept = output(Some(&observed), &asked);
        let expected = [("/measured/held", json!(true)), ("/measured/size", json!(3))];
        assert_eq!(kept, expected.map(|(pointer, value)| (pointer.to_owned(), value)).into());
        assert!(output(None, &asked).is_empty());
    }
}
