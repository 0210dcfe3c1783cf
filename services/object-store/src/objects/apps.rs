//! Apps: each version a manifest and a program that a person approved together, and which version is in use.
//!
//! A version is never changed. Installing, removing and coming back all end in one row that says which version is in use, so
//! each is undone by writing that row as it was. A crash leaves the program without a version, which the next start removes,
//! or the whole of it.

use std::os::fd::OwnedFd;
use std::sync::PoisonError;

use aios_action::app::{AppError, Manifest, PROGRAM_LIMIT, ProgramError, ServiceKind};
use aios_ids::UnitName;
use aios_wire::objects::{App, AppService, AppVersion};

use super::{Content, ObjectError, Objects, digest_of};
use crate::index::IndexError;
use crate::now_ms;

/// More apps than this are no help to anybody.
const APPS: usize = 256;

/// So many versions of one app are kept.
const VERSIONS: usize = 64;

/// So many apps can be services, which is as many as PID 1 takes.
const SERVICES: usize = 16;

/// The first number of a user that is an app; each service has the lowest that is free.
const FIRST_USER: u32 = 3000;

/// The same for an app that is an agent.
const FIRST_AGENT: u32 = 2500;

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
    /// What runs as a service is not changed under it.
    #[error("the app '{0}' is a service; 'aios service disable {0}' first")]
    IsService(UnitName),
    /// It does not say how it would run as one.
    #[error("the app '{0}' says nothing of itself as a service; a manifest with a table 'service' does")]
    NoService(UnitName),
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
        let in_use = app.and_then(|app| app.current);
        if known.is_none_or(|known| Some(known.version) != in_use) {
            self.require_no_service(&manifest.name)?;
        }
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
            (None, None) => return Ok(App { name, current: None, versions: Vec::new(), service: None }),
            (Some(app), version) if app.current != version => self.require_no_service(&name)?,
            _ => {}
        }
        self.index.use_app(&name, version)?;
        Ok(App { current: version, ..app.ok_or(AppsError::NoSuchApp(name))? })
    }

    /// Every app that there is or was.
    pub fn apps(&self) -> Result<Vec<App>, AppsError> {
        let mut apps = self.index.apps()?;
        let services = self.index.services()?;
        for app in &mut apps {
            let current = app.versions.iter().find(|version| Some(version.version) == app.current);
            app.service = services.get(app.name.as_str()).zip(current).map(|(user, version)| AppService {
                user: *user,
                program: self.content_file(&version.program_sha256).display().to_string(),
            });
        }
        Ok(apps)
    }

    /// Makes the version of an app that is in use a service, which is one row. It is none again by that row's end, and until
    /// then no other version comes into use.
    pub fn enable_app(&self, name: &str) -> Result<App, AppsError> {
        let name: UnitName = name.parse().map_err(|_| bad_name(name))?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let app = self.index.apps()?.into_iter().find(|app| app.name == name);
        let current = app.and_then(|app| app.versions.into_iter().find(|known| Some(known.version) == app.current));
        let current = current.ok_or_else(|| AppsError::NoSuchApp(name.clone()))?;
        let manifest = Manifest::parse(&current.manifest).map_err(AppsError::Manifest)?;
        let first = match manifest.service.map(|service| service.kind) {
            None => return Err(AppsError::NoService(name)),
            Some(ServiceKind::Plain) => FIRST_USER,
            Some(ServiceKind::Agent) => FIRST_AGENT,
        };
        let services = self.index.services()?;
        if !services.contains_key(name.as_str()) {
            if services.len() >= SERVICES {
                return Err(AppsError::TooMany { what: "apps that are services", limit: SERVICES });
            }
            let user = (first..).find(|user| services.values().all(|taken| taken != user));
            self.index.set_service(&name, user)?;
        }
        self.app_named(&name)
    }

    /// Makes an app no service any more; that it is none already is fine.
    pub fn disable_app(&self, name: &str) -> Result<App, AppsError> {
        let name: UnitName = name.parse().map_err(|_| bad_name(name))?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let app = self.app_named(&name)?;
        self.index.set_service(&name, None)?;
        Ok(App { service: None, ..app })
    }

    fn app_named(&self, name: &UnitName) -> Result<App, AppsError> {
        let app = self.apps()?.into_iter().find(|app| app.name == *name);
        app.ok_or_else(|| AppsError::NoSuchApp(name.clone()))
    }

    fn require_no_service(&self, name: &UnitName) -> Result<(), AppsError> {
        match self.index.services()?.contains_key(name.as_str()) {
            true => Err(AppsError::IsService(name.clone())),
            false => Ok(()),
        }
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
    fn a_service_is_a_row_that_outlives_the_store_and_holds_its_version() {
        let folder = tempfile::tempdir().expect("a folder");
        let objects = open(folder.path());
        let bytes = program(b"");
        put(&objects, "parts/a", &bytes);
        let plain = manifest(&bytes, &["parts/a"]);
        install(&objects, &plain).expect("installed");
        assert!(matches!(objects.enable_app("greeter"), Err(AppsError::NoService(_))));
        assert!(matches!(objects.enable_app("other"), Err(AppsError::NoSuchApp(_))));
        let mut serves = plain.clone();
        serves["service"] = json!({});
        install(&objects, &serves).expect("installed");
        serves["name"] = "second".into();
        install(&objects, &serves).expect("installed");
        let user = |objects: &Objects, name: &str| {
            let apps = objects.apps().expect("a list");
            apps.into_iter().find(|app| app.name.as_str() == name).and_then(|app| Some(app.service?.user))
        };
        assert_eq!(objects.enable_app("greeter").expect("enabled").service.map(|service| service.user), Some(3000));
        objects.enable_app("second").expect("enabled");
        objects.enable_app("greeter").expect("it is so already");
        assert_eq!((user(&objects, "greeter"), user(&objects, "second")), (Some(3000), Some(3001)));
        let held = |result: Result<App, AppsError>| matches!(result, Err(AppsError::IsService(_)));
        assert!(held(objects.use_app("greeter", Some(1))) && held(objects.use_app("greeter", None)));
        assert!(matches!(install(&objects, &plain), Err(AppsError::IsService(_))));
        objects.use_app("greeter", Some(2)).expect("it is so already");
        drop(objects);

        let objects = open(folder.path());
        let apps = objects.apps().expect("a list");
        let service = apps[0].service.as_ref().expect("it is a service after a restart");
        assert_eq!(fs::read(&service.program).expect("its program is there"), bytes);
        objects.disable_app("greeter").expect("disabled");
        objects.disable_app("greeter").expect("it is so already");
        assert_eq!((user(&objects, "greeter"), user(&objects, "second")), (None, Some(3001)));
        objects.use_app("greeter", Some(1)).expect("nothing holds it");
        objects.use_app("greeter", Some(2)).expect("nothing holds it");
        objects.enable_app("greeter").expect("enabled");
        assert_eq!(user(&objects, "greeter"), Some(3000), "the lowest that is free");
        serves["name"] = "asker".into();
        serves["service"] = json!({"kind": "agent"});
        install(&objects, &serves).expect("installed");
        objects.enable_app("asker").expect("enabled");
        assert_eq!(user(&objects, "asker"), Some(2500), "agents have numbers of their own");
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
