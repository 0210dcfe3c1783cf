//! The log on the disk: lines are appended to the newest part of the running boot, older parts go when there are too many.
//!
//! Room for a whole part is reserved when it is begun. So a disk that others have filled does not keep lines from it, and
//! the next part takes the room of the oldest.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aios_wire::logs::{Kept, Line, Priority};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

use crate::files::{self, Content, Head, PART, Place};

/// More than a part is never read from a file.
const FILE_LIMIT: u64 = 2 * PART;

/// A step on the log's folder failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {}", path.display())]
pub(crate) struct BookError {
    step: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn failed<'a>(step: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> BookError + use<'a> {
    move |source| BookError { step, path: path.to_owned(), source }
}

/// A line that is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) number: Option<u64>,
    pub(crate) nth: u64,
    pub(crate) at_ms: u64,
    pub(crate) unit: String,
    pub(crate) priority: Priority,
    pub(crate) text: String,
}

impl From<Line> for Draft {
    fn from(line: Line) -> Self {
        let Line { number, nth, at_ms, unit, priority, text } = line;
        Self { number: Some(number), nth, at_ms, unit, priority, text }
    }
}

/// The clocks at one moment, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clocks {
    /// Since the kernel started.
    pub(crate) up_ms: u64,
    /// Since 1970.
    pub(crate) wall_ms: u64,
}

/// The log's folder, open for appending.
#[derive(Debug)]
pub(crate) struct Book {
    folder: PathBuf,
    boot_id: String,
    boot: u64,
    file: File,
    place: Place,
    length: u64,
    /// The index of the newest line of this boot.
    index: u64,
    /// The newest line that PID 1 had and this log has.
    number: u64,
    /// The newest line of each unit.
    nth: BTreeMap<String, u64>,
    /// Whether there are lines that a loss of power would take.
    synced: Synced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Synced {
    Yes,
    No,
}

impl Book {
    /// Opens the folder for the boot `boot_id`, where it left off if it has lines of it.
    pub(crate) fn open(folder: &Path, boot_id: &str) -> Result<Self, BookError> {
        let places = places(folder)?;
        let newest = places.last().copied();
        let same = match newest {
            Some(newest) => read_part(folder, newest)?.boot_id.as_deref() == Some(boot_id),
            None => false,
        };
        let boot = newest.map_or(1, |newest| if same { newest.boot } else { newest.boot + 1 });
        let (mut index, mut number, mut nth) = (0, 0, BTreeMap::new());
        for place in places.iter().filter(|place| place.boot == boot) {
            for line in read_part(folder, *place)?.lines {
                index = index.max(line.index);
                number = number.max(line.number.unwrap_or(0));
                nth.insert(line.unit, line.nth);
            }
        }
        let part = places.iter().filter(|place| place.boot == boot).map(|place| place.part).max().unwrap_or(0) + 1;
        let place = Place { boot, part };
        let (file, length) = begin(folder, place, boot_id, &places)?;
        let (folder, boot_id) = (folder.to_owned(), boot_id.to_owned());
        Ok(Self { folder, boot_id, boot, file, place, length, index, number, nth, synced: Synced::No })
    }

    /// The number of PID 1's newest line that is here.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The index of the newest line.
    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    /// Appends lines; a jump in a unit's count becomes a line of its own. After an error none of the rest is there.
    pub(crate) fn append(&mut self, drafts: impl IntoIterator<Item = Draft>, clocks: Clocks) -> Result<(), BookError> {
        for draft in drafts {
            let before = self.nth.get(&draft.unit).copied().unwrap_or(0);
            if draft.nth <= before {
                // It came before an error; it is offered again with those that did not.
                continue;
            }
            let lost = draft.nth.saturating_sub(before + 1);
            if lost > 0 {
                let text = format!("{lost} lines are lost: they came faster than they were kept");
                let gap =
                    Draft { text, priority: Priority::Warning, number: None, nth: draft.nth - 1, ..draft.clone() };
                self.write(gap, lost, clocks)?;
            }
            self.write(draft, 0, clocks)?;
        }
        Ok(())
    }

    fn write(&mut self, draft: Draft, lost: u64, clocks: Clocks) -> Result<(), BookError> {
        let Draft { number, nth, at_ms, unit, priority, text } = draft;
        let wall_ms = clocks.wall_ms.saturating_sub(clocks.up_ms.saturating_sub(at_ms));
        let kept = Kept { index: self.index + 1, number, nth, at_ms, wall_ms, unit, priority, text, lost };
        let bytes = files::line(&kept);
        if self.length + bytes.len() as u64 > PART {
            self.turn_over()?;
        }
        let path = self.folder.join(self.place.name());
        // At a place, not at the end: half a line that did not fit is written over.
        self.file.write_all_at(&bytes, self.length).map_err(failed("write to", &path))?;
        self.synced = Synced::No;
        self.length += bytes.len() as u64;
        self.index = kept.index;
        self.number = self.number.max(kept.number.unwrap_or(0));
        self.nth.insert(kept.unit, kept.nth);
        Ok(())
    }

    fn turn_over(&mut self) -> Result<(), BookError> {
        self.sync()?;
        // What was reserved and not used goes back.
        let path = self.folder.join(self.place.name());
        self.file.set_len(self.length).map_err(failed("cut", &path))?;
        let place = Place { boot: self.boot, part: self.place.part + 1 };
        let places = places(&self.folder)?;
        (self.file, self.length) = begin(&self.folder, place, &self.boot_id, &places)?;
        self.place = place;
        Ok(())
    }

    /// Makes what was appended safe against a loss of power.
    pub(crate) fn sync(&mut self) -> Result<(), BookError> {
        if self.synced == Synced::No {
            self.file.sync_data().map_err(failed("make durable", &self.folder.join(self.place.name())))?;
            self.synced = Synced::Yes;
        }
        Ok(())
    }

    /// Whether a loss of power would take lines.
    pub(crate) fn is_dirty(&self) -> bool {
        self.synced == Synced::No
    }
}

/// The files of the log, oldest first.
pub(crate) fn places(folder: &Path) -> Result<Vec<Place>, BookError> {
    let mut places = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed("list", folder))? {
        let entry = entry.map_err(failed("list", folder))?;
        places.extend(entry.file_name().to_str().and_then(Place::of));
    }
    places.sort_unstable();
    Ok(places)
}

/// What one file holds. One that has gone holds nothing.
pub(crate) fn read_part(folder: &Path, place: Place) -> Result<Content, BookError> {
    let path = folder.join(place.name());
    let mut bytes = Vec::new();
    match File::open(&path).and_then(|file| file.take(FILE_LIMIT).read_to_end(&mut bytes)) {
        Ok(_) => Ok(files::read(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Content::default()),
        Err(error) => Err(failed("read", &path)(error)),
    }
}

/// Makes room and begins a part; gives its file and how long it is.
fn begin(folder: &Path, place: Place, boot_id: &str, places: &[Place]) -> Result<(File, u64), BookError> {
    let space = statvfs(folder).map_err(|error| failed("ask for the room in", folder)(error.into()))?;
    let allowed = files::parts_allowed(space.f_blocks.saturating_mul(space.f_frsize));
    let gone = files::to_remove(places, place.boot, allowed);
    let mut places: Vec<Place> = places.iter().filter(|place| !gone.contains(place)).copied().collect();
    for old in gone {
        remove(&folder.join(old.name()))?;
    }
    let path = folder.join(place.name());
    let mut file = OpenOptions::new();
    let file = file.write(true).create(true).truncate(true).mode(0o600);
    let mut file = file.open(&path).map_err(failed("make", &path))?;
    // Where the file system reserves nothing, lines are written as long as there is room.
    while fallocate(&file, FallocateFlags::KEEP_SIZE, 0, PART) == Err(Errno::NOSPC) {
        let Some(old) = files::least_wanted(&places, place.boot) else { break };
        remove(&folder.join(old.name()))?;
        places.retain(|place| *place != old);
    }
    let head = files::line(&Head { boot_id: boot_id.to_owned() });
    file.write_all(&head).map_err(failed("write to", &path))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("make durable", folder))?;
    Ok((file, head.len() as u64))
}

fn remove(path: &Path) -> Result<(), BookError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCKS: Clocks = Clocks { up_ms: 5_000, wall_ms: 1_795_257_005_000 };

    fn draft(number: u64, unit: &str, nth: u64, text: &str) -> Draft {
        let (unit, text) = (unit.to_owned(), text.to_owned());
        Draft { number: Some(number), nth, at_ms: 4_000, unit, priority: Priority::Info, text }
    }

    fn texts(folder: &Path, boot: u64) -> Vec<String> {
        let places = places(folder).expect("listed").into_iter().filter(|place| place.boot == boot);
        let contents = places.map(|place| read_part(folder, place).expect("read"));
        contents.flat_map(|content| content.lines).map(|line| line.text).collect()
    }

    #[test]
    fn a_restart_goes_on_and_another_boot_begins_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut book = Book::open(folder.path(), "one").expect("opened");
        book.append([draft(1, "a", 1, "first"), draft(4, "a", 2, "second")], CLOCKS).expect("kept");
        drop(book);
        let mut book = Book::open(folder.path(), "one").expect("opened again");
        assert_eq!((book.number(), book.index()), (4, 2));
        book.append([draft(4, "a", 2, "second")], CLOCKS).expect("known");
        book.append([draft(9, "a", 5, "fifth")], CLOCKS).expect("kept");
        assert_eq!(
            texts(folder.path(), 1),
            ["first", "second", "2 lines are lost: they came faster than they were kept", "fifth"]
        );
        let book = Book::open(folder.path(), "two").expect("opened");
        assert_eq!((book.number(), book.index(), book.boot), (0, 0, 2));
        assert_eq!(texts(folder.path(), 1).len(), 4);
    }

    #[test]
    fn a_line_has_the_time_when_it_was_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut book = Book::open(folder.path(), "one").expect("opened");
        book.append([draft(1, "a", 1, "x")], CLOCKS).expect("kept");
        let line = &read_part(folder.path(), book.place).expect("read").lines[0];
        assert_eq!(line.wall_ms, CLOCKS.wall_ms - 1_000);
    }

    #[test]
    fn a_flood_takes_half_of_the_room_and_the_boot_before_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut book = Book::open(folder.path(), "one").expect("opened");
        book.append([draft(1, "a", 1, "of the boot before")], CLOCKS).expect("kept");
        drop(book);
        let mut book = Book::open(folder.path(), "two").expect("opened");
        let text = "x".repeat(2000);
        let space = statvfs(folder.path()).expect("a file system");
        let allowed = files::parts_allowed(space.f_blocks * space.f_frsize) as u64;
        for number in 1..=allowed * PART / 2000 {
            book.append([draft(number, "a", number, &text)], CLOCKS).expect("kept");
        }
        let places = places(folder.path()).expect("listed");
        assert!(places.len() as u64 <= allowed / 2 + 1, "{} parts of {allowed}", places.len());
        assert_eq!(texts(folder.path(), 1), ["of the boot before"]);
        let used: u64 =
            places.iter().map(|place| fs::metadata(folder.path().join(place.name())).expect("there").len()).sum();
        assert!(used <= allowed * PART);
    }

    #[test]
    fn half_a_line_is_written_over_by_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut book = Book::open(folder.path(), "one").expect("opened");
        // As a disk that was full in the middle of a line leaves it.
        book.file.write_all_at(b"{\"index\":1,\"nth\":1,\"at_ms\"", book.length).expect("written");
        book.append([draft(1, "a", 1, "whole")], CLOCKS).expect("kept");
        let content = read_part(folder.path(), book.place).expect("read");
        assert_eq!((content.lines.len(), content.unreadable), (1, 0));
    }
}
