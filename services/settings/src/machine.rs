//! The settings in force: on disk and in `/etc`, both or neither.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aios_settings::keyboard::{Layout, NoLayout};
use aios_settings::{SettingError, Settings};
use aios_wire::settings::{SettingChanged, SettingsList, SettingsRolledBack};
use serde_json::Value;
use tokio::sync::watch;

use crate::etc::{Etc, EtcError};
use crate::history::{History, HistoryError};
use crate::zone;

/// Who lays the keyboard out. A layout that this release does not have is said there.
pub(crate) type Keyboard = Box<dyn Fn(&str) + Send + Sync>;

/// One machine's settings, shared by all connections.
pub(crate) struct Machine {
    history: Mutex<History>,
    etc: Etc,
    keyboard: Keyboard,
    generation: watch::Sender<u64>,
}

/// A change was refused or failed; the old settings are in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error(transparent)]
    Refused(#[from] SettingError),
    #[error("the value is not JSON: write a string as \"text\" with its quotation marks")]
    NotJson(#[source] serde_json::Error),
    #[error("timezone cannot be \"{name}\": the time zone database does not have it{}", meant(near))]
    NoSuchZone { name: String, near: Vec<&'static str> },
    #[error("keyboard cannot be \"{name}\"")]
    NoSuchLayout {
        name: String,
        #[source]
        source: NoLayout,
    },
    #[error("the settings are unchanged")]
    Etc(#[from] EtcError),
    #[error("the settings are unchanged")]
    History(#[from] HistoryError),
}

fn meant(near: &[&str]) -> String {
    if near.is_empty() { "; names are such as Europe/Berlin".into() } else { format!("; it has {}", near.join(", ")) }
}

impl Machine {
    /// Puts the settings on disk in force.
    pub(crate) fn start(history: History, etc: Etc, keyboard: Keyboard) -> Result<Self, EtcError> {
        etc.follow(history.settings())?;
        keyboard(&history.settings().keyboard);
        let (generation, _) = watch::channel(history.generation());
        Ok(Self { history: Mutex::new(history), etc, keyboard, generation })
    }

    /// The settings in a sentence.
    pub(crate) fn summary(&self) -> String {
        let history = self.lock();
        format!("{}, generation {}", history.settings().hostname, history.generation())
    }

    /// One value.
    pub(crate) fn get(&self, key: &str) -> Result<Value, SettingError> {
        self.lock().settings().get(key)
    }

    /// Every value, with its generation.
    pub(crate) fn list(&self) -> SettingsList {
        let history = self.lock();
        SettingsList { generation: history.generation(), values: history.settings().values() }
    }

    /// Every value, as soon as the generation is not `generation`.
    pub(crate) async fn list_after(&self, generation: u64) -> SettingsList {
        // The sender lives as long as `self`, so waiting ends only with a change.
        let _ = self.generation.subscribe().wait_for(|current| *current != generation).await;
        self.list()
    }

    /// Changes one value. Setting what is set already changes nothing, so that a repeated action is harmless.
    pub(crate) fn set(&self, key: &str, value: &str) -> Result<SettingChanged, ChangeError> {
        let new: Value = serde_json::from_str(value).map_err(ChangeError::NotJson)?;
        let mut history = self.lock();
        let old = history.settings().get(key)?;
        let changed = history.settings().with(key, &new)?;
        if zone::file(&changed.timezone).is_none() && key == "timezone" {
            return Err(ChangeError::NoSuchZone { near: zone::like(&changed.timezone), name: changed.timezone });
        }
        if key == "keyboard"
            && let Err(source) = changed.keyboard.parse::<Layout>()
        {
            return Err(ChangeError::NoSuchLayout { name: changed.keyboard, source });
        }
        let generation = self.put_in_force(&mut history, changed)?;
        Ok(SettingChanged { key: key.to_owned(), old, new, generation })
    }

    /// The values of an earlier generation.
    pub(crate) fn earlier(&self, generation: u64) -> Result<BTreeMap<String, Value>, ChangeError> {
        Ok(self.lock().earlier(generation)?.values())
    }

    /// Takes the values of an earlier generation again, as a new one.
    pub(crate) fn roll_back(&self, from: u64) -> Result<SettingsRolledBack, ChangeError> {
        let mut history = self.lock();
        let earlier = history.earlier(from)?;
        let changed = history.settings().differences(&earlier);
        let generation = self.put_in_force(&mut history, earlier)?;
        Ok(SettingsRolledBack { from, generation, changed })
    }

    /// `/etc` goes first: it is in memory and can be put back, so an error leaves both as they were.
    fn put_in_force(&self, history: &mut History, settings: Settings) -> Result<u64, ChangeError> {
        if *history.settings() == settings {
            return Ok(history.generation());
        }
        let etc = self.etc.follow(&settings).map_err(ChangeError::from);
        let layout = history.settings().keyboard.clone();
        let kept = etc.and_then(|()| Ok(history.advance(settings)?));
        match kept {
            Ok(generation) => {
                // Last: it is no file, so nothing of a change that failed is left in it.
                if history.settings().keyboard != layout {
                    (self.keyboard)(&history.settings().keyboard);
                }
                self.generation.send_replace(generation);
                let _ = aios_daemon::status(&format!("{}, generation {generation}", history.settings().hostname));
                Ok(generation)
            }
            Err(error) => {
                if let Err(again) = self.etc.follow(history.settings()) {
                    eprintln!("/etc may be ahead of the settings: {}", aios_daemon::error_chain(&again));
                }
                Err(error)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        // A history changes in one step at the end of `advance`, so one that a panic left behind is still whole.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;

    fn machine(folder: &Path) -> Machine {
        machine_with(folder, Box::new(|_| {}))
    }

    fn machine_with(folder: &Path, keyboard: Keyboard) -> Machine {
        for name in ["etc", "state"] {
            fs::create_dir_all(folder.join(name)).expect("a folder");
        }
        let history = History::open(&folder.join("state")).expect("a history");
        Machine::start(history, Etc::new(&folder.join("etc"), "1"), keyboard).expect("it starts")
    }

    #[test]
    fn the_keyboard_is_laid_out_at_the_start_and_by_a_change_that_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let laid_out = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&laid_out);
        let keyboard = Box::new(move |layout: &str| told.lock().expect("no panic").push(layout.to_owned()));
        let machine = machine_with(folder.path(), keyboard);
        let error = machine.set("keyboard", "\"xx\"").expect_err("no such layout");
        assert!(aios_daemon::error_chain(&error).contains("it has us, gb, de"), "{error}");
        machine.set("keyboard", "\"de\"").expect("a layout");
        machine.set("hostname", "\"workshop\"").expect("a name");
        fs::remove_dir_all(folder.path().join("state/generations")).expect("the disk is in the way");
        machine.set("keyboard", "\"fr\"").expect_err("it cannot be kept");
        assert_eq!(*laid_out.lock().expect("no panic"), ["us", "de"]);
    }

    #[test]
    fn a_change_reaches_etc_and_survives_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let changed = machine(folder.path()).set("hostname", "\"workshop\"").expect("a good name");
        assert_eq!((changed.old, changed.generation), (Value::from("aios"), 1));
        fs::remove_file(folder.path().join("etc/hostname")).expect("memory forgets");
        let machine = machine(folder.path());
        assert_eq!(fs::read_to_string(folder.path().join("etc/hostname")).expect("rendered"), "workshop\n");

        assert_eq!(machine.earlier(1).expect("kept")["hostname"], "workshop");
        assert_eq!(machine.earlier(0).expect("the defaults")["hostname"], "aios");
        machine.earlier(9).expect_err("not there yet");
        let back = machine.roll_back(0).expect("the defaults");
        assert_eq!((back.generation, back.changed), (2, vec!["hostname".to_owned()]));
        assert_eq!(fs::read_to_string(folder.path().join("etc/hostname")).expect("rendered"), "aios\n");
    }

    #[test]
    fn a_refused_change_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let machine = machine(folder.path());
        for (key, value) in [("hostname", "workshop"), ("hostname", "\"a b\""), ("colour", "\"red\""), ("hostname", "")]
        {
            machine.set(key, value).expect_err(value);
        }
        assert_eq!(machine.list().generation, 0);
        assert_eq!(fs::read_to_string(folder.path().join("etc/hostname")).expect("rendered"), "aios\n");
    }

    #[test]
    fn a_zone_that_is_not_there_is_refused_with_those_that_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let machine = machine(folder.path());
        let error = machine.set("timezone", "\"Asia/Berlin\"").expect_err("no such zone");
        assert!(error.to_string().ends_with("it has Europe/Berlin"), "{error}");
        machine.set("timezone", "\"Europe/Berlin\"").expect("a zone");
        let file = fs::read(folder.path().join("etc/localtime")).expect("written");
        assert_eq!(Some(&file[..]), zone::file("Europe/Berlin"));
    }

    #[test]
    fn a_full_disk_leaves_etc_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let machine = machine(folder.path());
        fs::remove_dir(folder.path().join("state/generations")).expect("the disk is in the way");
        let error = machine.set("hostname", "\"workshop\"").expect_err("it cannot be kept");
        assert_eq!(error.to_string(), "the settings are unchanged");
        assert_eq!(machine.get("hostname"), Ok(Value::from("aios")));
        assert_eq!(fs::read_to_string(folder.path().join("etc/hostname")).expect("rendered"), "aios\n");
    }

    #[tokio::test]
    async fn a_watcher_hears_of_a_change_and_of_one_it_missed() {
        let folder = tempfile::tempdir().expect("a folder");
        let machine = machine(folder.path());
        let (heard, _) = tokio::join!(machine.list_after(0), async { machine.set("hostname", "\"workshop\"") });
        assert_eq!(heard.generation, 1);
        assert_eq!(machine.list_after(0).await.values["hostname"], "workshop");
    }
}
