//! From what a person types to the key of a slot, at the cost that the slot's header states.
//!
//! The header is not to be trusted with the machine's time and memory: costs have limits, and memory beyond what the
//! caller has is refused before it is asked for.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

use crate::KEY;

/// About a minute on a slow machine.
const PASSES_LIMIT: u32 = 256;
/// 4 GiB, the most that cryptsetup takes.
const MEMORY_LIMIT_KIB: u32 = 4 << 20;
const LANES_LIMIT: u32 = 4;
const ROUNDS_LIMIT: u32 = 100_000_000;
pub(crate) const SALT_LIMIT: usize = 64;

/// How much memory a computation may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// In KiB.
    pub kib: u64,
}

/// How a slot's key is computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kdf {
    Argon2 { variant: Variant, passes: u32, memory_kib: u32, lanes: u32, salt: Vec<u8> },
    Pbkdf2 { rounds: u32, salt: Vec<u8> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    I,
    Id,
}

/// A key cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KdfError {
    /// The machine is too small, or busy.
    #[error("it takes {needed_kib} KiB of memory to compute, and {room_kib} KiB are free")]
    Memory {
        /// What the header says.
        needed_kib: u64,
        /// What there is.
        room_kib: u64,
    },
    /// Costs that are no costs.
    #[error("its costs are out of bounds: {what}")]
    Costs {
        /// Which.
        what: String,
    },
}

impl Kdf {
    /// Whether the costs are ones that can be paid at all.
    pub(crate) fn check(&self) -> Result<(), KdfError> {
        let wrong = |what: String| Err(KdfError::Costs { what });
        match self {
            Self::Argon2 { passes, memory_kib, lanes, salt, .. } => {
                if !(1..=PASSES_LIMIT).contains(passes) {
                    return wrong(format!("{passes} passes"));
                }
                if !(1..=LANES_LIMIT).contains(lanes) {
                    return wrong(format!("{lanes} lanes"));
                }
                if !(8 * lanes..=MEMORY_LIMIT_KIB).contains(memory_kib) {
                    return wrong(format!("{memory_kib} KiB of memory"));
                }
                check_salt(salt)
            }
            Self::Pbkdf2 { rounds, salt } => check_rounds(*rounds).and_then(|()| check_salt(salt)),
        }
    }

    /// Computes the key.
    pub(crate) fn derive(&self, pass_phrase: &[u8], room: Room) -> Result<Zeroizing<[u8; KEY]>, KdfError> {
        self.check()?;
        let mut key = Zeroizing::new([0; KEY]);
        match self {
            Self::Pbkdf2 { rounds, salt } => pbkdf2(pass_phrase, salt, *rounds, key.as_mut_slice()),
            Self::Argon2 { variant, passes, memory_kib, lanes, salt } => {
                let algorithm = match variant {
                    Variant::I => Algorithm::Argon2i,
                    Variant::Id => Algorithm::Argon2id,
                };
                let costs = |error: argon2::Error| KdfError::Costs { what: error.to_string() };
                let params = Params::new(*memory_kib, *passes, *lanes, Some(KEY)).map_err(costs)?;
                let needed_kib = u64::from(*memory_kib);
                let too_much = KdfError::Memory { needed_kib, room_kib: room.kib };
                if needed_kib > room.kib {
                    return Err(too_much);
                }
                let mut memory = Vec::new();
                memory.try_reserve_exact(params.block_count()).map_err(|_| too_much)?;
                memory.resize(params.block_count(), Block::new());
                let argon2 = Argon2::new(algorithm, Version::V0x13, params);
                let computed =
                    argon2.hash_password_into_with_memory(pass_phrase, salt, key.as_mut_slice(), memory.as_mut_slice());
                memory.iter_mut().for_each(|block| block.zeroize());
                computed.map_err(costs)?;
            }
        }
        Ok(key)
    }
}

/// PBKDF2 with HMAC and SHA-256.
pub(crate) fn pbkdf2(pass_phrase: &[u8], salt: &[u8], rounds: u32, out: &mut [u8]) {
    pbkdf2::pbkdf2_hmac::<Sha256>(pass_phrase, salt, rounds, out);
}

pub(crate) fn check_rounds(rounds: u32) -> Result<(), KdfError> {
    match (1..=ROUNDS_LIMIT).contains(&rounds) {
        true => Ok(()),
        false => Err(KdfError::Costs { what: format!("{rounds} rounds") }),
    }
}

fn check_salt(salt: &[u8]) -> Result<(), KdfError> {
    match (8..=SALT_LIMIT).contains(&salt.len()) {
        true => Ok(()),
        false => Err(KdfError::Costs { what: format!("a salt of {} bytes", salt.len()) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argon2(passes: u32, memory_kib: u32, lanes: u32) -> Kdf {
        Kdf::Argon2 { variant: Variant::Id, passes, memory_kib, lanes, salt: vec![7; 32] }
    }

    #[test]
    fn a_header_cannot_have_more_memory_or_time_than_there_is() {
        let room = Room { kib: 64 };
        assert!(argon2(1, 64, 1).derive(b"x", room).is_ok());
        let error = argon2(1, 65, 1).derive(b"x", room).expect_err("too much");
        assert_eq!(error, KdfError::Memory { needed_kib: 65, room_kib: 64 });
        let huge = Room { kib: u64::MAX };
        for wrong in [argon2(0, 64, 1), argon2(257, 64, 1), argon2(1, 7, 1), argon2(1, 64, 5), argon2(1, u32::MAX, 1)] {
            assert!(matches!(wrong.derive(b"x", huge), Err(KdfError::Costs { .. })), "{wrong:?}");
        }
        for (rounds, salt) in [(0, 32), (u32::MAX, 32), (1, 7), (1, 65)] {
            let wrong = Kdf::Pbkdf2 { rounds, salt: vec![0; salt] };
            assert!(matches!(wrong.derive(b"x", huge), Err(KdfError::Costs { .. })), "{wrong:?}");
        }
    }
}
