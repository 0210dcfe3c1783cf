//! Whose turn it is. What works on the same kind of thing takes turns, so that what the verifier measures is the effect of
//! one action and not another's.
//!
//! Agents wait among themselves first: of all their actions of one kind, one at most has the turn or stands where people's
//! actions stand. So a person's action never waits for more than one of an agent, however many agents ask for however much,
//! and an agent gets every second turn at best while people wait. Nobody chooses the queue; who asks decides it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Queue, OwnedMutexGuard};

/// Where an action waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Actions of people, and of services.
    People,
    /// Actions of agents.
    Agents,
}

impl Lane {
    /// The lane of who asks, as the kernel and PID 1 attested it.
    pub(crate) fn of(subject: &str) -> Self {
        if subject.starts_with("agent:") { Self::Agents } else { Self::People }
    }
}

/// The queues of every kind of thing.
#[derive(Default)]
pub(crate) struct Turns(Mutex<BTreeMap<&'static str, Queues>>);

/// Those of one kind; both are first come, first served.
#[derive(Clone, Default)]
struct Queues {
    turn: Arc<Queue<()>>,
    agents: Arc<Queue<()>>,
}

/// The turn of an action, until it is dropped. The fields are dropped in this order: the next agent's action goes behind who
/// waits already.
pub(crate) struct Turn {
    _turn: OwnedMutexGuard<()>,
    _agents: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for the turn.
    pub(crate) async fn wait(&self, area: &'static str, lane: Lane) -> Turn {
        let Queues { turn, agents } = self.of(area);
        let agents = match lane {
            Lane::People => None,
            Lane::Agents => Some(agents.lock_owned().await),
        };
        Turn { _turn: turn.lock_owned().await, _agents: agents }
    }

    /// Takes the turn if nobody has it or waits for it.
    pub(crate) fn take(&self, area: &'static str) -> Option<Turn> {
        Some(Turn { _turn: self.of(area).turn.try_lock_owned().ok()?, _agents: None })
    }

    fn of(&self, area: &'static str) -> Queues {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(area).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who had the turn, in order, when all of these came one after the other while somebody had it.
    fn order(first: &str, then: &[&'static str]) -> Vec<&'static str> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (turns, had) = (Arc::new(Turns::default()), Arc::new(Mutex::new(Vec::new())));
            let begun = turns.wait("file", Lane::of(first)).await;
            let mut waiting = Vec::new();
            for subject in then.iter().copied() {
                let (turns, had) = (Arc::clone(&turns), Arc::clone(&had));
                waiting.push(tokio::spawn(async move {
                    let _turn = turns.wait("file", Lane::of(subject)).await;
                    had.lock().expect("whole").push(subject);
                    // What an action does takes a while.
                    tokio::task::yield_now().await;
                }));
                tokio::task::yield_now().await;
            }
            drop(begun);
            for action in waiting {
                action.await.expect("it ended");
            }
            Arc::into_inner(had).expect("all have ended").into_inner().expect("whole")
        })
    }

    #[test]
    fn a_person_waits_for_one_action_of_agents_at_most() {
        let agents = ["agent:a"; 30];
        let flood: Vec<_> = agents.into_iter().chain(["operator:ada", "operator:ben"]).collect();
        // The one that has the turn is an agent's, so no other stands before a person.
        assert_eq!(order("agent:b", &flood)[..2], ["operator:ada", "operator:ben"]);
        // A person has it: one agent's action came to the queue before.
        assert_eq!(order("operator:eve", &flood)[..3], ["agent:a", "operator:ada", "operator:ben"]);
    }

    #[test]
    fn nobody_is_passed_over_for_ever() {
        let mixed = ["agent:a", "operator:ada", "agent:b", "operator:ada", "operator:ada", "agent:c"];
        let had = order("operator:eve", &mixed);
        assert_eq!(had.len(), mixed.len());
        let agents: Vec<_> = had.iter().filter(|subject| Lane::of(subject) == Lane::Agents).collect();
        assert_eq!(agents, [&"agent:a", &"agent:b", &"agent:c"], "first come, first served");
        assert!(had.windows(2).take(4).all(|pair| pair.iter().any(|subject| Lane::of(subject) == Lane::People)));
    }

    #[test]
    fn other_things_have_turns_of_their_own() {
        let turns = Turns::default();
        let file = turns.take("file").expect("free");
        assert!(turns.take("file").is_none() && turns.take("service").is_some());
        drop(file);
        assert!(turns.take("file").is_some());
    }
}
