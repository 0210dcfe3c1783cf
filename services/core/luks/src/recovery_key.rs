//! A key to write down: random letters instead of a pass phrase that somebody thought of.

use std::fmt;

use zeroize::{Zeroize as _, Zeroizing};

/// The letters and digits of RFC 4648, in small letters: 0, 1, 8 and 9, which look like others, are none of them.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// 150 bits: nobody tries them all, however cheap a try is.
const LETTERS: usize = 30;
const GROUP: usize = 5;

/// A key for a slot of its own, to be shown once.
pub struct RecoveryKey([u8; LETTERS]);

impl RecoveryKey {
    /// How many random bytes it is made from.
    pub const RANDOM: usize = LETTERS;

    /// Makes a key of random bytes, of each of which five bits count.
    pub fn new(random: &[u8; Self::RANDOM]) -> Self {
        Self(random.map(|byte| ALPHABET[usize::from(byte % 32)]))
    }

    /// The key in a text that somebody typed from paper, if it may be one: capital letters, blanks and strokes do not
    /// matter, and the digits that are none stand for the letters that look like them.
    pub(crate) fn typed(text: &[u8]) -> Option<Self> {
        let mut letters = [0; LETTERS];
        let mut count = 0;
        for byte in text.iter().filter(|byte| !matches!(byte, b' ' | b'-')) {
            let letter = match byte.to_ascii_lowercase() {
                b'0' => b'o',
                b'1' => b'l',
                b'8' => b'b',
                letter if ALPHABET.contains(&letter) => letter,
                _ => return None,
            };
            *letters.get_mut(count)? = letter;
            count += 1;
        }
        (count == LETTERS).then_some(Self(letters))
    }

    /// As it is shown and as its slot takes it: groups of five letters with strokes between them.
    pub fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(LETTERS + LETTERS / GROUP));
        for (number, group) in self.0.chunks(GROUP).enumerate() {
            if number > 0 {
                text.push('-');
            }
            group.iter().for_each(|letter| text.push(char::from(*letter)));
        }
        text
    }
}

impl Drop for RecoveryKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryKey")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_that_was_written_down_is_recognised() {
        let key = RecoveryKey::new(&std::array::from_fn(|at| at as u8 * 7));
        let shown = key.text().to_string();
        assert_eq!(shown.len(), 35);
        assert!(shown.split('-').all(|group| group.len() == 5), "{shown}");
        for typed in [shown.clone(), shown.to_uppercase(), shown.replace('-', " "), shown.replace('-', "")] {
            let read = RecoveryKey::typed(typed.as_bytes()).expect(&typed);
            assert_eq!(*read.text(), shown);
        }
        let similar = shown.replace('o', "0").replace('l', "1").replace('b', "8");
        assert_eq!(*RecoveryKey::typed(similar.as_bytes()).expect("the same").text(), shown);
        assert!(RecoveryKey::typed(b"correct horse battery").is_none());
        assert!(RecoveryKey::typed(format!("{shown}a").as_bytes()).is_none());
    }

    proptest! {
        #[test]
        fn whatever_is_typed_is_a_key_or_none(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(key) = RecoveryKey::typed(&text) {
                let shown = key.text();
                prop_assert_eq!(&*RecoveryKey::typed(shown.as_bytes()).expect("itself").text(), &*shown);
            }
        }
    }
}
