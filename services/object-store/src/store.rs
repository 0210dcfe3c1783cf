//! Read-only trees in Nix's formats, seen at `/nix/store`.
//!
//! A tree becomes visible by one rename, after everything it refers to, after its bytes were found to be the signed ones
//! and made durable, and after the index knows it. What a crash leaves has a name that no store path has, and is removed at
//! the next start.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aios_fetch::Proxy;
use aios_ids::Digest;
use aios_store::TEMPORARY_PREFIX;
use aios_wire::objects::{StoreAdded, StoreVerified, StoredPath};
use nix_derivation::{StoreDir, StorePath};
use nix_narinfo::{KeyError, NarInfo, TrustedPublicKey};

use crate::index::{Index, IndexError};
use crate::now_ms;

mod archive;
mod cache;
mod closure;
mod nar;

pub use archive::ArchiveError;
pub use cache::{CacheError, CacheUrlError};
pub use closure::PlanError;

use cache::Cache;
use closure::{Plan, Record};

/// Room that is left free beside the trees, for their folders and the index.
const SPARE: u64 = 4 * 1024 * 1024;

/// The store.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    index: Arc<Index>,
    writing: Mutex<()>,
}

/// Nothing more of a closure was added, or a path cannot be told about.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is no store path.
    #[error("'{0}' is no store path; write /nix/store/<32 characters>-<name>")]
    Path(String),
    /// The key is no key.
    #[error("the trusted key cannot be read; write name:base64, as nix key convert-secret-to-public prints it")]
    Key(#[source] KeyError),
    /// The cache cannot be one.
    #[error(transparent)]
    Url(#[from] CacheUrlError),
    /// The closure cannot be had or is not vouched for.
    #[error("nothing was added")]
    Plan(#[from] PlanError),
    /// The disk is too small for it.
    #[error(
        "{path} and what it refers to need {needed} bytes and {free} are free; remove something or use a larger disk"
    )]
    Full {
        /// What was asked for.
        path: String,
        /// For everything that is missing, unpacked.
        needed: u64,
        /// On the disk now.
        free: u64,
    },
    /// The bytes are not the signed ones.
    #[error("{path} was refused and is not in the store")]
    Archive {
        /// The path whose archive it was.
        path: String,
        /// Why.
        #[source]
        source: ArchiveError,
    },
    /// Something else has the path's place.
    #[error("{path} is in the way: it is not what the cache signed; move it away in recovery")]
    Foreign {
        /// The place.
        path: String,
    },
    /// There is no such path.
    #[error("{0} is not in the store; list shows what is")]
    NoSuchPath(String),
    /// The disk failed.
    #[error("cannot {step} {}", path.display())]
    Disk {
        /// What was being done.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The index failed.
    #[error("the store is as it was")]
    Index(#[from] IndexError),
}

impl Store {
    /// Opens the store in `folder`, removes what a crash left, and forgets what is no longer there.
    pub fn open(folder: &Path, index: Arc<Index>) -> Result<Self, StoreError> {
        let store = Self { folder: folder.to_owned(), index, writing: Mutex::new(()) };
        let disk = |step, source| StoreError::Disk { step, path: folder.to_owned(), source };
        for entry in fs::read_dir(folder).map_err(|error| disk("list", error))? {
            let entry = entry.map_err(|error| disk("list", error))?;
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
                remove_tree(&entry.path()).map_err(|error| disk("clean", error))?;
            }
        }
        for stored in store.index.paths()? {
            let base = base_of(&stored.path);
            // The index knows a path just before it becomes visible; power may fail between the two.
            if store.folder.join(base).symlink_metadata().is_err() {
                store.index.remove_path(base)?;
            }
        }
        Ok(store)
    }

    /// Fetches `path` with everything it refers to from the cache at `url`, believing only signatures of `key`. A cache of the
    /// open network is asked through `proxy`.
    pub fn add(&self, path: &str, url: &str, key: &str, proxy: Option<Proxy>) -> Result<StoreAdded, StoreError> {
        let wanted = parse(path)?;
        let key = TrustedPublicKey::parse(key).map_err(StoreError::Key)?;
        let cache = Cache::new(url, proxy)?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);

        let known: BTreeSet<String> = self.index.paths()?.into_iter().map(|stored| stored.path).collect();
        let plan =
            Plan::make(&wanted, &key, |path| cache.record(path), |path| known.contains(&path.to_absolute_path()))?;
        self.check_room(&wanted, plan.bytes())?;
        for record in &plan.records {
            self.add_one(record, &cache, url, &key.name)?;
        }
        Ok(StoreAdded {
            path: wanted.to_absolute_path(),
            bytes: plan.bytes(),
            added: plan.records.iter().map(|record| record.path().to_absolute_path()).collect(),
            present: plan.present.iter().map(StorePath::to_absolute_path).collect(),
        })
    }

    /// Every path of the store.
    pub fn list(&self) -> Result<Vec<StoredPath>, StoreError> {
        Ok(self.index.paths()?)
    }

    /// What is known of one path.
    pub fn info(&self, path: &str) -> Result<StoredPath, StoreError> {
        let wanted = parse(path)?;
        self.index.path(&wanted.to_basename())?.ok_or_else(|| StoreError::NoSuchPath(wanted.to_absolute_path()))
    }

    /// Reads a path again and compares it with what was signed.
    pub fn verify(&self, path: &str) -> Result<StoreVerified, StoreError> {
        let stored = self.info(path)?;
        let (found, text) = match archive::digest_of_tree(&self.folder.join(base_of(&stored.path))) {
            Ok(found) if found == stored.nar_hash => (Some(found), String::new()),
            Ok(found) => (Some(found), "the tree on the disk is not the one that was signed; add it again".to_owned()),
            Err(error) => (None, format!("the tree cannot be read: {error}")),
        };
        let intact = text.is_empty();
        Ok(StoreVerified { path: stored.path, intact, expected: stored.nar_hash, found, text })
    }

    fn add_one(&self, record: &Record, cache: &Cache, url: &str, key: &str) -> Result<(), StoreError> {
        let base = record.path().to_basename();
        let (place, beside) = (self.folder.join(&base), self.folder.join(format!("{TEMPORARY_PREFIX}{base}")));
        let disk = |step: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Disk { step, path, source }
        };
        let stored = stored_path(record.info(), record.nar_hash(), url, key);
        if place.symlink_metadata().is_ok() {
            // The index was lost and the tree was not.
            return match archive::digest_of_tree(&place) {
                Ok(found) if found == record.nar_hash() => Ok(self.index.add_path(&base, &stored)?),
                _ => Err(StoreError::Foreign { path: stored.path }),
            };
        }
        remove_tree(&beside).map_err(disk("clean", &beside))?;
        let unpacked = archive::unpack(record, cache, &beside)
            .map_err(|source| StoreError::Archive { path: stored.path.clone(), source })
            .and_then(|()| self.make_durable().map_err(disk("make durable", &beside)))
            .and_then(|()| Ok(self.index.add_path(&base, &stored)?));
        let visible = unpacked.and_then(|()| {
            let renamed = fs::rename(&beside, &place).and_then(|()| self.make_durable());
            renamed.map_err(|error| {
                // Start-up forgets a row without its tree too; this only says it sooner.
                let _ = self.index.remove_path(&base);
                disk("add", &place)(error)
            })
        });
        if visible.is_err() {
            // The next start removes what cannot be removed now.
            let _ = remove_tree(&beside);
        }
        visible
    }

    fn make_durable(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(&self.folder)?)?)
    }

    fn check_room(&self, wanted: &StorePath, needed: u64) -> Result<(), StoreError> {
        let about = rustix::fs::statvfs(&self.folder).map_err(|error| StoreError::Disk {
            step: "measure",
            path: self.folder.clone(),
            source: error.into(),
        })?;
        let free = about.f_bavail.saturating_mul(about.f_frsize);
        if needed > 0 && needed.saturating_add(SPARE) > free {
            return Err(StoreError::Full { path: wanted.to_absolute_path(), needed, free });
        }
        Ok(())
    }
}

fn stored_path(info: &NarInfo, nar_hash: Digest, cache: &str, key: &str) -> StoredPath {
    StoredPath {
        path: info.store_path().to_absolute_path(),
        nar_hash,
        nar_size: info.nar_size(),
        references: info.references().iter().map(StorePath::to_absolute_path).collect(),
        signed_by: key.to_owned(),
        cache: cache.to_owned(),
        at_ms: now_ms(),
    }
}

/// Reads `/nix/store/<hash>-<name>` or `<hash>-<name>`.
fn parse(path: &str) -> Result<StorePath, StoreError> {
    let parsed = match path.starts_with('/') {
        true => StoreDir::default().parse_path(path.as_bytes()),
        false => StorePath::from_basename(path.as_bytes()),
    };
    parsed.map_err(|_| StoreError::Path(path.chars().take(80).flat_map(char::escape_default).collect()))
}

fn base_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, base)| base)
}

/// Removes a tree of read-only folders; one that is not there is removed already.
fn remove_tree(path: &Path) -> io::Result<()> {
    let metadata = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if !metadata.is_dir() {
        return fs::remove_file(path);
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        remove_tree(&entry?.path())?;
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_read_with_or_without_its_folder() {
        let base = "00bgd045z0d4icpbc2yyz4gx48ak44la-hello-2.12";
        assert_eq!(parse(base).expect("a path").to_basename(), base);
        assert_eq!(parse(&format!("/nix/store/{base}")).expect("a path").to_basename(), base);
        for wrong in ["", "/", "/nix/store", "/nix/store/", "/tmp/x", "../x", &format!("/nix/store/{base}/bin")] {
            assert!(matches!(parse(wrong), Err(StoreError::Path(_))), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_path_that_is_read_is_one_harmless_name(text in "(/nix/store/)?[0-9a-z]{30,33}-?[-./\\PC]{0,20}") {
            if let Ok(path) = parse(&text) {
                let base = path.to_basename();
                prop_assert!(!base.contains('/') && !base.starts_with('.') && text.ends_with(&base));
            }
        }
    }
}
