//! `org.aios.Objects1`: what callers may ask, and the words they get when it fails.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use aios_daemon::{Caller, error_chain};
use aios_fetch::Proxy;
use object_store::objects::ObjectError;
use object_store::objects::apps::AppsError;
use object_store::store::StoreError;
use object_store::{Objects, Store};
use serde::Serialize;
use zbus::fdo;

/// Objects and store as one caller sees them.
pub(crate) struct Objects1 {
    caller: Caller,
    objects: Arc<Objects>,
    store: Arc<Store>,
}

impl Objects1 {
    pub(crate) fn new(caller: Caller, objects: Arc<Objects>, store: Arc<Store>) -> Self {
        Self { caller, objects, store }
    }

    fn require(&self, verb: &str) -> fdo::Result<()> {
        self.caller.require("object-store", verb)
    }
}

#[zbus::interface(name = "org.aios.Objects1")]
impl Objects1 {
    /// Stores what can be read from `content` as the next version of `name`; answers with an `ObjectVersion`.
    async fn put(&self, name: String, content: zbus::OwnedFd) -> fdo::Result<String> {
        self.require("put")?;
        let (objects, content) = (Arc::clone(&self.objects), OwnedFd::from(content));
        json(aside(move || objects.put(&name, content).map_err(told_of_object)).await?)
    }

    /// The same for several objects at once, all or none; answers with an array of `ObjectVersion`.
    async fn put_all(&self, contents: Vec<(String, zbus::OwnedFd)>) -> fdo::Result<String> {
        self.require("put-all")?;
        let objects = Arc::clone(&self.objects);
        let contents = contents.into_iter().map(|(name, content)| (name, OwnedFd::from(content))).collect();
        json(aside(move || objects.put_all(contents).map_err(told_of_object)).await?)
    }

    /// Makes the content of an earlier version of `name` its newest; answers with an `ObjectVersion`.
    async fn roll_back(&self, name: &str, version: u64) -> fdo::Result<String> {
        self.require("roll-back")?;
        json(self.objects.roll_back(name, version).map_err(told_of_object)?)
    }

    /// Puts `tag` at a version of `name`; answers with an `ObjectTag`.
    async fn tag(&self, name: &str, tag: &str, version: u64) -> fdo::Result<String> {
        self.require("tag")?;
        json(self.objects.tag(name, tag, version).map_err(told_of_object)?)
    }

    /// Removes `tag` from `name`; answers with the `ObjectTag` that it was.
    async fn untag(&self, name: &str, tag: &str) -> fdo::Result<String> {
        self.require("untag")?;
        json(self.objects.untag(name, tag).map_err(told_of_object)?)
    }

    /// The tags of `name`, as an array of `ObjectTag`; none for an object that is not there.
    async fn tags(&self, name: &str) -> fdo::Result<String> {
        self.require("tags")?;
        json(self.objects.tags(name).map_err(told_of_object)?)
    }

    /// The content of a version of `name`, 0 for the newest, as a descriptor that can only read.
    async fn get(&self, name: String, version: u64) -> fdo::Result<zbus::OwnedFd> {
        self.require("get")?;
        let objects = Arc::clone(&self.objects);
        let content = aside(move || objects.get(&name, version).map_err(told_of_object)).await?;
        Ok(content.into())
    }

    /// The newest version of each object, as an array of `ObjectVersion`.
    async fn list(&self) -> fdo::Result<String> {
        self.require("list")?;
        json(self.objects.list().map_err(told_of_object)?)
    }

    /// Every version of `name`, oldest first, as an array of `ObjectVersion`.
    async fn log(&self, name: &str) -> fdo::Result<String> {
        self.require("log")?;
        json(self.objects.log(name).map_err(told_of_object)?)
    }

    /// Makes the app of `manifest` the one in use under its name; answers with an `AppVersion`.
    async fn app_install(&self, manifest: String) -> fdo::Result<String> {
        self.require("app-install")?;
        let (objects, store) = (Arc::clone(&self.objects), Arc::clone(&self.store));
        let install = move || objects.install_app(&manifest, |path| store.info(path).is_ok()).map_err(told_of_app);
        json(aside(install).await?)
    }

    /// Takes a version of an app into use, 0 for none; answers with an `App`.
    async fn app_use(&self, name: &str, version: u64) -> fdo::Result<String> {
        self.require("app-use")?;
        json(self.objects.use_app(name, (version != 0).then_some(version)).map_err(told_of_app)?)
    }

    /// Makes the version of an app that is in use a service; answers with an `App`.
    async fn app_enable(&self, name: &str) -> fdo::Result<String> {
        self.require("app-enable")?;
        json(self.objects.enable_app(name).map_err(told_of_app)?)
    }

    /// Makes an app no service any more; answers with an `App`.
    async fn app_disable(&self, name: &str) -> fdo::Result<String> {
        self.require("app-disable")?;
        json(self.objects.disable_app(name).map_err(told_of_app)?)
    }

    /// Every app that there is or was, as an array of `App`.
    async fn app_list(&self) -> fdo::Result<String> {
        self.require("app-list")?;
        json(self.objects.apps().map_err(told_of_app)?)
    }

    /// The program of the version of an app that is in use, as a descriptor that can only read, with its `AppVersion`.
    async fn app_open(&self, name: String) -> fdo::Result<(zbus::OwnedFd, String)> {
        self.require("app-open")?;
        let objects = Arc::clone(&self.objects);
        let (program, version) = aside(move || objects.open_app(&name).map_err(told_of_app)).await?;
        Ok((program.into(), json(version)?))
    }

    /// Fetches a store path with all it refers to from a cache, believing only `key`; answers with a `StoreAdded`.
    async fn store_add(&self, path: String, cache: String, key: String) -> fdo::Result<String> {
        self.require("store-add")?;
        let (store, proxy) = (Arc::clone(&self.store), proxy().await?);
        json(aside(move || store.add(&path, &cache, &key, proxy).map_err(told_of_store)).await?)
    }

    /// What is known of a store path, as a `StoredPath`.
    async fn store_info(&self, path: &str) -> fdo::Result<String> {
        self.require("store-info")?;
        json(self.store.info(path).map_err(told_of_store)?)
    }

    /// Every store path, as an array of `StoredPath`.
    async fn store_list(&self) -> fdo::Result<String> {
        self.require("store-list")?;
        json(self.store.list().map_err(told_of_store)?)
    }

    /// Reads a store path again and compares it with what was signed; answers with a `StoreVerified`.
    async fn store_verify(&self, path: String) -> fdo::Result<String> {
        self.require("store-verify")?;
        let store = Arc::clone(&self.store);
        json(aside(move || store.verify(&path).map_err(told_of_store)).await?)
    }
}

/// The way to caches of the open network.
async fn proxy() -> fdo::Result<Option<Proxy>> {
    let text = aios_daemon::setting("network.proxy").await.map_err(|error| fdo::Error::Failed(error_chain(&error)))?;
    Proxy::of_setting(&text).map_err(|error| fdo::Error::Failed(format!("network.proxy cannot be used: {error}")))
}

/// Runs what waits for a disk or a network beside the event loop, so that other callers need not wait with it.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> fdo::Result<T> + Send + 'static) -> fdo::Result<T> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| fdo::Error::Failed(format!("the request was not carried out to its end: {error}")))?
}

fn json(answer: impl Serialize) -> fdo::Result<String> {
    serde_json::to_string(&answer).map_err(|error| fdo::Error::Failed(format!("the answer cannot be written: {error}")))
}

fn told_of_object(error: ObjectError) -> fdo::Error {
    let text = error_chain(&error);
    match error {
        ObjectError::Damaged { .. } | ObjectError::Disk { .. } | ObjectError::Index(_) => fdo::Error::Failed(text),
        _ => fdo::Error::InvalidArgs(text),
    }
}

fn told_of_app(error: AppsError) -> fdo::Error {
    let text = error_chain(&error);
    match error {
        AppsError::Object(_) | AppsError::Index(_) | AppsError::Damaged(_) => fdo::Error::Failed(text),
        _ => fdo::Error::InvalidArgs(text),
    }
}

fn told_of_store(error: StoreError) -> fdo::Error {
    let text = error_chain(&error);
    match error {
        StoreError::Path(_) | StoreError::Key(_) | StoreError::Url(_) | StoreError::NoSuchPath(_) => {
            fdo::Error::InvalidArgs(text)
        }
        _ => fdo::Error::Failed(text),
    }
}
