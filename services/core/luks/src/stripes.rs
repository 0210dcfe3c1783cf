//! A key spread over many stripes, all of which are needed to get it back: overwriting any of them destroys it, also on a
//! disk that keeps old copies of some (TKS1, as LUKS has it, with SHA-256).

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::KEY;

/// How many stripes every LUKS header has.
pub(crate) const STRIPES: usize = 4000;
/// What they take.
pub(crate) const BYTES: usize = KEY * STRIPES;
const HASH: usize = 32;

/// Hides a key in stripes, of which all but the last hold random bytes already.
pub(crate) fn split(key: &[u8; KEY], stripes: &mut [u8]) {
    let (random, last) = stripes.split_at_mut(BYTES - KEY);
    let sum = mix(random);
    for (to, (sum, key)) in last.iter_mut().zip(sum.iter().zip(key)) {
        *to = sum ^ key;
    }
}

/// The key that is in the stripes.
pub(crate) fn merge(stripes: &[u8]) -> Zeroizing<[u8; KEY]> {
    let (before, last) = stripes.split_at(BYTES - KEY);
    let mut sum = mix(before);
    for (sum, last) in sum.iter_mut().zip(last) {
        *sum ^= last;
    }
    sum
}

fn mix(stripes: &[u8]) -> Zeroizing<[u8; KEY]> {
    let mut sum = Zeroizing::new([0; KEY]);
    for stripe in stripes.chunks_exact(KEY) {
        for (sum, byte) in sum.iter_mut().zip(stripe) {
            *sum ^= byte;
        }
        for (number, part) in (0_u32..).zip(sum.chunks_exact_mut(HASH)) {
            let hash = Sha256::new().chain_update(number.to_be_bytes()).chain_update(&*part).finalize();
            part.copy_from_slice(&hash);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stripe_is_needed() {
        let key: [u8; KEY] = std::array::from_fn(|at| at as u8);
        let mut stripes: Vec<u8> = (0..BYTES).map(|at| (at * 31 % 251) as u8).collect();
        split(&key, &mut stripes);
        assert_eq!(*merge(&stripes), key);
        for at in [0, BYTES / 2, BYTES - KEY - 1, BYTES - 1] {
            stripes[at] ^= 1;
            assert_ne!(*merge(&stripes), key, "byte {at}");
            stripes[at] ^= 1;
        }
    }
}
