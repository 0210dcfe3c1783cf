//! From what a person types to the volume key, and from that to what the kernel is told.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::header::{CIPHER, Header, SECTOR, Way};
use crate::kdf::{self, KdfError, Room};
use crate::{KEY, PASS_PHRASE_LIMIT, Reader, RecoveryKey, stripes, xts};

/// The key that the data is encrypted with. It is overwritten when it is dropped.
pub struct VolumeKey(pub(crate) Zeroizing<[u8; KEY]>);

impl fmt::Debug for VolumeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VolumeKey")
    }
}

/// What the kernel's `crypt` target is made from.
pub struct Mapping {
    /// Its length in sectors of 512 bytes.
    pub sectors: u64,
    /// The target's parameters, with the volume key in them; overwritten when they are dropped.
    pub parameters: Zeroizing<String>,
}

/// Whether a pass phrase is the right one cannot be said.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UnlockError {
    /// The disk.
    #[error("cannot read key slot {slot}")]
    Read {
        /// Its number.
        slot: u32,
        /// Why.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The machine.
    #[error("key slot {slot} cannot be tried")]
    Kdf {
        /// Its number.
        slot: u32,
        /// Why.
        #[source]
        source: KdfError,
    },
    /// None that this program can open.
    #[error("no key slot can be used: {why}")]
    NoSlot {
        /// Each with what is unknown about it.
        why: String,
    },
    /// The partition is smaller than its header says.
    #[error("the data begins at byte {offset}, and the partition has {bytes}")]
    Small {
        /// Where the data begins.
        offset: u64,
        /// How large the partition is.
        bytes: u64,
    },
}

impl Header {
    /// Tries every slot with what was typed, as it was typed and, if it may be a recovery key, as that is written.
    /// None: it opens none of them.
    pub fn unlock(&self, read: &Reader<'_>, typed: &[u8], room: Room) -> Result<Option<VolumeKey>, UnlockError> {
        if typed.len() > PASS_PHRASE_LIMIT {
            return Ok(None);
        }
        let recovery_key = RecoveryKey::typed(typed).map(|key| key.text());
        let recovery_key = recovery_key.as_ref().map(|text| text.as_bytes()).filter(|text| *text != typed);
        let mut usable = false;
        let mut obstacle = None;
        for (slot, way) in self.slots.iter().filter_map(|slot| Some((slot.number, slot.way.as_ref().ok()?))) {
            usable = true;
            for secret in std::iter::once(typed).chain(recovery_key) {
                match self.open(slot, way, read, secret, room) {
                    Ok(Some(key)) => return Ok(Some(key)),
                    Ok(None) => {}
                    // Another slot may still open; if none does, this is what the person has to know.
                    Err(error) => obstacle = obstacle.or(Some(error)),
                }
            }
        }
        match obstacle {
            Some(error) => Err(error),
            None if !usable => Err(UnlockError::NoSlot { why: self.unusable() }),
            None => Ok(None),
        }
    }

    fn open(
        &self,
        slot: u32,
        way: &Way,
        read: &Reader<'_>,
        secret: &[u8],
        room: Room,
    ) -> Result<Option<VolumeKey>, UnlockError> {
        let key = way.kdf.derive(secret, room).map_err(|source| UnlockError::Kdf { slot, source })?;
        let mut area = Zeroizing::new(vec![0; stripes::BYTES]);
        read(way.area, &mut area).map_err(|source| UnlockError::Read { slot, source: source.into() })?;
        xts::decrypt(&key, &mut area);
        let candidate = stripes::merge(&area);
        let mut digest = vec![0; self.check.digest.len()];
        kdf::pbkdf2(candidate.as_slice(), &self.check.salt, self.check.rounds, &mut digest);
        Ok((digest == self.check.digest).then_some(VolumeKey(candidate)))
    }

    fn unusable(&self) -> String {
        let each = |slot: &crate::header::Slot| Some(format!("slot {}: {}", slot.number, slot.way.as_ref().err()?));
        let list: Vec<String> = self.slots.iter().filter_map(each).collect();
        if list.is_empty() { "there is none".to_owned() } else { list.join("; ") }
    }

    /// What the kernel is told to open the data on `device`, a partition of so many bytes.
    pub fn mapping(&self, key: &VolumeKey, device: &str, bytes: u64) -> Result<Mapping, UnlockError> {
        let data = &self.data;
        let room = bytes.saturating_sub(data.offset) / u64::from(data.sector) * u64::from(data.sector);
        let length = data.bytes.unwrap_or(room);
        if length == 0 || length > room {
            return Err(UnlockError::Small { offset: data.offset, bytes });
        }
        // Long enough that it never moves, which would leave a part of the key behind.
        let mut parameters = Zeroizing::new(String::with_capacity(512 + device.len()));
        parameters.push_str(CIPHER);
        parameters.push(' ');
        for byte in key.0.iter() {
            for digit in [byte >> 4, byte & 15] {
                parameters.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
            }
        }
        for word in [data.first.to_string().as_str(), device, (data.offset / SECTOR).to_string().as_str()] {
            parameters.push(' ');
            parameters.push_str(word);
        }
        if u64::from(data.sector) != SECTOR {
            parameters.push_str(&format!(" 1 sector_size:{}", data.sector));
        }
        Ok(Mapping { sectors: length / SECTOR, parameters })
    }
}
