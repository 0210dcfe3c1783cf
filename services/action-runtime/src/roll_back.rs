//! Bringing the state from before an action back, in the same sandbox as the action itself.
//!
//! That it has begun is in the journal before the first try, so a runtime that ends in the middle goes on with it at its
//! next start. Each try is harmless when an earlier one came further than anybody knows.

use std::sync::Arc;
use std::time::Duration;

use action_runtime::journal::Entry;
use action_runtime::launch::User;
use action_runtime::task::{Report, Task, Undo};
use aios_action::Event;
use aios_daemon::error_chain;
use aios_ids::ActionId;
use aios_wire::launch::Tier;

use crate::perform::{StepError, finish, finish_through, launch, task};
use crate::runtime::Runtime;
use crate::turns::Turn;
use crate::{resource, services};

/// The pauses before each try: what owns the state may have been restarted by the action that is undone.
const TRIES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5)];

/// Brings the state from before back, and only then says that the action failed: who waits for its end sees the whole.
pub(crate) async fn roll_back(runtime: &Arc<Runtime>, id: &ActionId, user: &User, undo: Undo, why: String) {
    if let Err(error) = runtime.journal.undoing(id, &why) {
        let text = format!("{why}; it was not undone, because that cannot be kept: {}", error_chain(&error));
        return finish(runtime, id, Event::Failed(text)).await;
    }
    let mut last = String::new();
    for pause in TRIES {
        tokio::time::sleep(pause).await;
        match once(id, user, &undo).await {
            Ok(()) => {
                services::follow_after_undo(&undo).await;
                return finish_through(runtime, id, vec![Event::Failed(why), Event::RolledBack]).await;
            }
            Err(error) => last = error_chain(&error),
        }
    }
    let text = format!("{why}; and the state from before could not be brought back: {last}");
    finish(runtime, id, Event::Failed(text)).await;
}

async fn once(id: &ActionId, user: &User, undo: &Undo) -> Result<(), StepError> {
    let given = resource::open_for_undo(undo).map_err(StepError::Resource)?;
    let (program, args) = resource::adapter();
    let input = task(&Task::Undo(undo.clone()));
    let finished = launch(user, id.clone(), program, args, input, given, resource::CALL_LIMITS).await;
    match serde_json::from_slice(&finished.map_err(StepError::Launch)?.output) {
        Ok(Report::Done(_)) => Ok(()),
        Ok(Report::Failed(text)) => Err(StepError::Adapter(text)),
        Err(error) => Err(StepError::Cut(error.to_string())),
    }
}

/// Undoes what an earlier runtime left half done. Nothing runs in a sandbox that is not proved: until it is, the action
/// stays as it was found.
pub(crate) async fn after_restart(runtime: &Arc<Runtime>, entry: Entry, undo: Undo, why: String, _turn: Option<Turn>) {
    let id = entry.view.id;
    if let Err(why) = runtime.require_containment(Tier::Adapter).await {
        return eprintln!("{id} is undone after the next start: {why}");
    }
    match runtime.users.take() {
        Ok(user) => roll_back(runtime, &id, &user, undo, why).await,
        Err(error) => eprintln!("{id} is undone after the next start: {}", error_chain(&error)),
    }
}
