//! An encrypted data partition: its header on the disk, and the kernel's decrypted view of it while it is filled.

use std::fs::File;
use std::io::{self, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use aios_image::layout::Place;
use aios_image::medium::Medium;
use aios_linux::crypt;
use aios_linux::dm::MapperError;
use aios_luks::{FormatError, Formatted, Header, HeaderError, RecoveryKey, Room, UnlockError, format};
use zeroize::Zeroizing;

use crate::answers::PassPhrase;
use crate::carry_out::PATIENCE;

/// What the decrypted partition is called while this program has it.
const NAME: &str = "aios-install";
/// What our own headers cost, twice.
const ROOM: Room = Room { kib: 128 << 10 };

/// The keys of a data partition that is to be.
pub struct Keys {
    pass_phrase: PassPhrase,
    recovery_key: Zeroizing<String>,
    header: Vec<u8>,
}

/// The data partition cannot be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    /// Its header cannot be made.
    #[error("cannot make the header of the encrypted data partition")]
    Format(#[from] FormatError),
    /// It cannot be written or read.
    #[error("cannot {doing} the encrypted data partition")]
    Disk {
        /// The step.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It reads back as something else.
    #[error("the header of the encrypted data partition does not read back as it was written")]
    Header(#[from] HeaderError),
    /// It reads back as nothing, or as what the key does not open.
    #[error("the encrypted data partition is not opened by the key that it was made with: the disk is faulty")]
    Lost,
    /// Trying the key failed.
    #[error("the encrypted data partition cannot be opened")]
    Unlock(#[from] UnlockError),
    /// The kernel.
    #[error("the kernel does not decrypt the data partition")]
    Kernel(#[from] MapperError),
}

impl Keys {
    /// Makes a header that is opened by this pass phrase, and by a new recovery key.
    pub fn make(pass_phrase: PassPhrase) -> Result<Self, EncryptionError> {
        let mut random = |bytes: &mut [u8]| getrandom::fill(bytes).map_err(io::Error::other);
        let mut letters = Zeroizing::new([0; RecoveryKey::RANDOM]);
        random(letters.as_mut_slice()).map_err(FormatError::Random)?;
        let recovery_key = RecoveryKey::new(&letters);
        let Formatted { header, .. } = format(pass_phrase.bytes(), &recovery_key, &mut random, ROOM)?;
        Ok(Self { pass_phrase, recovery_key: recovery_key.text(), header })
    }

    /// To be written down.
    pub fn shown(&self) -> &str {
        &self.recovery_key
    }

    pub(crate) fn pass_phrase(&self) -> &[u8] {
        self.pass_phrase.bytes()
    }

    pub(crate) fn recovery_key(&self) -> &[u8] {
        self.recovery_key.as_bytes()
    }

    /// Writes the header at the beginning of the partition.
    pub(crate) fn write(&self, medium: &impl Medium, place: Place) -> Result<(), EncryptionError> {
        let written = medium.write_at(place.start, &self.header).and_then(|()| medium.sync());
        written.map_err(|source| EncryptionError::Disk { doing: "write the header of", source })
    }
}

/// Where the data's file system is.
#[derive(Debug)]
pub(crate) enum DataDevice {
    /// On the partition itself.
    Partition(PathBuf),
    /// Behind the kernel's decryption, until [`DataDevice::close`].
    Decrypted { path: PathBuf, bytes: u64 },
}

impl DataDevice {
    /// Opens the partition with this key, if it has one.
    pub(crate) fn open(partition: &Path, key: Option<&[u8]>) -> Result<Self, EncryptionError> {
        let Some(key) = key else { return Ok(Self::Partition(partition.to_owned())) };
        let failed = |source| EncryptionError::Disk { doing: "read the header of", source };
        let mut disk = File::open(partition).map_err(failed)?;
        let length = disk.seek(io::SeekFrom::End(0)).map_err(failed)?;
        let read = |offset: u64, bytes: &mut [u8]| disk.read_exact_at(bytes, offset);
        let header = Header::read(&read)?.ok_or(EncryptionError::Lost)?;
        let key = header.unlock(&read, key, ROOM)?.ok_or(EncryptionError::Lost)?;
        let mapping = header.mapping(&key, &partition.display().to_string(), length)?;
        let device = crypt::open(NAME, mapping.sectors, &mapping.parameters)?;
        Ok(Self::Decrypted { path: device.path, bytes: mapping.sectors * 512 })
    }

    /// Where it can be opened and mounted.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Partition(path) | Self::Decrypted { path, .. } => path,
        }
    }

    /// Has the kernel forget the key.
    pub(crate) fn close(self) -> Result<(), EncryptionError> {
        let Self::Decrypted { .. } = self else { return Ok(()) };
        let end = Instant::now() + PATIENCE;
        loop {
            match crypt::remove(NAME) {
                // The kernel may still be looking at it after it was unmounted.
                Err(MapperError::Step { source, .. })
                    if source.kind() == io::ErrorKind::ResourceBusy && Instant::now() < end =>
                {
                    thread::sleep(Duration::from_millis(100));
                }
                removed => return Ok(removed?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use aios_image::layout::Layout;

    use super::*;
    use crate::answers::{Answers, Data};

    #[test]
    fn both_keys_open_what_was_written() {
        let text =
            "disk = \"only-empty\"\noperator = \"ada\"\npass_phrase = \"x\"\ndata_pass_phrase = \"long enough\"\n";
        let answers = Answers::parse(text.as_bytes(), &[0; aios_policy::operators::SALT_LENGTH]).expect("good");
        let Data::Encrypted(pass_phrase) = answers.data else { panic!("it is to be encrypted") };
        let keys = Keys::make(pass_phrase).expect("made");
        let disk = tempfile::tempfile().expect("a file");
        disk.set_len(2 << 30).expect("sparse");
        let place = Layout::plan(2 << 30, 512).expect("large enough").place(aios_image::layout::Part::Data);
        keys.write(&disk, place).expect("written");
        let read = |offset: u64, bytes: &mut [u8]| disk.read_exact_at(bytes, place.start + offset);
        let header = Header::read(&read).expect("good").expect("a header");
        for key in [keys.pass_phrase(), keys.shown().as_bytes()] {
            assert!(header.unlock(&read, key, ROOM).expect("tried").is_some());
        }
        assert!(header.unlock(&read, b"long enougH", ROOM).expect("tried").is_none());
    }
}
