//! Taking a secret out of what a server answered, in the forms in which servers repeat what they were sent: as it is, in
//! base64 wherever it begins in the packed text, in hexadecimal, with percent signs.
//!
//! A server that means to give its own secret away finds a form that is not here. Who gets a secret is trusted with it.

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use zeroize::Zeroizing;

use crate::secret::SecretValue;

/// Stands where a secret was.
const MARK: &[u8] = b"[secret]";

/// What is looked for.
pub struct Redactor {
    needles: Vec<Needle>,
}

struct Needle {
    bytes: Zeroizing<Vec<u8>>,
    /// How many characters before and behind hold a part of the secret too.
    before: usize,
    behind: usize,
}

impl Redactor {
    /// Looks for this secret.
    pub fn of(value: &SecretValue) -> Self {
        let secret = value.expose().as_bytes();
        let plain = |bytes: Vec<u8>| Needle { bytes: Zeroizing::new(bytes), before: 0, behind: 0 };
        let mut needles = vec![plain(secret.to_vec())];
        for upper in [false, true] {
            needles.push(plain(hex(secret, upper)));
            needles.push(plain(percent(secret, upper)));
        }
        for shift in 0..3 {
            needles.extend([&BASE64_STANDARD, &BASE64_URL_SAFE].map(|alphabet| packed(secret, shift, alphabet)));
        }
        // Longer ones first: a form that holds another is taken out whole.
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.bytes.len()));
        needles.dedup_by(|one, other| *one.bytes == *other.bytes);
        Self { needles }
    }

    /// The bytes without the secret, and how often it was there.
    pub fn redact(&self, content: &[u8]) -> (Vec<u8>, usize) {
        let mut found: Vec<(usize, usize)> = Vec::new();
        for needle in &self.needles {
            let mut at = 0;
            while let Some(place) = find(&content[at..], &needle.bytes) {
                let (begin, end) = (at + place, at + place + needle.bytes.len());
                found.push((begin.saturating_sub(needle.before), (end + needle.behind).min(content.len())));
                at = begin + 1;
            }
        }
        found.sort_unstable();
        let (mut out, mut done, mut count) = (Vec::with_capacity(content.len()), 0, 0);
        for (begin, end) in found {
            // Forms may overlap: what was taken out is taken out once, and all of it.
            if begin >= done {
                out.extend(&content[done..begin]);
                out.extend(MARK);
                count += 1;
            }
            done = done.max(end);
        }
        out.extend(&content[done..]);
        (out, count)
    }

    /// The same for a text.
    pub fn redact_text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.redact(text.as_bytes()).0).into_owned()
    }
}

fn find(content: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let last = content.len().checked_sub(needle.len())?;
    let mut at = 0;
    while at <= last {
        at += content[at..=last].iter().position(|byte| *byte == first)?;
        if content[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn hex(secret: &[u8], upper: bool) -> Vec<u8> {
    let digits = |byte: &u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
    secret.iter().map(digits).collect::<String>().into_bytes()
}

fn percent(secret: &[u8], upper: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in secret {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(*byte);
        } else {
            out.push(b'%');
            out.extend(hex(&[*byte], upper));
        }
    }
    out
}

/// The characters that the secret alone decides when `shift` bytes stand before it; its ends share a character with what
/// stands beside them.
fn packed(secret: &[u8], shift: usize, alphabet: &impl base64::Engine) -> Needle {
    let mut bytes = Zeroizing::new(vec![0; shift]);
    bytes.extend(secret);
    let text = Zeroizing::new(alphabet.encode(bytes.as_slice()).into_bytes());
    let (first, last) = ((shift * 8).div_ceil(6), bytes.len() * 8 / 6);
    Needle {
        bytes: Zeroizing::new(text[first..last].to_vec()),
        before: usize::from(shift > 0),
        behind: usize::from(!bytes.len().is_multiple_of(3)),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use proptest::prelude::*;

    use super::*;

    fn redactor(secret: &str) -> Redactor {
        Redactor::of(&secret.parse().expect("a value"))
    }

    #[test]
    fn the_secret_is_taken_out_in_every_form_and_nothing_else_is() {
        let redactor = redactor("p4ss/word+!");
        for (content, expected, count) in [
            ("{\"token\": \"p4ss/word+!\"}", "{\"token\": \"[secret]\"}", 1),
            ("p4ss%2Fword%2B%21 p4ss%2fword%2b%21", "[secret] [secret]", 2),
            ("703473732f776f72642b21", "[secret]", 1),
            ("p4ss/word+", "p4ss/word+", 0),
            ("p4ss/word+!p4ss/word+!", "[secret][secret]", 2),
            ("", "", 0),
        ] {
            assert_eq!(redactor.redact(content.as_bytes()), (expected.as_bytes().to_vec(), count), "{content}");
        }
        assert_eq!(redactor.redact_text("cannot reach p4ss/word+!.example"), "cannot reach [secret].example");
    }

    #[test]
    fn what_overlaps_goes_as_a_whole() {
        assert_eq!(redactor("abababab").redact(b"xababababababx"), (b"x[secret]x".to_vec(), 1));
    }

    proptest! {
        #[test]
        fn no_base64_of_it_stays(secret in "[!-~]{8,40}", before in prop::collection::vec(any::<u8>(), 0..9), behind in prop::collection::vec(any::<u8>(), 0..9)) {
            let mut content = before.clone();
            content.extend(secret.bytes());
            content.extend(&behind);
            for packed in [BASE64_STANDARD.encode(&content), BASE64_URL_SAFE.encode(&content)] {
                let (left, count) = redactor(&secret).redact(packed.as_bytes());
                prop_assert_eq!(count, 1, "{}", packed);
                // What is left tells at most the bits that the ends share with their neighbours: none of the secret's.
                prop_assert!(left.len() <= packed.len() + MARK.len() - secret.len() * 8 / 6 + 1);
            }
        }

        #[test]
        fn the_secret_is_never_left(secret in "[ab]{8,10}", content in "[ab]{0,60}") {
            let (left, count) = redactor(&secret).redact(content.as_bytes());
            let left = String::from_utf8_lossy(&left).into_owned();
            prop_assert!(left.split("[secret]").all(|part| !part.contains(&secret)));
            prop_assert_eq!(count == 0, !content.contains(&secret));
        }
    }
}
