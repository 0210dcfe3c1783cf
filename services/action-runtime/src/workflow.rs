//! Runs of workflows: begun, resumed, answered, cancelled and told of.
//!
//! A run speaks for the process whose handle it was given, and asks for one action after the other in that process's
//! name. The handle lives in memory alone: when the process, the runtime or the machine has ended, nobody speaks for the
//! run any more, and it stands still until the same subject resumes it.

mod door;
mod drive;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use action_runtime::journal::JournalError;
use action_runtime::runs::{Runs, RunsError};
use aios_action::State;
use aios_daemon::{IdentifyError, error_chain, identify};
use aios_identity::Peer;
use aios_ids::{RunId, StepId};
use aios_workflow::{
    Answer, Chain, Closed, Definition, DefinitionError, Divergence, Event, Next, Now, Outcome, Progress, Row, Run,
    RunLine, RunView, StepView, Unexpected, resume,
};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use crate::peers::{self, PeerError};
use crate::runtime::{Runtime, now_and_random};

pub(crate) use door::Workflows1;

/// A list shows so many.
const LISTED: usize = 64;

/// How long a watcher waits before it is told that nothing has changed.
const WATCHED: Duration = Duration::from_secs(20);

/// What stands in place of a reason after a start.
const RESTARTED: &str = "the machine or the action runtime was started anew";

/// A run could not be changed as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkflowError {
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    #[error(transparent)]
    Runs(#[from] RunsError),
    #[error("the journal of the run is not what was written; it does not go on")]
    Altered(#[from] Divergence),
    #[error(transparent)]
    Actions(#[from] JournalError),
    #[error("nothing is done that cannot be recorded")]
    Evidence(#[from] PeerError),
    #[error("it cannot be said for whom the run would speak")]
    Subject(#[from] IdentifyError),
    #[error("{caller} calls, and the handle is one on {given}: a run speaks only for whoever starts it")]
    NotYourself { caller: Peer, given: Peer },
    #[error("{id} belongs to {subject}; only they resume it")]
    NotYours { id: RunId, subject: String },
    #[error("{0} is no person: only people answer and cancel")]
    NotAPerson(Peer),
    #[error("step '{step}' of {id} asks nothing now; 'aios workflow show {id}' tells where it stands")]
    NoQuestion { id: RunId, step: StepId },
    #[error("{id} does not go on: its decision and what came of it do not fit")]
    Unfit { id: RunId, source: Unexpected },
    #[error("no random number for the id of a run")]
    Random(#[from] getrandom::Error),
}

type Result<T> = std::result::Result<T, WorkflowError>;

/// What the daemon holds for runs.
pub(crate) struct Workflows {
    runs: Runs,
    runtime: Arc<Runtime>,
    lives: Mutex<BTreeMap<RunId, Life>>,
    /// Counts changes, so that watchers look again.
    changes: watch::Sender<u64>,
}

/// What this runtime does about a run that has not ended.
enum Life {
    /// A task goes on with it, and stops when it is told.
    Driven(Arc<Notify>),
    /// Nobody does, because of this.
    Suspended(String),
}

impl Workflows {
    pub(crate) fn new(runs: Runs, runtime: Arc<Runtime>) -> Self {
        Self { runs, runtime, lives: Mutex::default(), changes: watch::Sender::new(0) }
    }

    /// Takes a definition and begins its run in the name of `subject`.
    pub(crate) async fn run(self: &Arc<Self>, caller: &Peer, subject: OwnedFd, text: &str) -> Result<RunView> {
        require_self(caller, &subject)?;
        let definition = Definition::parse(text)?;
        self.runs.has_room(&caller.to_string())?;
        let (now, random) = now_and_random()?;
        let mut run = Run {
            id: RunId::new(now, random),
            name: definition.name().clone(),
            definition: definition.canonical(),
            digest: definition.digest(),
            subject: caller.to_string(),
            evidence: 0,
            closed: None,
            rows: Vec::new(),
        };
        let payload = json!({"what": "begun", "name": run.name, "definition": run.digest, "subject": run.subject});
        run.evidence = record(&run.id, &payload).await?;
        self.runs.insert(&run)?;
        self.go_on(&run.id, caller, subject);
        self.show(&run.id)
    }

    /// Goes on with a run in the name of `subject`. A run that goes on already gets the new handle.
    pub(crate) async fn resume(self: &Arc<Self>, caller: &Peer, subject: OwnedFd, id: &RunId) -> Result<RunView> {
        require_self(caller, &subject)?;
        let run = self.runs.show(id)?;
        if run.subject != caller.to_string() {
            return Err(WorkflowError::NotYours { id: id.clone(), subject: run.subject });
        }
        if run.closed.is_some() {
            return Err(RunsError::Closed(id.clone()).into());
        }
        let payload = json!({"what": "resumed", "name": run.name, "definition": run.digest,
            "subject": run.subject, "by": caller.to_string()});
        record(id, &payload).await?;
        self.go_on(id, caller, subject);
        self.show(id)
    }

    fn go_on(self: &Arc<Self>, id: &RunId, peer: &Peer, subject: OwnedFd) {
        let stop = Arc::new(Notify::new());
        if let Some(Life::Driven(earlier)) = self.lives().insert(id.clone(), Life::Driven(Arc::clone(&stop))) {
            earlier.notify_one();
        }
        tokio::spawn(drive::drive(Arc::clone(self), id.clone(), peer.clone(), subject, stop));
    }

    /// A person answers the question that a run has now.
    pub(crate) async fn answer(&self, by: &Peer, id: &RunId, step: &StepId, answer: Answer) -> Result<()> {
        require_person(by)?;
        let no_question = || WorkflowError::NoQuestion { id: id.clone(), step: step.clone() };
        self.add(id, async |run, progress| {
            match progress.next() {
                Next::Ask { step: asked, .. } if asked == *step => {}
                _ => return Err(no_question()),
            }
            let payload = json!({"what": "answered", "name": run.name, "definition": run.digest,
                "subject": run.subject, "by": by.to_string(), "step": step, "answer": answer});
            record(id, &payload).await?;
            let spent_ms = progress.spent_ms();
            Ok(Event::Answered { step: step.clone(), by: by.to_string(), answer, spent_ms })
        })
        .await?;
        Ok(())
    }

    /// A person ends a run. An action of it that waits is taken back; one that runs comes to its own end.
    pub(crate) async fn cancel(&self, by: &Peer, id: &RunId) -> Result<()> {
        require_person(by)?;
        let mut pending = None;
        let added = self
            .add(id, async |_, progress| {
                pending = Some(progress.next());
                Ok(Event::Cancelled { by: by.to_string(), spent_ms: progress.spent_ms() })
            })
            .await;
        let run = match added {
            Ok(run) => run,
            // A run that this system cannot decide any more can be cancelled all the same.
            Err(WorkflowError::Definition(_) | WorkflowError::Altered(_)) => self.runs.show(id)?,
            Err(error) => return Err(error),
        };
        if let Some(Life::Driven(driver)) = self.lives().remove(id) {
            driver.notify_one();
        }
        if pending.is_some() {
            self.close(&run).await?;
        } else {
            let chain = run.rows.last().map_or_else(|| Chain::begin(id), |row| row.chain);
            let submitted = u32::try_from(run.rows.len()).unwrap_or(u32::MAX);
            self.close_with(&run, &Outcome::Cancelled { by: by.to_string() }, chain, submitted).await?;
        }
        if let Some(Next::Submit(submission)) = pending
            && let Some(entry) = self.runtime.journal.with_key(&run.subject, submission.key())?
            && matches!(entry.view.state, State::Waiting { .. })
            && let Err(error) = self.runtime.cancel(&entry.view.id, by).await
        {
            eprintln!("{id} is cancelled, and {} is not: {}", entry.view.id, error_chain(&error));
        }
        Ok(())
    }

    /// Writes an event that does not come from the run's own task, and gives the run with it.
    async fn add(&self, id: &RunId, event: impl AsyncFnOnce(&Run, &Progress<'_>) -> Result<Event>) -> Result<Run> {
        let mut run = self.runs.show(id)?;
        if run.closed.is_some() {
            return Err(RunsError::Closed(id.clone()).into());
        }
        let definition = Definition::parse(&run.definition)?;
        let (mut progress, chain) = resume(&definition, id, &run.rows)?;
        let next = progress.next();
        let event = event(&run, &progress).await?;
        progress.apply(&event).map_err(|source| WorkflowError::Unfit { id: id.clone(), source })?;
        let row = Row { chain: chain.with_event(&next, &event), event };
        self.runs.append(id, run.rows.len(), &row)?;
        run.rows.push(row);
        self.tell_change();
        Ok(run)
    }

    /// Records the end of a run that has nothing left to do, and closes it.
    async fn close(&self, run: &Run) -> Result<()> {
        let definition = Definition::parse(&run.definition)?;
        let (progress, chain) = resume(&definition, &run.id, &run.rows)?;
        let Next::End(outcome) = progress.next() else { return Ok(()) };
        self.close_with(run, &outcome, chain, progress.submitted()).await
    }

    async fn close_with(&self, run: &Run, outcome: &Outcome, chain: Chain, submitted: u32) -> Result<()> {
        let trace = chain.with_end(outcome);
        let payload = json!({"what": "ended", "name": run.name, "definition": run.digest, "subject": run.subject,
            "outcome": outcome, "trace": trace, "submitted": submitted});
        let evidence = peers::insist_append("workflow", run.id.as_str(), &payload).await?;
        let closed = self.runs.close(&run.id, &Closed { outcome: outcome.clone(), trace, evidence });
        self.tell_change();
        match closed {
            // Somebody else saw the same end.
            Ok(()) | Err(RunsError::Closed(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The newest runs, oldest of them first.
    pub(crate) fn list(&self) -> Result<Vec<RunLine>> {
        let lives = self.lives();
        let line = |run: Run| {
            let state = match (&run.closed, lives.get(&run.id)) {
                (Some(closed), _) => Now::Ended(closed.outcome.clone()).word(),
                (None, Some(Life::Driven(_))) => "running",
                (None, _) => "suspended",
            };
            RunLine { id: run.id, name: run.name, subject: run.subject, state: state.into() }
        };
        Ok(self.runs.newest(LISTED)?.into_iter().map(line).collect())
    }

    /// A run with its journal.
    pub(crate) fn journal(&self, id: &RunId) -> Result<Run> {
        Ok(self.runs.show(id)?)
    }

    pub(crate) fn show(&self, id: &RunId) -> Result<RunView> {
        let run = self.runs.show(id)?;
        let definition = Definition::parse(&run.definition)?;
        let (progress, _) = resume(&definition, id, &run.rows)?;
        let now = self.now(&run, &progress)?;
        Ok(RunView {
            mark: format!("{}:{now:?}", run.rows.len()),
            steps: StepView::all(&definition, &progress),
            spent_ms: progress.spent_ms(),
            submitted: progress.submitted(),
            evidence: [run.evidence].into_iter().chain(run.closed.map(|closed| closed.evidence)).collect(),
            id: run.id,
            name: run.name,
            digest: run.digest,
            subject: run.subject,
            now,
        })
    }

    fn now(&self, run: &Run, progress: &Progress<'_>) -> Result<Now> {
        if let Some(closed) = &run.closed {
            return Ok(Now::Ended(closed.outcome.clone()));
        }
        match self.lives().get(&run.id) {
            Some(Life::Driven(_)) => {}
            Some(Life::Suspended(why)) => return Ok(Now::Suspended { why: why.clone() }),
            None => return Ok(Now::Suspended { why: RESTARTED.into() }),
        }
        let submission = match progress.next() {
            Next::Ask { question, .. } => return Ok(Now::Question { question }),
            Next::End(_) => return Ok(Now::Running { action: None }),
            Next::Submit(submission) => submission,
        };
        Ok(match self.runtime.journal.with_key(&run.subject, submission.key())? {
            Some(entry) => match entry.view.state {
                State::Waiting { approval } => Now::Approval { action: entry.view.id, approval },
                _ => Now::Running { action: Some(entry.view.id) },
            },
            None => Now::Running { action: None },
        })
    }

    /// The run once it is other than `seen`, or after a while.
    pub(crate) async fn watch(&self, id: &RunId, seen: &str) -> Result<RunView> {
        let (mut runs, mut actions) = (self.changes.subscribe(), self.runtime.changes());
        let until = tokio::time::sleep(WATCHED);
        tokio::pin!(until);
        loop {
            let view = self.show(id)?;
            if view.mark != seen || matches!(view.now, Now::Ended(_)) {
                return Ok(view);
            }
            tokio::select! {
                Ok(()) = runs.changed() => {}
                Ok(()) = actions.changed() => {}
                () = &mut until => return Ok(view),
            }
        }
    }

    fn suspend(&self, id: &RunId, stop: &Arc<Notify>, why: String) {
        self.leave(id, stop, Some(Life::Suspended(why)));
    }

    /// What is known of a run when its task ends, unless another task has taken over.
    fn leave(&self, id: &RunId, stop: &Arc<Notify>, then: Option<Life>) {
        let mut lives = self.lives();
        if matches!(lives.get(id), Some(Life::Driven(driver)) if Arc::ptr_eq(driver, stop)) {
            match then {
                Some(life) => lives.insert(id.clone(), life),
                None => lives.remove(id),
            };
        }
        drop(lives);
        self.tell_change();
    }

    fn lives(&self) -> std::sync::MutexGuard<'_, BTreeMap<RunId, Life>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_change(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

/// Closes what an earlier runtime left with nothing to do but to be closed.
pub(crate) fn close_what_ended(workflows: &Arc<Workflows>) {
    let workflows = Arc::clone(workflows);
    tokio::spawn(async move {
        let open = match workflows.runs.open_runs() {
            Ok(open) => open,
            Err(error) => return eprintln!("the open runs cannot be read: {}", error_chain(&error)),
        };
        for run in open {
            let closed = async { workflows.close(&workflows.runs.show(&run.id)?).await };
            if let Err(error) = closed.await {
                eprintln!("{} cannot be closed: {}", run.id, error_chain(&error));
            }
        }
    });
}

async fn record(id: &RunId, payload: &Value) -> Result<u64> {
    Ok(peers::append("workflow", id.as_str(), payload).await?)
}

/// The handle is on a process of the caller itself: its own, or the session that it belongs to.
fn require_self(caller: &Peer, subject: &OwnedFd) -> Result<()> {
    let given = identify(subject.as_fd())?;
    if given == *caller { Ok(()) } else { Err(WorkflowError::NotYourself { caller: caller.clone(), given }) }
}

/// Besides the table of peers: what is asked of a person, no program answers.
fn require_person(by: &Peer) -> Result<()> {
    match by {
        Peer::Operator { .. } => Ok(()),
        Peer::Agent { .. } | Peer::Service { .. } => Err(WorkflowError::NotAPerson(by.clone())),
    }
}

#[cfg(test)]
mod tests {
    use aios_identity::SessionStrength;

    use super::*;

    #[test]
    fn only_people_answer() {
        assert!(require_person(&Peer::Operator { name: "ada".into(), strength: SessionStrength::Presence }).is_ok());
        for program in [Peer::Agent { name: "helper".into() }, Peer::Service { name: "agent-door".into() }] {
            assert!(matches!(require_person(&program), Err(WorkflowError::NotAPerson(_))));
        }
    }
}
