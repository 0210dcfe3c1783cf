//! Every action and where it stands, durable before the next step is taken.
//!
//! A crash leaves each action in its last written state, and [`Journal::open`] finishes what cannot go on: `running` is
//! written before the adapter starts, so what was `running` may have had its effect and is never run again. What was
//! only waiting for a person waits on. The same idempotency key of the same subject finds the same action.
//!
//! | found at start | becomes | why |
//! |---|---|---|
//! | proposed, allowed | failed or denied | nothing happened, and the decision may be void |
//! | waiting | waiting | its approval is kept by the policy kernel |
//! | running | failed | its effect may have begun |
//! | verifying | verifying | its effect is done: the verifier looks, perhaps again |
//!
//! `node.reboot` is the exception: its effect ends the boot, so it is measured when it is found in a later one, and in
//! the same boot it has failed.

use std::path::Path;

use aios_action::{ActionView, Event, State, WrongTransition};
use aios_ids::ActionId;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

const ACTIONS: TableDefinition<&str, &[u8]> = TableDefinition::new("actions");
/// The ids of actions that have not ended: looked through often, and few.
const UNFINISHED: TableDefinition<&str, ()> = TableDefinition::new("unfinished");
const KEYS: TableDefinition<&str, &str> = TableDefinition::new("idempotency-keys");

/// One action as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What callers are told.
    pub view: ActionView,
    /// The boot it was taken in.
    pub boot: String,
    /// What the verifier saw before the effect.
    pub before: Option<String>,
    /// Set when the end of the runtime was its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<Interrupted>,
}

/// How far an action was when the runtime ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interrupted {
    /// Nothing had happened.
    BeforeEffect,
    /// It ran; nobody knows how far it came.
    WhileRunning,
}

/// What is to be done with an action that an earlier runtime left.
#[derive(Debug, Clone, PartialEq)]
pub enum Left {
    /// A person still has to say.
    Waits(Entry),
    /// Its effect is done: measure it.
    Measure(Entry),
    /// It was ended by the runtime's end; the record of that is missing.
    Ended(Entry),
}

/// The journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The database failed.
    #[error("cannot {step} the journal of actions")]
    Database {
        /// What was done.
        step: &'static str,
        /// Why not.
        #[source]
        source: Box<redb::Error>,
    },
    /// A row is not what was written.
    #[error("the journal's row of {id} cannot be read")]
    Row {
        /// The row.
        id: String,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// There is no such action.
    #[error("there is no action {0}; 'aios action list' shows all")]
    Unknown(ActionId),
    /// The event does not fit.
    #[error(transparent)]
    Transition(#[from] WrongTransition),
}

fn failed<E: Into<redb::Error>>(step: &'static str) -> impl FnOnce(E) -> JournalError {
    move |source| JournalError::Database { step, source: Box::new(source.into()) }
}

/// The journal.
pub struct Journal {
    database: Database,
}

impl Journal {
    /// Opens or makes the journal at `path`, and settles what an earlier runtime left.
    pub fn open(path: &Path, boot: &str) -> Result<(Self, Vec<Left>), JournalError> {
        let database = Database::create(path).map_err(failed("open"))?;
        let journal = Self { database };
        let write = journal.database.begin_write().map_err(failed("write"))?;
        write.open_table(ACTIONS).map_err(failed("write"))?;
        write.open_table(UNFINISHED).map_err(failed("write"))?;
        write.open_table(KEYS).map_err(failed("write"))?;
        write.commit().map_err(failed("write"))?;
        let mut left = Vec::new();
        for entry in journal.unfinished()? {
            if let Some((entry, event)) = settle(entry, boot) {
                left.push(match event {
                    Some(event) => {
                        let interrupted = Some(interrupted(&entry.view.state));
                        Left::Ended(journal.advance(&entry.view.id, event, |entry| entry.interrupted = interrupted)?)
                    }
                    None if matches!(entry.view.state, State::Waiting { .. }) => Left::Waits(entry),
                    None => Left::Measure(entry),
                });
            }
        }
        Ok((journal, left))
    }

    /// Takes a new action in, or finds the one that the same subject gave the same idempotency key.
    pub fn insert(&self, entry: &Entry) -> Result<Option<Entry>, JournalError> {
        let write = self.database.begin_write().map_err(failed("write"))?;
        {
            let mut keys = write.open_table(KEYS).map_err(failed("write"))?;
            if let Some(key) = &entry.view.request.idempotency_key {
                let key = format!("{}\n{key}", entry.view.subject);
                let known = keys.get(key.as_str()).map_err(failed("read"))?.map(|id| id.value().to_owned());
                if let Some(id) = known {
                    return self.read(&id);
                }
                keys.insert(key.as_str(), entry.view.id.as_str()).map_err(failed("write"))?;
            }
            let mut actions = write.open_table(ACTIONS).map_err(failed("write"))?;
            actions.insert(entry.view.id.as_str(), row(entry).as_slice()).map_err(failed("write"))?;
            let mut unfinished = write.open_table(UNFINISHED).map_err(failed("write"))?;
            unfinished.insert(entry.view.id.as_str(), ()).map_err(failed("write"))?;
        }
        write.commit().map_err(failed("write"))?;
        Ok(None)
    }

    /// Takes an action to its next state, with `change` made to its entry; durable before this returns.
    pub fn advance(&self, id: &ActionId, event: Event, change: impl FnOnce(&mut Entry)) -> Result<Entry, JournalError> {
        let mut next = None;
        self.update(id, |entry| {
            next = Some(entry.view.state.after(event)?);
            change(entry);
            entry.view.state = next.take().unwrap_or(State::Proposed);
            Ok(())
        })
    }

    /// Changes what is kept about an action beside its state.
    pub fn note(&self, id: &ActionId, change: impl FnOnce(&mut Entry)) -> Result<Entry, JournalError> {
        self.update(id, |entry| {
            let state = entry.view.state.clone();
            change(entry);
            entry.view.state = state;
            Ok(())
        })
    }

    fn update(
        &self,
        id: &ActionId,
        change: impl FnOnce(&mut Entry) -> Result<(), JournalError>,
    ) -> Result<Entry, JournalError> {
        // One transaction: of two events that race, the second sees what the first made of the state.
        let write = self.database.begin_write().map_err(failed("write"))?;
        let entry = {
            let mut actions = write.open_table(ACTIONS).map_err(failed("write"))?;
            let found = actions.get(id.as_str()).map_err(failed("read"))?.map(|row| row.value().to_vec());
            let mut entry = parse(id.as_str(), &found.ok_or_else(|| JournalError::Unknown(id.clone()))?)?;
            change(&mut entry)?;
            actions.insert(id.as_str(), row(&entry).as_slice()).map_err(failed("write"))?;
            if entry.view.state.is_final() {
                let mut unfinished = write.open_table(UNFINISHED).map_err(failed("write"))?;
                unfinished.remove(id.as_str()).map_err(failed("write"))?;
            }
            entry
        };
        write.commit().map_err(failed("write"))?;
        Ok(entry)
    }

    /// One action.
    pub fn show(&self, id: &ActionId) -> Result<Entry, JournalError> {
        self.read(id.as_str())?.ok_or_else(|| JournalError::Unknown(id.clone()))
    }

    /// The newest actions, at most `most`, oldest of them first.
    pub fn newest(&self, most: usize) -> Result<Vec<Entry>, JournalError> {
        let read = self.database.begin_read().map_err(failed("read"))?;
        let actions = read.open_table(ACTIONS).map_err(failed("read"))?;
        // Ids sort by time.
        let rows = actions.iter().map_err(failed("read"))?.rev().take(most);
        let entries = rows.map(|row| {
            let (id, row) = row.map_err(failed("read"))?;
            parse(id.value(), row.value())
        });
        let mut entries = entries.collect::<Result<Vec<_>, JournalError>>()?;
        entries.reverse();
        Ok(entries)
    }

    /// Every action that has not ended, oldest first.
    pub fn unfinished(&self) -> Result<Vec<Entry>, JournalError> {
        let read = self.database.begin_read().map_err(failed("read"))?;
        let unfinished = read.open_table(UNFINISHED).map_err(failed("read"))?;
        let ids = unfinished.iter().map_err(failed("read"))?;
        let entries = ids.map(|id| self.read(id.map_err(failed("read"))?.0.value()));
        entries.filter_map(Result::transpose).collect()
    }

    /// The action that `subject` gave this idempotency key.
    pub fn with_key(&self, subject: &str, key: &str) -> Result<Option<Entry>, JournalError> {
        let id = {
            let read = self.database.begin_read().map_err(failed("read"))?;
            let keys = read.open_table(KEYS).map_err(failed("read"))?;
            keys.get(format!("{subject}\n{key}").as_str()).map_err(failed("read"))?.map(|id| id.value().to_owned())
        };
        id.map_or(Ok(None), |id| self.read(&id))
    }

    fn read(&self, id: &str) -> Result<Option<Entry>, JournalError> {
        let read = self.database.begin_read().map_err(failed("read"))?;
        let actions = read.open_table(ACTIONS).map_err(failed("read"))?;
        let row = actions.get(id).map_err(failed("read"))?;
        row.map(|row| parse(id, row.value())).transpose()
    }
}

/// What becomes of an action that is found at start: nothing, or a last event, or more to do.
fn settle(entry: Entry, boot: &str) -> Option<(Entry, Option<Event>)> {
    const ENDED: &str = "the action runtime ended";
    let event = match &entry.view.state {
        state if state.is_final() => return None,
        State::Waiting { .. } => None,
        State::Proposed => Some(Event::Denied {
            reason: "Interrupted".into(),
            text: format!("{ENDED} before the action was decided; nothing happened: submit it again"),
        }),
        State::Allowed { .. } => {
            Some(Event::Failed(format!("{ENDED} before the action began; nothing happened: submit it again")))
        }
        state if is_measurable(state, &entry, boot) => None,
        _ => Some(Event::Failed(format!(
            "{ENDED} while the action ran; its effect may have happened and it is not run again: look before you submit it again"
        ))),
    };
    Some((entry, event))
}

/// How far an action had come that ends because the runtime did.
fn interrupted(state: &State) -> Interrupted {
    match state {
        State::Running | State::Verifying => Interrupted::WhileRunning,
        _ => Interrupted::BeforeEffect,
    }
}

fn is_measurable(state: &State, entry: &Entry, boot: &str) -> bool {
    let ends_the_boot = entry.view.request.action_type == "node.reboot";
    let done = if ends_the_boot { entry.boot != boot } else { *state == State::Verifying };
    done && entry.before.is_some()
}

fn row(entry: &Entry) -> Vec<u8> {
    serde_json::to_vec(entry).expect("an entry has only text keys")
}

fn parse(id: &str, row: &[u8]) -> Result<Entry, JournalError> {
    serde_json::from_slice(row).map_err(|source| JournalError::Row { id: id.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use aios_action::{Constraints, Envelope, Request};
    use aios_ids::ApprovalId;
    use proptest::prelude::*;

    use super::*;

    fn entry(number: u64, action_type: &str, key: Option<&str>) -> Entry {
        let request = Request {
            action_type: action_type.into(),
            parameters: serde_json::Map::new(),
            reason: String::new(),
            idempotency_key: key.map(str::to_owned),
            constraints: Constraints::default(),
        };
        let id = ActionId::new(number, [0; 10]);
        let envelope = Envelope::new(id.clone(), "operator:ada".into(), request.clone());
        let view = ActionView {
            id,
            subject: envelope.subject.clone(),
            request,
            digest: envelope.digest(),
            state: State::Proposed,
            rules: vec![],
            epoch: "1".into(),
            observed: None,
            evidence: vec![],
        };
        Entry { view, boot: "one".into(), before: None, interrupted: None }
    }

    fn approval() -> ApprovalId {
        ApprovalId::new(0, [0; 10])
    }

    /// Every way to a state that an action can be left in.
    fn paths() -> Vec<(&'static str, Vec<Event>)> {
        vec![
            ("proposed", vec![]),
            ("waiting", vec![Event::NeedsApproval(approval())]),
            ("allowed", vec![Event::NeedsApproval(approval()), Event::Approved]),
            ("running", vec![Event::Allowed, Event::Started]),
            ("verifying", vec![Event::Allowed, Event::Started, Event::EffectDone]),
            ("succeeded", vec![Event::Allowed, Event::Started, Event::EffectDone, Event::Held]),
        ]
    }

    /// Takes an action to each state, "crashes" by dropping the journal, and opens it again.
    fn after_crash(action_type: &str, boot: &str) -> Vec<(&'static str, String, usize)> {
        let folder = tempfile::tempdir().expect("a folder");
        paths()
            .into_iter()
            .map(|(name, events)| {
                let path = folder.path().join(name);
                let (journal, _) = Journal::open(&path, "one").expect("a journal");
                let entry = Entry { before: Some("{}".into()), ..entry(1, action_type, None) };
                assert_eq!(journal.insert(&entry).expect("inserted"), None);
                for event in events {
                    journal.advance(&entry.view.id, event, |_| {}).expect("the next state");
                }
                drop(journal);
                let (journal, left) = Journal::open(&path, boot).expect("a journal");
                let state = journal.show(&entry.view.id).expect("still there").view.state.word().to_owned();
                // What was settled once stays settled.
                drop(journal);
                let (_, again) = Journal::open(&path, boot).expect("a journal");
                assert!(again.iter().all(|left| !matches!(left, Left::Ended(_))), "{name}");
                (name, state, left.len())
            })
            .collect()
    }

    #[test]
    fn no_crash_lets_an_action_run_twice() {
        let expected = [
            ("proposed", "denied", 1),
            ("waiting", "waiting", 1),
            ("allowed", "failed", 1),
            ("running", "failed", 1),
            ("verifying", "verifying", 1),
            ("succeeded", "succeeded", 0),
        ];
        for boot in ["one", "two"] {
            let found = after_crash("settings.set", boot);
            let found: Vec<_> = found.iter().map(|(from, to, left)| (*from, to.as_str(), *left)).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_reboot_is_measured_in_the_next_boot_only() {
        let state = |boot: &str, from: &str| {
            after_crash("node.reboot", boot).into_iter().find(|(name, ..)| *name == from).expect("listed").1
        };
        assert_eq!(state("two", "running"), "running");
        assert_eq!(state("two", "verifying"), "verifying");
        assert_eq!(state("one", "running"), "failed");
        assert_eq!(state("one", "verifying"), "failed");
    }

    #[test]
    fn a_key_means_one_action_of_one_subject() {
        let folder = tempfile::tempdir().expect("a folder");
        let (journal, _) = Journal::open(&folder.path().join("journal"), "one").expect("a journal");
        let first = entry(1, "settings.set", Some("k"));
        assert_eq!(journal.insert(&first).expect("inserted"), None);
        let again = journal.insert(&entry(2, "settings.set", Some("k"))).expect("found");
        assert_eq!(again.map(|entry| entry.view.id), Some(first.view.id));
        let mut other = entry(3, "settings.set", Some("k"));
        other.view.subject = "agent:helper".into();
        assert_eq!(journal.insert(&other).expect("inserted"), None);
        assert_eq!(journal.newest(9).expect("listed").len(), 2);
        let newest = journal.newest(1).expect("listed");
        assert_eq!(newest.first().map(|entry| &entry.view.id), Some(&other.view.id));
    }

    proptest! {
        // Each step is on the disk before the next, so a case takes a while.
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// Whatever happens in whatever order, what is kept is what the life cycle allows and no end is left.
        #[test]
        fn the_journal_never_leaves_the_life_cycle(events in prop::collection::vec(0usize..8, 0..12)) {
            let folder = tempfile::tempdir().expect("a folder");
            let (journal, _) = Journal::open(&folder.path().join("journal"), "one").expect("a journal");
            let entry = entry(1, "settings.set", None);
            journal.insert(&entry).expect("inserted");
            let mut state = State::Proposed;
            for event in events {
                let event = [
                    Event::Allowed,
                    Event::NeedsApproval(approval()),
                    Event::Approved,
                    Event::Cancelled,
                    Event::Started,
                    Event::EffectDone,
                    Event::Held,
                    Event::Failed("x".into()),
                ][event].clone();
                let expected = state.after(event.clone());
                let result = journal.advance(&entry.view.id, event, |_| {});
                prop_assert_eq!(result.is_ok(), expected.is_ok());
                if let Ok(next) = expected {
                    prop_assert!(!state.is_final());
                    state = next;
                }
                prop_assert_eq!(&journal.show(&entry.view.id).expect("there").view.state, &state);
                prop_assert_eq!(journal.unfinished().expect("listed").is_empty(), state.is_final());
            }
        }
    }
}
