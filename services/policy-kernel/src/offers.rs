//! What operators have offered for an action that names it: bundles by their digest, hashes of pass phrases by who offered
//! them and for whom. It is in memory alone, because nothing has happened yet: a restart forgets it, and the person offers
//! again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aios_ids::{Digest, UnitName};
use aios_policy::{Bundle, Comparison, TooDifferent};

/// So many bundles are kept; the oldest makes room.
const BUNDLES: usize = 4;

/// So many pass phrases are kept; the oldest makes room.
const PASS_PHRASES: usize = 16;

/// A bundle that was opened and compared.
#[derive(Clone)]
pub(crate) struct OfferedBundle {
    pub(crate) bytes: Arc<Vec<u8>>,
    pub(crate) bundle: Arc<Bundle>,
    /// The epoch that it was compared with.
    pub(crate) instead_of: String,
    pub(crate) comparison: Result<Comparison, TooDifferent>,
}

/// What is left of a pass phrase.
struct OfferedPassPhrase {
    by: String,
    name: UnitName,
    argon2id: String,
}

/// Everything that was offered.
#[derive(Default)]
pub(crate) struct Offers {
    bundles: Mutex<VecDeque<OfferedBundle>>,
    pass_phrases: Mutex<VecDeque<OfferedPassPhrase>>,
}

impl Offers {
    pub(crate) fn add_bundle(&self, offered: OfferedBundle) {
        let mut bundles = locked(&self.bundles);
        bundles.retain(|other| other.bundle.digest() != offered.bundle.digest());
        bundles.push_back(offered);
        if bundles.len() > BUNDLES {
            bundles.pop_front();
        }
    }

    pub(crate) fn bundle(&self, digest: &Digest) -> Option<OfferedBundle> {
        locked(&self.bundles).iter().find(|offered| offered.bundle.digest() == *digest).cloned()
    }

    /// A newer pass phrase by the same person for the same name takes the place of the older.
    pub(crate) fn add_pass_phrase(&self, by: String, name: UnitName, argon2id: String) {
        let mut kept = locked(&self.pass_phrases);
        kept.retain(|other| other.by != by || other.name != name);
        kept.push_back(OfferedPassPhrase { by, name, argon2id });
        if kept.len() > PASS_PHRASES {
            kept.pop_front();
        }
    }

    pub(crate) fn has_pass_phrase(&self, by: &str, name: &UnitName) -> bool {
        locked(&self.pass_phrases).iter().any(|offered| offered.by == by && offered.name == *name)
    }

    /// Takes the pass phrase: it is used once.
    pub(crate) fn take_pass_phrase(&self, by: &str, name: &UnitName) -> Option<String> {
        let mut kept = locked(&self.pass_phrases);
        let place = kept.iter().position(|offered| offered.by == by && offered.name == *name)?;
        kept.remove(place).map(|offered| offered.argon2id)
    }
}

fn locked<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_phrase_is_used_once_by_who_offered_it_and_the_oldest_make_room() {
        let offers = Offers::default();
        let name = |number: usize| -> UnitName { format!("p{number}").parse().expect("a name") };
        offers.add_pass_phrase("operator:ada".into(), name(0), "first".into());
        offers.add_pass_phrase("operator:ada".into(), name(0), "second".into());
        assert!(!offers.has_pass_phrase("operator:bob", &name(0)));
        assert_eq!(offers.take_pass_phrase("operator:bob", &name(0)), None);
        assert_eq!(offers.take_pass_phrase("operator:ada", &name(0)).as_deref(), Some("second"));
        assert_eq!(offers.take_pass_phrase("operator:ada", &name(0)), None);
        for number in 0..=PASS_PHRASES {
            offers.add_pass_phrase("operator:ada".into(), name(number), "x".into());
        }
        assert!(!offers.has_pass_phrase("operator:ada", &name(0)) && offers.has_pass_phrase("operator:ada", &name(1)));
    }
}
