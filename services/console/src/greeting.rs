//! What the settings have to say to a person: `/etc/issue` above the login, `/etc/motd` behind it.
//!
//! Both are rendered by another service, so either may be missing; a person is let in without.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

pub(crate) const ISSUE: &str = "/etc/issue";
pub(crate) const MOTD: &str = "/etc/motd";

/// The settings allow half of it.
const LIMIT: u64 = 32 << 10;
/// The login is there before the settings are.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);

/// The words in a file, without what a terminal would obey.
pub(crate) fn of(path: impl AsRef<Path>) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LIMIT).read_to_end(&mut bytes).ok()?;
    let text: String =
        String::from_utf8_lossy(&bytes).chars().filter(|letter| *letter == '\n' || !letter.is_control()).collect();
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The same, of a file that may be about to be written.
pub(crate) fn soon_of(path: impl AsRef<Path>) -> Option<String> {
    let mut waited = Duration::ZERO;
    while waited < PATIENCE && !path.as_ref().exists() {
        thread::sleep(PAUSE);
        waited += PAUSE;
    }
    of(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_shown_as_they_are_and_never_obeyed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("issue");
        assert_eq!(of(&path), None);
        std::fs::write(&path, "Workshop\u{1b}[2J\nauthorised only\n\n").expect("written");
        assert_eq!(of(&path).as_deref(), Some("Workshop[2J\nauthorised only"));
        assert_eq!(soon_of(&path), of(&path));
        std::fs::write(&path, "\n").expect("written");
        assert_eq!(of(&path), None);
    }
}
