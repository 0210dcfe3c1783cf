//! A new encrypted partition: its header with two key slots, one for a pass phrase and one for a recovery key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::copies::{self, Content, Copy};
use crate::header::{CIPHER, Header};
use crate::kdf::{self, Kdf, Room, Variant};
use crate::stripes::{self, STRIPES};
use crate::unlock::VolumeKey;
use crate::{KEY, PASS_PHRASE_LIMIT, RecoveryKey, xts};

/// Bytes of a copy of the header.
const COPY: u64 = 0x4000;
/// Bytes of a slot's area: its stripes, rounded up to whole blocks.
const AREA: u64 = (stripes::BYTES as u64).next_multiple_of(4096);
/// Where the data begins, as cryptsetup has it: there is room for thirty more slots.
const DATA: u64 = 16 << 20;
/// Every file system of ours has blocks of this size.
const SECTOR: u32 = 4096;

/// What a guess of the pass phrase costs: 64 MiB of memory, passed over four times. A machine of 256 MiB can pay it at its
/// start.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 4;
/// The least that cryptsetup takes. The volume key and the recovery key are random, so nobody guesses them at any price.
const ROUNDS: u32 = 1000;

/// A partition that is to be.
pub struct Formatted {
    /// What stands at its beginning.
    pub header: Vec<u8>,
    /// What its data is encrypted with.
    pub key: VolumeKey,
}

/// The partition cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// No pass phrase, or one that nobody could type.
    #[error("a pass phrase has 1 to {PASS_PHRASE_LIMIT} bytes, and this one has {bytes}")]
    PassPhrase {
        /// How many it has.
        bytes: usize,
    },
    /// No random numbers.
    #[error("there are no random numbers")]
    Random(#[source] std::io::Error),
    /// The key cannot be computed.
    #[error("the pass phrase's key cannot be computed")]
    Kdf(#[from] kdf::KdfError),
}

/// Makes a header. `random` fills a buffer with random bytes.
pub fn format(
    pass_phrase: &[u8],
    recovery_key: &RecoveryKey,
    random: &mut dyn FnMut(&mut [u8]) -> std::io::Result<()>,
    room: Room,
) -> Result<Formatted, FormatError> {
    if !(1..=PASS_PHRASE_LIMIT).contains(&pass_phrase.len()) {
        return Err(FormatError::PassPhrase { bytes: pass_phrase.len() });
    }
    let mut salt = || -> Result<Vec<u8>, FormatError> {
        let mut salt = vec![0; 32];
        random(&mut salt).map_err(FormatError::Random)?;
        Ok(salt)
    };
    let by_pass_phrase =
        Kdf::Argon2 { variant: Variant::Id, passes: PASSES, memory_kib: MEMORY_KIB, lanes: 1, salt: salt()? };
    let by_recovery_key = Kdf::Pbkdf2 { rounds: ROUNDS, salt: salt()? };
    let check_salt = salt()?;
    let mut key = VolumeKey(Zeroizing::new([0; KEY]));
    random(key.0.as_mut_slice()).map_err(FormatError::Random)?;
    let mut digest = [0; 32];
    kdf::pbkdf2(key.0.as_slice(), &check_salt, ROUNDS, &mut digest);
    let mut identity = [0; 16];
    random(&mut identity).map_err(FormatError::Random)?;

    let recovery_key = recovery_key.text();
    let slots = [(by_pass_phrase, pass_phrase), (by_recovery_key, recovery_key.as_bytes())];
    let mut areas = Vec::new();
    for (kdf, secret) in &slots {
        let mut area = vec![0; AREA as usize];
        let stripes = &mut area[..stripes::BYTES];
        random(stripes).map_err(FormatError::Random)?;
        stripes::split(&key.0, stripes);
        xts::encrypt(&*kdf.derive(secret, room)?, stripes);
        areas.extend(area);
    }
    let described: serde_json::Map<String, Value> = slots
        .iter()
        .zip(0_u64..)
        .map(|((kdf, _), number)| (number.to_string(), slot(kdf, 2 * COPY + number * AREA)))
        .collect();
    let description = json!({
        "keyslots": described,
        "tokens": {},
        "segments": {"0": {
            "type": "crypt", "offset": DATA.to_string(), "size": "dynamic", "iv_tweak": "0",
            "encryption": CIPHER, "sector_size": SECTOR,
        }},
        "digests": {"0": {
            "type": "pbkdf2", "keyslots": described.keys().collect::<Vec<_>>(), "segments": ["0"], "hash": "sha256",
            "iterations": ROUNDS, "salt": STANDARD.encode(&check_salt), "digest": STANDARD.encode(digest),
        }},
        "config": {
            "json_size": (COPY - copies::BINARY as u64).to_string(),
            "keyslots_size": (DATA - 2 * COPY).to_string(),
        },
    });
    let content = Content { size: COPY, sequence: 1, uuid: uuid(identity), json: description.to_string() };
    debug_assert!(Header::of(&content).is_ok(), "what is written can be read");
    let mut header = Vec::with_capacity(2 * COPY as usize + areas.len());
    for copy in [Copy::First, Copy::Second] {
        let mut salt = [0; 64];
        random(&mut salt).map_err(FormatError::Random)?;
        header.extend(copies::write(&content, copy, &salt));
    }
    header.extend(areas);
    Ok(Formatted { header, key })
}

fn slot(kdf: &Kdf, area: u64) -> Value {
    let kdf = match kdf {
        Kdf::Argon2 { variant, passes, memory_kib, lanes, salt } => json!({
            "type": match variant { Variant::I => "argon2i", Variant::Id => "argon2id" },
            "time": passes, "memory": memory_kib, "cpus": lanes, "salt": STANDARD.encode(salt),
        }),
        Kdf::Pbkdf2 { rounds, salt } => json!({
            "type": "pbkdf2", "hash": "sha256", "iterations": rounds, "salt": STANDARD.encode(salt),
        }),
    };
    json!({
        "type": "luks2",
        "key_size": KEY,
        "af": {"type": "luks1", "stripes": STRIPES, "hash": "sha256"},
        "area": {
            "type": "raw", "offset": area.to_string(), "size": AREA.to_string(), "encryption": CIPHER, "key_size": KEY,
        },
        "kdf": kdf,
    })
}

/// A random UUID, version 4.
fn uuid(random: [u8; 16]) -> String {
    let value = u128::from_be_bytes(random) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let digits = format!("{value:032x}");
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}
