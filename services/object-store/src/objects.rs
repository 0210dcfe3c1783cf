//! Named objects with versions: the content in a file named by its digest, the names in the index.
//!
//! Content is durable before a name refers to it. A content file is never changed; the program that gets one gets a
//! descriptor that can only read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aios_action::Kind;
use aios_ids::Digest;
use aios_store::TEMPORARY_PREFIX;
use aios_wire::objects::ObjectVersion;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sha2::{Digest as _, Sha256};

use crate::index::{Index, IndexError};
use crate::now_ms;

pub mod apps;
mod earlier;

/// The largest content: what a person puts by hand, not what belongs into the store.
pub const CONTENT_LIMIT: u64 = 64 * 1024 * 1024;

/// So many objects are stored together.
const TOGETHER: usize = 16;

/// How long a writer at the other end of a pipe may take for all of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The named objects.
#[derive(Debug)]
pub struct Objects {
    folder: PathBuf,
    index: Arc<Index>,
    writing: Mutex<()>,
}

/// An object was not stored or cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The name has not the form of a name.
    #[error("'{0}' cannot name an object: a name is {form}, at most 256 characters", form = Kind::ObjectName.form())]
    Name(String),
    /// Too many objects at once, or one of them twice.
    #[error("1 to {TOGETHER} objects are stored together, none of them twice")]
    Together,
    /// The tag has not the form of one.
    #[error("'{0}' cannot be a tag: a tag is {form}", form = Kind::Tag.form())]
    Tag(String),
    /// There is no such tag.
    #[error("'{name}' has no tag '{tag}'; its tags are listed by 'aios object tags {name}'")]
    NoSuchTag {
        /// The object.
        name: String,
        /// What was asked for.
        tag: String,
    },
    /// The object has as many tags as it may.
    #[error("'{name}' has {limit} tags already; remove one first")]
    TooManyTags {
        /// The object.
        name: String,
        /// How many it may have.
        limit: usize,
    },
    /// More content than an object may have.
    #[error("the content is larger than {CONTENT_LIMIT} bytes; put it in several objects or in a store path")]
    TooLarge,
    /// The descriptor is of no kind that content comes from.
    #[error("the content must come from a file or a pipe, not from a device or a folder")]
    Source,
    /// The writer of the content is too slow or gone.
    #[error("the content did not arrive within {} seconds; put it in a file first", PATIENCE.as_secs())]
    Slow,
    /// The descriptor cannot be read.
    #[error("cannot read the content")]
    Read(#[source] io::Error),
    /// There is no such object.
    #[error("there is no object '{0}'; list shows those that there are")]
    NoSuchName(String),
    /// There is no such version.
    #[error("'{name}' has no version {version}; its newest is {newest}")]
    NoSuchVersion {
        /// The object.
        name: String,
        /// What was asked for.
        version: u64,
        /// What there is.
        newest: u64,
    },
    /// The disk does not hold what was put.
    #[error("version {version} of '{name}' is damaged on the disk; get another version or put it again")]
    Damaged {
        /// The object.
        name: String,
        /// The version.
        version: u64,
    },
    /// The disk failed.
    #[error("cannot {step} {}", path.display())]
    Disk {
        /// What was being done.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The index failed.
    #[error("the objects are as they were")]
    Index(#[from] IndexError),
}

impl Objects {
    /// Opens the objects in `folder` and removes what a crash left there.
    pub fn open(folder: &Path, index: Arc<Index>) -> Result<Self, ObjectError> {
        let objects = Self { folder: folder.to_owned(), index, writing: Mutex::new(()) };
        let disk = |source| ObjectError::Disk { step: "clean", path: folder.to_owned(), source };
        aios_store::remove_temporaries(folder).map_err(disk)?;
        let named = objects.index.contents()?;
        for entry in fs::read_dir(folder).map_err(disk)? {
            let entry = entry.map_err(disk)?;
            // Content that became durable just before a crash, and never got its name.
            let digest = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok());
            if digest.is_some_and(|digest| !named.contains(&digest)) {
                fs::remove_file(entry.path()).map_err(disk)?;
            }
        }
        Ok(objects)
    }

    /// Stores what `content` can be read for as the next version of `name`. The content of the newest version again is
    /// that version, so that a repeated action is harmless.
    pub fn put(&self, name: &str, content: OwnedFd) -> Result<ObjectVersion, ObjectError> {
        let mut versions = self.put_all(vec![(name.to_owned(), content)])?;
        versions.pop().ok_or(ObjectError::Together)
    }

    /// The same for several objects, all of them or none. Each content is durable before any name refers to it, and the
    /// names become visible in one transaction: a power cut in between leaves contents without a name, which the next
    /// start removes.
    pub fn put_all(&self, contents: Vec<(String, OwnedFd)>) -> Result<Vec<ObjectVersion>, ObjectError> {
        let once = |place: usize| contents[..place].iter().all(|(name, _)| *name != contents[place].0);
        if !(1..=TOGETHER).contains(&contents.len()) || !(0..contents.len()).all(once) {
            return Err(ObjectError::Together);
        }
        contents.iter().try_for_each(|(name, _)| check_name(name))?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = contents
            .into_iter()
            .map(|(name, content)| self.keep(Content::of(content)?).map(|(digest, size)| (name, digest, size)));
        let kept = kept.collect::<Result<Vec<_>, _>>()?;
        self.name_all(kept)
    }

    /// Makes durable contents the newest versions of their names. Whoever calls this is the only one that writes.
    fn name_all(&self, kept: Vec<(String, Digest, u64)>) -> Result<Vec<ObjectVersion>, ObjectError> {
        let (mut all, mut new) = (Vec::new(), Vec::new());
        for (name, digest, size) in kept {
            let newest = self.index.newest(&name)?;
            let version = match newest {
                Some(newest) if newest.digest == digest => {
                    all.push(newest);
                    continue;
                }
                newest => newest.map_or(1, |newest| newest.version + 1),
            };
            let version = ObjectVersion { name, version, digest, size, at_ms: now_ms() };
            all.push(version.clone());
            new.push(version);
        }
        if !new.is_empty() {
            self.index.add_versions(&new)?;
        }
        Ok(all)
    }

    /// The content of a version of `name`, 0 for the newest, as a descriptor that can only read.
    pub fn get(&self, name: &str, version: u64) -> Result<OwnedFd, ObjectError> {
        let wanted = self.version(name, version)?;
        let path = self.content_file(&wanted.digest);
        let file = File::open(&path).map_err(|source| ObjectError::Disk { step: "open", path, source })?;
        match digest_of(&file) {
            Ok(found) if found == wanted.digest => Ok(file.into()),
            _ => Err(ObjectError::Damaged { name: wanted.name, version: wanted.version }),
        }
    }

    /// The newest version of each object.
    pub fn list(&self) -> Result<Vec<ObjectVersion>, ObjectError> {
        let mut newest: Vec<ObjectVersion> = Vec::new();
        for version in self.index.all_versions()? {
            match newest.last_mut() {
                Some(last) if last.name == version.name => *last = version,
                _ => newest.push(version),
            }
        }
        Ok(newest)
    }

    /// Every version of `name`, oldest first.
    pub fn log(&self, name: &str) -> Result<Vec<ObjectVersion>, ObjectError> {
        self.newest(name)?;
        Ok(self.index.versions(name)?)
    }

    /// A version of `name`, 0 for the newest.
    fn version(&self, name: &str, version: u64) -> Result<ObjectVersion, ObjectError> {
        let newest = self.newest(name)?;
        if version == 0 {
            return Ok(newest);
        }
        let found = self.index.versions(name)?.into_iter().find(|known| known.version == version);
        found.ok_or_else(|| ObjectError::NoSuchVersion { name: name.to_owned(), version, newest: newest.version })
    }

    fn newest(&self, name: &str) -> Result<ObjectVersion, ObjectError> {
        check_name(name)?;
        self.index.newest(name)?.ok_or_else(|| ObjectError::NoSuchName(name.to_owned()))
    }

    /// Makes the content durable under its digest.
    fn keep(&self, content: Content) -> Result<(Digest, u64), ObjectError> {
        let beside = self.folder.join(format!("{TEMPORARY_PREFIX}content"));
        let kept = self.copy(content, &beside).and_then(|(digest, size)| {
            let disk = |source| ObjectError::Disk { step: "keep", path: self.content_file(&digest), source };
            fs::rename(&beside, self.content_file(&digest)).map_err(disk)?;
            File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(disk)?;
            Ok((digest, size))
        });
        if kept.is_err() {
            // It may not be there; the error that matters is the first one.
            let _ = fs::remove_file(&beside);
        }
        kept
    }

    fn copy(&self, mut source: Content, to: &Path) -> Result<(Digest, u64), ObjectError> {
        let disk = |source| ObjectError::Disk { step: "write", path: to.to_owned(), source };
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to).map_err(disk)?;
        let mut digest = Sha256::new();
        let mut size = 0;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = source.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            size += read as u64;
            if size > CONTENT_LIMIT {
                return Err(ObjectError::TooLarge);
            }
            digest.update(&buffer[..read]);
            file.write_all(&buffer[..read]).map_err(disk)?;
        }
        file.set_permissions(fs::Permissions::from_mode(0o400)).and_then(|()| file.sync_all()).map_err(disk)?;
        Ok((Digest::from_bytes(digest.finalize().into()), size))
    }

    fn content_file(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }
}

fn check_name(name: &str) -> Result<(), ObjectError> {
    if Kind::ObjectName.accepts(&name.into()) {
        Ok(())
    } else {
        Err(ObjectError::Name(name.chars().take(80).flat_map(char::escape_default).collect()))
    }
}

fn digest_of(file: &File) -> io::Result<Digest> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut offset = 0;
    loop {
        // By offset: the descriptor is handed out afterwards, at its beginning.
        let read = file.read_at(&mut buffer, offset)?;
        if read == 0 {
            return Ok(Digest::from_bytes(digest.finalize().into()));
        }
        digest.update(&buffer[..read]);
        offset += read as u64;
    }
}

/// Where content comes from: a caller's descriptor, which must not keep this service waiting.
enum Content {
    /// Read from its beginning, wherever its owner left the position.
    File { file: File, offset: u64 },
    /// Made here.
    Memory { bytes: Vec<u8>, offset: usize },
    /// Read as it comes, until the deadline.
    Stream { file: File, deadline: Instant },
}

impl Content {
    fn of(descriptor: OwnedFd) -> Result<Self, ObjectError> {
        let file = File::from(descriptor);
        let metadata = file.metadata().map_err(ObjectError::Read)?;
        let kind = metadata.file_type();
        if kind.is_file() {
            return if metadata.len() > CONTENT_LIMIT {
                Err(ObjectError::TooLarge)
            } else {
                Ok(Self::File { file, offset: 0 })
            };
        }
        if kind.is_fifo() || kind.is_socket() {
            return Ok(Self::Stream { file, deadline: Instant::now() + PATIENCE });
        }
        Err(ObjectError::Source)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ObjectError> {
        match self {
            Self::File { file, offset } => {
                let read = file.read_at(buffer, *offset).map_err(ObjectError::Read)?;
                *offset += read as u64;
                Ok(read)
            }
            Self::Memory { bytes, offset } => {
                let left = &bytes[*offset..];
                let count = left.len().min(buffer.len());
                buffer[..count].copy_from_slice(&left[..count]);
                *offset += count;
                Ok(count)
            }
            Self::Stream { file, deadline } => {
                let left = deadline.saturating_duration_since(Instant::now());
                let left = Timespec::try_from(left).map_err(|_| ObjectError::Slow)?;
                match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&left)) {
                    Ok(0) => Err(ObjectError::Slow),
                    Ok(_) => file.read(buffer).map_err(ObjectError::Read),
                    Err(error) => Err(ObjectError::Read(error.into())),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
