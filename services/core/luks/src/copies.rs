//! The two copies of the header: a binary block of 4096 bytes, then JSON, with a checksum over both.
//!
//! The copy with the higher number counts. A write that was cut off leaves one copy that does not fit its checksum, and
//! the other one.

use sha2::{Digest as _, Sha256};

use crate::Reader;
use crate::header::HeaderError;

pub(crate) const BINARY: usize = 4096;
/// The sizes that a copy may have; the second one lies where the first ends.
pub(crate) const SIZES: [u64; 9] =
    [0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x40_0000];

const FIRST: &[u8; 6] = b"LUKS\xba\xbe";
const SECOND: &[u8; 6] = b"SKUL\xba\xbe";
const VERSION: u16 = 2;
const ALGORITHM: &[u8] = b"sha256";
const CHECKSUM: std::ops::Range<usize> = 448..512;
const CHECKSUM_BYTES: usize = 32;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copy {
    First,
    Second,
}

/// What is in a copy that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    /// Bytes of a copy.
    pub(crate) size: u64,
    /// Counts the changes.
    pub(crate) sequence: u64,
    pub(crate) uuid: String,
    pub(crate) json: String,
}

/// Whether a partition begins like one that LUKS was put on, in whatever version.
pub(crate) fn begins(head: &[u8]) -> bool {
    head.starts_with(FIRST)
}

/// Reads the copy that counts. None: neither place has one.
pub(crate) fn newest(read: &Reader<'_>) -> Result<Option<Content>, HeaderError> {
    let first = one(read, Copy::First, 0);
    // A first copy that is whole says where the second one is; without it every place is looked at.
    let seconds: Vec<u64> = match &first {
        Ok(Some(first)) => vec![first.size],
        _ => SIZES.to_vec(),
    };
    let mut whole = None;
    let mut damage = None;
    for copy in std::iter::once(first).chain(seconds.into_iter().map(|at| one(read, Copy::Second, at))) {
        match copy {
            Ok(None) => {}
            Ok(Some(copy)) => {
                let newer = whole.as_ref().is_none_or(|known: &Content| copy.sequence > known.sequence);
                if newer {
                    whole = Some(copy);
                }
            }
            Err(error) => damage = damage.or(Some(error)),
        }
    }
    match (whole, damage) {
        (Some(whole), _) => Ok(Some(whole)),
        (None, Some(error)) => Err(error),
        (None, None) => Ok(None),
    }
}

fn one(read: &Reader<'_>, copy: Copy, at: u64) -> Result<Option<Content>, HeaderError> {
    let mut bytes = vec![0; BINARY];
    let failed = |source: std::io::Error| HeaderError::Read { offset: at, source: source.into() };
    if let Err(error) = read(at, &mut bytes) {
        // A partition that ends before has no copy there.
        return match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Ok(None),
            _ => Err(failed(error)),
        };
    }
    let magic = match copy {
        Copy::First => FIRST,
        Copy::Second => SECOND,
    };
    if !bytes.starts_with(magic) {
        return Ok(None);
    }
    let version = u16::from_be_bytes([bytes[6], bytes[7]]);
    if version != VERSION {
        return Err(HeaderError::Version { version });
    }
    let size = number(&bytes, 8);
    let broken = |what| HeaderError::Copy { offset: at, what };
    if !SIZES.contains(&size) || number(&bytes, 256) != at || (copy == Copy::Second && size != at) {
        return Err(broken("its size or place cannot be right"));
    }
    let size_here = usize::try_from(size).map_err(|_| broken("it is too large"))?;
    bytes.resize(size_here, 0);
    read(at + BINARY as u64, &mut bytes[BINARY..]).map_err(failed)?;
    if text(&bytes[72..104]) != Some(ALGORITHM) {
        return Err(broken("its checksum is not SHA-256"));
    }
    let said: [u8; CHECKSUM_BYTES] = std::array::from_fn(|place| bytes[CHECKSUM.start + place]);
    bytes[CHECKSUM].fill(0);
    if Sha256::digest(&bytes).as_slice() != said {
        return Err(broken("its checksum does not fit"));
    }
    let utf8 = |bytes: Option<&[u8]>| bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    Ok(Some(Content {
        size,
        sequence: number(&bytes, 16),
        uuid: utf8(text(&bytes[168..208])).ok_or(broken("its UUID is not text"))?,
        json: utf8(text(&bytes[BINARY..])).ok_or(broken("its description is not text"))?,
    }))
}

/// The bytes of a copy. `salt` only makes checksums of equal headers differ.
pub(crate) fn write(content: &Content, copy: Copy, salt: &[u8; 64]) -> Vec<u8> {
    let mut bytes = vec![0; content.size as usize];
    let (magic, at) = match copy {
        Copy::First => (FIRST, 0),
        Copy::Second => (SECOND, content.size),
    };
    let mut put = |place: usize, value: &[u8]| bytes[place..place + value.len()].copy_from_slice(value);
    put(0, magic);
    put(6, &VERSION.to_be_bytes());
    put(8, &content.size.to_be_bytes());
    put(16, &content.sequence.to_be_bytes());
    put(72, ALGORITHM);
    put(104, salt);
    put(168, content.uuid.as_bytes());
    put(256, &at.to_be_bytes());
    put(BINARY, content.json.as_bytes());
    let checksum = Sha256::digest(&bytes);
    bytes[CHECKSUM][..CHECKSUM_BYTES].copy_from_slice(&checksum);
    bytes
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|place| bytes[at + place]))
}

/// What is before the first zero; a field without one is none.
fn text(field: &[u8]) -> Option<&[u8]> {
    field.split(|byte| *byte == 0).next().filter(|text| text.len() < field.len())
}
