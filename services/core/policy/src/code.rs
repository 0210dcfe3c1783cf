//! The short code that a person types to approve something of high risk.
//!
//! It follows from the digest, so it stands beside what will run and fits nothing else: who types it has looked at this
//! request and not at the one above it. It proves no identity and keeps no secret. Nobody who asks can choose it, because
//! the digest covers the action's id, which the runtime draws.

use aios_ids::Digest;
use aios_wire::policy::Approval;

/// Digits and capital letters of which no two look alike: no 0 and O, no 1, I and L, no U beside V.
const LETTERS: &[u8; 30] = b"23456789ABCDEFGHJKMNPQRSTVWXYZ";

/// How many there are in a code: a guess is right once in 810,000 times.
const LENGTH: u32 = 4;

/// The code that this request wants, if its risk is high. What is neither low nor medium is high.
#[must_use]
pub fn code_of(approval: &Approval) -> Option<String> {
    let harmless = ["low", "medium"].contains(&approval.risk.as_str());
    (!harmless).then(|| of_digest(&approval.digest))
}

/// Whether somebody typed this code; capitals do not matter, nor does what stands around it.
pub(crate) fn is_typed(code: &str, typed: &str) -> bool {
    typed.trim().eq_ignore_ascii_case(code)
}

fn of_digest(digest: &Digest) -> String {
    let hashed = Digest::of(format!("aios approval code v1\n{digest}\n").as_bytes()).to_string();
    let letters = LETTERS.len() as u64;
    // Fifteen digits of 64 bits are far more than the codes there are: each is as likely as the next.
    let mut rest = u64::from_str_radix(&hashed[..15], 16).unwrap_or_default() % letters.pow(LENGTH);
    let mut code = String::new();
    for _ in 0..LENGTH {
        code.push(char::from(LETTERS[usize::try_from(rest % letters).unwrap_or_default()]));
        rest /= letters;
    }
    code
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The codes of an installed machine's waiting requests must mean the same to the next release.
    #[test]
    fn the_code_of_a_digest_never_changes() {
        let codes = ["", "envelope", "x"].map(|text| of_digest(&Digest::of(text.as_bytes())));
        assert_eq!(codes, ["N3NQ", "YK7K", "43PS"]);
    }

    #[test]
    fn other_digests_have_other_codes() {
        let codes: BTreeSet<_> = (0..1000u32).map(|number| of_digest(&Digest::of(&number.to_le_bytes()))).collect();
        assert!(codes.len() > 990, "{} codes of a thousand digests", codes.len());
    }

    #[test]
    fn a_code_is_taken_as_people_type_it() {
        for typed in ["K7MQ", "k7mq", " K7mq\n"] {
            assert!(is_typed("K7MQ", typed), "{typed:?}");
        }
        for typed in ["", "K7M", "K7MQ2", "K 7MQ", "K7MO", "Ｋ7MQ"] {
            assert!(!is_typed("K7MQ", typed), "{typed:?}");
        }
    }

    proptest! {
        #[test]
        fn every_code_has_the_letters_that_people_can_tell_apart(bytes in any::<[u8; 32]>()) {
            let code = of_digest(&Digest::of(&bytes));
            prop_assert_eq!(code.len(), 4);
            prop_assert!(code.bytes().all(|letter| LETTERS.contains(&letter)), "{}", code);
        }
    }
}
