//! What an action may use up now, and counting what it did use.

use std::time::Instant;

use action_runtime::budget::{self, TooLate};
use action_runtime::journal::{Charge, Entry};
use action_runtime::launch::{Finished, LaunchError};
use aios_action::allowance::Use;
use aios_action::{ActionType, ActionView};
use aios_wire::launch::Limits;
use serde_json::Value;

use crate::resource;
use crate::runtime::{Runtime, minute_now, now_ms};

/// What the action may use up, from now on.
pub(crate) fn limits(action_type: &ActionType, view: &ActionView) -> Result<Limits, TooLate> {
    let age_ms = now_ms().saturating_sub(view.id.unix_ms());
    budget::lowered(resource::limits(action_type), &view.request.constraints, age_ms)
}

/// All that limits let a program use, which is its charge if nobody hears what it did use.
pub(crate) fn at_most(limits: Limits) -> Charge {
    let (time_ms, cpu_ms, output) = (limits.time_ms.into(), limits.cpu_ms.into(), limits.output.into());
    Charge { minute: minute_now(), used: Use { time_ms, cpu_ms, output, ..Use::default() } }
}

/// Counts what a program used. A launch that nobody heard the end of is charged with its time alone.
pub(crate) fn launched(
    runtime: &Runtime,
    subject: &str,
    began: Instant,
    finished: &Result<Finished, LaunchError>,
) -> Charge {
    let time_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let used = finished.as_ref().map_or_else(
        |_| Use::default(),
        |finished| Use { cpu_ms: finished.exit.cpu_us / 1000, output: finished.printed, ..Use::default() },
    );
    runtime.charge(subject, Use { time_ms, ..used })
}

/// Counts what a measured action left behind.
pub(crate) fn measured(runtime: &Runtime, entry: &Entry, observed: &Value) -> Charge {
    runtime.charge(&entry.view.subject, budget::moved(&entry.view.request, observed))
}
