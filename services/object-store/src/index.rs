//! The table of what there is: versions of objects, and store paths with what vouched for them.
//!
//! A row is written only for content that is durable on disk already, so whatever the index names is there after a power
//! cut. It never decides what is trusted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aios_ids::{Digest, UnitName};
use aios_wire::objects::{App, AppVersion, ObjectVersion, StoredPath};
use redb::{Database, ReadableDatabase, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Name and version to the JSON of an [`ObjectVersion`].
const VERSIONS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("object-versions");

/// Name and tag to the version.
const TAGS: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("object-tags");

/// `<hash>-<name>` to the JSON of a [`StoredPath`].
const PATHS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("store-paths");

/// App and version to the JSON of an [`AppVersion`].
const APP_VERSIONS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("app-versions");

/// App to the version that is in use.
const APPS: TableDefinition<'_, &str, u64> = TableDefinition::new("apps");

/// App to the number of its user, for each that is a service.
const APP_SERVICES: TableDefinition<'_, &str, u32> = TableDefinition::new("app-services");

/// The index, open.
#[derive(Debug)]
pub struct Index {
    database: Database,
    path: PathBuf,
}

/// The index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The database refused.
    #[error("cannot {step} the index {}", path.display())]
    Database {
        /// What was being done.
        step: &'static str,
        /// The database's file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: Box<redb::Error>,
    },
    /// A row is not what this program writes.
    #[error("a row of the index {} cannot be read", path.display())]
    Row {
        /// The database's file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
}

impl Index {
    /// Opens the index in `path`, making it when it is not there.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let failed = |source: redb::Error| IndexError::Database {
            step: "open",
            path: path.to_owned(),
            source: Box::new(source),
        };
        let database = Database::create(path).map_err(|error| failed(error.into()))?;
        let index = Self { database, path: path.to_owned() };
        // Readers expect every table.
        index.write("make", |transaction| {
            transaction.open_table(VERSIONS)?;
            transaction.open_table(TAGS)?;
            transaction.open_table(PATHS)?;
            transaction.open_table(APP_VERSIONS)?;
            transaction.open_table(APPS)?;
            transaction.open_table(APP_SERVICES)?;
            Ok(())
        })?;
        Ok(index)
    }

    /// Adds versions of objects, all or none.
    pub(crate) fn add_versions(&self, versions: &[ObjectVersion]) -> Result<(), IndexError> {
        self.write("write to", |transaction| {
            let mut table = transaction.open_table(VERSIONS)?;
            for version in versions {
                table.insert((version.name.as_str(), version.version), row_of(version).as_slice())?;
            }
            Ok(())
        })
    }

    /// The tags of `name` with their versions, by tag.
    pub(crate) fn tags(&self, name: &str) -> Result<Vec<(String, u64)>, IndexError> {
        self.read(|transaction| {
            let table = transaction.open_table(TAGS)?;
            let mut tags = Vec::new();
            for row in table.range((name, "")..)? {
                let (key, version) = row?;
                let (of, tag) = key.value();
                if of != name {
                    break;
                }
                tags.push((tag.to_owned(), version.value()));
            }
            Ok(tags)
        })
    }

    /// Puts a tag at a version, or removes it.
    pub(crate) fn set_tag(&self, name: &str, tag: &str, version: Option<u64>) -> Result<(), IndexError> {
        self.write("write to", |transaction| {
            let mut table = transaction.open_table(TAGS)?;
            match version {
                Some(version) => table.insert((name, tag), version)?,
                None => table.remove((name, tag))?,
            };
            Ok(())
        })
    }

    /// Every version of `name`, oldest first.
    pub(crate) fn versions(&self, name: &str) -> Result<Vec<ObjectVersion>, IndexError> {
        self.rows(VERSIONS, |table| table.range((name, 0)..=(name, u64::MAX)))
    }

    /// The newest version of `name`.
    pub(crate) fn newest(&self, name: &str) -> Result<Option<ObjectVersion>, IndexError> {
        let row = self.read(|transaction| {
            let table = transaction.open_table(VERSIONS)?;
            let last = table.range((name, 0)..=(name, u64::MAX))?.next_back().transpose()?;
            Ok(last.map(|(_, row)| row.value().to_vec()))
        })?;
        row.map(|row| self.parse(&row)).transpose()
    }

    /// Every version of every object, by name, oldest first.
    pub(crate) fn all_versions(&self) -> Result<Vec<ObjectVersion>, IndexError> {
        self.rows(VERSIONS, |table| table.range::<(&str, u64)>(..))
    }

    /// Every content that some version has.
    pub(crate) fn contents(&self) -> Result<BTreeSet<Digest>, IndexError> {
        let objects = self.all_versions()?.into_iter().map(|version| version.digest);
        let apps = self.app_versions()?.into_iter().map(|version| version.program_sha256);
        Ok(objects.chain(apps).collect())
    }

    /// Adds a version of an app and takes it into use, in one step.
    pub(crate) fn add_app(&self, version: &AppVersion) -> Result<(), IndexError> {
        let row = row_of(version);
        self.write("write to", |transaction| {
            let name = version.name.as_str();
            transaction.open_table(APP_VERSIONS)?.insert((name, version.version), row.as_slice())?;
            transaction.open_table(APPS)?.insert(name, version.version)?;
            Ok(())
        })
    }

    /// Takes a version of an app into use, or none.
    pub(crate) fn use_app(&self, name: &UnitName, version: Option<u64>) -> Result<(), IndexError> {
        self.write("write to", |transaction| {
            let mut table = transaction.open_table(APPS)?;
            match version {
                Some(version) => table.insert(name.as_str(), version)?,
                None => table.remove(name.as_str())?,
            };
            Ok(())
        })
    }

    /// Makes an app a service with a user, or none any more.
    pub(crate) fn set_service(&self, name: &UnitName, user: Option<u32>) -> Result<(), IndexError> {
        self.write("write to", |transaction| {
            let mut table = transaction.open_table(APP_SERVICES)?;
            match user {
                Some(user) => table.insert(name.as_str(), user)?,
                None => table.remove(name.as_str())?,
            };
            Ok(())
        })
    }

    /// Every app that is a service, with its user.
    pub(crate) fn services(&self) -> Result<BTreeMap<String, u32>, IndexError> {
        self.read(|transaction| {
            let table = transaction.open_table(APP_SERVICES)?;
            let mut services = BTreeMap::new();
            for row in table.range::<&str>(..)? {
                let (name, user) = row?;
                services.insert(name.value().to_owned(), user.value());
            }
            Ok(services)
        })
    }

    /// Every app with its versions, oldest first.
    pub(crate) fn apps(&self) -> Result<Vec<App>, IndexError> {
        let mut apps: Vec<App> = Vec::new();
        for version in self.app_versions()? {
            match apps.last_mut() {
                Some(last) if last.name == version.name => last.versions.push(version),
                _ => {
                    let name = version.name.clone();
                    apps.push(App { name, current: None, versions: vec![version], service: None });
                }
            }
        }
        for app in &mut apps {
            app.current = self.read(|transaction| {
                Ok(transaction.open_table(APPS)?.get(app.name.as_str())?.map(|version| version.value()))
            })?;
        }
        Ok(apps)
    }

    fn app_versions(&self) -> Result<Vec<AppVersion>, IndexError> {
        self.rows(APP_VERSIONS, |table| table.range::<(&str, u64)>(..))
    }

    /// Notes a store path under its `<hash>-<name>`.
    pub(crate) fn add_path(&self, base: &str, path: &StoredPath) -> Result<(), IndexError> {
        let row = row_of(path);
        self.write("write to", |transaction| {
            transaction.open_table(PATHS)?.insert(base, row.as_slice())?;
            Ok(())
        })
    }

    /// Forgets a store path.
    pub(crate) fn remove_path(&self, base: &str) -> Result<(), IndexError> {
        self.write("write to", |transaction| {
            transaction.open_table(PATHS)?.remove(base)?;
            Ok(())
        })
    }

    /// What is known of the store path `<hash>-<name>`.
    pub(crate) fn path(&self, base: &str) -> Result<Option<StoredPath>, IndexError> {
        let row =
            self.read(|transaction| Ok(transaction.open_table(PATHS)?.get(base)?.map(|row| row.value().to_vec())))?;
        row.map(|row| self.parse(&row)).transpose()
    }

    /// Every store path.
    pub(crate) fn paths(&self) -> Result<Vec<StoredPath>, IndexError> {
        self.rows(PATHS, |table| table.range::<&str>(..))
    }

    fn rows<K: redb::Key + 'static, T: DeserializeOwned>(
        &self,
        table: TableDefinition<'static, K, &'static [u8]>,
        range: impl FnOnce(
            &redb::ReadOnlyTable<K, &'static [u8]>,
        ) -> Result<redb::Range<'static, K, &'static [u8]>, redb::StorageError>,
    ) -> Result<Vec<T>, IndexError> {
        let rows = self.read(|transaction| {
            let table = transaction.open_table(table)?;
            let mut rows = Vec::new();
            for row in range(&table)? {
                rows.push(row?.1.value().to_vec());
            }
            Ok(rows)
        })?;
        rows.iter().map(|row| self.parse(row)).collect()
    }

    fn read<T>(&self, get: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>) -> Result<T, IndexError> {
        let result = self.database.begin_read().map_err(redb::Error::from).and_then(|transaction| get(&transaction));
        result.map_err(|source| self.failed("read", source))
    }

    fn write(
        &self,
        step: &'static str,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), IndexError> {
        let result = self.database.begin_write().map_err(redb::Error::from).and_then(|transaction| {
            change(&transaction)?;
            transaction.commit().map_err(redb::Error::from)
        });
        result.map_err(|source| self.failed(step, source))
    }

    fn failed(&self, step: &'static str, source: redb::Error) -> IndexError {
        IndexError::Database { step, path: self.path.clone(), source: Box::new(source) }
    }

    fn parse<T: DeserializeOwned>(&self, row: &[u8]) -> Result<T, IndexError> {
        serde_json::from_slice(row).map_err(|source| IndexError::Row { path: self.path.clone(), source })
    }
}

fn row_of(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("rows are structs of text and numbers")
}
