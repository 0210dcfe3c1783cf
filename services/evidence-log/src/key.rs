//! The log's secrets: 96 random bytes made at the first start, readable by this service only: a seed for each of the two
//! signing keys, and the key of commitments to what is withheld.

use std::io;

use aios_evidence::{CommitmentKey, SigningKey};

use crate::medium::Medium;
use crate::open::OpenError;

const FILE: &str = "signing-key";

/// How many random bytes the secrets are made of.
pub(crate) const SEED: usize = 96;

/// What the log signs and commits with.
pub(crate) struct Secrets {
    pub(crate) signing: SigningKey,
    pub(crate) commitment: CommitmentKey,
}

/// Whether a log was already begun with a key that must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Nothing was written yet; a new key may be made.
    NewLog,
    /// A log is there; without its key nothing can be added that anybody would believe.
    ExistingLog,
}

/// Random bytes from the kernel.
pub(crate) fn random_seed() -> io::Result<[u8; SEED]> {
    let mut seed = [0; SEED];
    getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(seed)
}

/// The secrets on `medium`; made when nothing was ever signed.
pub(crate) fn load(
    medium: &dyn Medium,
    expect: Expect,
    new_seed: impl FnOnce() -> io::Result<[u8; SEED]>,
) -> Result<Secrets, OpenError> {
    let access = |source| OpenError::Access { name: FILE, source };
    let seed = match medium.read(FILE).map_err(access)? {
        Some(bytes) => {
            <[u8; SEED]>::try_from(bytes).map_err(|bytes| OpenError::KeyForm { name: FILE, found: bytes.len() })?
        }
        None if expect == Expect::NewLog => {
            let seed = new_seed().map_err(access)?;
            medium.replace(FILE, &seed).map_err(|source| OpenError::Write { name: FILE, source })?;
            seed
        }
        None => return Err(OpenError::KeyGone { name: FILE }),
    };
    let (mut signing, mut commitment) = ([0; 64], [0; 32]);
    signing.copy_from_slice(&seed[..64]);
    commitment.copy_from_slice(&seed[64..]);
    let signing = SigningKey::from_seed(&signing, origin)?;
    Ok(Secrets { signing, commitment: CommitmentKey::new(commitment) })
}

/// The log's name: unique because the key is.
fn origin(public: &[u8; 32]) -> String {
    let digits: String = public.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("aios.internal/evidence/{digits}")
}
