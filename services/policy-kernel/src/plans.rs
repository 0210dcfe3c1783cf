//! What was planned: which requests somebody has seen the consequences of, a short while ago. It is kept in memory: after a
//! restart of the policy kernel a plan has to be made again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use aios_ids::Digest;
use aios_policy::Plan;

/// How long a plan is worth something: what it shows changes.
const GOOD_FOR_MS: u64 = 15 * 60_000;

/// How many are kept of one subject: the oldest makes room, and nobody's plans push out another one's.
const OF_ONE: usize = 16;

struct Seen {
    by: String,
    plan: Digest,
    up_ms: u64,
}

/// The plans of everybody.
#[derive(Default)]
pub(crate) struct Plans(Mutex<VecDeque<Seen>>);

impl Plans {
    /// Remembers a plan that `by` was shown.
    pub(crate) fn add(&self, by: String, plan: Digest, up_ms: u64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|seen| is_fresh(seen, up_ms) && (seen.by != by || seen.plan != plan));
        if kept.iter().filter(|seen| seen.by == by).count() >= OF_ONE
            && let Some(oldest) = kept.iter().position(|seen| seen.by == by)
        {
            kept.remove(oldest);
        }
        kept.push_back(Seen { by, plan, up_ms });
    }

    /// Whether `by` was shown a plan, which is worked out only for who was shown one at all.
    pub(crate) fn of(&self, by: &str, up_ms: u64, plan: impl FnOnce() -> Digest) -> Plan {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut own = kept.iter().filter(|seen| seen.by == by && is_fresh(seen, up_ms)).peekable();
        if own.peek().is_none() {
            return Plan::Unseen;
        }
        let plan = plan();
        if own.any(|seen| seen.plan == plan) { Plan::Seen } else { Plan::Unseen }
    }
}

fn is_fresh(seen: &Seen, up_ms: u64) -> bool {
    up_ms.saturating_sub(seen.up_ms) < GOOD_FOR_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_good_for_a_while_and_a_flood_of_one_pushes_out_none_of_another() {
        let plans = Plans::default();
        let plan = |number: usize| Digest::of(&number.to_le_bytes());
        plans.add("operator:ada".into(), plan(0), 1000);
        for number in 1..100 {
            plans.add("agent:helper".into(), plan(number), 2000);
        }
        let of_ada = |up_ms| plans.of("operator:ada", up_ms, || plan(0));
        assert_eq!((of_ada(1000 + GOOD_FOR_MS - 1), of_ada(1000 + GOOD_FOR_MS)), (Plan::Seen, Plan::Unseen));
        let of_helper = |number| plans.of("agent:helper", 2000, || plan(number));
        assert_eq!((of_helper(1), of_helper(99), of_helper(0)), (Plan::Unseen, Plan::Seen, Plan::Unseen));
        assert_eq!(plans.0.lock().expect("no panic").len(), 1 + OF_ONE);
    }
}
