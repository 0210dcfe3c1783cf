//! GUIDs as partition tables store them.

use std::fmt;
use std::str::FromStr;

use aios_ids::Digest;

/// 16 bytes in the order of the text form. A partition table stores the first three groups the other way round.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Guid([u8; 16]);

/// The text is not a GUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not a GUID: it must be 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12", text.escape_default())]
pub struct GuidError {
    text: String,
}

impl Guid {
    /// The GUID that is written with these digits.
    pub const fn from_text_order(value: u128) -> Self {
        Self(value.to_be_bytes())
    }

    /// The GUID for `purpose` that follows from `seed`: a random one when the seed is random, always the same one when
    /// it is fixed.
    pub fn derived(seed: &[u8; 32], purpose: &str) -> Self {
        let digest = Digest::of(&[seed, purpose.as_bytes()].concat());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_bytes()[..16]);
        // Version 8, "custom", of RFC 9562.
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// The 16 bytes in the text's order.
    pub fn text_order(&self) -> [u8; 16] {
        self.0
    }

    /// The 16 bytes as a table stores them.
    pub fn stored(&self) -> [u8; 16] {
        let mut bytes = self.0;
        bytes[..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        bytes
    }

    /// Reads what [`Guid::stored`] gives.
    pub fn from_stored(bytes: [u8; 16]) -> Self {
        // Turning three groups round is its own inverse.
        Self(Self(bytes).stored())
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Guid {
    type Err = GuidError;

    fn from_str(text: &str) -> Result<Self, GuidError> {
        let wrong = || GuidError { text: text.chars().take(80).collect() };
        let mut groups = text.split('-');
        let mut digits = String::with_capacity(32);
        for length in [8, 4, 4, 4, 12] {
            let group = groups.next().filter(|group| group.len() == length).ok_or_else(wrong)?;
            digits.push_str(group);
        }
        if groups.next().is_some() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        u128::from_str_radix(&digits, 16).map(Self::from_text_order).map_err(|_| wrong())
    }
}
