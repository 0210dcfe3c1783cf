//! The vault on whole machines.

use crate::scenario::{Failure, Scenario, Set, Stage};
use crate::steps::{Aios, services, vault};

pub(super) const ALL: &[Scenario] = &[Scenario {
    name: "vault",
    promise: "only listed hosts are asked, a secret goes to its hosts alone and stands in no answer, record, log or object",
    set: Set::Long,
    boots: 1,
    show: used,
}];

fn used(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    vault::used_and_never_shown(&mut aios, stage)?;
    aios.power_off()
}
