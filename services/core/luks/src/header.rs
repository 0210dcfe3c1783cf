//! What a header says, checked: where the data is and how it is encrypted, the slots that may open it, and how to tell that
//! a key is the right one.
//!
//! Read in two steps: the JSON, in which unknown keys mean nothing as the format wants it, then [`Header`]. A slot that
//! cannot be used here stays in the list with the reason, because another one may do.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::copies::{self, Content, SIZES};
use crate::kdf::{self, Kdf, SALT_LIMIT, Variant};
use crate::stripes::{self, STRIPES};
use crate::{KEY, Reader};

/// The one cipher that is known here, as the kernel and LUKS call it.
pub(crate) const CIPHER: &str = "aes-xts-plain64";
/// What the format allows.
const SLOTS_LIMIT: usize = 32;
pub(crate) const SECTOR: u64 = 512;

/// A header that was read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The partition's identity.
    pub uuid: String,
    pub(crate) data: Data,
    pub(crate) slots: Vec<Slot>,
    pub(crate) check: Check,
}

/// Where the encrypted data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Data {
    /// In bytes from the partition's beginning.
    pub(crate) offset: u64,
    /// `None`: to the partition's end.
    pub(crate) bytes: Option<u64>,
    pub(crate) sector: u32,
    /// What the first sector counts as.
    pub(crate) first: u64,
}

/// A place where the volume key is kept under another key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) number: u32,
    pub(crate) way: Result<Way, String>,
}

/// How a slot is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) kdf: Kdf,
    /// Where its stripes are, in bytes from the partition's beginning.
    pub(crate) area: u64,
}

/// What tells the right volume key from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) rounds: u32,
    pub(crate) salt: Vec<u8>,
    pub(crate) digest: Vec<u8>,
}

/// A header cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HeaderError {
    /// The disk.
    #[error("cannot read the header of the encrypted partition at byte {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// LUKS1, or a later one.
    #[error("the partition is encrypted in LUKS version {version}, and only version 2 is known here")]
    Version {
        /// What the header says.
        version: u16,
    },
    /// Neither copy is whole.
    #[error("no copy of the header is whole; the one at byte {offset}: {what}")]
    Copy {
        /// Where the first damaged one is.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The description is no JSON of this form.
    #[error("the header's description cannot be read")]
    Json(#[source] Arc<serde_json::Error>),
    /// What this program does not do, or what no header says.
    #[error("the header describes {what}")]
    Foreign {
        /// In words.
        what: String,
    },
}

impl Header {
    /// Whether a partition that begins with these bytes is one to read a header from.
    pub fn may_be_on(head: &[u8]) -> bool {
        copies::begins(head)
    }

    /// Reads the header. None: there is none.
    pub fn read(read: &Reader<'_>) -> Result<Option<Self>, HeaderError> {
        copies::newest(read)?.map(|content| Self::of(&content)).transpose()
    }

    pub(crate) fn of(content: &Content) -> Result<Self, HeaderError> {
        let raw: Raw = serde_json::from_str(&content.json).map_err(|error| HeaderError::Json(Arc::new(error)))?;
        if let Some(what) = raw.config.requirements.mandatory.first() {
            return Err(foreign(format!("something unfinished or unknown here, '{}'", shown(what))));
        }
        if !SIZES.contains(&content.size) || raw.config.json_size.0 != content.size - copies::BINARY as u64 {
            return Err(foreign("itself with another size".to_owned()));
        }
        let areas_end = (2 * content.size).checked_add(raw.config.keyslots_size.0).filter(|end| *end < 1 << 40);
        let areas_end = areas_end.ok_or_else(|| foreign("areas of key slots beyond any disk".to_owned()))?;
        let data = data(&raw.segments, areas_end)?;
        let (belongs, check) = check(&raw.digests)?;
        if raw.keyslots.len() > SLOTS_LIMIT {
            return Err(foreign(format!("{} key slots", raw.keyslots.len())));
        }
        let mut slots: Vec<(u32, Slot)> = Vec::new();
        for (number, raw) in raw.keyslots.iter().filter(|(number, _)| belongs.contains(number)) {
            let number = number.parse().map_err(|_| foreign(format!("a key slot '{}'", shown(number))))?;
            let way = Way::of(raw, 2 * content.size..areas_end);
            // 0 are slots that only open when they are named, 2 those to try first.
            let order = match raw.get("priority").and_then(serde_json::Value::as_u64) {
                Some(0) => continue,
                Some(2) => 0,
                _ => 1,
            };
            slots.push((order, Slot { number, way }));
        }
        slots.sort_by_key(|(order, slot)| (*order, slot.number));
        let slots = slots.into_iter().map(|(_, slot)| slot).collect();
        Ok(Self { uuid: content.uuid.clone(), data, slots, check })
    }
}

#[derive(Deserialize)]
struct Raw {
    keyslots: BTreeMap<String, serde_json::Value>,
    segments: BTreeMap<String, RawSegment>,
    digests: BTreeMap<String, RawDigest>,
    config: RawConfig,
}

/// A number that the format writes as text, because JSON's numbers are not exact.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Number(u64);

impl TryFrom<String> for Number {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse().map(Self).map_err(|_| format!("'{}' is no number of 64 bits", shown(&text))),
            false => Err(format!("'{}' is no number", shown(&text))),
        }
    }
}

#[derive(Deserialize)]
struct RawConfig {
    json_size: Number,
    keyslots_size: Number,
    #[serde(default)]
    requirements: RawRequirements,
}

#[derive(Deserialize, Default)]
struct RawRequirements {
    #[serde(default)]
    mandatory: Vec<String>,
}

#[derive(Deserialize)]
struct RawSegment {
    r#type: String,
    offset: Number,
    size: String,
    iv_tweak: Option<Number>,
    encryption: Option<String>,
    sector_size: Option<u32>,
    integrity: Option<serde_json::Value>,
    #[serde(default)]
    flags: Vec<String>,
}

#[derive(Deserialize)]
struct RawDigest {
    r#type: String,
    keyslots: Vec<String>,
    segments: Vec<String>,
    hash: Option<String>,
    iterations: Option<u32>,
    salt: Option<String>,
    digest: Option<String>,
}

#[derive(Deserialize)]
struct RawSlot {
    r#type: String,
    key_size: usize,
    af: RawStripes,
    area: RawArea,
    kdf: RawKdf,
}

#[derive(Deserialize)]
struct RawStripes {
    r#type: String,
    stripes: usize,
    hash: String,
}

#[derive(Deserialize)]
struct RawArea {
    r#type: String,
    offset: Number,
    size: Number,
    encryption: String,
    key_size: usize,
}

#[derive(Deserialize)]
struct RawKdf {
    r#type: String,
    salt: String,
    time: Option<u32>,
    memory: Option<u32>,
    cpus: Option<u32>,
    hash: Option<String>,
    iterations: Option<u32>,
}

fn data(segments: &BTreeMap<String, RawSegment>, areas_end: u64) -> Result<Data, HeaderError> {
    let Some(segment) = segments.get("0").filter(|_| segments.len() == 1) else {
        return Err(foreign(format!("{} areas of data where one is known here", segments.len())));
    };
    let cipher = segment.encryption.as_deref().unwrap_or("none");
    if segment.r#type != "crypt" || cipher != CIPHER || segment.integrity.is_some() || !segment.flags.is_empty() {
        let what = format!("data of the type '{}' with the cipher '{}'", shown(&segment.r#type), shown(cipher));
        return Err(foreign(format!("{what}, and only {CIPHER} without integrity is known here")));
    }
    let sector = segment.sector_size.unwrap_or(0);
    let whole = |bytes: u64| bytes.is_multiple_of(u64::from(sector));
    if !matches!(sector, 512 | 4096) || !whole(segment.offset.0) || segment.offset.0 < areas_end {
        return Err(foreign(format!("data in sectors of {sector} bytes from byte {} on", segment.offset.0)));
    }
    let bytes = match segment.size.as_str() {
        "dynamic" => None,
        text => {
            let bytes = Number::try_from(text.to_owned()).ok().map(|number| number.0);
            let bytes = bytes.filter(|bytes| *bytes > 0 && whole(*bytes));
            Some(bytes.ok_or_else(|| foreign(format!("data of '{}' bytes", shown(text))))?)
        }
    };
    let first = segment.iv_tweak.as_ref().map_or(0, |number| number.0);
    Ok(Data { offset: segment.offset.0, bytes, sector, first })
}

/// The slots that lead to the data, and how a key is checked.
fn check(digests: &BTreeMap<String, RawDigest>) -> Result<(Vec<String>, Check), HeaderError> {
    let mut ours = digests.values().filter(|digest| digest.segments.iter().any(|segment| segment == "0"));
    let (Some(digest), None) = (ours.next(), ours.next()) else {
        return Err(foreign("no digest of the key of the data, or several".to_owned()));
    };
    let hash = digest.hash.as_deref().unwrap_or("none");
    if digest.r#type != "pbkdf2" || hash != "sha256" {
        let kind = shown(&digest.r#type);
        return Err(foreign(format!("a digest of the kind {kind} with {}, not pbkdf2 with sha256", shown(hash))));
    }
    let rounds = digest.iterations.unwrap_or(0);
    kdf::check_rounds(rounds).map_err(|error| foreign(format!("a digest: {error}")))?;
    let salt = bytes(digest.salt.as_deref().unwrap_or_default()).filter(|salt| (8..=SALT_LIMIT).contains(&salt.len()));
    let value = bytes(digest.digest.as_deref().unwrap_or_default()).filter(|value| (20..=64).contains(&value.len()));
    let (Some(salt), Some(value)) = (salt, value) else {
        return Err(foreign("a digest that is none".to_owned()));
    };
    Ok((digest.keyslots.clone(), Check { rounds, salt, digest: value }))
}

impl Way {
    fn of(raw: &serde_json::Value, areas: std::ops::Range<u64>) -> Result<Self, String> {
        let raw = RawSlot::deserialize(raw).map_err(|error| shown(&error.to_string()))?;
        if raw.r#type != "luks2" || raw.key_size != KEY {
            return Err(format!("it is of the type '{}' with keys of {} bytes", shown(&raw.r#type), raw.key_size));
        }
        if raw.af.r#type != "luks1" || raw.af.stripes != STRIPES || raw.af.hash != "sha256" {
            return Err(format!("its key is split with '{}', not with sha256", shown(&raw.af.hash)));
        }
        let area = &raw.area;
        if area.r#type != "raw" || area.encryption != CIPHER || area.key_size != KEY {
            return Err(format!("its area is encrypted with '{}', not with {CIPHER}", shown(&area.encryption)));
        }
        let end = area.offset.0.checked_add(area.size.0).filter(|end| *end <= areas.end);
        if area.size.0 < stripes::BYTES as u64 || area.offset.0 < areas.start || end.is_none() {
            return Err("its area lies outside of where areas are".to_owned());
        }
        let salt = bytes(&raw.kdf.salt).ok_or("its salt is none")?;
        let argon2 = |variant| {
            let (passes, memory_kib, lanes) = (raw.kdf.time?, raw.kdf.memory?, raw.kdf.cpus?);
            Some(Kdf::Argon2 { variant, passes, memory_kib, lanes, salt: salt.clone() })
        };
        let kdf = match (raw.kdf.r#type.as_str(), raw.kdf.hash.as_deref()) {
            ("argon2id", _) => argon2(Variant::Id),
            ("argon2i", _) => argon2(Variant::I),
            ("pbkdf2", Some("sha256")) => raw.kdf.iterations.map(|rounds| Kdf::Pbkdf2 { rounds, salt: salt.clone() }),
            _ => None,
        };
        let kdf =
            kdf.ok_or_else(|| format!("its key is computed by '{}' in an unknown way", shown(&raw.kdf.r#type)))?;
        kdf.check().map_err(|error| error.to_string())?;
        Ok(Self { kdf, area: area.offset.0 })
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

fn foreign(what: String) -> HeaderError {
    HeaderError::Foreign { what }
}

/// Text of somebody else's, short and without what a terminal obeys.
fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_default).collect()
}
