//! What PID 1 says of a unit.

use std::time::Duration;

use aios_wire::init::{Service, ServiceState};
use serde_json::json;

use super::{Judgement, Snapshot};
use crate::look::{self, LookError};

/// A unit that was started and does what it is for, or has done it.
pub(super) const RUNS: &[ServiceState] = &[ServiceState::Ready, ServiceState::Finished];

/// A unit that was stopped.
pub(super) const STANDS: &[ServiceState] = &[ServiceState::Stopped];

/// A unit of an app, which never finishes.
pub(super) const READY: &[ServiceState] = &[ServiceState::Ready];

/// How long a service may take until it is ready or has stopped, and a one-shot until it has ended.
const UNTIL_SETTLED: Duration = Duration::from_secs(30);
const UNTIL_FINISHED: Duration = Duration::from_secs(15 * 60);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Waits until the unit was started once more and is in one of the states, or until it cannot come to that.
pub(super) async fn restarted(name: &str, before: &Snapshot, good: &[ServiceState]) -> Result<Judgement, LookError> {
    let patience = if good.contains(&ServiceState::Finished) { UNTIL_FINISHED } else { UNTIL_SETTLED };
    let until = tokio::time::Instant::now() + patience;
    loop {
        let unit = look::unit(name)?;
        let judgement = unit_judgement(name, before, unit.as_ref(), good);
        let may_change = unit.is_some_and(|unit| unit.state != ServiceState::Failed);
        if judgement.held || !may_change || tokio::time::Instant::now() >= until {
            return Ok(judgement);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn unit_judgement(name: &str, before: &Snapshot, unit: Option<&Service>, good: &[ServiceState]) -> Judgement {
    let Snapshot::Unit { starts: before } = before else {
        return Judgement::blind(name);
    };
    let Some(unit) = unit else {
        return Judgement { held: false, observed: json!({}), text: format!("PID 1 knows no unit '{name}'") };
    };
    let started = unit.starts > *before;
    let observed = json!({"starts-before": before, "starts": unit.starts, "state": unit.state, "pid": unit.pid});
    let state = json!(unit.state);
    let state = state.as_str().unwrap_or_default();
    let text = match (started, good.contains(&unit.state)) {
        (true, true) => format!("PID 1 started {name} once more; it is {state}"),
        (true, false) => format!("{name} was started and is {state}: {}", unit.note),
        (false, _) => format!("{name} was not started: it has had {} starts, as before", unit.starts),
    };
    Judgement { held: started && good.contains(&unit.state), observed, text }
}

/// Waits until the unit is in one of the states, or until it cannot come to that.
pub(super) async fn settled(name: &str, good: &[ServiceState]) -> Result<Judgement, LookError> {
    let until = tokio::time::Instant::now() + UNTIL_SETTLED;
    loop {
        let unit = look::unit(name)?;
        let judgement = is_in(name, unit.as_ref(), good);
        let may_change = unit.is_some_and(|unit| unit.state != ServiceState::Failed);
        if judgement.held || !may_change || tokio::time::Instant::now() >= until {
            return Ok(judgement);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn is_in(name: &str, unit: Option<&Service>, good: &[ServiceState]) -> Judgement {
    let Some(unit) = unit else {
        return Judgement { held: false, observed: json!({}), text: format!("PID 1 knows no unit '{name}'") };
    };
    let state = json!(unit.state);
    let word = state.as_str().unwrap_or_default();
    // A service that stands has no process; what is said of it alone would not do.
    let held = good.contains(&unit.state) && (good != STANDS || unit.pid.is_none());
    let text =
        if unit.note.is_empty() { format!("{name} is {word}") } else { format!("{name} is {word}: {}", unit.note) };
    Judgement { held, observed: json!({"state": unit.state, "pid": unit.pid}), text }
}

/// Waits until PID 1 has no unit of an app of this name.
pub(super) async fn gone(name: &str) -> Result<Judgement, LookError> {
    let until = tokio::time::Instant::now() + UNTIL_SETTLED;
    loop {
        let judgement = is_gone(name, look::unit(name)?.as_ref());
        if judgement.held || tokio::time::Instant::now() >= until {
            return Ok(judgement);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn is_gone(name: &str, unit: Option<&Service>) -> Judgement {
    match unit.filter(|unit| unit.role.is_of_an_app()) {
        None => Judgement { held: true, observed: json!({}), text: format!("PID 1 has no unit of the app {name}") },
        Some(unit) => {
            let observed = json!({"state": unit.state, "pid": unit.pid});
            Judgement { held: false, observed, text: format!("PID 1 still has the unit {name}") }
        }
    }
}

/// What an app is in the object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    AsAService,
    AsNone,
}

/// What PID 1 says holds, and the object store keeps the app as a service, or does not.
pub(super) fn kept(unit: Judgement, name: &str, found: Listed, wanted: Listed) -> Judgement {
    let mut observed = unit.observed;
    observed["service"] = (found == Listed::AsAService).into();
    if found == wanted {
        return Judgement { observed, ..unit };
    }
    let text = match found {
        Listed::AsAService => format!("the object store still lists {name} as a service"),
        Listed::AsNone => format!("the object store does not list {name} as a service"),
    };
    Judgement { held: false, observed, text }
}

#[cfg(test)]
mod tests {
    use aios_wire::init::Role;

    use super::*;

    fn unit(starts: u32, state: ServiceState) -> Service {
        Service { name: "network".into(), role: Role::System, state, pid: Some(7), starts, note: String::new() }
    }

    #[test]
    fn a_restart_needs_a_new_start_and_readiness() {
        let good = [ServiceState::Ready];
        let before = Snapshot::Unit { starts: 1 };
        let held = |starts, state| unit_judgement("network", &before, Some(&unit(starts, state)), &good).held;
        assert!(held(2, ServiceState::Ready));
        assert!(!held(1, ServiceState::Ready), "it was ready before too");
        assert!(!held(2, ServiceState::Starting));
        assert!(!held(2, ServiceState::Failed));
        assert!(!unit_judgement("network", &before, None, &good).held);
        assert!(!unit_judgement("network", &Snapshot::Nothing, Some(&unit(2, ServiceState::Ready)), &good).held);
    }

    #[test]
    fn an_app_is_a_service_when_both_say_so() {
        let app = |state| Service { role: Role::App, ..unit(1, state) };
        let ready = || is_in("network", Some(&app(ServiceState::Ready)), READY);
        let (service, none) = (Listed::AsAService, Listed::AsNone);
        assert!(kept(ready(), "network", service, service).held);
        assert!(!kept(ready(), "network", none, service).held, "it would be gone after the next start");
        let restarting = is_in("network", Some(&app(ServiceState::Restarting)), READY);
        assert!(!kept(restarting, "network", service, service).held);
        let gone = || is_gone("network", None);
        assert!(kept(gone(), "network", none, none).held && !kept(gone(), "network", service, none).held);
        assert!(!is_gone("network", Some(&app(ServiceState::Stopping))).held);
        assert!(is_gone("network", Some(&unit(1, ServiceState::Ready))).held, "a service of the system is no app's");
    }

    #[test]
    fn a_stopped_service_has_no_process_and_a_started_one_is_ready() {
        let stopped = Service { pid: None, ..unit(1, ServiceState::Stopped) };
        assert!(is_in("network", Some(&stopped), STANDS).held);
        assert!(!is_in("network", Some(&unit(1, ServiceState::Stopped)), STANDS).held, "its process is there");
        assert!(!is_in("network", Some(&unit(1, ServiceState::Stopping)), STANDS).held);
        assert!(is_in("network", Some(&unit(1, ServiceState::Ready)), RUNS).held);
        assert!(!is_in("network", Some(&stopped), RUNS).held);
        assert!(!is_in("network", None, RUNS).held);
    }
}
