//! Values that were handed over for an action that names them. In memory alone: nothing has happened yet, and what was
//! handed over and not used is forgotten soon.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aios_fetch::SecretValue;
use aios_ids::Digest;

/// So many values wait; the oldest makes room.
const WAITING: usize = 16;

/// An action that needs another person's yes takes its time; more than this is no hurry.
const LASTS: Duration = Duration::from_secs(3600);

struct Offered {
    id: Digest,
    value: SecretValue,
    since: Instant,
}

/// What was handed over.
#[derive(Default)]
pub(crate) struct Offers(Mutex<VecDeque<Offered>>);

impl Offers {
    /// Keeps a value and says what to name it by: random, so it tells nothing of the value and cannot be guessed.
    pub(crate) fn add(&self, value: SecretValue) -> Result<Digest, getrandom::Error> {
        let mut id = [0; 32];
        getrandom::fill(&mut id)?;
        let id = Digest::from_bytes(id);
        let mut waiting = self.waiting();
        waiting.push_back(Offered { id, value, since: Instant::now() });
        if waiting.len() > WAITING {
            waiting.pop_front();
        }
        Ok(id)
    }

    /// Takes a value: it is used once.
    pub(crate) fn take(&self, id: &Digest) -> Option<SecretValue> {
        let mut waiting = self.waiting();
        let place = waiting.iter().position(|offered| offered.id == *id)?;
        waiting.remove(place).map(|offered| offered.value)
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Offered>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|offered| offered.since.elapsed() < LASTS);
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_taken_once_and_the_oldest_makes_room() {
        let offers = Offers::default();
        let value = |number: usize| format!("value-number-{number}").parse().expect("a value");
        let ids: Vec<Digest> = (0..=WAITING).map(|number| offers.add(value(number)).expect("random")).collect();
        assert!(offers.take(&ids[0]).is_none());
        let taken = offers.take(&ids[1]).map(|value| value.expose().to_owned());
        assert_eq!((taken.as_deref(), offers.take(&ids[1]).is_none()), (Some("value-number-1"), true));
        assert!(offers.take(&Digest::from_bytes([0; 32])).is_none());
    }
}
