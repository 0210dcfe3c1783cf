//! File names of unified kernel images, with the boot loader's counters in them.

use alloc::string::String;
use core::cmp::Reverse;
use core::fmt;
use core::str::FromStr;

use crate::version::harmless;
use crate::{Version, VersionError};

/// What a file name says of the tries of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Counter {
    /// How often the loader may still start it.
    pub left: u32,
    /// How often it did.
    pub done: u32,
}

/// `aios_<version>[+<left>[-<done>]].efi`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UkiName {
    /// The release.
    pub version: Version,
    /// Absent: the release is good.
    pub counter: Option<Counter>,
}

/// The file is none of ours; the loader may still show it, and nothing here touches it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Another form.
    #[error("'{text}' is not the name of a boot entry: it must be aios_<version>[+<left>[-<done>]].efi")]
    Form {
        /// The name.
        text: String,
    },
    /// The right form around a wrong version.
    #[error("the boot entry's name has a wrong version in it")]
    Version(#[from] VersionError),
}

impl UkiName {
    /// The name of a release that was marked good.
    pub fn good(version: Version) -> Self {
        Self { version, counter: None }
    }

    /// Whether the loader would only start it by hand.
    pub fn is_spent(&self) -> bool {
        self.counter.is_some_and(|counter| counter.left == 0)
    }

    /// Higher is started first, among those that are not spent.
    pub(crate) fn rank(&self) -> impl Ord + use<> {
        let (left, done) = self.counter.map_or((u32::MAX, 0), |counter| (counter.left, counter.done));
        (!self.is_spent(), self.version.clone(), left, Reverse(done))
    }
}

impl FromStr for UkiName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let form = || NameError::Form { text: harmless(text) };
        // FAT does not keep case, and firmware that renames may not either.
        let lower = text.to_ascii_lowercase();
        let stem = lower.strip_prefix("aios_").and_then(|rest| rest.strip_suffix(".efi")).ok_or_else(form)?;
        let (version, counter) = match stem.split_once('+') {
            None => (stem, None),
            Some((version, tries)) => {
                let (left, done) = tries.split_once('-').unwrap_or((tries, "0"));
                let number = |digits: &str| {
                    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                    if plain { digits.parse().map_err(|_| form()) } else { Err(form()) }
                };
                (version, Some(Counter { left: number(left)?, done: number(done)? }))
            }
        };
        Ok(Self { version: version.parse()?, counter })
    }
}

impl fmt::Display for UkiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "aios_{}", self.version)?;
        match self.counter {
            None => {}
            Some(Counter { left, done: 0 }) => write!(f, "+{left}")?,
            Some(Counter { left, done }) => write!(f, "+{left}-{done}")?,
        }
        f.write_str(".efi")
    }
}
