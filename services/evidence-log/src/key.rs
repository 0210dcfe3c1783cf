//! The log's key: 32 random bytes made at the first start, readable by this service only.

use std::io;
use std::path::Path;

use aios_evidence::SigningKey;

use crate::open::OpenError;

const FILE: &str = "signing-key";

/// Whether a log was already begun with a key that must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Nothing was written yet; a new key may be made.
    NewLog,
    /// A log is there; without its key nothing can be added that anybody would believe.
    ExistingLog,
}

/// Random bytes from the kernel.
pub(crate) fn random_seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(seed)
}

/// The key in `folder`; made when nothing was ever signed.
pub(crate) fn load(
    folder: &Path,
    expect: Expect,
    new_seed: impl FnOnce() -> io::Result<[u8; 32]>,
) -> Result<SigningKey, OpenError> {
    let path = folder.join(FILE);
    let failed = |source| OpenError::Access { path: path.clone(), source };
    let seed = match std::fs::read(&path) {
        Ok(bytes) => <[u8; 32]>::try_from(bytes).map_err(|bytes| OpenError::KeyForm { path, found: bytes.len() })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && expect == Expect::NewLog => {
            let seed = new_seed().map_err(failed)?;
            aios_store::replace(&path, &seed, 0o600)?;
            seed
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(OpenError::KeyGone { path }),
        Err(error) => return Err(failed(error)),
    };
    Ok(SigningKey::from_seed(&seed, origin)?)
}

/// The log's name: unique because the key is.
fn origin(public: &[u8; 32]) -> String {
    let digits: String = public.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("aios.internal/evidence/{digits}")
}
