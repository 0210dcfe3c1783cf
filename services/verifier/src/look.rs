//! The verifier's eyes: each function looks at one thing as an outsider would.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use aios_action::GRANTED_FOLDER;
use aios_daemon::init::AskError;
use aios_daemon::proxy::{
    Evidence1Proxy, Network1Proxy, Objects1Proxy, Policy1Proxy, Settings1Proxy, Updater1Proxy, Vault1Proxy,
};
use aios_evidence::Bundle;
use aios_ids::Digest;
use aios_slots::{UkiName, Version, loader_choice};
use aios_wire::evidence::EXPORT_LIMIT;
use aios_wire::init::{Reply, Request, Service};
use aios_wire::objects::{App, AppVersion, ObjectTag, StoreVerified};
use aios_wire::policy::{OperatorView, People, PolicyView};
use aios_wire::vault::{Fetched, SecretView};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// The largest text that can be patched: no more is kept for undoing, either.
const TEXT_LIMIT: u64 = 1 << 20;

/// Something could not be looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    /// PID 1 does not say.
    #[error("PID 1 does not tell")]
    Init(#[from] AskError),
    /// A service does not say.
    #[error("{service} does not tell")]
    Service {
        service: &'static str,
        #[source]
        source: zbus::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {path}")]
    File {
        path: String,
        #[source]
        source: io::Error,
    },
    /// An answer has no known form.
    #[error("an answer cannot be read")]
    Answer(#[from] serde_json::Error),
    /// PID 1 answered another question.
    #[error("PID 1 answered something else")]
    OtherAnswer,
}

/// What PID 1 says of a unit; nothing when it knows none of that name.
pub(crate) fn unit(name: &str) -> Result<Option<Service>, LookError> {
    match aios_daemon::init::ask(&Request::Services)? {
        Reply::Services { services } => Ok(services.into_iter().find(|service| service.name == name)),
        _ => Err(LookError::OtherAnswer),
    }
}

/// Which boot this is.
pub(crate) fn boot() -> Result<String, LookError> {
    match aios_daemon::init::ask(&Request::Status)? {
        Reply::Status(system) => Ok(system.boot_id),
        _ => Err(LookError::OtherAnswer),
    }
}

/// The policy in force.
pub(crate) async fn policy() -> Result<PolicyView, LookError> {
    let told = async {
        let connection = aios_daemon::connect("policy-kernel").await?;
        Policy1Proxy::new(&connection).await?.show().await
    };
    let text = told.await.map_err(|source| LookError::Service { service: "policy-kernel", source })?;
    Ok(serde_json::from_str(&text)?)
}

/// What the policy kernel says of an operator; nothing when it knows none of that name.
pub(crate) async fn operator(name: &str) -> Result<Option<OperatorView>, LookError> {
    let told = async {
        let connection = aios_daemon::connect("policy-kernel").await?;
        Policy1Proxy::new(&connection).await?.people().await
    };
    let text = told.await.map_err(|source| LookError::Service { service: "policy-kernel", source })?;
    let people: People = serde_json::from_str(&text)?;
    Ok(people.operators.into_iter().find(|operator| operator.name == name))
}

/// A setting's value.
pub(crate) async fn setting(key: &str) -> Result<Value, LookError> {
    let told = async {
        let connection = aios_daemon::connect("settings").await?;
        Settings1Proxy::new(&connection).await?.get(key).await
    };
    let text = told.await.map_err(|source| LookError::Service { service: "settings", source })?;
    Ok(serde_json::from_str(&text)?)
}

/// The running version and the boot entry that the loader starts next, from the names on the EFI system partition.
pub(crate) async fn next_start() -> Result<(Option<Version>, Option<UkiName>), LookError> {
    let told = async {
        let connection = aios_daemon::connect("updater").await?;
        Updater1Proxy::new(&connection).await?.status().await
    };
    let text = told.await.map_err(|source| LookError::Service { service: "updater", source })?;
    let status: Value = serde_json::from_str(&text)?;
    let names = status["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names: Vec<UkiName> = names.iter().filter_map(|name| name.as_str()?.parse().ok()).collect();
    let running = status["running"].as_str().and_then(|version| version.parse().ok());
    Ok((running, loader_choice(&names).cloned()))
}

/// Every setting's value.
pub(crate) async fn settings() -> Result<Map<String, Value>, LookError> {
    let told = async {
        let connection = aios_daemon::connect("settings").await?;
        Settings1Proxy::new(&connection).await?.list().await
    };
    let text = told.await.map_err(|source| LookError::Service { service: "settings", source })?;
    Ok(serde_json::from_str(&text)?)
}

/// Every setting's value in an earlier generation.
pub(crate) async fn settings_of(generation: u64) -> Result<Map<String, Value>, LookError> {
    let told = async {
        let connection = aios_daemon::connect("settings").await?;
        Settings1Proxy::new(&connection).await?.earlier(generation).await
    };
    let text = told.await.map_err(|source| LookError::Service { service: "settings", source })?;
    Ok(serde_json::from_str(&text)?)
}

/// The version that a tag of an object is at, when there is one.
pub(crate) async fn tag(name: &str, tag: &str) -> Result<Option<u64>, LookError> {
    let told = async {
        let connection = aios_daemon::connect("object-store").await?;
        Objects1Proxy::new(&connection).await?.tags(name).await
    };
    let text = told.await.map_err(|source| LookError::Service { service: "object-store", source })?;
    let tags: Vec<ObjectTag> = serde_json::from_str(&text)?;
    Ok(tags.into_iter().find(|known| known.tag == tag).map(|known| known.version))
}

/// What the network service says when it connects once more.
pub(crate) async fn reached(host: &str, port: u16) -> Result<Value, LookError> {
    let told = async {
        let connection = aios_daemon::connect("network").await?;
        Network1Proxy::new(&connection).await?.check(host, port).await
    };
    let text = told.await.map_err(|source| LookError::Service { service: "network", source })?;
    Ok(serde_json::from_str(&text)?)
}

/// What the vault says that an action has fetched, and where it is kept.
pub(crate) async fn fetched(action: &str) -> Result<Fetched, LookError> {
    let told = async {
        let connection = aios_daemon::connect("vault").await?;
        Vault1Proxy::new(&connection).await?.fetched(action).await
    };
    let text = told.await.map_err(|source| LookError::Service { service: "vault", source })?;
    Ok(serde_json::from_str(&text)?)
}

/// What the vault says of a secret; nothing when it keeps none of that name.
pub(crate) async fn secret(name: &str) -> Result<Option<SecretView>, LookError> {
    let told = async {
        let connection = aios_daemon::connect("vault").await?;
        Vault1Proxy::new(&connection).await?.list().await
    };
    let text = told.await.map_err(|source| LookError::Service { service: "vault", source })?;
    let secrets: Vec<SecretView> = serde_json::from_str(&text)?;
    Ok(secrets.into_iter().find(|secret| secret.name == name))
}

/// The clock, in seconds since 1970.
pub(crate) fn clock_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The digest of a version of an object, 0 for the newest, computed from its bytes.
pub(crate) async fn object(name: &str, version: u64) -> Result<Digest, LookError> {
    let told = async {
        let connection = aios_daemon::connect("object-store").await?;
        Objects1Proxy::new(&connection).await?.get(name, version).await
    };
    let content = told.await.map_err(|source| LookError::Service { service: "object-store", source })?;
    digest(File::from(OwnedFd::from(content))).map_err(|source| LookError::File { path: name.to_owned(), source })
}

/// The newest version of an object as an export of the log: the digest of its bytes, and its files or why it has none.
pub(crate) async fn export(name: &str) -> Result<(Digest, Result<Bundle, String>), LookError> {
    let told = async {
        let connection = aios_daemon::connect("object-store").await?;
        Objects1Proxy::new(&connection).await?.get(name, 0).await
    };
    let content = told.await.map_err(|source| LookError::Service { service: "object-store", source })?;
    export_in(File::from(OwnedFd::from(content))).map_err(|source| LookError::File { path: name.to_owned(), source })
}

/// The newest signed head of the evidence log.
pub(crate) async fn log_head() -> Result<String, LookError> {
    let told = async {
        let connection = aios_daemon::connect("evidence-log").await?;
        Evidence1Proxy::new(&connection).await?.checkpoint().await
    };
    told.await.map_err(|source| LookError::Service { service: "evidence-log", source })
}

fn export_in(mut content: File) -> io::Result<(Digest, Result<Bundle, String>)> {
    let sha256 = digest(content.try_clone()?)?;
    let size = content.metadata()?.len();
    if size > EXPORT_LIMIT {
        return Ok((sha256, Err(format!("it has {size} bytes, and an export at most {EXPORT_LIMIT}"))));
    }
    content.rewind()?;
    let mut files = Bundle::default();
    for line in BufReader::new(content).lines() {
        let added = match line {
            Ok(line) => files.add_line(&line).map_err(|error| aios_daemon::error_chain(&error)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err("it is not text".to_owned()),
            Err(error) => return Err(error),
        };
        if let Err(why) = added {
            return Ok((sha256, Err(why)));
        }
    }
    Ok((sha256, Ok(files)))
}

/// The version of an app that is in use, if there is one.
pub(crate) async fn app(name: &str) -> Result<Option<AppVersion>, LookError> {
    let app = app_row(name).await?;
    Ok(app.and_then(|app| app.versions.into_iter().find(|version| Some(version.version) == app.current)))
}

/// Whether the object store keeps an app as a service.
pub(crate) async fn is_service(name: &str) -> Result<bool, LookError> {
    Ok(app_row(name).await?.is_some_and(|app| app.service.is_some()))
}

async fn app_row(name: &str) -> Result<Option<App>, LookError> {
    let told = async {
        let connection = aios_daemon::connect("object-store").await?;
        Objects1Proxy::new(&connection).await?.app_list().await
    };
    let text = told.await.map_err(|source| LookError::Service { service: "object-store", source })?;
    let apps: Vec<App> = serde_json::from_str(&text)?;
    Ok(apps.into_iter().find(|app| app.name.as_str() == name))
}

/// The digest of the program of the app that is in use, computed from its bytes.
pub(crate) async fn app_program(name: &str) -> Result<Digest, LookError> {
    let told = async {
        let connection = aios_daemon::connect("object-store").await?;
        Objects1Proxy::new(&connection).await?.app_open(name).await
    };
    let (program, _) = told.await.map_err(|source| LookError::Service { service: "object-store", source })?;
    digest(File::from(OwnedFd::from(program))).map_err(|source| LookError::File { path: name.to_owned(), source })
}

/// What the object store finds when it reads a store path again.
pub(crate) async fn store_path(path: &str) -> Result<StoreVerified, LookError> {
    let told = async {
        let connection = aios_daemon::connect("object-store").await?;
        Objects1Proxy::new(&connection).await?.store_verify(path).await
    };
    let text = told.await.map_err(|source| LookError::Service { service: "object-store", source })?;
    Ok(serde_json::from_str(&text)?)
}

/// Whether a store path is there for programs to see.
pub(crate) fn is_visible(path: &str) -> bool {
    Path::new(path).symlink_metadata().is_ok()
}

/// The digest of a file of the granted folder; nothing when it is not there.
pub(crate) fn granted_file(path: &str) -> Result<Option<Digest>, LookError> {
    digest_below(Path::new(GRANTED_FOLDER), path)
        .map_err(|source| LookError::File { path: format!("{GRANTED_FOLDER}/{path}"), source })
}

/// The text of a file of the granted folder.
pub(crate) fn granted_text(path: &str) -> Result<String, LookError> {
    let told = || -> io::Result<String> {
        let file = open_below(Path::new(GRANTED_FOLDER), path)?.ok_or(io::ErrorKind::NotFound)?;
        let mut text = String::new();
        file.take(TEXT_LIMIT + 1).read_to_string(&mut text)?;
        if text.len() as u64 > TEXT_LIMIT { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
    };
    told().map_err(|source| LookError::File { path: format!("{GRANTED_FOLDER}/{path}"), source })
}

/// What `/etc` says in a file of one value.
pub(crate) fn rendered(name: &str) -> Result<String, LookError> {
    let path = Path::new("/etc").join(name);
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(4096).read_to_string(&mut text));
    read.map_err(|source| LookError::File { path: path.display().to_string(), source })?;
    Ok(text.trim().to_owned())
}

fn digest_below(folder: &Path, path: &str) -> io::Result<Option<Digest>> {
    open_below(folder, path)?.map(digest).transpose()
}

/// The file, or nothing when it is not there.
fn open_below(folder: &Path, path: &str) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    // A link that was put in place of the file must not pass for it.
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat2(&folder, path, flags, Mode::empty(), beneath) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    Ok(Some(file))
}

fn digest(mut file: File) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut part = vec![0; 64 * 1024];
    loop {
        match file.read(&mut part)? {
            0 => return Ok(Digest::from_bytes(hash.finalize().into())),
            count => hash.update(&part[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_is_no_export_has_a_digest_and_no_files() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("object");
        let look = |content: &[u8]| {
            std::fs::write(&path, content).expect("written");
            export_in(File::open(&path).expect("there")).expect("readable")
        };
        let line = Bundle::line("key", b"one");
        let (sha256, files) = look(format!("{line}\n").as_bytes());
        assert_eq!(sha256, Digest::of(format!("{line}\n").as_bytes()));
        assert_eq!(files.expect("an export").read("key"), Ok(b"one".to_vec()));
        assert!(look(b"hello").1.expect_err("no file").contains("line 1"));
        assert!(look(&[0xff]).1.expect_err("no text").contains("text"));
        let large = File::create(&path).expect("made");
        large.set_len(EXPORT_LIMIT + 1).expect("extended");
        let (_, files) = export_in(File::open(&path).expect("there")).expect("readable");
        assert!(files.expect_err("large").contains("at most"));
    }

    #[test]
    fn only_the_file_itself_is_measured() {
        let place = tempfile::tempdir().expect("a folder");
        std::fs::write(place.path().join("file"), "content").expect("a file");
        std::os::unix::fs::symlink("file", place.path().join("link")).expect("a link");
        std::fs::create_dir(place.path().join("folder")).expect("a folder");
        let look = |path| digest_below(place.path(), path);
        assert_eq!(look("file").expect("there"), Some(Digest::of(b"content")));
        assert_eq!(look("gone").expect("not there"), None);
        for path in ["link", "folder", "../file", "/etc/passwd"] {
            assert!(look(path).is_err(), "{path}");
        }
    }
}
