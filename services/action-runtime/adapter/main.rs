//! Does one action on the one resource it was given, and says what came of it.
//!
//! It runs in the action sandbox with no rights of its own: descriptor 3 is a connection that the runtime opened to the
//! service that owns the resource, or the granted folder. It makes exactly one typed call. Its report is not believed;
//! the verifier measures.

mod call;
mod file;

use std::io::{self, Read};
use std::process::ExitCode;

use action_runtime::task::{self, Report, Task, Undo};
use aios_action::{Adapter, find};
use aios_daemon::error_chain;
use serde_json::{Value, json};

use call::CallError;
use file::FileError;

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
    File(#[from] FileError),
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
    Ok(match task {
        Task::Do(envelope) => {
            let entry = find(&envelope.request.action_type);
            if entry.is_some_and(|entry| entry.adapter == Adapter::Folder) {
                file::work(&resource, &envelope)?
            } else {
                call::make(resource, &envelope)?
            }
        }
        Task::Undo(undo) => match undo {
            Undo::File { path, content: Some(content) } => file::write(&resource, &path, &content.0, "undo", None)?,
            Undo::File { path, content: None } => file::remove(&resource, &path, None)?,
            Undo::Move { from, to } => file::move_back(&resource, &from, &to)?,
            Undo::Setting { key, value } => call::set(resource, &key, &value)?,
            Undo::Settings { generation } => call::roll_settings_back(resource, generation)?,
            Undo::Unit { name, was } => call::unit(resource, name, was)?,
            Undo::App { name, version } => call::use_app(resource, &name, version)?,
            Undo::AppService { name, kept } => call::serve_app(resource, &name, kept)?,
            Undo::Tag { name, tag, version: Some(version) } => call::tag(resource, &name, &tag, version)?,
            Undo::Tag { name, tag, version: None } => call::untag_if_there(resource, &name, &tag)?,
        },
    })
}
