//! Where bytes go: a disk, an image file, or a test's record of every write.
//!
//! Positioned reads and writes and one barrier are all that the writers of this crate need, so that the same code
//! writes a disk image on the build machine and a real disk under the installer, and a test can cut it off anywhere.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Something that can be read and written at any place.
pub trait Medium {
    /// Fills `bytes` from `offset` on.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns when everything written before is on the medium.
    fn sync(&self) -> io::Result<()>;
    /// Makes later reads come from the medium rather than from memory, as far as the system can.
    fn forget(&self) -> io::Result<()>;
}

impl Medium for File {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(bytes, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn forget(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(self, 0, None, rustix::fs::Advice::DontNeed)?)
    }
}
