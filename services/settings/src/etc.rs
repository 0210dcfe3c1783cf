//! Rendering `/etc`: a file for each template, all from the same settings.
//!
//! The templates are part of the program, so a missing or broken one cannot reach a machine. `resolv.conf` is the one file
//! that is not rendered: name servers come with a lease, so it is a link to the file that `network` writes. `localtime` is a
//! file of the time zone database.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use aios_settings::Settings;
use aios_store::ReplaceError;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, context};

use crate::zone;

const TEMPLATES: [(&str, &str); 7] = [
    ("hostname", include_str!("../../../rootfs/templates/hostname")),
    ("hosts", include_str!("../../../rootfs/templates/hosts")),
    ("issue", include_str!("../../../rootfs/templates/issue")),
    ("motd", include_str!("../../../rootfs/templates/motd")),
    ("os-release", include_str!("../../../rootfs/templates/os-release")),
    ("timezone", include_str!("../../../rootfs/templates/timezone")),
    ("vconsole.conf", include_str!("../../../rootfs/templates/vconsole.conf")),
];

/// Where `network` writes the name servers.
const RESOLV: &str = "/run/aios-network/resolv.conf";

/// The folder that is rendered.
pub(crate) struct Etc {
    folder: PathBuf,
    version: String,
}

/// `/etc` does not follow the settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EtcError {
    #[error("cannot render {name}")]
    Render {
        name: &'static str,
        #[source]
        source: minijinja::Error,
    },
    #[error("cannot write {}", folder.display())]
    Write {
        folder: PathBuf,
        #[source]
        source: ReplaceError,
    },
    #[error("cannot link {} to {RESOLV}", path.display())]
    Link {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Etc {
    pub(crate) fn new(folder: &Path, version: &str) -> Self {
        Self { folder: folder.to_owned(), version: version.to_owned() }
    }

    /// Makes every file follow `settings`.
    pub(crate) fn follow(&self, settings: &Settings) -> Result<(), EtcError> {
        // Everything is rendered before anything is written.
        let rendered = render(settings, &self.version)?;
        for (name, content) in &rendered {
            self.write(name, content.as_bytes())?;
        }
        self.write("localtime", local_time(&settings.timezone))?;
        self.link_resolv()
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), EtcError> {
        let path = self.folder.join(name);
        // A file that did not change is not touched: its readers need not look again.
        if std::fs::read(&path).is_ok_and(|present| present == content) {
            return Ok(());
        }
        aios_store::replace(&path, content, 0o644)
            .map_err(|source| EtcError::Write { folder: self.folder.clone(), source })
    }

    fn link_resolv(&self) -> Result<(), EtcError> {
        let path = self.folder.join("resolv.conf");
        match symlink(RESOLV, &path) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => Err(EtcError::Link { path, source }),
            _ => Ok(()),
        }
    }
}

/// The zone's file. A zone is checked before it is set; one that an older release took, or that the database gave up, must
/// not keep the machine from starting.
fn local_time(name: &str) -> &'static [u8] {
    zone::file(name).unwrap_or_else(|| {
        eprintln!("the time zone database has no {name}; /etc/localtime is UTC");
        zone::file("UTC").expect("the database has UTC, as its test shows")
    })
}

fn render(settings: &Settings, version: &str) -> Result<Vec<(&'static str, String)>, EtcError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    TEMPLATES
        .into_iter()
        .map(|(name, template)| {
            let content = environment.render_named_str(name, template, context! { version, ..Serde(settings) });
            // Rendering takes the template's last line break away; a text file ends with one.
            content.map(|content| (name, content + "\n")).map_err(|source| EtcError::Render { name, source })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn rendered(settings: &Settings, name: &str) -> String {
        let files = render(settings, "1.2.3").expect("the templates are good");
        files.into_iter().find(|(file, _)| *file == name).expect("a known file").1
    }

    #[test]
    fn the_files_say_what_the_settings_say() {
        let settings = Settings::default().with("hostname", &json!("workshop")).expect("a good name");
        assert_eq!(rendered(&settings, "hostname"), "workshop\n");
        assert!(rendered(&settings, "hosts").contains("\n127.0.1.1 workshop\n"));
        assert!(rendered(&settings, "os-release").contains("\nVERSION_ID=1.2.3\n"));
        assert_eq!(rendered(&settings, "vconsole.conf"), "KEYMAP=us\n");
    }

    #[test]
    fn a_value_is_never_a_template() {
        let settings = Settings::default().with("motd", &json!("{{ hostname }} <b>&")).expect("plain text");
        assert_eq!(rendered(&settings, "motd"), "{{ hostname }} <b>&\n");
    }

    #[test]
    fn a_folder_follows_and_is_followed_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let etc = Etc::new(folder.path(), "1.2.3");
        let first = Settings::default();
        etc.follow(&first).expect("written");
        etc.follow(&first.with("motd", &json!("closed today")).expect("plain text")).expect("written again");
        assert_eq!(fs::read_to_string(folder.path().join("motd")).expect("there"), "closed today\n");
        assert_eq!(fs::read_to_string(folder.path().join("hostname")).expect("there"), "aios\n");
        assert_eq!(fs::read_link(folder.path().join("resolv.conf")).expect("a link"), Path::new(RESOLV));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), TEMPLATES.len() + 2);
        assert!(fs::read(folder.path().join("localtime")).expect("there").starts_with(b"TZif"));
    }

    #[test]
    fn an_unknown_zone_of_an_older_release_is_utc() {
        assert_eq!(local_time("Europe/Atlantis"), local_time("UTC"));
        assert_ne!(local_time("Europe/Berlin"), local_time("UTC"));
    }

    proptest! {
        #[test]
        fn any_accepted_host_name_stays_one_line(name in "\\PC{0,70}") {
            if let Ok(settings) = Settings::default().with("hostname", &json!(name)) {
                prop_assert_eq!(rendered(&settings, "hosts").lines().count(), 3);
            }
        }
    }
}
