//! How much of each agent, and of all together, is taken in before it has had its answers.
//!
//! An agent that asks without listening, faster than actions are decided, or by lines without an end is not read any further
//! until that changes: what it says stays in its own socket, and the door's memory does not grow with it. What it can fill
//! is a short line for each conversation and [`CALLS`] calls; of long lines there are [`LONG_LINES`] for everybody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::tally::Tally;

/// So many calls of one agent are worked on before the next of its lines is begun.
const CALLS: usize = 8;
/// So many conversations one agent may have. It gets along with one.
const CONVERSATIONS: usize = 8;
/// So many conversations there are at all.
const ALL_CONVERSATIONS: usize = 64;
/// So many long lines are kept at once, one of each agent at most. Each costs some five times its length while it is made
/// a request of.
const LONG_LINES: usize = 8;

/// Who is at the door, and how often.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    agents: Arc<Mutex<BTreeMap<String, Arc<Agent>>>>,
    long_lines: Arc<Semaphore>,
}

impl Default for Room {
    fn default() -> Self {
        Self { agents: Arc::default(), long_lines: Arc::new(Semaphore::new(LONG_LINES)) }
    }
}

/// What one agent is given, in all its conversations.
#[derive(Debug)]
pub(crate) struct Agent {
    name: String,
    calls: watch::Sender<usize>,
    conversations: Mutex<usize>,
    long_line: Arc<Semaphore>,
    pub(crate) tally: Tally,
}

impl Room {
    /// One more conversation with this agent; the agent alone if it may have none.
    pub(crate) fn let_in(&self, name: &str) -> Result<Visit, Arc<Agent>> {
        let mut agents = held(&self.agents);
        let all = agents.values().map(|agent| *held(&agent.conversations)).sum::<usize>();
        // An agent is kept for what is counted of it; PID 1 knows only so many names.
        let agent = agents.entry(name.to_owned()).or_insert_with(|| Arc::new(Agent::new(name)));
        let mut conversations = held(&agent.conversations);
        if all >= ALL_CONVERSATIONS || *conversations >= CONVERSATIONS {
            return Err(Arc::clone(agent));
        }
        *conversations += 1;
        Ok(Visit { agent: Arc::clone(agent), long_lines: Arc::clone(&self.long_lines) })
    }
}

impl Agent {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            calls: watch::Sender::new(0),
            conversations: Mutex::default(),
            long_line: Arc::new(Semaphore::new(1)),
            tally: Tally::default(),
        }
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// A conversation that has not ended.
#[derive(Debug)]
pub(crate) struct Visit {
    agent: Arc<Agent>,
    long_lines: Arc<Semaphore>,
}

impl Visit {
    /// Whom it is with.
    pub(crate) fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// Waits until the agent may say something more.
    pub(crate) async fn has_room(&self) {
        // The sender is the agent's, which lives as long as this.
        let _ = self.agent.calls.subscribe().wait_for(|calls| *calls < CALLS).await;
    }

    /// Something is worked on or answered until this is dropped.
    pub(crate) fn call(&self) -> Call {
        self.agent.calls.send_modify(|calls| *calls += 1);
        Call(Arc::clone(&self.agent))
    }

    /// Waits until a long line may be kept.
    pub(crate) async fn long_line(&self) -> LongLine {
        let of_agent = Arc::clone(&self.agent.long_line).acquire_owned().await;
        let of_all = Arc::clone(&self.long_lines).acquire_owned().await;
        let open = "nobody closes it";
        LongLine { _of_agent: of_agent.expect(open), _of_all: of_all.expect(open) }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        *held(&self.agent.conversations) -= 1;
    }
}

/// A call that is worked on, or an answer that is not heard yet.
#[derive(Debug)]
pub(crate) struct Call(Arc<Agent>);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.calls.send_modify(|calls| *calls -= 1);
    }
}

/// A long line may be kept until this is dropped.
#[derive(Debug)]
pub(crate) struct LongLine {
    _of_agent: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// What one message takes: it goes with the message and ends with it.
#[derive(Debug)]
pub(crate) struct Taken {
    _call: Call,
    long_line: Mutex<Option<LongLine>>,
}

impl Taken {
    /// A message is about to be worked on.
    pub(crate) fn new(call: Call, long_line: Option<LongLine>) -> Arc<Self> {
        Arc::new(Self { _call: call, long_line: Mutex::new(long_line) })
    }

    /// What the message said has been handed on, so its length is here no more.
    pub(crate) fn handed_on(&self) {
        held(&self.long_line).take();
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked with it has left a count that is right.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn waits(what: impl Future) -> bool {
        tokio::time::timeout(Duration::from_millis(30), what).await.is_err()
    }

    #[tokio::test]
    async fn who_has_calls_enough_is_read_again_when_one_has_ended() {
        let visit = Room::default().let_in("one").expect("room");
        let mut calls: Vec<_> = (0..CALLS).map(|_| visit.call()).collect();
        assert!(waits(visit.has_room()).await);
        let (_, ()) = tokio::join!(visit.has_room(), async { drop(calls.pop()) });
        assert!(!waits(visit.has_room()).await);
    }

    #[tokio::test]
    async fn conversations_of_one_agent_share_what_it_is_given() {
        let room = Room::default();
        let (one, another) = (room.let_in("one").expect("room"), room.let_in("one").expect("room"));
        let calls: Vec<_> = (0..CALLS).map(|_| one.call()).collect();
        assert!(waits(another.has_room()).await);
        assert!(!waits(room.let_in("two").expect("room").has_room()).await);
        drop(calls);
        let long_line = one.long_line().await;
        assert!(waits(another.long_line()).await);
        drop(long_line);
        assert!(!waits(another.long_line()).await);
    }

    #[test]
    fn one_agent_does_not_take_the_place_of_another() {
        let room = Room::default();
        let mut visits: Vec<_> = (0..CONVERSATIONS).map(|_| room.let_in("one").expect("room")).collect();
        assert!(room.let_in("one").is_err_and(|agent| agent.name() == "one"));
        assert!(room.let_in("another").is_ok());
        visits.pop();
        visits.push(room.let_in("one").expect("room again"));
        for agent in 1..ALL_CONVERSATIONS / CONVERSATIONS {
            visits.extend((0..CONVERSATIONS).map(|_| room.let_in(&agent.to_string()).expect("room")));
        }
        assert!(room.let_in("another").is_err(), "the door is full");
    }
}
