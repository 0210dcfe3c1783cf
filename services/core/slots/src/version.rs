//! The version of a release.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

/// One to four numbers with dots between them, at most 24 characters, such as `1.4.0`: `aios_<version>_verity` has to
/// fit the 36 characters of a partition's name.
///
/// Numbers have no leading zeros, so that this order, the boot loader's order of file names and the text agree:
/// number by number, and a version comes before the longer ones that begin with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(Vec<u32>);

/// The text is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not a version: it must be one to four numbers with dots between them, at most 24 characters, such as 1.4.0"
)]
pub struct VersionError {
    text: String,
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let wrong = || VersionError { text: harmless(text) };
        let number = |part: &str| {
            let plain = part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
            if plain { part.parse().map_err(|_| wrong()) } else { Err(wrong()) }
        };
        if text.len() > 24 {
            return Err(wrong());
        }
        let numbers: Vec<u32> = text.split('.').take(5).map(number).collect::<Result<_, _>>()?;
        if numbers.len() > 4 { Err(wrong()) } else { Ok(Self(numbers)) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, number) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(".")?;
            }
            write!(f, "{number}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

/// The beginning of foreign text with nothing in it that a terminal obeys.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_default).collect()
}
