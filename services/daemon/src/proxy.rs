//! The interfaces of the services as their callers see them. Complex values travel as the JSON text of a type from
//! `aios-wire` or a core crate; descriptors travel as descriptors.

#![expect(
    missing_docs,
    reason = "the macro derives the proxies; each method is documented at the service that answers it"
)]

use zbus::{Fd, OwnedFd};

#[zbus::proxy(
    interface = "org.aios.Evidence1",
    default_path = "/org/aios/Evidence1",
    default_service = "org.aios.Evidence1"
)]
pub trait Evidence1 {
    fn append(&self, kind: &str, action: &str, payload: &str) -> zbus::Result<u64>;
    fn append_all(&self, records: &[(&str, &str, &str)]) -> zbus::Result<Vec<u64>>;
    fn room(&self) -> zbus::Result<String>;
    fn query(&self, filter: &str) -> zbus::Result<String>;
    fn subscribe(&self, filter: &str) -> zbus::Result<String>;
    fn show(&self, index: u64) -> zbus::Result<String>;
    fn prove(&self, index: u64) -> zbus::Result<String>;
    fn checkpoint(&self) -> zbus::Result<String>;
    fn resource(&self, path: &str) -> zbus::Result<Vec<u8>>;
    fn export(&self, object: &str) -> zbus::Result<String>;
    fn verify(&self) -> zbus::Result<String>;
}

#[zbus::proxy(interface = "org.aios.Policy1", default_path = "/org/aios/Policy1", default_service = "org.aios.Policy1")]
pub trait Policy1 {
    fn decide(&self, envelope: &str, subject: Fd<'_>) -> zbus::Result<String>;
    fn explain(&self, envelope: &str, subject: Fd<'_>) -> zbus::Result<String>;
    fn decide_again(&self, envelope: &str, subject: &str) -> zbus::Result<String>;
    fn approvals(&self) -> zbus::Result<String>;
    fn approve(&self, id: &str, code: &str, pass_phrase: &str) -> zbus::Result<()>;
    fn approve_signed(&self, id: &str, signature: &str) -> zbus::Result<()>;
    fn reject(&self, id: &str, reason: &str) -> zbus::Result<()>;
    fn await_approval(&self, id: &str) -> zbus::Result<String>;
    fn consume(&self, approval: &str, digest: &str, epoch: &str, action: &str) -> zbus::Result<String>;
    fn withdraw(&self, approval: &str) -> zbus::Result<()>;
    fn login(&self, name: &str, pass_phrase: &str, terminal: &str) -> zbus::Result<()>;
    fn check(&self, bundle: &[u8]) -> zbus::Result<String>;
    fn offer(&self, bundle: &[u8]) -> zbus::Result<String>;
    fn load(&self, digest: &str, action: &str) -> zbus::Result<String>;
    fn test(&self) -> zbus::Result<String>;
    fn people(&self) -> zbus::Result<String>;
    fn offer_pass_phrase(&self, name: &str, pass_phrase: &str) -> zbus::Result<()>;
    fn add_operator(&self, name: &str, action: &str) -> zbus::Result<()>;
    fn change_pass_phrase(&self, name: &str, action: &str) -> zbus::Result<()>;
    fn add_key(&self, name: &str, key: &str, action: &str) -> zbus::Result<()>;
    fn remove_key(&self, name: &str, fingerprint: &str, action: &str) -> zbus::Result<()>;
    fn start_override(&self, minutes: u32, reason: &str, pass_phrase: &str) -> zbus::Result<String>;
    fn end_override(&self) -> zbus::Result<()>;
    fn override_now(&self) -> zbus::Result<String>;
    fn show(&self) -> zbus::Result<String>;
}

#[zbus::proxy(
    interface = "org.aios.Actions1",
    default_path = "/org/aios/Actions1",
    default_service = "org.aios.Actions1"
)]
pub trait Actions1 {
    fn submit(&self, request: &str) -> zbus::Result<String>;
    fn submit_for(&self, request: &str, subject: Fd<'_>) -> zbus::Result<String>;
    fn plan(&self, request: &str) -> zbus::Result<String>;
    fn list(&self) -> zbus::Result<String>;
    fn show(&self, id: &str) -> zbus::Result<String>;
    fn watch(&self, id: &str) -> zbus::Result<String>;
    fn cancel(&self, id: &str) -> zbus::Result<()>;
}

#[zbus::proxy(
    interface = "org.aios.Workflows1",
    default_path = "/org/aios/Workflows1",
    default_service = "org.aios.Workflows1"
)]
pub trait Workflows1 {
    fn run(&self, definition: &str, subject: Fd<'_>) -> zbus::Result<String>;
    fn list(&self) -> zbus::Result<String>;
    fn show(&self, id: &str) -> zbus::Result<String>;
    fn watch(&self, id: &str, seen: &str) -> zbus::Result<String>;
    fn resume(&self, id: &str, subject: Fd<'_>) -> zbus::Result<String>;
    fn cancel(&self, id: &str) -> zbus::Result<()>;
    fn answer(&self, id: &str, step: &str, answer: &str) -> zbus::Result<()>;
    fn journal(&self, id: &str) -> zbus::Result<String>;
}

#[zbus::proxy(
    interface = "org.aios.Verifier1",
    default_path = "/org/aios/Verifier1",
    default_service = "org.aios.Verifier1"
)]
pub trait Verifier1 {
    fn before(&self, envelope: &str) -> zbus::Result<String>;
    fn measure(&self, envelope: &str, before: &str) -> zbus::Result<String>;
}

#[zbus::proxy(
    interface = "org.aios.Objects1",
    default_path = "/org/aios/Objects1",
    default_service = "org.aios.Objects1"
)]
pub trait Objects1 {
    fn put(&self, name: &str, content: Fd<'_>) -> zbus::Result<String>;
    fn put_all(&self, contents: &[(&str, Fd<'_>)]) -> zbus::Result<String>;
    fn roll_back(&self, name: &str, version: u64) -> zbus::Result<String>;
    fn tag(&self, name: &str, tag: &str, version: u64) -> zbus::Result<String>;
    fn untag(&self, name: &str, tag: &str) -> zbus::Result<String>;
    fn tags(&self, name: &str) -> zbus::Result<String>;
    fn get(&self, name: &str, version: u64) -> zbus::Result<OwnedFd>;
    fn list(&self) -> zbus::Result<String>;
    fn log(&self, name: &str) -> zbus::Result<String>;
    fn app_install(&self, manifest: &str) -> zbus::Result<String>;
    fn app_use(&self, name: &str, version: u64) -> zbus::Result<String>;
    fn app_enable(&self, name: &str) -> zbus::Result<String>;
    fn app_disable(&self, name: &str) -> zbus::Result<String>;
    fn app_list(&self) -> zbus::Result<String>;
    fn app_open(&self, name: &str) -> zbus::Result<(OwnedFd, String)>;
    fn store_add(&self, path: &str, cache: &str, key: &str) -> zbus::Result<String>;
    fn store_info(&self, path: &str) -> zbus::Result<String>;
    fn store_list(&self) -> zbus::Result<String>;
    fn store_verify(&self, path: &str) -> zbus::Result<String>;
}

#[zbus::proxy(
    interface = "org.aios.Settings1",
    default_path = "/org/aios/Settings1",
    default_service = "org.aios.Settings1"
)]
pub trait Settings1 {
    fn get(&self, key: &str) -> zbus::Result<String>;
    fn set(&self, key: &str, value: &str) -> zbus::Result<String>;
    fn list(&self) -> zbus::Result<String>;
    fn rollback(&self, generation: u64) -> zbus::Result<String>;
    fn earlier(&self, generation: u64) -> zbus::Result<String>;
    fn watch(&self, generation: u64) -> zbus::Result<String>;
}

#[zbus::proxy(
    interface = "org.aios.Updater1",
    default_path = "/org/aios/Updater1",
    default_service = "org.aios.Updater1"
)]
pub trait Updater1 {
    fn apply(&self, source: &str) -> zbus::Result<String>;
    fn check(&self) -> zbus::Result<String>;
    fn status(&self) -> zbus::Result<String>;
}

#[zbus::proxy(
    interface = "org.aios.Network1",
    default_path = "/org/aios/Network1",
    default_service = "org.aios.Network1"
)]
pub trait Network1 {
    fn check(&self, host: &str, port: u16) -> zbus::Result<String>;
    fn resolve(&self, host: &str) -> zbus::Result<String>;
}

#[zbus::proxy(interface = "org.aios.Vault1", default_path = "/org/aios/Vault1", default_service = "org.aios.Vault1")]
pub trait Vault1 {
    fn offer(&self, value: &str) -> zbus::Result<String>;
    fn put(&self, name: &str, hosts: &[&str], header: &str, offer: &str, action: &str) -> zbus::Result<String>;
    fn remove(&self, name: &str, action: &str) -> zbus::Result<()>;
    fn list(&self) -> zbus::Result<String>;
    fn fetch(&self, ask: &str, action: &str) -> zbus::Result<String>;
    fn fetched(&self, action: &str) -> zbus::Result<String>;
}

#[zbus::proxy(interface = "org.aios.Logs1", default_path = "/org/aios/Logs1", default_service = "org.aios.Logs1")]
pub trait Logs1 {
    fn query(&self, question: &str) -> zbus::Result<String>;
    fn follow(&self, question: &str) -> zbus::Result<String>;
    fn boots(&self) -> zbus::Result<String>;
}
