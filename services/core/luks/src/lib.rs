//! An encrypted partition in the LUKS2 format: its header read, opened with what a person types, and made.
//!
//! Bytes come in through a [`Reader`], and what is to be written goes out as bytes: this crate holds no device and asks
//! nobody. The data itself is encrypted by the kernel, which gets a [`Mapping`]. What other programs can make and this one
//! does not open (other ciphers, other hashes, integrity, a change of the key that is under way) is refused by name.
//! `docs/formats/data.md` has the form of what is made here.

mod copies;
mod format;
mod header;
mod kdf;
mod recovery_key;
mod stripes;
mod unlock;
mod xts;

pub use format::{FormatError, Formatted, format};
pub use header::{Header, HeaderError};
pub use kdf::{KdfError, Room};
pub use recovery_key::RecoveryKey;
pub use unlock::{Mapping, UnlockError, VolumeKey};

/// The longest pass phrase, in bytes; cryptsetup takes no longer one from a terminal either.
pub const PASS_PHRASE_LIMIT: usize = 512;

/// Fills a buffer with the partition's bytes from an offset on.
pub type Reader<'a> = dyn Fn(u64, &mut [u8]) -> std::io::Result<()> + 'a;

/// The volume key and the keys of the areas that it is kept in: two keys of AES-256, as XTS takes them.
const KEY: usize = 64;
