//! A step of an action and the journal's note of it: one after the other, or side by side.

use action_runtime::journal::{Entry, JournalError};
use aios_action::ActionType;

/// When the note of a step has to be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Note {
    /// Before the step: a crash has to find that it may have been taken.
    First,
    /// Before the step after it: a crash finds the action as it was before, and nothing tells the two apart.
    Beside,
}

impl Note {
    /// What an action of this type needs.
    pub(crate) fn of(action_type: &ActionType) -> Self {
        if action_type.leaves_nothing() { Self::Beside } else { Self::First }
    }

    /// Takes `step` once `write` is durable, or while it gets there. When this returns both are over.
    pub(crate) async fn and<T>(
        self,
        write: impl FnOnce() -> Result<Entry, JournalError> + Send + 'static,
        step: impl Future<Output = T>,
    ) -> Result<T, JournalError> {
        match self {
            Self::First => {
                write()?;
                Ok(step.await)
            }
            Self::Beside => {
                let writing = tokio::task::spawn_blocking(write);
                let taken = step.await;
                match writing.await {
                    Ok(written) => written.map(|_| taken),
                    Err(defect) => std::panic::resume_unwind(defect.into_panic()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use aios_action::{ActionView, Envelope, Request};
    use aios_ids::ActionId;

    use super::*;

    fn entry() -> Entry {
        let request = Request::new("task.run", serde_json::Map::new());
        Entry::new(
            ActionView::proposed(&Envelope::new(ActionId::new(1, [0; 10]), "operator:ada".into(), request)),
            "one",
        )
    }

    fn unwritten() -> Result<Entry, JournalError> {
        Err(JournalError::Unknown(ActionId::new(1, [0; 10])))
    }

    #[tokio::test]
    async fn a_step_that_leaves_something_is_not_taken_without_its_note() {
        let mut taken = false;
        let came = Note::First.and(unwritten, async { taken = true }).await;
        assert!(came.is_err() && !taken);
    }

    #[tokio::test]
    async fn a_step_that_leaves_nothing_is_under_way_while_its_note_is_written() {
        let (say, hear) = channel();
        // The note waits for the step, which would never begin if it waited for the note.
        let write = move || {
            hear.recv_timeout(Duration::from_secs(20)).expect("the step is under way");
            Ok(entry())
        };
        let came = Note::Beside.and(write, async move { say.send(()).is_ok() }).await;
        assert!(came.expect("both are over"));
        assert!(
            Note::Beside.and(unwritten, async {}).await.is_err(),
            "a note that was not written is an error all the same"
        );
    }
}
