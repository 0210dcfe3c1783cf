//! Every action and where it stands, durable before the next step that matters is taken.
//!
//! A crash leaves each action in its last written state, and [`Journal::open`] finishes what cannot go on: `running` is
//! written before the adapter starts, so what was `running` may have had its effect and is never run again. What was
//! only waiting for a person waits on. The same idempotency key of the same subject finds the same action.
//!
//! | found at start | becomes | why |
//! |---|---|---|
//! | proposed, allowed | failed or denied | nothing happened, and the decision may be void |
//! | waiting | waiting | its approval is kept by the policy kernel |
//! | running, its undo kept | rolled back | its effect may have begun: the state from before is brought back |
//! | running | failed | its effect may have begun, and cannot be undone |
//! | verifying | verifying | its effect is done: the verifier looks, perhaps again |
//! | verifying, being undone | rolled back | the outcome did not hold: the state from before is brought back, perhaps again |
//!
//! What brings the state from before back is written together with `running`, so there is no moment in which an effect
//! could begin that nobody knows how to undo. That it is being brought back is written before the first step of it. Both
//! are forgotten in the transaction that ends the action.
//!
//! Three writes wait for the next one to make them durable, because a crash that loses them is settled as one before them
//! is: that an action without approval is allowed (found as proposed, it has not begun either), the receipt of its start,
//! and its outcome (found as verifying, it is measured again). Nobody is told of an end that is not durable.
//!
//! An action that ends the boot is the exception: it is measured when it is found in a later boot, and in the same one it
//! has failed. What was started or stopped is not undone in a later boot, which starts everything anew.

use std::path::Path;

use aios_action::allowance::Use;
use aios_action::{ActionType, ActionView, Event, State, WrongTransition, find};
use aios_ids::ActionId;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::task::Undo;

mod account;

pub use account::Charge;
use account::USES;

const ACTIONS: TableDefinition<&str, &[u8]> = TableDefinition::new("actions");
/// The ids of actions that have not ended: looked through often, and few.
const UNFINISHED: TableDefinition<&str, ()> = TableDefinition::new("unfinished");
/// What brings the state from before an unfinished action back. Beside the actions, because it can be large and an
/// action's row is written at every step.
const UNDOS: TableDefinition<&str, &[u8]> = TableDefinition::new("undos");
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
    /// What its program may use up, while nobody knows what it did use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<Charge>,
    /// What its program used, for the account of the subject; kept there and not here.
    #[serde(skip)]
    pub used: Option<Charge>,
}

impl Entry {
    /// A new action.
    pub fn new(view: ActionView, boot: &str) -> Self {
        Self { view, boot: boot.to_owned(), before: None, interrupted: None, at_most: None, used: None }
    }
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

/// How an unfinished action is undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptUndo {
    /// What brings the state from before back.
    pub undo: Undo,
    /// Why that has begun; nothing while it has not.
    pub why: Option<String>,
}

/// What is to be done with an action that an earlier runtime left.
#[derive(Debug, Clone, PartialEq)]
pub enum Left {
    /// A person still has to say.
    Waits(Entry),
    /// Its effect is done: measure it.
    Measure(Entry),
    /// Bring the state from before it back, and then say why it failed.
    Undo(Entry, Undo, String),
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
    boot: String,
}

impl Journal {
    /// Opens or makes the journal at `path`, and settles what an earlier runtime left.
    pub fn open(path: &Path, boot: &str) -> Result<(Self, Vec<Left>), JournalError> {
        let database = Database::create(path).map_err(failed("open"))?;
        let journal = Self { database, boot: boot.to_owned() };
        let write = journal.database.begin_write().map_err(failed("write"))?;
        write.open_table(ACTIONS).map_err(failed("write"))?;
        write.open_table(UNFINISHED).map_err(failed("write"))?;
        write.open_table(UNDOS).map_err(failed("write"))?;
        write.open_table(KEYS).map_err(failed("write"))?;
        write.open_table(USES).map_err(failed("write"))?;
        write.commit().map_err(failed("write"))?;
        let mut left = Vec::new();
        for entry in journal.unfinished()? {
            // Nobody knows what its program used before the runtime ended.
            let entry = match entry.at_most {
                Some(at_most) if entry.boot == boot => {
                    journal.note(&entry.view.id, |entry| entry.used = Some(at_most))?
                }
                _ => entry,
            };
            let kept = journal.undo(&entry.view.id)?;
            left.push(match settle(&entry, kept, boot) {
                Settled::Waits => Left::Waits(entry),
                Settled::Measure => Left::Measure(entry),
                Settled::Undo(undo, why) => {
                    let interrupted = Some(interrupted(&entry.view.state));
                    Left::Undo(journal.note(&entry.view.id, |entry| entry.interrupted = interrupted)?, undo, why)
                }
                Settled::Ends(event) => {
                    let interrupted = Some(interrupted(&entry.view.state));
                    Left::Ended(journal.advance(&entry.view.id, event, |entry| entry.interrupted = interrupted)?)
                }
            });
        }
        Ok((journal, left))
    }

    /// The action that the same subject gave this idempotency key.
    pub fn known(&self, subject: &str, key: &str) -> Result<Option<Entry>, JournalError> {
        let read = self.database.begin_read().map_err(failed("read"))?;
        let keys = read.open_table(KEYS).map_err(failed("read"))?;
        let id = keys.get(format!("{subject}\n{key}").as_str()).map_err(failed("read"))?;
        let Some(id) = id.map(|id| id.value().to_owned()) else { return Ok(None) };
        self.read(&id)
    }

    /// Takes a new action in and counts it, or finds the one that the same subject gave the same idempotency key.
    pub fn insert(&self, entry: &Entry, minute: u64) -> Result<Option<Entry>, JournalError> {
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
        self.add(&write, &entry.view.subject, Charge { minute, used: Use::ACTION })?;
        write.commit().map_err(failed("write"))?;
        Ok(None)
    }

    /// Takes an action to its next state, with `change` made to its entry; durable before this returns, unless it is allowed
    /// without a person.
    pub fn advance(&self, id: &ActionId, event: Event, change: impl FnOnce(&mut Entry)) -> Result<Entry, JournalError> {
        self.advance_through(id, [event], change)
    }

    /// The same through several states in one step: nobody ever finds it between them.
    pub fn advance_through(
        &self,
        id: &ActionId,
        events: impl IntoIterator<Item = Event>,
        change: impl FnOnce(&mut Entry),
    ) -> Result<Entry, JournalError> {
        self.update(id, |entry, _| {
            let next = events.into_iter().try_fold(entry.view.state.clone(), |state, event| state.after(event))?;
            change(entry);
            entry.view.state = next;
            Ok(if entry.view.state == (State::Allowed { approval: None }) {
                Durability::None
            } else {
                Durability::Immediate
            })
        })
    }

    /// Marks an action as running, and keeps how it is undone in the same step.
    pub fn begin(
        &self,
        id: &ActionId,
        undo: Option<Undo>,
        change: impl FnOnce(&mut Entry),
    ) -> Result<Entry, JournalError> {
        self.update(id, |entry, write| {
            entry.view.state = entry.view.state.after(Event::Started)?;
            change(entry);
            undo.map_or(Ok(()), |undo| keep(write, id, &KeptUndo { undo, why: None }))?;
            Ok(Durability::Immediate)
        })
    }

    /// Notes why the state from before is being brought back. Nothing of that may happen before this returns.
    pub fn undoing(&self, id: &ActionId, why: &str) -> Result<(), JournalError> {
        self.update(id, |_, write| {
            let kept = self.undo(id)?;
            kept.map_or(Ok(()), |kept| keep(write, id, &KeptUndo { why: Some(why.to_owned()), ..kept }))?;
            Ok(Durability::Immediate)
        })
        .map(drop)
    }

    /// How an unfinished action is undone.
    pub fn undo(&self, id: &ActionId) -> Result<Option<KeptUndo>, JournalError> {
        let read = self.database.begin_read().map_err(failed("read"))?;
        let undos = read.open_table(UNDOS).map_err(failed("read"))?;
        let row = undos.get(id.as_str()).map_err(failed("read"))?;
        row.map(|row| parse(id.as_str(), row.value())).transpose()
    }

    /// Changes what is kept about an action beside its state.
    pub fn note(&self, id: &ActionId, change: impl FnOnce(&mut Entry)) -> Result<Entry, JournalError> {
        self.change(id, Durability::Immediate, change)
    }

    /// The same, durable with whatever is written next: a crash before that forgets it.
    pub fn remember(&self, id: &ActionId, change: impl FnOnce(&mut Entry)) -> Result<Entry, JournalError> {
        self.change(id, Durability::None, change)
    }

    fn change(
        &self,
        id: &ActionId,
        durability: Durability,
        change: impl FnOnce(&mut Entry),
    ) -> Result<Entry, JournalError> {
        self.update(id, |entry, _| {
            let state = entry.view.state.clone();
            change(entry);
            entry.view.state = state;
            Ok(durability)
        })
    }

    fn update(
        &self,
        id: &ActionId,
        change: impl FnOnce(&mut Entry, &WriteTransaction) -> Result<Durability, JournalError>,
    ) -> Result<Entry, JournalError> {
        // One transaction: of two events that race, the second sees what the first made of the state.
        let mut write = self.database.begin_write().map_err(failed("write"))?;
        let (entry, durability) = {
            let mut actions = write.open_table(ACTIONS).map_err(failed("write"))?;
            let found = actions.get(id.as_str()).map_err(failed("read"))?.map(|row| row.value().to_vec());
            let mut entry = parse(id.as_str(), &found.ok_or_else(|| JournalError::Unknown(id.clone()))?)?;
            let durability = change(&mut entry, &write)?;
            if let Some(used) = entry.used.take() {
                self.add(&write, &entry.view.subject, used)?;
                entry.at_most = None;
            }
            actions.insert(id.as_str(), row(&entry).as_slice()).map_err(failed("write"))?;
            if entry.view.state.is_final() {
                let mut unfinished = write.open_table(UNFINISHED).map_err(failed("write"))?;
                unfinished.remove(id.as_str()).map_err(failed("write"))?;
                let mut undos = write.open_table(UNDOS).map_err(failed("write"))?;
                undos.remove(id.as_str()).map_err(failed("write"))?;
            }
            (entry, durability)
        };
        write.set_durability(durability).map_err(failed("write"))?;
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

/// What becomes of an action that is found at start.
enum Settled {
    Waits,
    Measure,
    Undo(Undo, String),
    Ends(Event),
}

fn settle(entry: &Entry, kept: Option<KeptUndo>, boot: &str) -> Settled {
    const ENDED: &str = "the action runtime ended";
    let undo = kept.filter(|kept| entry.boot == boot || kept.undo.outlives_the_boot());
    match (&entry.view.state, undo) {
        (State::Waiting { .. }, _) => Settled::Waits,
        (State::Proposed, _) => Settled::Ends(Event::Denied {
            reason: "Interrupted".into(),
            text: format!("{ENDED} before the action began; nothing happened: submit it again"),
        }),
        (State::Allowed { .. }, _) => {
            Settled::Ends(Event::Failed(format!("{ENDED} before the action began; nothing happened: submit it again")))
        }
        (_, Some(KeptUndo { undo, why: Some(why) })) => Settled::Undo(undo, why),
        (state, _) if is_measurable(state, entry, boot) => Settled::Measure,
        (State::Running, Some(KeptUndo { undo, why: None })) => {
            Settled::Undo(undo, format!("{ENDED} while the action ran"))
        }
        _ => Settled::Ends(Event::Failed(format!(
            "{ENDED} while the action ran; its effect may have happened and it is not run again: look before you submit it again"
        ))),
    }
}

/// How far an action had come that ends because the runtime did.
fn interrupted(state: &State) -> Interrupted {
    match state {
        State::Running | State::Verifying => Interrupted::WhileRunning,
        _ => Interrupted::BeforeEffect,
    }
}

fn is_measurable(state: &State, entry: &Entry, boot: &str) -> bool {
    let ends_the_boot = find(&entry.view.request.action_type).is_some_and(ActionType::ends_the_boot);
    let done = if ends_the_boot { entry.boot != boot } else { *state == State::Verifying };
    done && entry.before.is_some()
}

fn keep(write: &WriteTransaction, id: &ActionId, kept: &KeptUndo) -> Result<(), JournalError> {
    let row = serde_json::to_vec(kept).expect("an undo has only text keys");
    let mut undos = write.open_table(UNDOS).map_err(failed("write"))?;
    undos.insert(id.as_str(), row.as_slice()).map(drop).map_err(failed("write"))
}

fn row(entry: &Entry) -> Vec<u8> {
    serde_json::to_vec(entry).expect("an entry has only text keys")
}

fn parse<T: DeserializeOwned>(id: &str, row: &[u8]) -> Result<T, JournalError> {
    serde_json::from_slice(row).map_err(|source| JournalError::Row { id: id.to_owned(), source })
}

#[cfg(test)]
mod tests;
