//! What brings the state from before back, read before the effect.

use action_runtime::folder::{self, FolderError};
use action_runtime::task::{Bytes, Undo};
use aios_action::{GRANTED_FOLDER, Request, Reversal, find};
use serde_json::Value;

use crate::peers::{self, PeerError};
use crate::resource;

/// The state from before cannot be kept, so the action does not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UndoError {
    #[error("the value before cannot be read")]
    Setting(#[from] PeerError),
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
        "file.write" => {
            let path = text("path");
            let folder = resource::granted_folder().map_err(UndoError::Folder)?;
            let content = folder::read(folder, &path)?.map(Bytes);
            Ok(Some(Undo::File { path, content }))
        }
        _ => Ok(None),
    }
}
