//! The key that seals the secrets, and where it rests: in the TPM's keeping where there is one, else in a file beside them.
//!
//! A key that was found in a file goes over to the TPM once, in steps of which each leaves at least one way to it:
//!
//! | the machine stops after | then the folder holds | the next start |
//! |---|---|---|
//! | nothing yet | `key` | begins anew |
//! | a part of the new file | `key`, something temporary | removes that, begins anew |
//! | the new file | `key`, `key.tpm` | opens `key.tpm`; it is the same key, so `key` goes |
//! | `key` was overwritten | zeroes in `key`, `key.tpm` | opens `key.tpm`, removes `key` |
//! | `key` was removed | `key.tpm` | opens `key.tpm` |
//!
//! A key that the TPM keeps and does not give out is never replaced while a secret is there that may need it.

use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use aios_linux::tpm::{Blob, Chip, Managed, SealError, Signed, SigningKey};
use zeroize::Zeroizing;

use crate::sealed::SealedError;

/// The bytes of the key.
pub(crate) type Bytes = Zeroizing<[u8; 32]>;

/// The file of a key that no TPM keeps.
pub(crate) const BESIDE: &str = "key";

/// The file of a key that the TPM keeps.
pub(crate) const KEPT: &str = "key.tpm";

/// It begins with this; another form has another line.
const FORM: &[u8] = b"aios.vault-key.v1\n";

/// No file of a key is longer.
const LIMIT: u64 = 4096;

/// PID 1 says its words to the TPM while services start. So often, so far apart, is looked whether the last one is there.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// The TPM that may keep the key.
#[derive(Debug)]
pub enum Keeper<C> {
    /// There is none, for this reason.
    None(String),
    /// This one, for the systems that this key vouches for.
    Tpm {
        /// The way to it.
        chip: C,
        /// Whose signatures count.
        key: SigningKey,
        /// The signatures that came with this image.
        signed: Vec<Signed>,
    },
}

impl Keeper<Managed> {
    /// Nothing keeps the key but a file, for this reason.
    pub fn none(why: impl Into<String>) -> Self {
        Self::None(why.into())
    }
}

/// Where the key is.
pub(crate) enum Place {
    /// In a file beside the secrets, for this reason.
    Beside(String),
    /// In memory: the TPM gave it out. Behind it what an older release may have made beside it.
    Tpm { key: Bytes, older: Option<Bytes> },
    /// In the TPM's keeping, and not to be had, for this reason.
    Closed(String),
}

/// Why the TPM does not keep the key.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("the TPM gave out something else than it was given")]
    Differs,
    #[error("the kernel gave no random bytes")]
    Random(#[from] getrandom::Error),
    #[error("the sealed key was cut or altered")]
    Form,
    #[error(transparent)]
    File(#[from] SealedError),
}

impl Place {
    /// Finds the key of `folder`, and has the TPM keep it if it can. `secrets` says whether anything was sealed with a key.
    pub(crate) fn find<C: Chip>(folder: &Path, keeper: Keeper<C>, secrets: Secrets) -> Result<Self, SealedError> {
        let kept = file(&folder.join(KEPT))?;
        let beside = beside(folder);
        let (mut chip, key, signed) = match keeper {
            Keeper::Tpm { chip, key, signed } => (chip, key, signed),
            Keeper::None(why) if kept.is_some() && matches!(beside, Ok(None)) => {
                return Ok(Self::Closed(format!("a TPM keeps it, and {why}")));
            }
            Keeper::None(why) => return Ok(Self::Beside(why)),
        };
        let mut tpm = Tpm { chip: &mut chip, key: &key, signed: &signed };
        let Some(file) = kept else {
            // A file that is no key stays where it is; whoever needs the key is told.
            let Ok(beside) = beside else { return Ok(Self::Beside("the key beside the secrets is damaged".into())) };
            return Ok(tpm.keep(folder, beside));
        };
        match (tpm.open(&file), beside) {
            (Ok(key), Ok(beside)) if beside.as_ref().is_none_or(|beside| key == *beside) => {
                forget(folder)?;
                Ok(Self::Tpm { key, older: None })
            }
            (Ok(key), beside) => Ok(Self::Tpm { key, older: beside.unwrap_or_default() }),
            (Err(why), Ok(Some(_))) => Ok(Self::Beside(aios_daemon::error_chain(&why))),
            (Err(_), Ok(None)) if secrets == Secrets::None => Ok(tpm.keep(folder, None)),
            (Err(why), _) => Ok(Self::Closed(aios_daemon::error_chain(&why))),
        }
    }

    /// What a person is told of it.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Beside(why) => format!("their key lies beside them: {why}"),
            Self::Tpm { older: None, .. } => "their key is sealed by the TPM".into(),
            Self::Tpm { older: Some(_), .. } => {
                "their key is sealed by the TPM, and one that an older release made lies beside them".into()
            }
            Self::Closed(why) => format!("their key cannot be had: {why}"),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence())
    }
}

/// Whether anything was sealed with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrets {
    None,
    Some,
}

struct Tpm<'a, C> {
    chip: &'a mut C,
    key: &'a SigningKey,
    signed: &'a [Signed],
}

impl<C: Chip> Tpm<'_, C> {
    /// Has the TPM keep this key, or a new one.
    fn keep(&mut self, folder: &Path, beside: Option<Bytes>) -> Place {
        match self.try_keep(folder, beside.as_ref()) {
            Ok(key) => Place::Tpm { key, older: None },
            Err(error) => {
                // Without a key that lies beside, nothing can have been sealed with the one that was tried.
                if beside.is_none() {
                    let _ = fs::remove_file(folder.join(KEPT));
                }
                Place::Beside(aios_daemon::error_chain(&error))
            }
        }
    }

    fn try_keep(&mut self, folder: &Path, beside: Option<&Bytes>) -> Result<Bytes, KeepError> {
        let key = match beside {
            Some(key) => key.clone(),
            None => random()?,
        };
        let blob = aios_linux::tpm::seal(self.chip, self.key, key.as_slice())?;
        // What does not open now will not open later, and is not written.
        self.same(&key, &blob)?;
        let path = folder.join(KEPT);
        aios_store::replace(&path, &written(&blob), 0o600).map_err(SealedError::from)?;
        let read = file(&path)?.ok_or(KeepError::Form)?;
        self.same(&key, &parsed(&read).ok_or(KeepError::Form)?)?;
        if beside.is_some() {
            forget(folder)?;
        }
        Ok(key)
    }

    fn same(&mut self, key: &Bytes, blob: &Blob) -> Result<(), KeepError> {
        if self.unseal(blob)? == *key { Ok(()) } else { Err(KeepError::Differs) }
    }

    fn open(&mut self, file: &[u8]) -> Result<Bytes, KeepError> {
        self.unseal(&parsed(file).ok_or(KeepError::Form)?)
    }

    fn unseal(&mut self, blob: &Blob) -> Result<Bytes, KeepError> {
        let mut looks = 0;
        let opened = loop {
            let mut nonce = [0; 16];
            getrandom::fill(&mut nonce)?;
            match aios_linux::tpm::unseal(self.chip, self.key, self.signed, &nonce, blob) {
                Err(SealError::State) if looks < LOOKS => std::thread::sleep(BETWEEN_LOOKS),
                opened => break opened?,
            }
            looks += 1;
        };
        Ok(Zeroizing::new(opened.as_slice().try_into().map_err(|_| KeepError::Differs)?))
    }
}

pub(crate) fn random() -> Result<Bytes, getrandom::Error> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(key.as_mut_slice())?;
    Ok(key)
}

/// The key that lies beside the secrets. Zeroes are one that was about to be removed.
pub(crate) fn beside(folder: &Path) -> Result<Option<Bytes>, SealedError> {
    let path = folder.join(BESIDE);
    let Some(bytes) = file(&path)? else { return Ok(None) };
    let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| SealedError::Key(path))?;
    Ok(Some(Zeroizing::new(key)).filter(|key| **key != [0; 32]))
}

/// Removes the key that lies beside the secrets, and what it was from the blocks that it had.
fn forget(folder: &Path) -> Result<(), SealedError> {
    let path = folder.join(BESIDE);
    let overwritten = File::options().write(true).open(&path).and_then(|mut file| {
        file.write_all(&[0; 32])?;
        file.sync_all()
    });
    let removed = overwritten.and_then(|()| fs::remove_file(&path)).and_then(|()| File::open(folder)?.sync_all());
    removed.or_else(|source| match source.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(SealedError::Remove { path, source }),
    })
}

fn file(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, SealedError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read = File::open(path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SealedError::Read { path: path.to_owned(), source }),
    }
}

fn written(blob: &Blob) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    [FORM, &sized(&blob.private), &sized(&blob.public)].concat()
}

fn parsed(file: &[u8]) -> Option<Blob> {
    let sized = |bytes: &[u8]| {
        let (length, rest) = bytes.split_first_chunk()?;
        let (taken, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        Some((taken.to_vec(), rest.to_vec()))
    };
    let (private, rest) = sized(file.strip_prefix(FORM)?)?;
    let (public, rest) = sized(&rest)?;
    rest.is_empty().then_some(Blob { private, public })
}
