//! Ids and digests as types, so that no two of them can be mixed up.
//!
//! Each has a checking constructor. Having one proves its form, never that the thing it names exists.

#![no_std]
extern crate alloc;

use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest. Written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A digest computed elsewhere, taken as it is.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Digests are in every decision and record: going through the formatter for each byte takes longer than hashing.
        let digits = |byte: &u8| [byte >> 4, byte & 15].map(|four| char::from(b"0123456789abcdef"[usize::from(four)]));
        f.write_str(&self.0.iter().flat_map(digits).collect::<String>())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::new("digest", text, "64 lower-case hexadecimal digits");
        let text_bytes = text.as_bytes();
        if text_bytes.len() != 64 {
            return Err(wrong());
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(wrong()),
        };
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text_bytes.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// The text is not an id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {kind}: it must be {form}")]
pub struct IdError {
    kind: &'static str,
    text: String,
    form: &'static str,
}

impl IdError {
    fn new(kind: &'static str, text: &str, form: &'static str) -> Self {
        // What came from outside may be long or hostile; an error shows only its harmless beginning.
        let text = text.chars().take(80).flat_map(char::escape_default).collect();
        Self { kind, text, form }
    }
}

/// Declares an id that is a checked string.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $form:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text form.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.into())) } else { Err(IdError::new($kind, text, $form)) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// The name of a service, an agent or an operator: at most 15 bytes, where the kernel cuts process names.
    UnitName, "name", "1 to 15 lower-case letters, digits and dashes, beginning with a letter", |text| {
        text.len() <= 15
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    }
}

text_id! {
    /// One action: `act_` and 26 characters of Crockford's base 32, which sort by time.
    ActionId, "action id", "'act_' and 26 characters of 0-9 A-Z", |text| {
        text.strip_prefix("act_").is_some_and(is_ulid)
    }
}

text_id! {
    /// One request for approval: `apprq_` and 26 characters.
    ApprovalId, "approval id", "'apprq_' and 26 characters of 0-9 A-Z", |text| {
        text.strip_prefix("apprq_").is_some_and(is_ulid)
    }
}

text_id! {
    /// One run of a workflow: `run_` and 26 characters.
    RunId, "run id", "'run_' and 26 characters of 0-9 A-Z", |text| {
        text.strip_prefix("run_").is_some_and(is_ulid)
    }
}

text_id! {
    /// The name of a workflow.
    WorkflowName, "workflow's name", "1 to 40 lower-case letters, digits and dashes, beginning with a letter", is_label
}

text_id! {
    /// A step of a workflow, unique in it.
    StepId, "step's id", "1 to 40 lower-case letters, digits and dashes, beginning with a letter", is_label
}

text_id! {
    /// The kernel's id of one boot, as `/proc/sys/kernel/random/boot_id` has it.
    BootId, "boot id", "36 characters of a UUID", |text| {
        text.len() == 36 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-')
    }
}

fn is_label(text: &str) -> bool {
    text.len() <= 40
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_ulid(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|byte| CROCKFORD.contains(&byte))
}

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// 26 characters made of a time and randomness; time and randomness come from the caller.
fn ulid(unix_ms: u64, random: [u8; 10]) -> String {
    let mut bits = u128::from(unix_ms & 0xffff_ffff_ffff) << 80;
    for (place, byte) in random.into_iter().enumerate() {
        bits |= u128::from(byte) << (72 - 8 * place);
    }
    (0..26).rev().map(|digit| char::from(CROCKFORD[(bits >> (5 * digit) & 31) as usize])).collect()
}

impl ActionId {
    /// A new id from the time and ten random bytes.
    pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
        Self(alloc::format!("act_{}", ulid(unix_ms, random)))
    }

    /// When it was made, in milliseconds since 1970.
    pub fn unix_ms(&self) -> u64 {
        // The first ten of the 26 digits are the time; what the check lets through are digits.
        let digits = self.0.bytes().skip("act_".len()).take(10);
        digits.fold(0, |time, byte| {
            let value = CROCKFORD.iter().position(|digit| *digit == byte).unwrap_or(0);
            (time << 5 | value as u64) & 0xffff_ffff_ffff
        })
    }
}

impl RunId {
    /// A new id from the time and ten random bytes.
    pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
        Self(alloc::format!("run_{}", ulid(unix_ms, random)))
    }
}

impl ApprovalId {
    /// A new id from the time and ten random bytes.
    pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
        Self(alloc::format!("apprq_{}", ulid(unix_ms, random)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_reads_only_its_own_form() {
        let digest = Digest::of(b"");
        assert_eq!(digest.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for wrong in ["", "e3b0", &digest.to_string().to_uppercase(), &"g".repeat(64), &"é".repeat(32)] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_action_id_tells_when_it_was_made() {
        for time in [0, 1, 1_795_000_000_123, 0xffff_ffff_ffff] {
            assert_eq!(ActionId::new(time, [0xa5; 10]).unix_ms(), time);
        }
    }

    #[test]
    fn action_ids_sort_by_time_and_read_back() {
        let earlier = ActionId::new(1_000, [255; 10]);
        let later = ActionId::new(1_001, [0; 10]);
        assert!(earlier < later);
        assert_eq!(earlier.as_str().parse(), Ok(earlier.clone()));
        assert!("act_short".parse::<ActionId>().is_err());
        let run = RunId::new(1_000, [255; 10]);
        assert_eq!(run.as_str().parse(), Ok(run.clone()));
        assert!(earlier.as_str().parse::<RunId>().is_err());
        assert!("act_0000000000000000000000000I".parse::<ActionId>().is_err());
    }

    #[test]
    fn names_stay_within_fifteen_harmless_bytes() {
        for good in ["init", "evidence-log", "a", "abcdefghijklmno"] {
            assert!(good.parse::<UnitName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a/b", "a b", "abcdefghijklmnop", "é"] {
            assert!(bad.parse::<UnitName>().is_err(), "{bad}");
        }
        assert!("fetch-the-page-2".parse::<StepId>().is_ok());
        for bad in ["", "2-a", "a_b", "a/b", &"a".repeat(41)] {
            assert!(bad.parse::<StepId>().is_err() && bad.parse::<WorkflowName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_shows_no_control_characters() {
        let error = "\u{1b}[31mred".parse::<UnitName>().expect_err("not a name");
        assert!(!error.to_string().contains('\u{1b}'));
    }
}
