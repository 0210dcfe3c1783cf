//! What a TPM's register 11 will hold: the kernel image as the stub measures it, then the words of PID 1.
//!
//! The stub of systemd 252 extends, for each section that it knows, its name with a closing zero and then its content as
//! loaded, in an order of its own and not the file's. `.pcrsig` is left out: it signs the outcome. A policy for a register
//! is a digest that a TPM computes by itself, so a key's signature on it stays good for every image that the key's owner
//! predicts and signs. Predictions are for the bank of SHA-256.

use aios_slots::phase::Way;
use sha2::{Digest as _, Sha256};

use crate::uki::{self, PeError};

/// Measured, in this order.
const MEASURED: [&str; 7] = [".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey"];

/// `TPM2_CC_PolicyPCR`.
const POLICY_PCR: [u8; 4] = [0, 0, 0x01, 0x7f];

/// One selection: the bank of SHA-256 (`0x000b`), three bytes of registers, of which number 11.
const SELECTION: [u8; 10] = [0, 0, 0, 1, 0, 0x0b, 3, 0, 0x08, 0];

/// A register, or what is predicted of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register([u8; 32]);

impl Register {
    /// After the stub has measured `image`.
    pub fn of_image(image: &[u8]) -> Result<Self, PeError> {
        let sections = uki::sections(image)?;
        let mut register = Self([0; 32]);
        for name in MEASURED {
            let Some(section) = sections.iter().find(|section| section.name == name) else { continue };
            let content = &image[section.content.clone()];
            let loaded = (section.addresses.end - section.addresses.start) as usize;
            if loaded == 0 {
                continue;
            }
            if loaded != content.len() {
                return Err(PeError::Malformed { why: "a measured section is loaded larger than it is in the file" });
            }
            register = register.extended(format!("{name}\0").as_bytes()).extended(content);
        }
        Ok(register)
    }

    /// After one more measurement.
    #[must_use]
    pub fn extended(self, measured: &[u8]) -> Self {
        let measured = Sha256::digest(measured);
        Self(Sha256::new().chain_update(self.0).chain_update(measured).finalize().into())
    }

    /// After all words of a start.
    #[must_use]
    pub fn started(self, way: Way) -> Self {
        way.words().iter().fold(self, |register, word| register.extended(word.as_bytes()))
    }

    /// The policies that hold from the moment on in which it is known how the machine runs.
    #[must_use]
    pub fn policies(self, way: Way) -> Vec<[u8; 32]> {
        let mut register = self;
        let states = way.words().iter().map(|word| {
            register = register.extended(word.as_bytes());
            (*word, register)
        });
        let states: Vec<(&str, Self)> = states.collect();
        states.into_iter().skip_while(|(word, _)| *word != way.word()).map(|(_, state)| state.policy()).collect()
    }

    /// The digest of the policy "register 11 is this".
    #[must_use]
    pub fn policy(self) -> [u8; 32] {
        let register = Sha256::digest(self.0);
        let hash = Sha256::new().chain_update([0; 32]).chain_update(POLICY_PCR).chain_update(SELECTION);
        hash.chain_update(register).finalize().into()
    }

    /// The register's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uki::{append, tests::stub};

    #[test]
    fn the_order_is_the_stubs_and_not_the_files() {
        let (line, kernel) = ((".cmdline", &b"quiet"[..]), (".linux", &b"kernel"[..]));
        let one = Register::of_image(&append(&stub(), &[line, kernel]).expect("fits")).expect("an image");
        let other = Register::of_image(&append(&stub(), &[kernel, line]).expect("fits")).expect("an image");
        assert_eq!(one, other);
        for unmeasured in [(".pcrsig", &b"{}"[..]), (".uname", b"7.2"), (".dtb", b"")] {
            let image = append(&stub(), &[line, kernel, unmeasured]).expect("fits");
            assert_eq!(Register::of_image(&image), Ok(one), "{unmeasured:?}");
        }
        let keyed = append(&stub(), &[line, kernel, (".pcrpkey", b"key")]).expect("fits");
        assert_ne!(Register::of_image(&keyed), Ok(one), "the key that signs is");
    }

    /// `systemd-measure sign --linux=linux --bank=sha256 --phase=…` of systemd 252, which has a TPM compute the policy.
    #[test]
    fn a_policy_is_what_a_tpm_computes() {
        let image = append(&stub(), &[(".linux", b"hello\n")]).expect("fits");
        let register = Register::of_image(&image).expect("an image");
        for (way, expected) in [
            (Way::Recovery, "f7312c0aef63e13bfe15b827046aae0160f01033e0ec591b04a589cabf37351b"),
            (Way::Live, "d9d41eb6178e9022961a4cef5f1c9f5a798b8ea94198224f4e48a1afde033122"),
        ] {
            let policy: String = register.policies(way)[0].iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(policy, expected, "{way:?}");
        }
    }

    #[test]
    fn a_policy_of_one_way_is_none_of_another() {
        let register = Register([7; 32]);
        let ways = [Way::Live, Way::Installed, Way::Recovery].map(|way| register.policies(way));
        assert_eq!(ways.each_ref().map(Vec::len), [3, 3, 1]);
        assert!(ways[0].iter().all(|policy| !ways[1].contains(policy) && !ways[2].contains(policy)));
        assert_eq!(ways[1].last(), Some(&register.started(Way::Installed).policy()));
    }
}
