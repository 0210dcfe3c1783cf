//! One action on a file, through the descriptor of the granted folder.

use std::os::fd::OwnedFd;

use action_runtime::folder::{self, FolderError};
use action_runtime::task::Bytes;
use aios_action::patch::{PatchError, replace_once};
use aios_action::{CONTENT_LIMIT, Envelope, Target};
use serde_json::{Value, json};

/// The file was not touched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("{path} cannot be patched")]
    Patch {
        path: String,
        #[source]
        source: PatchError,
    },
    #[error("{path} is not text")]
    NotText { path: String },
    #[error("{path} has {size} bytes; at most {CONTENT_LIMIT} are read")]
    Long { path: String, size: usize },
    #[error("no work on a file belongs to the type {0}")]
    Unknown(String),
}

/// Does it.
pub(crate) fn work(granted: &OwnedFd, envelope: &Envelope) -> Result<Value, FileError> {
    let text = |name: &str| envelope.request.parameters.get(name).and_then(Value::as_str).unwrap_or_default();
    let path = text("path");
    let mark = envelope.id.as_str();
    match envelope.request.action_type.as_str() {
        "file.read" => {
            let content = existing(granted, path)?;
            if content.len() > CONTENT_LIMIT {
                return Err(FileError::Long { path: path.to_owned(), size: content.len() });
            }
            Ok(json!({"content": Bytes(content)}))
        }
        "file.write" => write(granted, path, text("content").as_bytes(), mark, envelope.target),
        "file.patch" => {
            let before = String::from_utf8(existing(granted, path)?);
            let before = before.map_err(|_| FileError::NotText { path: path.to_owned() })?;
            let after = replace_once(&before, text("old"), text("new"));
            let after = after.map_err(|source| FileError::Patch { path: path.to_owned(), source })?;
            write(granted, path, after.as_bytes(), mark, envelope.target)
        }
        "file.move" => {
            folder::rename(granted, path, text("to"), envelope.target)?;
            Ok(json!({"moved": path, "to": text("to")}))
        }
        "file.delete" => {
            existing(granted, path)?;
            remove(granted, path, envelope.target)
        }
        other => Err(FileError::Unknown(other.to_owned())),
    }
}

/// Makes `content` the file's.
pub(crate) fn write(
    granted: &OwnedFd,
    path: &str,
    content: &[u8],
    mark: &str,
    decided: Option<Target>,
) -> Result<Value, FileError> {
    folder::write(granted, path, content, mark, decided)?;
    Ok(json!({"written": path, "size": content.len()}))
}

/// Removes the file, if it is there.
pub(crate) fn remove(granted: &OwnedFd, path: &str, decided: Option<Target>) -> Result<Value, FileError> {
    folder::remove(granted, path, decided)?;
    Ok(json!({"removed": path}))
}

/// Gives the file its old name back; that it has it already is fine.
pub(crate) fn move_back(granted: &OwnedFd, from: &str, to: &str) -> Result<Value, FileError> {
    match folder::rename(granted, from, to, None) {
        Err(FolderError::Missing { .. }) if folder::read(granted, to)?.is_some() => {}
        renamed => renamed?,
    }
    Ok(json!({"moved": from, "to": to}))
}

fn existing(granted: &OwnedFd, path: &str) -> Result<Vec<u8>, FileError> {
    Ok(folder::read(granted, path)?.ok_or_else(|| FolderError::Missing { path: path.to_owned() })?)
}
