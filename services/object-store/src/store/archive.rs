//! From the cache's bytes to a tree beside its place: measured twice, as fetched and as unpacked.

use std::io::{self, Read};
use std::path::Path;

use aios_ids::Digest;
use nix_narinfo::Compression;
use sha2::{Digest as _, Sha256};

use super::cache::{Cache, CacheError};
use super::closure::Record;
use super::nar::{self, NarError};

/// The largest dictionary of a compressed archive; the highest level of xz has 64 MiB.
const WINDOW_LIMIT: u64 = 64 * 1024 * 1024;

/// The archive of a path was refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The cache does not give it.
    #[error("its archive cannot be had")]
    Cache(#[from] CacheError),
    /// Its compression is broken.
    #[error("its archive cannot be decompressed")]
    Compression(#[source] io::Error),
    /// It is no archive.
    #[error("its archive is broken")]
    Nar(#[from] NarError),
    /// It has another size than the record says.
    #[error("its {what} has {found} bytes and the record says {expected}")]
    Size {
        /// Which of the two.
        what: &'static str,
        /// As the record says.
        expected: u64,
        /// As it came, or one more than expected when it did not end there.
        found: u64,
    },
    /// It has another digest than the record says.
    #[error("its {what} has the SHA-256 {found} and the record says {expected}")]
    Digest {
        /// Which of the two.
        what: &'static str,
        /// As the record says.
        expected: Digest,
        /// As it came.
        found: Digest,
    },
}

/// Fetches the archive of `record` and makes its tree at `destination`. After an error there may be a part of a tree.
pub(crate) fn unpack(record: &Record, cache: &Cache, destination: &Path) -> Result<(), ArchiveError> {
    let info = record.info();
    // Without a size in the record: no compression makes archives much larger.
    let file_limit = info.file_size().unwrap_or(info.nar_size() + info.nar_size() / 8 + 64 * 1024);
    let mut file = Measured::new(cache.archive(info.url())?, file_limit);
    let mut archive = Measured::new(decompressed(info.compression(), &mut file)?, info.nar_size());
    let unpacked = nar::unpack(&mut archive, destination);
    if let Err(error) = unpacked {
        // An archive that is too long looks broken where it was cut; its length is the better thing to say.
        return Err(if archive.overrun() { too_large("archive", info.nar_size()) } else { error.into() });
    }
    archive.finish("archive", Some(info.nar_size()), Some(record.nar_hash()))?;
    file.finish("compressed archive", info.file_size(), record.file_hash())
}

/// The digest of the archive that a tree makes.
pub(crate) fn digest_of_tree(tree: &Path) -> Result<Digest, nix_nar::NarError> {
    let mut archive = Measured::new(nix_nar::Encoder::new(tree)?, u64::MAX);
    io::copy(&mut archive, &mut io::sink())?;
    Ok(Digest::from_bytes(archive.digest.finalize().into()))
}

fn decompressed<'a>(compression: &Compression, file: &'a mut impl Read) -> Result<Box<dyn Read + 'a>, ArchiveError> {
    match compression {
        Compression::Xz => {
            let limit_kib = u32::try_from(WINDOW_LIMIT / 1024).unwrap_or(u32::MAX) + 1024;
            Ok(Box::new(lzma_rust2::XzReader::new_mem_limit(file, false, limit_kib)))
        }
        Compression::Zstd => {
            let decoder = ruzstd::decoding::StreamingDecoder::new_with_max_window_size(file, WINDOW_LIMIT);
            Ok(Box::new(decoder.map_err(|error| ArchiveError::Compression(io::Error::other(error.to_string())))?))
        }
        // A record with any other compression is never made.
        _ => Ok(Box::new(file)),
    }
}

fn too_large(what: &'static str, expected: u64) -> ArchiveError {
    ArchiveError::Size { what, expected, found: expected + 1 }
}

/// A stream whose bytes are counted and digested, and which ends with an error after `limit` bytes.
struct Measured<R> {
    inner: R,
    digest: Sha256,
    count: u64,
    limit: u64,
}

impl<R: Read> Measured<R> {
    fn new(inner: R, limit: u64) -> Self {
        Self { inner, digest: Sha256::new(), count: 0, limit }
    }

    fn overrun(&self) -> bool {
        self.count > self.limit
    }

    /// Reads what is left and compares all of it with what was promised.
    fn finish(mut self, what: &'static str, size: Option<u64>, digest: Option<Digest>) -> Result<(), ArchiveError> {
        let drained = io::copy(&mut self, &mut io::sink());
        if self.overrun() {
            return Err(too_large(what, self.limit));
        }
        drained.map_err(NarError::Read)?;
        if let Some(expected) = size
            && expected != self.count
        {
            return Err(ArchiveError::Size { what, expected, found: self.count });
        }
        let found = Digest::from_bytes(self.digest.finalize().into());
        match digest {
            Some(expected) if expected != found => Err(ArchiveError::Digest { what, expected, found }),
            _ => Ok(()),
        }
    }
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count += read as u64;
        if self.overrun() {
            return Err(io::Error::other(format!("it goes on after the {} bytes that the record says", self.limit)));
        }
        self.digest.update(&buffer[..read]);
        Ok(read)
    }
}
