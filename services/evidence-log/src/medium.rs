//! What the log needs of a disk, as one seam: the folder on a real disk, and in tests one whose power can be cut.
//!
//! Nothing is promised of bytes that were written and not synced: after a power cut each page of them may be there or not.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// What the kernel calls a file system in memory (`TMPFS_MAGIC`).
const TMPFS: u64 = 0x0102_1994;

/// On a live system the log is in the service's own memory, which has a limit of 128 MiB: a quarter of this is left for it.
const IN_MEMORY: u64 = 256 << 20;

/// How much room a file system has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// What is free for this service.
    pub free: u64,
}

/// A folder with files.
pub trait Medium: Debug + Send + Sync {
    /// Opens a file for reading and writing, and makes it when it is not there.
    fn open(&self, name: &str) -> io::Result<Arc<dyn Bytes>>;

    /// The whole of a small file; absent when it is not there.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Makes `name` a file of `content`: whole and durable, or as it was.
    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()>;

    /// The room that is left.
    fn space(&self) -> io::Result<Space>;

    /// Removes a file that can be made again.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// An open file.
pub trait Bytes: Debug + Send + Sync {
    /// How long it is.
    fn length(&self) -> io::Result<u64>;

    /// Fills what it can from an offset and says how much that was; 0 is the end.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at an offset. They may be lost until [`Bytes::sync`] returned.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts or extends the file.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Replaces bytes by zeroes, and gives their room back where the file system can.
    fn erase(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Makes everything that was written survive a power cut. After an error nobody knows what survives.
    fn sync(&self) -> io::Result<()>;
}

/// Fills `bytes` from an offset, or fails.
pub(crate) fn read_exact(file: &dyn Bytes, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    let mut have = 0;
    while have < bytes.len() {
        match file.read_at(offset + have as u64, &mut bytes[have..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            got => have += got,
        }
    }
    Ok(())
}

/// A folder of the file system.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// The folder, without what a crash left in it of files that were being replaced.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        aios_store::remove_temporaries(path)?;
        Ok(Self(path.to_owned()))
    }
}

impl Medium for Folder {
    fn open(&self, name: &str) -> io::Result<Arc<dyn Bytes>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        Ok(Arc::new(options.open(self.0.join(name))?))
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.0.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        aios_store::replace(&self.0.join(name), content, 0o600).map_err(io::Error::other)
    }

    fn space(&self) -> io::Result<Space> {
        let found = rustix::fs::statfs(&self.0)?;
        let block = found.f_bsize.unsigned_abs();
        let total = found.f_blocks.saturating_mul(block);
        let most = if found.f_type.unsigned_abs() == TMPFS { IN_MEMORY } else { u64::MAX };
        Ok(Space { total: total.min(most), free: found.f_bavail.saturating_mul(block) })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.0.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Bytes for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, bytes, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn erase(&self, offset: u64, length: u64) -> io::Result<()> {
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(self, hole, offset, length) {
            Err(Errno::OPNOTSUPP) => self.write_all_at(&vec![0; length as usize], offset),
            other => Ok(other?),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
