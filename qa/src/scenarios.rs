//! The list of scenarios. Each module holds the ones about one part of the system.

mod fixture;

use crate::scenario::{Scenario, Set};

/// Every scenario, in the order in which they run.
#[must_use]
pub fn scenarios() -> &'static [Scenario] {
    &[Scenario {
        name: "fixture",
        promise: "the fixture sees how commands end, cuts power and notices a machine that died",
        set: Set::Ci,
        boots: 2,
        show: fixture::fixture,
    }]
}
