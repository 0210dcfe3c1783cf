//! Apps that are services: PID 1's units follow the rows of the object store.
//!
//! The rows say what is a service, and outlive the machine; PID 1 forgets its units of apps at each start. So at each start
//! of the runtime, and after each action that changes a row, what PID 1 has is compared with the rows and brought in line.
//! A crash between the two leaves a row that the next runtime follows.

use std::time::Duration;

use action_runtime::task::Undo;
use aios_action::ActionType;
use aios_action::app::Manifest;
use aios_daemon::error_chain;
use aios_daemon::init::AskError;
use aios_wire::init::Request;
use aios_wire::objects::App;
use tokio::sync::Mutex;

use crate::peers::{self, PeerError};
use crate::resource;

/// A unit that is removed has ended after its stop time of five seconds at the latest.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);
/// How long to wait before a service is asked again that does not answer.
const AGAIN: Duration = Duration::from_secs(2);

/// One at a time: whoever acts on rows that it read before another changed them would bring back what was taken away.
static FOLLOWING: Mutex<()> = Mutex::const_new(());

/// PID 1's units are not in line with the rows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error("the object store does not say which apps are services")]
    Rows(#[from] PeerError),
    #[error("PID 1 does not say which units it has")]
    Units(#[source] AskError),
}

/// At the start: until it was done once.
pub(crate) async fn follow_at_start() {
    while let Err(error) = follow().await {
        eprintln!("apps that are services are not started yet: {}", error_chain(&error));
        tokio::time::sleep(AGAIN).await;
    }
}

/// After an effect on a row. What fails here is seen by whoever measures the effect.
pub(crate) async fn follow_after(action_type: &ActionType) {
    if action_type.is_about_a_service_app() {
        follow_and_tell().await;
    }
}

/// After a row was written as it was.
pub(crate) async fn follow_after_undo(undo: &Undo) {
    if matches!(undo, Undo::AppService { .. }) {
        follow_and_tell().await;
    }
}

async fn follow_and_tell() {
    if let Err(error) = follow().await {
        eprintln!("the units of apps are as they were: {}", error_chain(&error));
    }
}

/// Brings PID 1's units in line with the rows.
async fn follow() -> Result<(), FollowError> {
    let _following = FOLLOWING.lock().await;
    let apps = peers::apps().await?;
    let wanted: Vec<(String, String)> = apps.iter().filter_map(wanted).collect();
    for unit in resource::units().map_err(FollowError::Units)? {
        if unit.role.is_of_an_app() && wanted.iter().all(|(name, _)| *name != unit.name) {
            tell(&unit.name, remove(&unit.name).await);
        }
    }
    for (name, text) in wanted {
        let added = add(&name, &text).await;
        tell(&name, added);
    }
    Ok(())
}

/// The unit of an app that is a service: its name and its text.
fn wanted(app: &App) -> Option<(String, String)> {
    let service = app.service.as_ref()?;
    let version = app.versions.iter().find(|version| Some(version.version) == app.current)?;
    match Manifest::parse(&version.manifest) {
        Ok(manifest) => Some((app.name.to_string(), manifest.unit(service.user, &service.program)?)),
        Err(error) => {
            eprintln!("{} is not started: its manifest cannot be taken: {}", app.name, error_chain(&error));
            None
        }
    }
}

/// One app that PID 1 does not take keeps no other from running.
fn tell(name: &str, done: Result<(), AskError>) {
    if let Err(error) = done {
        eprintln!("the unit of the app {name} is as it was: {}", error_chain(&error));
    }
}

/// Adds a unit; one of the same name that is another goes first.
async fn add(name: &str, text: &str) -> Result<(), AskError> {
    let request = Request::UnitAdd { name: name.to_owned(), text: text.to_owned() };
    match aios_daemon::init::ask(&request) {
        Ok(_) => return Ok(()),
        Err(error) if !has_unit(name)? => return Err(error),
        Err(_) => remove(name).await?,
    }
    aios_daemon::init::ask(&request).map(drop)
}

/// Removes a unit and waits until it is gone, as far as PID 1 can make it go.
async fn remove(name: &str) -> Result<(), AskError> {
    aios_daemon::init::ask(&Request::UnitRemove { name: name.to_owned() })?;
    for _ in 0..TRIES {
        if !has_unit(name)? {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Whether PID 1 has a unit of an app of this name.
fn has_unit(name: &str) -> Result<bool, AskError> {
    Ok(resource::units()?.iter().any(|unit| unit.role.is_of_an_app() && unit.name == name))
}

#[cfg(test)]
mod tests {
    use aios_units::Unit;
    use aios_units::unit::{Kind, RestartPolicy};
    use aios_wire::init::REQUEST_LIMIT;
    use aios_wire::objects::{AppService, AppVersion};
    use serde_json::{Value, json};

    use super::*;

    fn app(change: impl FnOnce(&mut Value)) -> App {
        let example = aios_action::find("app.install").expect("in the catalogue").example();
        let mut manifest: Value = serde_json::from_str(example["manifest"].as_str().expect("text")).expect("JSON");
        change(&mut manifest);
        let manifest = Manifest::parse(&manifest.to_string()).expect("right");
        let version = AppVersion {
            name: manifest.name.clone(),
            version: 1,
            manifest: manifest.canonical().to_owned(),
            manifest_sha256: manifest.digest(),
            program_sha256: manifest.program.sha256,
            size: 1,
            at_ms: 0,
        };
        let service = AppService { user: 3007, program: format!("/aios/chunks/{}", manifest.program.sha256) };
        App { name: manifest.name, current: Some(1), versions: vec![version], service: Some(service) }
    }

    #[test]
    fn what_a_manifest_says_is_a_unit_that_pid_1_takes() {
        let serves = app(|manifest| manifest["service"] = json!({"restart": "on-failure", "memory_mib": 9}));
        let (name, text) = wanted(&serves).expect("a service");
        let unit = Unit::parse(&name, &text).expect("a unit");
        assert_eq!((unit.kind, unit.user.as_str(), unit.resources.memory_max_mib), (Kind::App, "3007", 9));
        assert_eq!(unit.restart.policy, RestartPolicy::OnFailure);
        assert_eq!(unit.program, format!("/aios/chunks/{}", unit.sha256.expect("a digest")));
        let opened = [&unit.sandbox.execute, &unit.sandbox.read, &unit.sandbox.device];
        assert!(opened.iter().all(|list| list.is_empty()), "it declared nothing: {text}");
        assert!(wanted(&app(|_| {})).is_none(), "it says nothing of itself as a service");
        let mut proposes = app(|manifest| manifest["service"] = json!({"kind": "agent"}));
        proposes.service.as_mut().expect("it is one").user = 2500;
        let (name, text) = wanted(&proposes).expect("an agent");
        let unit = Unit::parse(&name, &text).expect("a unit");
        assert_eq!((unit.kind, unit.is_of_an_app()), (Kind::Agent, true));
        assert_eq!(unit.sandbox.connect, ["/run/aios/agent-door"]);
        assert!(wanted(&App { service: None, ..serves.clone() }).is_none());
        assert!(wanted(&App { current: None, ..serves }).is_none());
    }

    #[test]
    fn whatever_an_app_is_told_arrives_and_fits_into_one_request() {
        let most = "\"\\".repeat(256);
        let serves = app(|manifest| {
            manifest["tier"] = "T1".into();
            manifest["rights"] = json!(["store", "processes", "devices"]);
            manifest["arguments"] = json!([{"name": "a", "form": {"text": 256}}, {"name": "b", "form": {"text": 256}}]);
            manifest["tests"] = json!([{"args": ["x", "y"]}]);
            manifest["service"] = json!({"args": [most[..256], most[256..]], "processes": 64, "memory_mib": 512});
        });
        let (name, text) = wanted(&serves).expect("a service");
        let unit = Unit::parse(&name, &text).expect("a unit");
        assert_eq!(unit.args, [&most[..256], &most[256..]]);
        assert_eq!((unit.sandbox.execute.len(), unit.sandbox.read.len(), unit.sandbox.device.len()), (1, 1, 5));
        let request = serde_json::to_string(&Request::UnitAdd { name, text }).expect("JSON");
        assert!(request.len() < REQUEST_LIMIT, "{} bytes", request.len());
    }
}
