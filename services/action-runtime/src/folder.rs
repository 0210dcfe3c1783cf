//! Files below a granted folder, reached only through its descriptor.
//!
//! Every path is resolved by the kernel below the folder with no symbolic link, no other file system and no way up
//! (`openat2`), so nothing that others put into the folder leads out of it. A file is replaced whole: readers see the old
//! content or the new, and a hard link to something else is left behind instead of being written through. Where an action
//! was decided for one content, no other is replaced, removed or renamed ([`decided`]).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use aios_action::Target;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

mod decided;

use decided::Found;

/// A larger file is not kept for undoing.
pub const KEPT: u64 = 1 << 20;

const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// A file of the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The path is not one that stays below the folder.
    #[error("'{path}' is not a plain path below the granted folder; use names joined by '/', without '.' and '..'")]
    Path {
        /// The path.
        path: String,
    },
    /// Something other than a file has the name.
    #[error("'{path}' is not a file; nothing was written")]
    Kind {
        /// The path.
        path: String,
    },
    /// Nothing has the name.
    #[error("there is no file '{path}' in the granted folder")]
    Missing {
        /// The path.
        path: String,
    },
    /// Something has the new name already.
    #[error("'{path}' is there already; delete it first or take another name")]
    Taken {
        /// The path.
        path: String,
    },
    /// It is another file than the one that was decided about.
    #[error("'{path}' was changed since this was decided; look at it and submit the action again")]
    Changed {
        /// The path.
        path: String,
    },
    /// It is too large to be kept.
    #[error("'{path}' is larger than {KEPT} bytes; its content could not be restored")]
    Large {
        /// The path.
        path: String,
    },
    /// The kernel refused a step.
    #[error("cannot {step} '{path}' in the granted folder")]
    Step {
        /// What was done.
        step: &'static str,
        /// The path.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The content of the file, or nothing when it is not there.
pub fn read(folder: impl AsFd, path: &str) -> Result<Option<Vec<u8>>, FolderError> {
    split(path)?;
    let step = |step| at(step, path);
    // Not blocking: a pipe planted under the name must not hold the caller.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::openat2(folder, path, flags, Mode::empty(), BENEATH) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(step("open")(error.into())),
    };
    if !file.metadata().map_err(step("look at"))?.is_file() {
        return Err(FolderError::Kind { path: path.to_owned() });
    }
    let mut content = Vec::new();
    file.take(KEPT + 1).read_to_end(&mut content).map_err(step("read"))?;
    if content.len() as u64 > KEPT { Err(FolderError::Large { path: path.to_owned() }) } else { Ok(Some(content)) }
}

/// Makes `content` the file's content, whole or not at all; folders on the way are made. `mark` names the file that the
/// content is prepared in.
pub fn write(
    folder: impl AsFd,
    path: &str,
    content: &[u8],
    mark: &str,
    decided: Option<Target>,
) -> Result<(), FolderError> {
    let (folders, name) = split(path)?;
    let step = |step| at(step, path);
    let parent = make_folders(folder, &folders).map_err(step("make the folders of"))?;
    is_file(&parent, name, path)?;
    let prepared = format!(".{mark}.new");
    // A name that nobody can have taken: what was cut off leaves its own behind, and others write in the folder too.
    let prepared = unguessable(&prepared).map_err(step("prepare"))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&parent, &prepared, flags, Mode::from_raw_mode(0o660))
        .map_err(|error| step("prepare")(error.into()))?;
    let mut file = File::from(file);
    if let Err(error) = file.write_all(content).and_then(|()| file.sync_all()) {
        let _ = rustix::fs::unlinkat(&parent, &prepared, AtFlags::empty());
        return Err(step("write")(error));
    }
    let found = decided::replace(&parent, &prepared, name, decided).map_err(step("write"))?;
    // Until the folder is on the disk, a power cut may bring the old file back; never a half one.
    rustix::fs::fsync(&parent).map_err(|error| step("write")(error.into()))?;
    as_decided(found, path)
}

/// Removes the file; one that is not there is fine, unless one was decided about.
pub fn remove(folder: impl AsFd, path: &str, decided: Option<Target>) -> Result<(), FolderError> {
    let (folders, name) = split(path)?;
    let step = |step| at(step, path);
    let parent = match open_folders(folder, &folders) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        parent => parent.map_err(step("open the folder of"))?,
    };
    is_file(&parent, name, path)?;
    let found = match decided {
        Some(Target::Sha256(digest)) => {
            let aside = unguessable(".removed").map_err(step("remove"))?;
            decided::remove(&parent, name, &aside, &digest).map_err(step("remove"))?
        }
        Some(Target::Absent | Target::Unreadable) => Found::Changed,
        None => match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Found::AsDecided,
            Err(error) => return Err(step("remove")(error.into())),
        },
    };
    rustix::fs::fsync(&parent).map_err(|error| step("remove")(error.into()))?;
    as_decided(found, path)
}

/// Gives the file another name, which must be free; folders on the way are made. What a link leads to stays where it is.
pub fn rename(folder: impl AsFd, from: &str, to: &str, decided: Option<Target>) -> Result<(), FolderError> {
    let ((from_folders, old_name), (to_folders, new_name)) = (split(from)?, split(to)?);
    let missing = || FolderError::Missing { path: from.to_owned() };
    let old = match open_folders(&folder, &from_folders) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
        old => old.map_err(at("open the folder of", from))?,
    };
    if !is_file(&old, old_name, from)? {
        return Err(missing());
    }
    let new = make_folders(&folder, &to_folders).map_err(at("make the folders of", to))?;
    match rustix::fs::renameat_with(&old, old_name, &new, new_name, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Err(FolderError::Taken { path: to.to_owned() }),
        Err(error) => return Err(at("rename", from)(error.into())),
    }
    let found = match decided {
        Some(Target::Sha256(digest)) if !decided::has_content(&new, new_name, &digest).map_err(at("read", to))? => {
            rustix::fs::renameat_with(&new, new_name, &old, old_name, RenameFlags::NOREPLACE)
                .map_err(|error| at("give its old name back to", to)(error.into()))?;
            Found::Changed
        }
        _ => Found::AsDecided,
    };
    // The new name first: a power cut may leave both names or the new one, never none.
    for (parent, path) in [(&new, to), (&old, from)] {
        rustix::fs::fsync(parent).map_err(|error| at("keep the name of", path)(error.into()))?;
    }
    as_decided(found, from)
}

fn as_decided(found: Found, path: &str) -> Result<(), FolderError> {
    match found {
        Found::AsDecided => Ok(()),
        Found::Changed => Err(FolderError::Changed { path: path.to_owned() }),
    }
}

fn unguessable(name: &str) -> io::Result<String> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{name}-{:016x}", u64::from_ne_bytes(random)))
}

fn at(step: &'static str, path: &str) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Step { step, path, source }
}

/// The names of the folders on the way, and the file's.
fn split(path: &str) -> Result<(Vec<&str>, &str), FolderError> {
    let names: Option<Vec<&str>> = Path::new(path)
        .components()
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    // `components` forgives doubled and trailing slashes and single dots; a path from outside has one form.
    match names {
        Some(mut names) if names.join("/") == path && !path.contains('\0') => match names.pop() {
            Some(name) => Ok((names, name)),
            None => Err(FolderError::Path { path: path.to_owned() }),
        },
        _ => Err(FolderError::Path { path: path.escape_default().take(80).collect() }),
    }
}

fn open_folders(folder: impl AsFd, folders: &[&str]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let path = if folders.is_empty() { ".".to_owned() } else { folders.join("/") };
    Ok(rustix::fs::openat2(folder, path, flags, Mode::empty(), BENEATH)?)
}

fn make_folders(folder: impl AsFd, folders: &[&str]) -> io::Result<OwnedFd> {
    let mut parent = open_folders(folder, &[])?;
    for name in folders {
        match rustix::fs::mkdirat(&parent, *name, Mode::from_raw_mode(0o770)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        parent = open_folders(&parent, &[name])?;
    }
    Ok(parent)
}

/// Whether there is a file. Only a file, or nothing, may be replaced, removed or renamed.
fn is_file(parent: &OwnedFd, name: &str, path: &str) -> Result<bool, FolderError> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(at("look at", path)(error.into())),
        Ok(status) if FileType::from_raw_mode(status.st_mode) == FileType::RegularFile => Ok(true),
        Ok(_) => Err(FolderError::Kind { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    /// A granted folder, and beside it a file that nobody granted.
    struct Fixture {
        place: tempfile::TempDir,
        folder: File,
    }

    fn fixture() -> Fixture {
        let place = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(place.path().join("granted")).expect("a folder");
        std::fs::write(place.path().join("secret"), "secret").expect("a file");
        let folder = File::open(place.path().join("granted")).expect("a folder");
        Fixture { place, folder }
    }

    impl Fixture {
        fn inside(&self, path: &str) -> std::path::PathBuf {
            self.place.path().join("granted").join(path)
        }

        fn secret(&self) -> String {
            std::fs::read_to_string(self.place.path().join("secret")).expect("still there")
        }
    }

    #[test]
    fn a_file_is_written_read_replaced_and_removed() {
        let f = fixture();
        assert_eq!(read(&f.folder, "a/b.txt").expect("readable"), None);
        write(&f.folder, "a/b.txt", b"one", "act", None).expect("written");
        write(&f.folder, "a/b.txt", b"two", "act", None).expect("replaced");
        assert_eq!(read(&f.folder, "a/b.txt").expect("readable"), Some(b"two".to_vec()));
        assert_eq!(std::fs::read_dir(f.inside("a")).expect("a folder").count(), 1, "nothing is left beside it");
        remove(&f.folder, "a/b.txt", None).expect("removed");
        remove(&f.folder, "a/b.txt", None).expect("gone is fine");
        remove(&f.folder, "x/y", None).expect("never there is fine");
        assert_eq!(read(&f.folder, "a/b.txt").expect("readable"), None);
    }

    #[test]
    fn a_link_leads_nowhere() {
        let f = fixture();
        symlink("../secret", f.inside("file")).expect("a link");
        symlink("..", f.inside("up")).expect("a link");
        symlink(f.place.path(), f.inside("absolute")).expect("a link");
        for path in ["file", "up/secret", "absolute/secret", "up/granted/new", "absolute/new"] {
            assert!(read(&f.folder, path).is_err(), "{path} was read");
            assert!(write(&f.folder, path, b"gone", "act", None).is_err(), "{path} was written");
            assert!(remove(&f.folder, path, None).is_err(), "{path} was removed");
            assert!(rename(&f.folder, path, "away", None).is_err(), "{path} was renamed");
        }
        assert_eq!(f.secret(), "secret");
        assert!(!f.place.path().join("new").exists());
    }

    #[test]
    fn a_hard_link_is_left_behind_and_other_kinds_are_refused() {
        let f = fixture();
        std::fs::hard_link(f.place.path().join("secret"), f.inside("twin")).expect("a link");
        write(&f.folder, "twin", b"new", "act", None).expect("written");
        assert_eq!(f.secret(), "secret");
        std::fs::create_dir(f.inside("folder")).expect("a folder");
        rustix::fs::mkfifoat(&f.folder, "pipe", Mode::from_raw_mode(0o600)).expect("a pipe");
        for path in ["folder", "pipe"] {
            assert!(matches!(write(&f.folder, path, b"x", "act", None), Err(FolderError::Kind { .. })), "{path}");
            assert!(matches!(read(&f.folder, path), Err(FolderError::Kind { .. })), "{path}");
        }
    }

    #[test]
    fn a_file_is_renamed_and_nothing_is_lost_by_it() {
        let f = fixture();
        write(&f.folder, "a/b.txt", b"one", "act", None).expect("written");
        rename(&f.folder, "a/b.txt", "c/d.txt", None).expect("renamed");
        assert_eq!(read(&f.folder, "c/d.txt").expect("readable"), Some(b"one".to_vec()));
        assert!(matches!(rename(&f.folder, "a/b.txt", "e", None), Err(FolderError::Missing { .. })));
        assert!(matches!(rename(&f.folder, "no/b.txt", "e", None), Err(FolderError::Missing { .. })));
        write(&f.folder, "taken", b"two", "act", None).expect("written");
        assert!(matches!(rename(&f.folder, "c/d.txt", "taken", None), Err(FolderError::Taken { .. })));
        assert!(matches!(rename(&f.folder, "c", "e", None), Err(FolderError::Kind { .. })));
        symlink("../secret", f.inside("link")).expect("a link");
        assert!(matches!(rename(&f.folder, "taken", "link", None), Err(FolderError::Taken { .. })));
        assert!(rename(&f.folder, "taken", "../taken", None).is_err());
        assert_eq!((f.secret(), read(&f.folder, "taken").expect("there")), ("secret".into(), Some(b"two".to_vec())));
    }

    /// Rounds of a race. The long run asks for more.
    fn rounds() -> u32 {
        std::env::var("AIOS_RACES").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1000)
    }

    fn content(text: &str) -> Option<Target> {
        Some(Target::Sha256(aios_ids::Digest::of(text.as_bytes())))
    }

    #[test]
    fn only_what_was_decided_about_is_replaced_removed_and_renamed() {
        let f = fixture();
        let text = |path: &str| std::fs::read_to_string(f.inside(path)).expect("there");
        let changed = |result| matches!(result, Err(FolderError::Changed { .. }));
        write(&f.folder, "a", b"one", "act", Some(Target::Absent)).expect("there was none");
        assert!(changed(write(&f.folder, "a", b"two", "act", Some(Target::Absent))));
        assert!(changed(write(&f.folder, "a", b"two", "act", content("other"))));
        assert!(changed(write(&f.folder, "a", b"two", "act", Some(Target::Unreadable))));
        assert!(changed(write(&f.folder, "b", b"two", "act", content("one"))));
        assert!(changed(remove(&f.folder, "a", content("other"))));
        assert!(changed(remove(&f.folder, "a", Some(Target::Absent))));
        assert!(changed(rename(&f.folder, "a", "c", content("other"))));
        assert_eq!(text("a"), "one");
        write(&f.folder, "a", b"two", "act", content("one")).expect("as decided");
        rename(&f.folder, "a", "c", content("two")).expect("as decided");
        assert_eq!(text("c"), "two");
        remove(&f.folder, "c", content("two")).expect("as decided");
        assert_eq!(std::fs::read_dir(f.inside("")).expect("a folder").count(), 0, "nothing is left beside it");
    }

    #[test]
    fn what_others_write_while_an_action_replaces_or_removes_the_file_is_never_lost() {
        let f = fixture();
        let put = |text: &str| {
            std::fs::write(f.place.path().join("next"), text).expect("ours");
            std::fs::rename(f.place.path().join("next"), f.inside("a")).expect("ours");
        };
        put("begin");
        for round in 0..rounds() {
            let last = format!("theirs-{round}");
            let acted = std::thread::scope(|scope| {
                let action = scope.spawn(|| match round % 2 {
                    0 => write(&f.folder, "a", b"ours", "act", content("decided")),
                    _ => remove(&f.folder, "a", content("decided")),
                });
                put("decided");
                put(&last);
                action.join().expect("it ends")
            });
            assert!(matches!(acted, Ok(()) | Err(FolderError::Changed { .. })), "{acted:?}");
            assert_eq!(std::fs::read_to_string(f.inside("a")).expect("there"), last, "round {round}: {acted:?}");
            assert_eq!(std::fs::read_dir(f.inside("")).expect("a folder").count(), 1, "round {round}");
        }
    }

    #[test]
    fn a_folder_swapped_for_a_link_at_any_time_never_leads_out() {
        let f = fixture();
        std::fs::create_dir(f.inside("real")).expect("a folder");
        symlink("..", f.inside("link")).expect("a link");
        let swapping = std::sync::atomic::AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while swapping.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = rustix::fs::renameat_with(
                        &f.folder,
                        "real",
                        &f.folder,
                        "link",
                        rustix::fs::RenameFlags::EXCHANGE,
                    );
                }
            });
            for round in 0..rounds() {
                let _ = write(&f.folder, "real/secret", b"gone", "act", None);
                if let Ok(Some(content)) = read(&f.folder, "real/secret") {
                    assert_eq!(content, b"gone", "round {round} read what is outside");
                }
                let _ = rename(&f.folder, "real/secret", "away", None);
                let _ = rename(&f.folder, "away", "real/secret", None);
                let _ = remove(&f.folder, "real/secret", None);
                let _ = remove(&f.folder, "away", None);
            }
            swapping.store(false, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(f.secret(), "secret");
    }

    proptest! {
        #[test]
        fn no_path_leads_out(path in "([a./\\\\\u{0}]|\\.\\.){0,12}") {
            let f = fixture();
            let _ = write(&f.folder, &path, b"x", "act", None);
            prop_assert_eq!(f.secret(), "secret");
            prop_assert_eq!(std::fs::read_dir(f.place.path()).expect("a folder").count(), 2);
        }
    }
}
