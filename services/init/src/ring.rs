//! The last events of this boot, for whoever asks. PID 1 calls nobody: the evidence log comes and takes them.

use std::collections::VecDeque;

use aios_wire::init::{Event, Reply, Session};

/// So many are kept; who comes later is told how many are gone.
const KEPT: usize = 1024;
/// An answer holds at most so many, to stay within a message.
const ANSWERED: usize = 256;

/// Numbered events, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    events: VecDeque<Event>,
    last: u64,
}

impl Ring {
    /// Adds an event.
    pub(crate) fn push(&mut self, at_ms: u64, unit: &str, what: &str, detail: String) {
        self.last += 1;
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        let detail = detail.chars().take(500).collect();
        let (unit, what) = (unit.to_owned(), what.to_owned());
        self.events.push_back(Event { number: self.last, at_ms, unit, what, detail, session: None });
    }

    /// Adds what became of an operator's session, and how if there is more to say.
    pub(crate) fn push_session(&mut self, at_ms: u64, unit: &str, session: Session, how: String) {
        self.push(at_ms, unit, "session", how);
        if let Some(event) = self.events.back_mut() {
            event.session = Some(session);
        }
    }

    /// The events after `after`, from the oldest that is kept.
    pub(crate) fn after(&self, after: u64) -> Reply {
        let first = self.events.front().map_or(self.last + 1, |event| event.number);
        let events = self.events.iter().filter(|event| event.number > after).take(ANSWERED).cloned().collect();
        Reply::Events { lost: first.saturating_sub(after.saturating_add(1)), events }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_late_is_told_what_is_lost() {
        let mut ring = Ring::default();
        for at in 0..KEPT as u64 + 10 {
            ring.push(at, "init", "boot", String::new());
        }
        let Reply::Events { lost, events } = ring.after(0) else { panic!("not events") };
        assert_eq!((lost, events[0].number, events.len()), (10, 11, ANSWERED));
        let Reply::Events { lost, events } = ring.after(1030) else { panic!("not events") };
        assert_eq!((lost, events.len(), events[0].number), (0, 4, 1031));
        let Reply::Events { lost, events } = ring.after(u64::MAX) else { panic!("not events") };
        assert_eq!((lost, events.len()), (0, 0));
    }
}
