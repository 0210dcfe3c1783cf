//! The parts of a disk image that are not zeros: all that formats with holes have to keep.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// A disk image could not be brought into another format.
#[derive(Debug, thiserror::Error)]
pub enum SparseError {
    /// The image that is given.
    #[error("cannot read the disk image")]
    Read(#[source] io::Error),
    /// The image that is made.
    #[error("cannot write the disk image as {format}")]
    Write {
        /// The format.
        format: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The format has no numbers for it.
    #[error("a disk of {bytes} bytes cannot be written as {format}, which has {limit}")]
    Size {
        /// What the disk has.
        bytes: u64,
        /// The format.
        format: &'static str,
        /// What the format asks for.
        limit: &'static str,
    },
}

/// A disk image that is read in chunks of one size.
pub(crate) struct Chunks<'a> {
    file: &'a File,
    size: u64,
    chunk: u64,
}

impl<'a> Chunks<'a> {
    pub(crate) fn of(file: &'a File, chunk: u64) -> Result<Self, SparseError> {
        let size = file.metadata().map_err(SparseError::Read)?.len();
        Ok(Self { file, size, chunk })
    }

    /// Bytes of the whole image.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// How many chunks there are; the last one may be short.
    pub(crate) fn count(&self) -> u64 {
        self.size.div_ceil(self.chunk)
    }

    /// The numbers of all chunks that are not zeros alone, in order.
    pub(crate) fn filled(&self) -> Result<Vec<u64>, SparseError> {
        let mut filled = Vec::new();
        let mut buffer = vec![0; self.chunk as usize];
        let mut number = 0;
        while let Some(next) = self.next_data(number)? {
            if next >= self.count() {
                break;
            }
            if self.read(next, &mut buffer)?.iter().any(|byte| *byte != 0) {
                filled.push(next);
            }
            number = next + 1;
        }
        Ok(filled)
    }

    /// One chunk, filled up with zeros.
    pub(crate) fn read<'b>(&self, number: u64, buffer: &'b mut [u8]) -> Result<&'b [u8], SparseError> {
        let start = number * self.chunk;
        let length = self.chunk.min(self.size - start) as usize;
        self.file.read_exact_at(&mut buffer[..length], start).map_err(SparseError::Read)?;
        buffer[length..].fill(0);
        Ok(buffer)
    }

    /// The first chunk from `number` on that the file system has bytes for.
    fn next_data(&self, number: u64) -> Result<Option<u64>, SparseError> {
        match rustix::fs::seek(self.file, SeekFrom::Data(number * self.chunk)) {
            Ok(at) => Ok(Some(at / self.chunk)),
            Err(Errno::NXIO) => Ok(None),
            // A file system that knows of no holes: every chunk is looked at.
            Err(Errno::INVAL) => Ok(Some(number)),
            Err(errno) => Err(SparseError::Read(errno.into())),
        }
    }
}
