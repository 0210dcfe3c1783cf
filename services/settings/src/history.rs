//! The settings on disk: the current generation, and each earlier one to go back to.
//!
//! `settings.json` is the truth; `generations/N.json` are copies, written before it. A file that cannot be read is set
//! aside and the newest readable generation takes its place: a machine with a damaged file still starts.
//!
//! Files are in the settings' first form (`aios_settings::migrate`), which the release in the other slot may be able to read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aios_settings::migrate::{self, MigrateError};
use aios_settings::{KEYS, SettingError, Settings};
use aios_store::ReplaceError;
use aios_wire::settings::SettingsList;

/// How many generations are kept: more than a person looks back, less than a folder gets slow with.
const KEPT: u64 = 64;

/// The largest file that is read; all settings at their largest are a tenth of it.
const FILE_LIMIT: u64 = 256 * 1024;

/// The settings with their past.
#[derive(Debug)]
pub(crate) struct History {
    folder: PathBuf,
    generation: u64,
    settings: Settings,
}

/// The settings on disk cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    #[error("cannot {step} {}", path.display())]
    Disk {
        step: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot keep generation {generation}")]
    Keep {
        generation: u64,
        #[source]
        source: ReplaceError,
    },
    #[error("there is no generation {generation}; the last {KEPT} are kept and the newest is {newest}")]
    NoSuchGeneration { generation: u64, newest: u64 },
    #[error("generation {generation} cannot be read; take another one")]
    Damaged {
        generation: u64,
        #[source]
        source: ReadError,
    },
}

/// One file of settings cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("it cannot be opened")]
    Open(#[source] io::Error),
    #[error("it is longer than {FILE_LIMIT} bytes")]
    TooLong,
    #[error("it is not the JSON of settings")]
    Json(#[source] serde_json::Error),
    #[error("it is of no form that this release knows")]
    Form(#[source] MigrateError),
    #[error("it holds a value that cannot be")]
    Value(#[source] SettingError),
}

impl History {
    /// Reads what is there; an empty folder is generation 0, the defaults.
    pub(crate) fn open(folder: &Path) -> Result<Self, HistoryError> {
        let disk = |step: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| HistoryError::Disk { step, path, source }
        };
        let generations = folder.join("generations");
        fs::create_dir_all(&generations).map_err(disk("make", &generations))?;
        for folder in [folder, &generations] {
            aios_store::remove_temporaries(folder).map_err(disk("clean", folder))?;
        }
        let current = folder.join("settings.json");
        let (generation, settings) = match read(&current) {
            Ok(found) => found,
            Err(ReadError::Open(error)) if error.kind() == io::ErrorKind::NotFound => newest_readable(&generations),
            Err(error) => {
                eprintln!("{} is set aside: {}", current.display(), aios_daemon::error_chain(&error));
                let aside = folder.join("settings.json.damaged");
                fs::rename(&current, &aside).map_err(disk("set aside", &current))?;
                newest_readable(&generations)
            }
        };
        Ok(Self { folder: folder.to_owned(), generation, settings })
    }

    /// The current settings.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The number of the current generation.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The settings of an earlier generation.
    pub(crate) fn earlier(&self, generation: u64) -> Result<Settings, HistoryError> {
        if generation == 0 {
            return Ok(Settings::default());
        }
        match read(&self.generation_file(generation)) {
            Ok((_, settings)) => Ok(settings),
            Err(ReadError::Open(error)) if error.kind() == io::ErrorKind::NotFound => {
                Err(HistoryError::NoSuchGeneration { generation, newest: self.generation })
            }
            Err(source) => Err(HistoryError::Damaged { generation, source }),
        }
    }

    /// Makes `settings` the next generation; after an error the current one is unchanged.
    pub(crate) fn advance(&mut self, settings: Settings) -> Result<u64, HistoryError> {
        let generation = self.generation + 1;
        let list = SettingsList { generation, values: migrate::down(settings.values()) };
        let mut bytes = serde_json::to_vec_pretty(&list).expect("settings have only text keys");
        bytes.push(b'\n');
        for path in [self.generation_file(generation), self.folder.join("settings.json")] {
            aios_store::replace(&path, &bytes, 0o600).map_err(|source| HistoryError::Keep { generation, source })?;
        }
        self.generation = generation;
        self.settings = settings;
        if let Some(old) = generation.checked_sub(KEPT) {
            // One that cannot be removed costs a few bytes; the change itself is done.
            let _ = fs::remove_file(self.generation_file(old));
        }
        Ok(generation)
    }

    fn generation_file(&self, generation: u64) -> PathBuf {
        self.folder.join("generations").join(format!("{generation}.json"))
    }
}

fn newest_readable(generations: &Path) -> (u64, Settings) {
    let entries = fs::read_dir(generations).into_iter().flatten().flatten();
    entries.filter_map(|entry| read(&entry.path()).ok()).max_by_key(|(generation, _)| *generation).unwrap_or_default()
}

fn read(path: &Path) -> Result<(u64, Settings), ReadError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(ReadError::Open)?;
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(ReadError::Open)?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(ReadError::TooLong);
    }
    let list: SettingsList = serde_json::from_slice(&bytes).map_err(ReadError::Json)?;
    let values = migrate::up(list.values).map_err(ReadError::Form)?;
    // A setting that only a newer release has is left out, so that going back to an older release keeps all the others.
    let known: BTreeMap<_, _> =
        values.into_iter().filter(|(key, _)| KEYS.iter().any(|(known, _)| known == key)).collect();
    Ok((list.generation, Settings::from_values(&known).map_err(ReadError::Value)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn named(name: &str) -> Settings {
        Settings::default().with("hostname", &json!(name)).expect("a good name")
    }

    fn names_in(folder: &Path) -> Vec<String> {
        let mut history = History::open(folder).expect("a history");
        let mut names = Vec::new();
        for generation in 0..=history.generation() {
            names.push(history.earlier(generation).expect("kept").hostname);
        }
        names.push(history.settings().hostname.clone());
        history.advance(named("still-works")).expect("writable");
        names
    }

    #[test]
    fn what_was_set_is_there_after_a_restart_with_its_past() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut history = History::open(folder.path()).expect("an empty history");
        assert_eq!((history.generation(), history.settings()), (0, &Settings::default()));
        assert_eq!(history.advance(named("one")).expect("kept"), 1);
        assert_eq!(history.advance(named("two")).expect("kept"), 2);
        assert_eq!(names_in(folder.path()), ["aios", "one", "two", "two"]);
    }

    #[test]
    fn a_damaged_file_is_set_aside_for_the_newest_readable_generation() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut history = History::open(folder.path()).expect("an empty history");
        history.advance(named("one")).expect("kept");
        history.advance(named("two")).expect("kept");
        fs::write(folder.path().join("settings.json"), b"{\"generation\": 2, ").expect("written");
        fs::write(folder.path().join("generations/2.json"), b"").expect("written");

        let history = History::open(folder.path()).expect("the history starts");
        assert_eq!((history.generation(), history.settings()), (1, &named("one")));
        assert!(folder.path().join("settings.json.damaged").exists());
    }

    #[test]
    fn a_crash_between_the_two_files_keeps_the_old_generation() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut history = History::open(folder.path()).expect("an empty history");
        history.advance(named("one")).expect("kept");
        let before = fs::read(folder.path().join("settings.json")).expect("there");
        history.advance(named("two")).expect("kept");
        fs::write(folder.path().join("settings.json"), before).expect("as before the crash");
        assert_eq!(History::open(folder.path()).expect("a history").settings(), &named("one"));
    }

    #[test]
    fn a_setting_of_a_newer_release_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = r#"{"generation": 9, "values": {"hostname": "kept", "display.theme": "dark"}}"#;
        fs::write(folder.path().join("settings.json"), text).expect("written");
        let history = History::open(folder.path()).expect("a history");
        assert_eq!((history.generation(), history.settings()), (9, &named("kept")));
    }

    #[test]
    fn the_first_release_finds_its_settings_and_this_one_finds_those_of_the_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("settings.json");
        let old = r#"{"generation": 3, "values": {"network.mode": "static", "network.address": "192.0.2.10/24",
            "network.gateway": "192.0.2.1", "network.dns": "192.0.2.53", "hostname": "kept"}}"#;
        fs::write(&file, old).expect("written");
        let mut history = History::open(folder.path()).expect("a history");
        let links = history.settings().get("network.links");
        assert_eq!(links, Ok(json!("first static 192.0.2.10/24 via 192.0.2.1; * off")));

        let moved =
            history.settings().with("network.links", &json!("first static 192.0.2.11/24; * off")).expect("a line");
        history.advance(moved.clone()).expect("kept");
        let written: SettingsList = serde_json::from_slice(&fs::read(&file).expect("there")).expect("JSON");
        assert_eq!(written.values["network.address"], "192.0.2.11/24");
        assert!(!written.values.contains_key("network.links"), "the first release knows every key of the file");
        assert_eq!(History::open(folder.path()).expect("a history").settings(), &moved);
    }

    #[test]
    fn a_generation_that_is_not_there_says_which_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let history = History::open(folder.path()).expect("an empty history");
        let error = history.earlier(7).expect_err("never was");
        assert!(error.to_string().contains("no generation 7"), "{error}");
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_set_aside(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let folder = tempfile::tempdir().expect("a folder");
            fs::write(folder.path().join("settings.json"), bytes).expect("written");
            let history = History::open(folder.path()).expect("it starts");
            prop_assert_eq!(history.settings(), &Settings::default());
        }
    }
}
