//! The one typed call of an action to the service that owns its resource.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use aios_action::Envelope;
use aios_daemon::init::{self, AskError};
use aios_daemon::proxy::{Objects1Proxy, Policy1Proxy, Settings1Proxy, Updater1Proxy};
use aios_wire::init::{Afterwards, Reply, Request};
use serde_json::{Value, json};

/// The service did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// PID 1 did not.
    #[error(transparent)]
    Init(#[from] AskError),
    /// The service did not.
    #[error("the service refused or did not answer")]
    Service(#[from] zbus::Error),
    /// The call could not be made.
    #[error("cannot make the call")]
    Make(#[from] std::io::Error),
    /// The answer has no known form.
    #[error("the service's answer cannot be read")]
    Answer(#[from] serde_json::Error),
    /// No call belongs to the type.
    #[error("there is no adapter for {0}")]
    Unknown(String),
}

/// Makes the call that does the action.
pub(crate) fn make(resource: OwnedFd, envelope: &Envelope) -> Result<Value, CallError> {
    let parameters = &envelope.request.parameters;
    let text = |name: &str| parameters.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    match envelope.request.action_type.as_str() {
        "service.restart" => ask(resource, &Request::Restart { name: text("name") }),
        "agent.run" => ask(resource, &Request::Start { name: text("name") }),
        "update.apply" => update(resource, &text("source")),
        "policy.load" => load_policy(resource, &text("digest"), envelope.id.as_str()),
        "user.add" => change_people(resource, PeopleChange::Add, &text("name"), envelope.id.as_str()),
        "user.passphrase" => change_people(resource, PeopleChange::PassPhrase, &text("name"), envelope.id.as_str()),
        "node.reboot" => ask(resource, &Request::Shutdown { then: Afterwards::Reboot }),
        "settings.set" => set(resource, &text("key"), parameters.get("value").unwrap_or(&Value::Null)),
        "object.put" => put(resource, &text("name"), text("content").as_bytes()),
        "store.add" => add(resource, &text("path"), &text("cache"), &text("key")),
        other => Err(CallError::Unknown(other.to_owned())),
    }
}

/// Changes a setting.
pub(crate) fn set(resource: OwnedFd, key: &str, value: &Value) -> Result<Value, CallError> {
    on_connection(resource, async |connection| {
        let answer = Settings1Proxy::new(&connection).await?.set(key, &value.to_string()).await?;
        Ok(serde_json::from_str(&answer)?)
    })
}

fn put(resource: OwnedFd, name: &str, content: &[u8]) -> Result<Value, CallError> {
    // In the sandbox's own memory; the store gets it open for reading only.
    const PREPARED: &str = "/tmp/content";
    File::create_new(PREPARED)?.write_all(content)?;
    let content = File::open(PREPARED)?;
    on_connection(resource, async |connection| {
        let answer = Objects1Proxy::new(&connection).await?.put(name, (&content).into()).await?;
        Ok(serde_json::from_str(&answer)?)
    })
}

fn add(resource: OwnedFd, path: &str, cache: &str, key: &str) -> Result<Value, CallError> {
    on_connection(resource, async |connection| {
        let answer = Objects1Proxy::new(&connection).await?.store_add(path, cache, key).await?;
        Ok(serde_json::from_str(&answer)?)
    })
}

fn update(resource: OwnedFd, source: &str) -> Result<Value, CallError> {
    on_connection(resource, async |connection| {
        let answer = Updater1Proxy::new(&connection).await?.apply(source).await?;
        Ok(serde_json::from_str(&answer)?)
    })
}

fn load_policy(resource: OwnedFd, digest: &str, action: &str) -> Result<Value, CallError> {
    on_connection(resource, async |connection| {
        let answer: Value = serde_json::from_str(&Policy1Proxy::new(&connection).await?.load(digest, action).await?)?;
        Ok(json!({"epoch": answer["epoch"]}))
    })
}

/// What becomes of an operator.
enum PeopleChange {
    Add,
    PassPhrase,
}

fn change_people(resource: OwnedFd, change: PeopleChange, name: &str, action: &str) -> Result<Value, CallError> {
    on_connection(resource, async |connection| {
        let policy = Policy1Proxy::new(&connection).await?;
        match change {
            PeopleChange::Add => policy.add_operator(name, action).await?,
            PeopleChange::PassPhrase => policy.change_pass_phrase(name, action).await?,
        }
        Ok(json!({"operator": name}))
    })
}

fn ask(resource: OwnedFd, request: &Request) -> Result<Value, CallError> {
    match init::ask_on(UnixStream::from(resource), request)? {
        Reply::Done => Ok(json!({"init": "done"})),
        other => Ok(json!({"init": format!("{other:?}")})),
    }
}

/// Speaks D-Bus on the connection that the runtime opened.
fn on_connection(
    resource: OwnedFd,
    call: impl AsyncFnOnce(zbus::Connection) -> Result<Value, CallError>,
) -> Result<Value, CallError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // The service compares the claimed user with the one that opened the connection, which is not this process;
        // the runtime names that one as the only argument.
        let mut builder = zbus::connection::Builder::unix_stream(UnixStream::from(resource)).p2p();
        if let Some(uid) = std::env::args().nth(1).and_then(|text| text.parse().ok()) {
            builder = builder.user_id(uid);
        }
        call(builder.build().await?).await
    })
}
