//! The one typed call of an action to the service that owns its resource.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use action_runtime::task::{Kept, Was};
use aios_action::{Envelope, contents, moment, object_content};
use aios_daemon::init::{self, AskError};
use aios_daemon::proxy::{
    Evidence1Proxy, Network1Proxy, Objects1Proxy, Policy1Proxy, Settings1Proxy, Updater1Proxy, Vault1Proxy,
};
use aios_wire::init::{Afterwards, Reply, Request};
use aios_wire::objects::{App, ObjectTag};
use aios_wire::vault::FetchAsk;
use serde_json::{Map, Value, json};

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
    /// The content is not what its encoding says.
    #[error("the content is not base64")]
    Content(#[from] base64::DecodeError),
    /// There is nothing to be removed.
    #[error("there is no app '{0}' in use; 'aios app list' shows all")]
    NoApp(String),
    /// No call belongs to the type.
    #[error("there is no adapter for {0}")]
    Unknown(String),
}

/// Makes the call that does the action.
pub(crate) fn make(resource: OwnedFd, envelope: &Envelope) -> Result<Value, CallError> {
    let parameters = &envelope.request.parameters;
    let text = |name: &str| parameters.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |name: &str| parameters.get(name).and_then(Value::as_u64).unwrap_or_default();
    match envelope.request.action_type.as_str() {
        "service.restart" => ask(resource, &Request::Restart { name: text("name") }),
        "service.start" => unit(resource, text("name"), Was::Running),
        "service.stop" => unit(resource, text("name"), Was::Stopped),
        "agent.run" => ask(resource, &Request::Start { name: text("name") }),
        "update.apply" => update(resource, &text("source")),
        "policy.load" => load_policy(resource, &text("digest"), envelope.id.as_str()),
        "user.add" => change_people(resource, PeopleChange::Add, &text("name"), envelope.id.as_str()),
        "user.passphrase" => change_people(resource, PeopleChange::PassPhrase, &text("name"), envelope.id.as_str()),
        "user.key.add" | "user.key.remove" => change_keys(resource, parameters, envelope.id.as_str()),
        "node.reboot" => ask(resource, &Request::Shutdown { then: Afterwards::Reboot }),
        "node.poweroff" => ask(resource, &Request::Shutdown { then: Afterwards::PowerOff }),
        "time.set" => {
            let seconds = moment::parse(&text("time")).unwrap_or_default();
            ask(resource, &Request::SetClock { unix_ms: seconds * 1000 })
        }
        "settings.set" => set(resource, &text("key"), parameters.get("value").unwrap_or(&Value::Null)),
        "settings.rollback" => roll_settings_back(resource, number("generation")),
        "object.put" => put(resource, &text("name"), &object_content(parameters)?),
        "object.transaction" => put_all(resource, parameters.get("objects").unwrap_or(&Value::Null)),
        "object.rollback" => {
            object(resource, async |objects| objects.roll_back(&text("name"), number("version")).await)
        }
        "object.tag" => tag(resource, &text("name"), &text("tag"), number("version")),
        "object.untag" => object(resource, async |objects| objects.untag(&text("name"), &text("tag")).await),
        "app.install" | "app.install.request" => {
            object(resource, async |objects| objects.app_install(&text("manifest")).await)
        }
        "app.remove" => remove_app(resource, &text("name")),
        "service.enable" => serve_app(resource, &text("name"), Kept::Enabled),
        "service.disable" => serve_app(resource, &text("name"), Kept::Disabled),
        "app.rollback" => use_app(resource, &text("name"), Some(number("version"))),
        "evidence.export" => on_connection(resource, async |connection| {
            let answer = Evidence1Proxy::new(&connection).await?.export(&text("object")).await?;
            Ok(serde_json::from_str(&answer)?)
        }),
        "network.check" => check(resource, &text("host"), number("port")),
        "http.fetch" => fetch(resource, &fetch_ask(parameters), envelope.id.as_str()),
        "secret.put" => put_secret(resource, parameters, envelope.id.as_str()),
        "secret.remove" => on_connection(resource, async |connection| {
            Vault1Proxy::new(&connection).await?.remove(&text("name"), envelope.id.as_str()).await?;
            Ok(json!({"removed": text("name")}))
        }),
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

/// Takes an earlier generation's values again.
pub(crate) fn roll_settings_back(resource: OwnedFd, generation: u64) -> Result<Value, CallError> {
    on_connection(resource, async |connection| {
        let answer = Settings1Proxy::new(&connection).await?.rollback(generation).await?;
        Ok(serde_json::from_str(&answer)?)
    })
}

/// Starts a service, or stops it. PID 1 leaves one alone that is so already.
pub(crate) fn unit(resource: OwnedFd, name: String, wanted: Was) -> Result<Value, CallError> {
    ask(
        resource,
        &match wanted {
            Was::Running => Request::Start { name },
            Was::Stopped => Request::Stop { name },
        },
    )
}

/// Puts a tag at a version.
pub(crate) fn tag(resource: OwnedFd, name: &str, tag: &str, version: u64) -> Result<Value, CallError> {
    object(resource, async |objects| objects.tag(name, tag, version).await)
}

/// Removes a tag; that it is not there is fine.
pub(crate) fn untag_if_there(resource: OwnedFd, name: &str, tag: &str) -> Result<Value, CallError> {
    on_connection(resource, async |connection| {
        let objects = Objects1Proxy::new(&connection).await?;
        let tags: Vec<ObjectTag> = serde_json::from_str(&objects.tags(name).await?)?;
        if tags.iter().all(|known| known.tag != tag) {
            return Ok(json!({"untagged": false}));
        }
        Ok(serde_json::from_str(&objects.untag(name, tag).await?)?)
    })
}

/// Takes a version of an app into use, or none.
pub(crate) fn use_app(resource: OwnedFd, name: &str, version: Option<u64>) -> Result<Value, CallError> {
    object(resource, async |objects| objects.app_use(name, version.unwrap_or_default()).await)
}

/// Makes an app a service, or none. The object store leaves one alone that is so already.
pub(crate) fn serve_app(resource: OwnedFd, name: &str, kept: Kept) -> Result<Value, CallError> {
    object(resource, async |objects| match kept {
        Kept::Enabled => objects.app_enable(name).await,
        Kept::Disabled => objects.app_disable(name).await,
    })
}

fn remove_app(resource: OwnedFd, name: &str) -> Result<Value, CallError> {
    on_connection(resource, async |connection| {
        let objects = Objects1Proxy::new(&connection).await?;
        let apps: Vec<App> = serde_json::from_str(&objects.app_list().await?)?;
        if apps.iter().all(|app| app.name.as_str() != name || app.current.is_none()) {
            return Err(CallError::NoApp(name.to_owned()));
        }
        Ok(serde_json::from_str(&objects.app_use(name, 0).await?)?)
    })
}

fn put(resource: OwnedFd, name: &str, content: &[u8]) -> Result<Value, CallError> {
    let content = prepared(0, content)?;
    object(resource, async |objects| objects.put(name, (&content).into()).await)
}

fn put_all(resource: OwnedFd, objects: &Value) -> Result<Value, CallError> {
    let contents = contents(objects).unwrap_or_default();
    let files = contents.iter().enumerate().map(|(place, (_, text))| prepared(place, text.as_bytes()));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    let given: Vec<_> = contents.iter().zip(&files).map(|((name, _), file)| (*name, file.into())).collect();
    object(resource, async |objects| objects.put_all(&given).await)
}

/// The content in the sandbox's own memory; the store gets it open for reading only.
fn prepared(place: usize, content: &[u8]) -> std::io::Result<File> {
    let path = format!("/tmp/content-{place}");
    File::create_new(&path)?.write_all(content)?;
    File::open(path)
}

fn object(
    resource: OwnedFd,
    call: impl AsyncFnOnce(Objects1Proxy<'_>) -> zbus::Result<String>,
) -> Result<Value, CallError> {
    on_connection(resource, async |connection| {
        let answer = call(Objects1Proxy::new(&connection).await?).await?;
        Ok(serde_json::from_str(&answer)?)
    })
}

fn check(resource: OwnedFd, host: &str, port: u64) -> Result<Value, CallError> {
    on_connection(resource, async |connection| {
        let port = u16::try_from(port).unwrap_or_default();
        let answer = Network1Proxy::new(&connection).await?.check(host, port).await?;
        Ok(serde_json::from_str(&answer)?)
    })
}

fn fetch_ask(parameters: &Map<String, Value>) -> FetchAsk {
    let text = |name: &str| parameters.get(name).and_then(Value::as_str).map(str::to_owned);
    let body_type = || text("body_type").unwrap_or_else(|| "text/plain".into());
    FetchAsk {
        url: text("url").unwrap_or_default(),
        method: text("method").unwrap_or_else(|| "GET".into()),
        body: text("body").map(|body| (body_type(), body)),
        secret: text("secret"),
        object: text("object").unwrap_or_default(),
    }
}

fn fetch(resource: OwnedFd, ask: &FetchAsk, action: &str) -> Result<Value, CallError> {
    on_connection(resource, async |connection| {
        let answer = Vault1Proxy::new(&connection).await?.fetch(&json!(ask).to_string(), action).await?;
        Ok(serde_json::from_str(&answer)?)
    })
}

fn put_secret(resource: OwnedFd, parameters: &Map<String, Value>, action: &str) -> Result<Value, CallError> {
    let text = |name: &str| parameters.get(name).and_then(Value::as_str).unwrap_or_default();
    let hosts = parameters.get("hosts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let hosts: Vec<&str> = hosts.iter().filter_map(Value::as_str).collect();
    on_connection(resource, async |connection| {
        let vault = Vault1Proxy::new(&connection).await?;
        let answer = vault.put(text("name"), &hosts, text("header"), text("offer"), action).await?;
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

fn change_keys(resource: OwnedFd, parameters: &Map<String, Value>, action: &str) -> Result<Value, CallError> {
    let text = |name: &str| parameters.get(name).and_then(Value::as_str);
    let name = text("name").unwrap_or_default();
    on_connection(resource, async |connection| {
        let policy = Policy1Proxy::new(&connection).await?;
        match (text("key"), text("fingerprint")) {
            (Some(key), _) => policy.add_key(name, key, action).await?,
            (None, fingerprint) => policy.remove_key(name, fingerprint.unwrap_or_default(), action).await?,
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
