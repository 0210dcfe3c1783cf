//! What brings the state from before back, read before the effect.

use action_runtime::folder::{self, FolderError};
use action_runtime::task::{Bytes, Kept, Undo, Was};
use aios_action::{GRANTED_FOLDER, Request, Reversal, find};
use aios_daemon::init::AskError;
use aios_wire::init::ServiceState;
use serde_json::Value;

use crate::peers::{self, PeerError};
use crate::resource;

/// The state from before cannot be kept, so the action does not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UndoError {
    #[error("the value before cannot be read")]
    Setting(#[from] PeerError),
    #[error("PID 1 does not say whether the service runs")]
    Unit(#[from] AskError),
    #[error("the content before cannot be read")]
    File(#[from] FolderError),
    #[error("cannot open {GRANTED_FOLDER}")]
    Folder(#[source] std::io::Error),
}

/// How to undo `request`, where its type can be undone.
pub(crate) async fn prepare(request: &Request) -> Result<Option<Undo>, UndoError> {
    if find(&request.action_type).is_none_or(|entry| entry.reversal == Reversal::None) {
        return Ok(None);
    }
    let text = |name: &str| request.parameters.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    match request.action_type.as_str() {
        "settings.set" => {
            let key = text("key");
            let value = peers::setting(&key).await?;
            Ok(Some(Undo::Setting { key, value }))
        }
        "settings.rollback" => Ok(Some(Undo::Settings { generation: peers::settings_generation().await? })),
        "service.start" | "service.stop" => {
            let name = text("name");
            let unit = resource::units()?.into_iter().find(|unit| unit.name == name);
            let was = match unit.map(|unit| unit.state) {
                None | Some(ServiceState::Stopped | ServiceState::Finished | ServiceState::Failed) => Was::Stopped,
                Some(_) => Was::Running,
            };
            Ok(Some(Undo::Unit { name, was }))
        }
        "object.tag" | "object.untag" => {
            let (name, tag) = (text("name"), text("tag"));
            let version = peers::tag(&name, &tag).await?;
            Ok(Some(Undo::Tag { name, tag, version }))
        }
        "app.install" | "app.install.request" | "app.remove" | "app.rollback" => {
            let name = text("name");
            let version = peers::app(&name).await?.and_then(|app| app.current);
            Ok(Some(Undo::App { name, version }))
        }
        "service.enable" | "service.disable" => {
            let name = text("name");
            let is_one = peers::app(&name).await?.is_some_and(|app| app.service.is_some());
            let kept = if is_one { Kept::Enabled } else { Kept::Disabled };
            Ok(Some(Undo::AppService { name, kept }))
        }
        "file.move" => Ok(Some(Undo::Move { from: text("to"), to: text("path") })),
        "file.write" | "file.patch" | "file.delete" => {
            let path = text("path");
            let folder = resource::granted_folder().map_err(UndoError::Folder)?;
            let content = folder::read(folder, &path)?.map(Bytes);
            Ok(Some(Undo::File { path, content }))
        }
        _ => Ok(None),
    }
}
