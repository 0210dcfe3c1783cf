//! Earlier versions of an object: coming back to one, and giving one a name.

use std::sync::PoisonError;

use aios_action::Kind;
use aios_wire::objects::{ObjectTag, ObjectVersion};

use super::{ObjectError, Objects, check_name};

/// More names than this are no help in finding a version.
const TAGS: usize = 64;

impl Objects {
    /// Makes the content of version `version` the newest of `name`. What is the newest already stays as it is.
    pub fn roll_back(&self, name: &str, version: u64) -> Result<ObjectVersion, ObjectError> {
        // Reading it again shows that the disk still has it; a damaged version never becomes the newest.
        drop(self.get(name, version)?);
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let ObjectVersion { name, digest, size, .. } = self.version(name, version)?;
        let mut versions = self.name_all(vec![(name, digest, size)])?;
        versions.pop().ok_or(ObjectError::Together)
    }

    /// Puts `tag` at version `version` of `name`, wherever it was before.
    pub fn tag(&self, name: &str, tag: &str, version: u64) -> Result<ObjectTag, ObjectError> {
        check_tag(tag)?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.version(name, version)?;
        let tags = self.index.tags(name)?;
        if tags.len() >= TAGS && tags.iter().all(|(known, _)| known != tag) {
            return Err(ObjectError::TooManyTags { name: name.to_owned(), limit: TAGS });
        }
        self.index.set_tag(name, tag, Some(found.version))?;
        Ok(ObjectTag { name: found.name, tag: tag.to_owned(), version: found.version })
    }

    /// Removes `tag` from `name`; the version stays.
    pub fn untag(&self, name: &str, tag: &str) -> Result<ObjectTag, ObjectError> {
        check_tag(tag)?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.tags(name)?.into_iter().find(|known| known.tag == tag);
        let found = found.ok_or_else(|| ObjectError::NoSuchTag { name: name.to_owned(), tag: tag.to_owned() })?;
        self.index.set_tag(name, tag, None)?;
        Ok(found)
    }

    /// The tags of `name`, by tag; none for an object that is not there.
    pub fn tags(&self, name: &str) -> Result<Vec<ObjectTag>, ObjectError> {
        check_name(name)?;
        let tags = self.index.tags(name)?.into_iter();
        Ok(tags.map(|(tag, version)| ObjectTag { name: name.to_owned(), tag, version }).collect())
    }
}

fn check_tag(tag: &str) -> Result<(), ObjectError> {
    if Kind::Tag.accepts(&tag.into()) {
        Ok(())
    } else {
        Err(ObjectError::Tag(tag.chars().take(80).flat_map(char::escape_default).collect()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::path::Path;
    use std::sync::Arc;

    use crate::index::Index;

    use super::*;

    fn open(folder: &Path) -> Objects {
        fs::create_dir_all(folder.join("objects")).expect("a folder");
        let index = Index::open(&folder.join("index.redb")).expect("an index");
        Objects::open(&folder.join("objects"), Arc::new(index)).expect("objects")
    }

    fn with_versions(folder: &Path, name: &str, contents: &[&str]) -> Objects {
        let objects = open(folder);
        for content in contents {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(content.as_bytes()).expect("written");
            objects.put(name, file.into()).expect("stored");
        }
        objects
    }

    #[test]
    fn an_earlier_version_becomes_the_newest_and_none_is_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let objects = with_versions(folder.path(), "a", &["one", "two"]);
        let back = objects.roll_back("a", 1).expect("rolled back");
        assert_eq!((back.version, back.digest), (3, objects.version("a", 1).expect("there").digest));
        assert_eq!(objects.roll_back("a", 3).expect("it is the newest").version, 3);
        assert_eq!(objects.log("a").expect("a log").len(), 3);
        assert!(matches!(objects.roll_back("a", 9), Err(ObjectError::NoSuchVersion { .. })));
        assert!(matches!(objects.roll_back("b", 1), Err(ObjectError::NoSuchName(_))));
    }

    #[test]
    fn a_tag_is_put_moved_and_removed_and_outlives_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let objects = with_versions(folder.path(), "a", &["one", "two"]);
        objects.tag("a", "kept", 1).expect("tagged");
        objects.tag("a", "kept", 2).expect("moved");
        objects.tag("a", "first", 1).expect("tagged");
        drop(objects);
        let objects = open(folder.path());
        let tags = |name: &str| {
            let tags = objects.tags(name).expect("a list").into_iter();
            tags.map(|tag| (tag.tag, tag.version)).collect::<Vec<_>>()
        };
        assert_eq!(tags("a"), [("first".to_owned(), 1), ("kept".to_owned(), 2)]);
        assert_eq!(tags("ab"), []);
        assert_eq!(objects.untag("a", "kept").expect("removed").version, 2);
        assert!(matches!(objects.untag("a", "kept"), Err(ObjectError::NoSuchTag { .. })));
        assert!(matches!(objects.tag("a", "x", 9), Err(ObjectError::NoSuchVersion { .. })));
        assert!(matches!(objects.tag("a", "../x", 1), Err(ObjectError::Tag(_))));
    }

    #[test]
    fn there_is_an_end_of_tags() {
        let folder = tempfile::tempdir().expect("a folder");
        let objects = with_versions(folder.path(), "a", &["one"]);
        for number in 0..TAGS {
            objects.index.set_tag("a", &format!("t{number}"), Some(1)).expect("written");
        }
        assert!(matches!(objects.tag("a", "more", 1), Err(ObjectError::TooManyTags { .. })));
        objects.tag("a", "t0", 1).expect("one that is there moves");
    }
}
