//! Apps: each version a manifest and a program that a person approved together, and which version is in use.
//!
//! A version is never changed. Installing, removing and coming back all end in one row that says which version is in use, so
//! each is undone by writing that row as it was. A crash leaves the program without a version, which the next start removes,
//! or the whole of it.

use std::os::fd::OwnedFd;
use std::sync::PoisonError;

use aios_action::app::{AppError, Manifest, PROGRAM_LIMIT, ProgramError};
use aios_ids::UnitName;
use aios_wire::objects::{App, AppVersion};

use super::{Content, ObjectError, Objects, digest_of};
use crate::index::IndexError;
use crate::now_ms;

/// More apps than this are no help to anybody.
const APPS: usize = 256;

/// So many versions of one app are kept.
const VERSIONS: usize = 64;

/// An app was not changed or cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AppsError {
    /// The name has not the form of one.
    #[error("'{0}' cannot name an app")]
    Name(String),
    /// The manifest is none.
    #[error("the manifest cannot be taken")]
    Manifest(#[source] AppError),
    /// A part of the program cannot be had.
    #[error("the program's part '{part}' cannot be read")]
    Part {
        /// The object.
        part: String,
        /// Why not.
        #[source]
        source: Box<ObjectError>,
    },
    /// The parts are not the program that the manifest names.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Something that the app needs is not there.
    #[error("the app needs {0}, which is not in the store; add it first")]
    Needs(String),
    /// There are as many as there may be.
    #[error("there are {limit} {what} already; none is added")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// There is no such app.
    #[error("there is no app '{0}' in use; 'aios app list' shows all")]
    NoSuchApp(UnitName),
    /// There is no such version.
    #[error("the app '{name}' has no version {version}; 'aios app show {name}' lists those that there are")]
    NoSuchVersion {
        /// The app.
        name: UnitName,
        /// What was asked for.
        version: u64,
    },
    /// The disk does not hold what was approved.
    #[error("the program of '{0}' is damaged on the disk; install it again")]
    Damaged(UnitName),
    /// The disk failed.
    #[error("the apps are as they were")]
    Object(#[from] ObjectError),
    /// The index failed.
    #[error("the apps are as they were")]
    Index(#[from] IndexError),
}

impl Objects {
    /// Makes the app of `manifest`, which a person approved, the one in use under its name. The program comes from its
    /// parts as they are now and has to be the one that the manifest names.
    pub fn install_app(&self, manifest: &str, is_in_store: impl Fn(&str) -> bool) -> Result<AppVersion, AppsError> {
        let manifest = Manifest::parse(manifest).map_err(AppsError::Manifest)?;
        if let Some(missing) = manifest.needs.iter().find(|path| !is_in_store(path)) {
            return Err(AppsError::Needs(missing.clone()));
        }
        let program = self.joined(&manifest)?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.index.apps()?;
        let app = all.iter().find(|app| app.name == manifest.name);
        // The same app again is the version that there is, so that a repeated action is harmless.
        let known = app.and_then(|app| app.versions.iter().find(|known| known.manifest_sha256 == manifest.digest()));
        if let Some(known) = known {
            self.index.use_app(&manifest.name, Some(known.version))?;
            return Ok(known.clone());
        }
        let too_many = |what, limit| Err(AppsError::TooMany { what, limit });
        if app.is_none() && all.len() >= APPS {
            return too_many("apps", APPS);
        }
        if app.is_some_and(|app| app.versions.len() >= VERSIONS) {
            return too_many("versions of this app", VERSIONS);
        }
        let size = program.len() as u64;
        let (program_sha256, _) = self.keep(Content::Memory { bytes: program, offset: 0 })?;
        let newest = app.and_then(|app| app.versions.last()).map_or(0, |newest| newest.version);
        let version = AppVersion {
            name: manifest.name.clone(),
            version: newest + 1,
            manifest: manifest.canonical().to_owned(),
            manifest_sha256: manifest.digest(),
            program_sha256,
            size,
            at_ms: now_ms(),
        };
        self.index.add_app(&version)?;
        Ok(version)
    }

    /// Takes a version of an app into use, or none.
    pub fn use_app(&self, name: &str, version: Option<u64>) -> Result<App, AppsError> {
        let name: UnitName = name.parse().map_err(|_| bad_name(name))?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let app = self.index.apps()?.into_iter().find(|app| app.name == name);
        match (&app, version) {
            (Some(app), Some(version)) if app.versions.iter().all(|known| known.version != version) => {
                return Err(AppsError::NoSuchVersion { name, version });
            }
            (None, Some(_)) => return Err(AppsError::NoSuchApp(name)),
            // That an app that never was is not in use is so already.
            (None, None) => return Ok(App { name, current: None, versions: Vec::new() }),
            _ => {}
        }
        self.index.use_app(&name, version)?;
        Ok(App { current: version, ..app.ok_or(AppsError::NoSuchApp(name))? })
    }

    /// Every app that there is or was.
    pub fn apps(&self) -> Result<Vec<App>, AppsError> {
        Ok(self.index.apps()?)
    }

    /// The version of an app that is in use, and its program as a descriptor that can only read, hashed just now.
    pub fn open_app(&self, name: &str) -> Result<(OwnedFd, AppVersion), AppsError> {
        let name: UnitName = name.parse().map_err(|_| bad_name(name))?;
        let app = self.index.apps()?.into_iter().find(|app| app.name == name);
        let current = app.and_then(|app| {
            let current = app.current?;
            app.versions.into_iter().find(|known| known.version == current)
        });
        let version = current.ok_or_else(|| AppsError::NoSuchApp(name.clone()))?;
        let path = self.content_file(&version.program_sha256);
        let file = std::fs::File::open(&path).map_err(|source| ObjectError::Disk { step: "open", path, source })?;
        match digest_of(&file) {
            Ok(found) if found == version.program_sha256 => Ok((file.into(), version)),
            _ => Err(AppsError::Damaged(name)),
        }
    }

    /// The program that the manifest names, from its parts.
    fn joined(&self, manifest: &Manifest) -> Result<Vec<u8>, AppsError> {
        use std::io::Read as _;
        let mut program = Vec::new();
        for part in &manifest.program.parts {
            let failed = |source| AppsError::Part { part: part.clone(), source: Box::new(source) };
            let content = std::fs::File::from(self.get(part, 0).map_err(failed)?);
            // One byte more than there may be is enough to be refused.
            let room = (PROGRAM_LIMIT + 1 - program.len()) as u64;
            content.take(room).read_to_end(&mut program).map_err(ObjectError::Read).map_err(failed)?;
        }
        manifest.check_program(&program)?;
        Ok(program)
    }
}

fn bad_name(name: &str) -> AppsError {
    AppsError::Name(name.chars().take(40).flat_map(char::escape_default).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read as _, Write as _};
    use std::path::Path;
    use std::sync::Arc;

    use aios_action::app::program_around;
    use aios_ids::Digest;
    use serde_json::{Value, json};

    use super::*;
    use crate::index::Index;

    /// A program of one instruction, with `more` behind it.
    fn program(more: &[u8]) -> Vec<u8> {
        program_around(&[&[0x0f, 0x05], more].concat())
    }

    fn manifest(program: &[u8], parts: &[&str]) -> Value {
        json!({
            "schema": "aios.app.v1", "name": "greeter", "summary": "Greets", "origin": "a test", "tier": "T0",
            "program": {"sha256": Digest::of(program), "parts": parts},
            "composition": {"tried": ["file.read"], "why_not": "it greets nobody"},
            "tests": [{}],
        })
    }

    fn open(folder: &Path) -> Objects {
        fs::create_dir_all(folder.join("objects")).expect("a folder");
        let index = Index::open(&folder.join("index.redb")).expect("an index");
        Objects::open(&folder.join("objects"), Arc::new(index)).expect("objects")
    }

    fn put(objects: &Objects, name: &str, content: &[u8]) {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).expect("written");
        objects.put(name, file.into()).expect("stored");
    }

    fn install(objects: &Objects, manifest: &Value) -> Result<AppVersion, AppsError> {
        objects.install_app(&manifest.to_string(), |_| false)
    }

    fn in_use(objects: &Objects) -> Option<u64> {
        objects
            .apps()
            .expect("a list")
            .into_iter()
            .find(|app| app.name.as_str() == "greeter")
            .and_then(|app| app.current)
    }

    #[test]
    fn versions_stay_and_one_of_them_is_in_use() {
        let folder = tempfile::tempdir().expect("a folder");
        let objects = open(folder.path());
        let (one, two) = (program(b"one"), program(b"two"));
        put(&objects, "parts/a", &one[..50]);
        put(&objects, "parts/b", &one[50..]);
        let first = manifest(&one, &["parts/a", "parts/b"]);
        assert_eq!(install(&objects, &first).expect("installed").version, 1);
        put(&objects, "parts/c", &two);
        assert_eq!(install(&objects, &manifest(&two, &["parts/c"])).expect("installed").version, 2);
        // The first one again is no third one.
        assert_eq!(install(&objects, &first).expect("installed").version, 1);
        assert_eq!(in_use(&objects), Some(1));
        objects.use_app("greeter", Some(2)).expect("there");
        drop(objects);

        let objects = open(folder.path());
        let (file, version) = objects.open_app("greeter").expect("in use");
        let mut found = Vec::new();
        fs::File::from(file).read_to_end(&mut found).expect("readable");
        assert_eq!((found, version.version), (two, 2));
        objects.use_app("greeter", None).expect("removed");
        objects.use_app("greeter", None).expect("it is so already");
        assert!(matches!(objects.open_app("greeter"), Err(AppsError::NoSuchApp(_))));
        assert!(matches!(objects.use_app("greeter", Some(3)), Err(AppsError::NoSuchVersion { .. })));
        assert!(matches!(objects.use_app("other", Some(1)), Err(AppsError::NoSuchApp(_))));
        objects.use_app("other", None).expect("it never was");
        objects.use_app("greeter", Some(1)).expect("its versions are there");
        assert_eq!(in_use(&objects), Some(1));
    }

    #[test]
    fn a_part_that_was_changed_or_is_no_program_installs_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let objects = open(folder.path());
        let good = program(b"");
        put(&objects, "parts/a", &good);
        let wanted = manifest(&good, &["parts/a"]);
        put(&objects, "parts/a", &program(b"another"));
        assert!(matches!(install(&objects, &wanted), Err(AppsError::Program(ProgramError::Other { .. }))));
        put(&objects, "parts/a", b"#!/bin/sh\n");
        assert!(matches!(
            install(&objects, &manifest(b"#!/bin/sh\n", &["parts/a"])),
            Err(AppsError::Program(ProgramError::Elf(_)))
        ));
        assert!(matches!(install(&objects, &manifest(&good, &["parts/z"])), Err(AppsError::Part { .. })));
        let mut needy = manifest(&good, &["parts/a"]);
        needy["tier"] = "T1".into();
        needy["rights"] = json!(["store"]);
        needy["needs"] = json!(["/nix/store/0123456789abcdfghijklmnpqrsvwxyz-hello-1.0"]);
        assert!(matches!(install(&objects, &needy), Err(AppsError::Needs(_))));
        assert_eq!(objects.apps().expect("a list"), []);
    }

    #[test]
    fn a_crash_before_the_index_leaves_nothing_and_a_damaged_program_is_not_handed_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let objects = open(folder.path());
        let bytes = program(b"");
        // The program is durable and the index does not name it: the crash in the middle of an installation.
        let (digest, _) = objects.keep(Content::Memory { bytes: bytes.clone(), offset: 0 }).expect("kept");
        let file = objects.content_file(&digest);
        drop(objects);
        let objects = open(folder.path());
        assert!(!file.exists());

        put(&objects, "parts/a", &bytes);
        install(&objects, &manifest(&bytes, &["parts/a"])).expect("installed");
        // What the app has stays, also when the object it came from is another one.
        put(&objects, "parts/a", b"another");
        drop(objects);
        let objects = open(folder.path());
        objects.open_app("greeter").expect("in use");
        fs::remove_file(&file).expect("ours");
        fs::write(&file, b"damaged").expect("ours");
        assert!(matches!(objects.open_app("greeter"), Err(AppsError::Damaged(_))));
    }
}
