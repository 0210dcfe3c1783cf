//! The other services as the vault asks them; each question has its own connection.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::net::IpAddr;

use aios_daemon::error_chain;
use aios_daemon::proxy::{Evidence1Proxy, Network1Proxy, Objects1Proxy, Settings1Proxy};
use aios_fetch::Proxy;
use aios_ids::ActionId;
use aios_wire::objects::ObjectVersion;
use rustix::fs::MemfdFlags;
use serde_json::Value;
use vault::broker::Rules;

/// A service gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("{service} did not {what}")]
    Call {
        service: &'static str,
        what: &'static str,
        #[source]
        source: zbus::Error,
    },
    #[error("the answer of {service} cannot be read")]
    Answer {
        service: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("{key} has the value of another release; set it again")]
    Setting { key: &'static str },
    #[error("there is no memory for what was fetched")]
    Memory(#[source] std::io::Error),
}

async fn call<T>(
    service: &'static str,
    what: &'static str,
    ask: impl AsyncFnOnce(zbus::Connection) -> zbus::Result<T>,
) -> Result<T, PeerError> {
    let asked = async { ask(aios_daemon::connect(service).await?).await };
    asked.await.map_err(|source| PeerError::Call { service, what, source })
}

/// What the operators set, as it is now.
pub(crate) async fn rules() -> Result<Rules, PeerError> {
    let text = async |key: &'static str| {
        let answer = call("settings", "tell a setting", async |connection| {
            Settings1Proxy::new(&connection).await?.get(key).await
        });
        let answer = answer.await?;
        serde_json::from_str::<String>(&answer).map_err(|source| PeerError::Answer { service: "settings", source })
    };
    let allow = text("fetch.allow").await?.parse().map_err(|_| PeerError::Setting { key: "fetch.allow" })?;
    let roots = text("fetch.roots").await?;
    let roots = roots.split_whitespace().map(str::parse).collect::<Result<_, _>>();
    let roots = roots.map_err(|_| PeerError::Setting { key: "fetch.roots" })?;
    let proxy = Proxy::of_setting(&text("network.proxy").await?);
    let proxy = proxy.map_err(|_| PeerError::Setting { key: "network.proxy" })?;
    Ok(Rules { allow, roots, proxy })
}

/// The address of a name. The network service is the only one that looks names up.
pub(crate) async fn resolve(host: String) -> Result<IpAddr, String> {
    let asked = call("network", "find the address", async |connection| {
        Network1Proxy::new(&connection).await?.resolve(&host).await
    });
    let text = asked.await.map_err(|error| error_chain(&error))?;
    text.parse().map_err(|_| format!("network answered with something else than an address of '{host}'"))
}

/// Keeps what was fetched as the next version of an object.
pub(crate) async fn keep(name: &str, content: &[u8]) -> Result<ObjectVersion, PeerError> {
    let written = || -> std::io::Result<File> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL;
        let mut file = File::from(rustix::fs::memfd_create("fetched", flags)?);
        file.write_all(content)?;
        file.rewind()?;
        Ok(file)
    };
    let file = written().map_err(PeerError::Memory)?;
    let answer = call("object-store", "keep what was fetched", async |connection| {
        Objects1Proxy::new(&connection).await?.put(name, (&file).into()).await
    });
    serde_json::from_str(&answer.await?).map_err(|source| PeerError::Answer { service: "object-store", source })
}

/// Appends a record; it is durable when this returns.
pub(crate) async fn record(kind: &'static str, action: Option<&ActionId>, payload: &Value) -> Result<(), PeerError> {
    let (action, payload) = (action.map_or("", ActionId::as_str), payload.to_string());
    let appended = call("evidence-log", "take the record", async |connection| {
        Evidence1Proxy::new(&connection).await?.append(kind, action, &payload).await
    });
    appended.await.map(drop)
}
