//! What a terminal sends, as keys. Bytes come in pieces of any size; a sequence that nobody knows is passed over whole.

/// One key, by what it does in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Character(char),
    Enter,
    Tab,
    /// Ctrl-C: the line is given up.
    Cancel,
    /// Ctrl-D: the end of input on an empty line, else the character under the cursor.
    EndOrDelete,
    Backspace,
    Delete,
    Left,
    Right,
    WordLeft,
    WordRight,
    Home,
    End,
    Earlier,
    Later,
    CutToEnd,
    CutToStart,
    CutWord,
    Paste,
    ClearScreen,
}

/// Collects bytes until they are keys.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    waiting: Vec<u8>,
}

/// The longest sequence that any terminal sends for a key is far shorter; what is longer is no key.
const LONGEST: usize = 16;

/// What the bytes at the beginning are.
enum Found {
    Key(Key, usize),
    /// Nothing that we know, so many bytes of it.
    Unknown(usize),
    /// The rest has not come yet.
    Unfinished,
}

impl Decoder {
    /// The keys that are complete with these bytes.
    pub(crate) fn keys(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.waiting.extend_from_slice(bytes);
        let mut keys = Vec::new();
        while !self.waiting.is_empty() {
            let used = match first(&self.waiting) {
                Found::Key(key, used) => {
                    keys.push(key);
                    used
                }
                Found::Unknown(used) => used,
                Found::Unfinished if self.waiting.len() > LONGEST => self.waiting.len(),
                Found::Unfinished => break,
            };
            self.waiting.drain(..used);
        }
        keys
    }
}

fn first(bytes: &[u8]) -> Found {
    match bytes[0] {
        b'\r' | b'\n' => Found::Key(Key::Enter, 1),
        b'\t' => Found::Key(Key::Tab, 1),
        0x7f | 0x08 => Found::Key(Key::Backspace, 1),
        0x1b => escape(&bytes[1..]),
        control @ ..0x20 => by_control(control).map_or(Found::Unknown(1), |key| Found::Key(key, 1)),
        _ => character(bytes),
    }
}

/// The keys that people know from other line editors.
fn by_control(byte: u8) -> Option<Key> {
    Some(match byte | 0x40 {
        b'A' => Key::Home,
        b'B' => Key::Left,
        b'C' => Key::Cancel,
        b'D' => Key::EndOrDelete,
        b'E' => Key::End,
        b'F' => Key::Right,
        b'K' => Key::CutToEnd,
        b'L' => Key::ClearScreen,
        b'N' => Key::Later,
        b'P' => Key::Earlier,
        b'U' => Key::CutToStart,
        b'W' => Key::CutWord,
        b'Y' => Key::Paste,
        _ => return None,
    })
}

/// What follows an escape character, which is counted too.
fn escape(rest: &[u8]) -> Found {
    match rest {
        [] => Found::Unfinished,
        [b'b', ..] => Found::Key(Key::WordLeft, 2),
        [b'f', ..] => Found::Key(Key::WordRight, 2),
        [0x7f, ..] => Found::Key(Key::CutWord, 2),
        [b'O', letter, ..] => named(&[], *letter, 3),
        [b'O'] => Found::Unfinished,
        [b'[', parameters @ ..] => match parameters.iter().position(|byte| (0x40..=0x7e).contains(byte)) {
            Some(end) => named(&parameters[..end], parameters[end], end + 3),
            None => Found::Unfinished,
        },
        _ => Found::Unknown(2),
    }
}

fn named(parameters: &[u8], last: u8, used: usize) -> Found {
    let key = match (parameters, last) {
        (b"", b'A') => Key::Earlier,
        (b"", b'B') => Key::Later,
        (b"", b'C') => Key::Right,
        (b"", b'D') => Key::Left,
        (b"1;5" | b"1;3", b'C') => Key::WordRight,
        (b"1;5" | b"1;3", b'D') => Key::WordLeft,
        (b"", b'H') | (b"1" | b"7", b'~') => Key::Home,
        (b"", b'F') | (b"4" | b"8", b'~') => Key::End,
        (b"3", b'~') => Key::Delete,
        _ => return Found::Unknown(used),
    };
    Found::Key(key, used)
}

fn character(bytes: &[u8]) -> Found {
    let length = match bytes[0] {
        ..0x80 => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Found::Unknown(1),
    };
    let Some(bytes) = bytes.get(..length) else { return Found::Unfinished };
    match std::str::from_utf8(bytes).ok().and_then(|text| text.chars().next()) {
        Some(character) if !character.is_control() => Found::Key(Key::Character(character), length),
        Some(_) => Found::Unknown(length),
        None => Found::Unknown(1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        Decoder::default().keys(bytes)
    }

    #[test]
    fn the_keys_of_common_terminals_are_known() {
        assert_eq!(
            keys(b"a\x1b[A\x1bOB\x1b[3~\r"),
            [Key::Character('a'), Key::Earlier, Key::Later, Key::Delete, Key::Enter]
        );
        assert_eq!(
            keys(b"\x1b[1;5D\x1bf\x01\x05\x17\x7f"),
            [Key::WordLeft, Key::WordRight, Key::Home, Key::End, Key::CutWord, Key::Backspace]
        );
        assert_eq!(keys("grün €".as_bytes()).len(), 6);
    }

    #[test]
    fn an_unknown_sequence_leaves_nothing_in_the_line() {
        assert_eq!(keys(b"\x1b[200~x\x1b[?1;2cy"), [Key::Character('x'), Key::Character('y')]);
        assert_eq!(keys(b"\xff\xfea"), [Key::Character('a')]);
    }

    proptest! {
        #[test]
        fn pieces_give_the_same_keys_as_the_whole(bytes in prop::collection::vec(any::<u8>(), 0..40), cut in 0_usize..40) {
            let cut = cut.min(bytes.len());
            // What is given up as too long depends on where the pieces end.
            prop_assume!(!bytes.contains(&0x1b));
            let mut pieces = Decoder::default();
            let mut found = pieces.keys(&bytes[..cut]);
            found.extend(pieces.keys(&bytes[cut..]));
            prop_assert_eq!(found, keys(&bytes));
        }

        #[test]
        fn after_anything_a_line_can_be_ended(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut decoder = Decoder::default();
            decoder.keys(&bytes);
            let mut after = Vec::new();
            for _ in 0..=LONGEST {
                after.extend(decoder.keys(b"\r"));
            }
            prop_assert!(after.contains(&Key::Enter));
        }
    }
}
