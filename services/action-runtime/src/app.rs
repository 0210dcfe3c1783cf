//! Apps as actions meet them: what is installed under a name, and what `task.run` runs.

use std::os::fd::OwnedFd;

use action_runtime::launch::Given;
use aios_action::app::{AppError, AppRight, Manifest, app_name};
use aios_action::{Request, Target};
use aios_ids::Digest;
use aios_wire::launch::{Opened, Opens, Program};
use serde_json::Value;

use crate::peers::{self, PeerError};

/// The app cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("the app cannot be had")]
    Store(#[source] PeerError),
    #[error("the app that is in use now has the manifest {found}, and {decided} was decided; submit the action again")]
    Another { decided: Digest, found: Digest },
    #[error("its manifest or arguments cannot be taken")]
    Manifest(#[from] AppError),
}

/// An app that is about to run: its program, and how it runs.
pub(crate) struct Ready {
    file: OwnedFd,
    pub(crate) program: Program,
}

impl Ready {
    /// What the launcher is given.
    pub(crate) fn given(self) -> Given {
        Given::Program(self.file)
    }
}

/// The app that the request is about, by its name.
fn name(request: &Request) -> Option<&str> {
    let text = |name: &str| request.parameters.get(name).and_then(Value::as_str).unwrap_or_default();
    match request.action_type.as_str() {
        "task.run" => app_name(text("program")),
        "app.install"
        | "app.install.request"
        | "app.remove"
        | "app.rollback"
        | "service.enable"
        | "service.disable" => Some(text("name")),
        _ => None,
    }
}

/// What is in use under the name that the request is about. It is sealed into the envelope: an approval to install an app in
/// place of nothing is none to replace one, and an approval to run one is none to run what came after it.
pub(crate) async fn target(request: &Request) -> Option<Target> {
    let name = name(request)?;
    Some(match peers::app(name).await {
        Ok(Some(app)) => match app.versions.iter().find(|version| Some(version.version) == app.current) {
            Some(version) => Target::Sha256(version.manifest_sha256),
            None => Target::Absent,
        },
        Ok(None) => Target::Absent,
        Err(_) => Target::Unreadable,
    })
}

/// Opens the app that the request runs, if it runs one: the one that was decided about and no other.
pub(crate) async fn ready(request: &Request, decided: Option<Target>) -> Result<Option<Ready>, RunError> {
    let Some(name) = name(request).filter(|_| request.action_type == "task.run") else { return Ok(None) };
    let (file, version) = peers::open_app(name).await.map_err(RunError::Store)?;
    let found = version.manifest_sha256;
    if let Some(Target::Sha256(decided)) = decided.filter(|decided| *decided != Target::Sha256(found)) {
        return Err(RunError::Another { decided, found });
    }
    let manifest = Manifest::parse(&version.manifest)?;
    let words = request.parameters.get("args").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
    manifest.check_arguments(&words)?;
    let program = Program::App { sha256: manifest.program.sha256, opens: opens(&manifest) };
    Ok(Some(Ready { file, program }))
}

/// What is opened to the app: what it declared and a person approved, and nothing else.
pub(crate) fn opens(manifest: &Manifest) -> Opens {
    manifest.rights.iter().fold(Opens::NOTHING, |opens, right| {
        opens.and(match right {
            AppRight::Store => Opened::Store,
            AppRight::Processes => Opened::Processes,
            AppRight::Devices => Opened::Devices,
        })
    })
}
