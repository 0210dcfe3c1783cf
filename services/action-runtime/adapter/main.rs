//! Does one action on the one resource it was given, and says what came of it.
//!
//! It runs in the action sandbox with no rights of its own: descriptor 3 is a connection that the runtime opened to the
//! service that owns the resource, or the granted folder. It makes exactly one typed call. Its report is not believed;
//! the verifier measures.

mod call;

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use action_runtime::folder::{self, FolderError};
use action_runtime::task::{self, Report, Task, Undo};
use aios_daemon::error_chain;
use serde_json::{Value, json};

use call::CallError;

/// The action was not done.
#[derive(Debug, thiserror::Error)]
enum AdapterError {
    #[error("cannot read the task")]
    Read(#[source] io::Error),
    #[error("the task does not have the known form")]
    Form(#[source] serde_json::Error),
    #[error("the resource was not given")]
    Resource(#[source] io::Error),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Folder(#[from] FolderError),
}

fn main() -> ExitCode {
    let report = match run() {
        Ok(answer) => Report::Done(answer),
        Err(error) => Report::Failed(error_chain(&error)),
    };
    println!("{}", json!(report));
    ExitCode::SUCCESS
}

fn run() -> Result<Value, AdapterError> {
    let mut text = Vec::new();
    io::stdin().take(task::LIMIT as u64).read_to_end(&mut text).map_err(AdapterError::Read)?;
    let task = serde_json::from_slice(&text).map_err(AdapterError::Form)?;
    let resource = aios_linux::inherited::resource().map_err(AdapterError::Resource)?;
    match task {
        Task::Do(envelope) if envelope.request.action_type == "file.write" => {
            let text = |name: &str| envelope.request.parameters.get(name).and_then(Value::as_str).unwrap_or_default();
            write_file(&resource, text("path"), text("content").as_bytes(), envelope.id.as_str())
        }
        Task::Do(envelope) => Ok(call::make(resource, &envelope)?),
        Task::Undo(Undo::Setting { key, value }) => Ok(call::set(resource, &key, &value)?),
        Task::Undo(Undo::File { path, content: Some(content) }) => write_file(&resource, &path, &content.0, "undo"),
        Task::Undo(Undo::File { path, content: None }) => {
            folder::remove(&resource, &path)?;
            Ok(json!({"removed": path}))
        }
    }
}

fn write_file(granted: &OwnedFd, path: &str, content: &[u8], mark: &str) -> Result<Value, AdapterError> {
    folder::write(granted, path, content, mark)?;
    Ok(json!({"written": path, "size": content.len()}))
}
