//! AES-256 in XTS mode over the sectors of a key slot's area, numbered from the area's beginning (`aes-xts-plain64`).

use aes::Aes256;
use aes::cipher::{BlockDecrypt as _, BlockEncrypt as _, KeyInit as _};

use crate::KEY;

/// Key slots are always encrypted in sectors of this size.
pub(crate) const SECTOR: usize = 512;
const BLOCK: usize = 16;

/// Encrypts whole sectors in place.
pub(crate) fn encrypt(key: &[u8; KEY], sectors: &mut [u8]) {
    over_blocks(key, sectors, |cipher, block| cipher.encrypt_block(block.into()));
}

/// Decrypts whole sectors in place.
pub(crate) fn decrypt(key: &[u8; KEY], sectors: &mut [u8]) {
    over_blocks(key, sectors, |cipher, block| cipher.decrypt_block(block.into()));
}

fn over_blocks(key: &[u8; KEY], sectors: &mut [u8], mut one: impl FnMut(&Aes256, &mut [u8; BLOCK])) {
    let (of_data, of_places) = key.split_at(KEY / 2);
    let (of_data, of_places) = (Aes256::new(of_data.into()), Aes256::new(of_places.into()));
    for (number, sector) in (0_u128..).zip(sectors.chunks_exact_mut(SECTOR)) {
        let mut tweak = number.to_le_bytes();
        of_places.encrypt_block((&mut tweak).into());
        let mut tweak = u128::from_le_bytes(tweak);
        for bytes in sector.chunks_exact_mut(BLOCK) {
            let mut block = [0; BLOCK];
            block.copy_from_slice(bytes);
            block = (u128::from_le_bytes(block) ^ tweak).to_le_bytes();
            one(&of_data, &mut block);
            bytes.copy_from_slice(&(u128::from_le_bytes(block) ^ tweak).to_le_bytes());
            // Times x in the field of 2^128 elements that the mode is defined over.
            tweak = (tweak << 1) ^ ((tweak >> 127) * 0x87);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("digits")).collect()
    }

    /// Vector 10 of IEEE 1619: its sector has the number 255, so 255 sectors lie before it.
    #[test]
    fn a_sector_is_encrypted_as_the_standard_says() {
        let key = bytes(
            "2718281828459045235360287471352662497757247093699959574966967627\
             3141592653589793238462643383279502884197169399375105820974944592",
        );
        let key: [u8; KEY] = key.try_into().expect("a key");
        let mut sectors = vec![0; 256 * SECTOR];
        let plain: Vec<u8> = (0..SECTOR).map(|at| at as u8).collect();
        sectors[255 * SECTOR..].copy_from_slice(&plain);
        encrypt(&key, &mut sectors);
        let begin = bytes("1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b");
        assert_eq!(sectors[255 * SECTOR..][..32], begin);
        decrypt(&key, &mut sectors);
        assert_eq!(sectors[255 * SECTOR..], plain);
        assert!(sectors[..255 * SECTOR].iter().all(|byte| *byte == 0));
    }
}
