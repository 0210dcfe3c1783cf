//! The console's marks: OSC 133 sequences that say where a prompt, an input and an output begin and how a command ended.
//!
//! The fixture reads them from the serial line, so nothing has to be guessed from prompts or pauses. Bytes come from a
//! machine that may be broken: anything that is not a complete mark passes through as text.

/// What the console says about itself between the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// `A`: a prompt begins.
    Prompt,
    /// `B`: the prompt is complete; the console reads input.
    Input,
    /// `C`: what follows is the command's output.
    Output,
    /// `D;N`: the command ended with this status.
    Ended(u8),
}

/// A stretch of the console's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes as they came.
    Text(Vec<u8>),
    /// A mark, taken out of the text.
    Mark(Mark),
}

/// Splits the console's bytes; a mark may arrive in any number of reads.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// A sequence that is not complete yet; it begins with ESC.
    pending: Vec<u8>,
}

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
const PREFIX: &[u8] = b"\x1b]133;";
/// The longest mark is `ESC ] 133;D;255 ESC \`; parameters that other consoles add fit as well.
const LONGEST: usize = 96;

impl Splitter {
    /// Takes the next bytes and gives what they complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut text = Vec::new();
        for &byte in bytes {
            self.step(byte, &mut text, &mut pieces);
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        pieces
    }

    fn step(&mut self, byte: u8, text: &mut Vec<u8>, pieces: &mut Vec<Piece>) {
        if self.pending.is_empty() && byte != ESC {
            text.push(byte);
            return;
        }
        self.pending.push(byte);
        match standing(&self.pending) {
            Standing::Unfinished => {}
            Standing::Complete(mark) => {
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(text)));
                }
                pieces.push(Piece::Mark(mark));
                self.pending.clear();
            }
            Standing::NoMark => {
                let broken = std::mem::take(&mut self.pending);
                // A later ESC in what broke may begin the next mark.
                let next = broken.iter().skip(1).position(|byte| *byte == ESC).map_or(broken.len(), |at| at + 1);
                text.extend_from_slice(&broken[..next]);
                for &byte in &broken[next..] {
                    self.step(byte, text, pieces);
                }
            }
        }
    }
}

enum Standing {
    Unfinished,
    Complete(Mark),
    NoMark,
}

fn standing(sequence: &[u8]) -> Standing {
    if sequence.len() <= PREFIX.len() {
        return if PREFIX.starts_with(sequence) { Standing::Unfinished } else { Standing::NoMark };
    }
    let Some(body) = sequence.strip_prefix(PREFIX) else { return Standing::NoMark };
    let body = match body {
        [body @ .., BEL] | [body @ .., ESC, b'\\'] => body,
        [rest @ .., _] if rest.contains(&ESC) => return Standing::NoMark,
        [.., byte] if byte.is_ascii_control() && *byte != ESC => return Standing::NoMark,
        _ if sequence.len() >= LONGEST => return Standing::NoMark,
        _ => return Standing::Unfinished,
    };
    let mut fields = body.split(|byte| *byte == b';');
    match fields.next() {
        Some(b"A") => Standing::Complete(Mark::Prompt),
        Some(b"B") => Standing::Complete(Mark::Input),
        Some(b"C") => Standing::Complete(Mark::Output),
        Some(b"D") => match fields.next().map(status) {
            Some(Some(status)) => Standing::Complete(Mark::Ended(status)),
            _ => Standing::NoMark,
        },
        _ => Standing::NoMark,
    }
}

fn status(digits: &[u8]) -> Option<u8> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The bytes as people read them: without colours and cursor movements, with plain line ends.
#[must_use]
pub(super) fn plain(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [byte, after @ ..] = rest {
        rest = match (*byte, after) {
            (ESC, [b'[', sequence @ ..]) => {
                let end = sequence.iter().position(|byte| (0x40..=0x7e).contains(byte));
                end.map_or(&[][..], |end| &sequence[end + 1..])
            }
            (ESC, [_, after @ ..]) => after,
            (ESC | b'\r', after) => after,
            (byte, after) => {
                out.push(byte);
                after
            }
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(input: &[u8], expected: &[Piece]) {
        assert_eq!(Splitter::default().feed(input), expected, "{}", input.escape_ascii());
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn a_command_has_four_marks() {
        check(
            b"\x1b]133;A\x07aios> \x1b]133;B\x07ls\r\n\x1b]133;C\x07file\r\n\x1b]133;D;3\x1b\\",
            &[
                Piece::Mark(Mark::Prompt),
                text("aios> "),
                Piece::Mark(Mark::Input),
                text("ls\r\n"),
                Piece::Mark(Mark::Output),
                text("file\r\n"),
                Piece::Mark(Mark::Ended(3)),
            ],
        );
    }

    #[test]
    fn what_is_no_mark_stays_text() {
        for input in
            ["\x1b[2J", "\x1b]0;title\x07", "\x1b]133;Z\x07", "\x1b]133;D;256\x07", "\x1b]133;D\x07", "\x1b]133;A\n"]
        {
            check(input.as_bytes(), &[text(input)]);
        }
    }

    #[test]
    fn a_broken_mark_does_not_swallow_the_next_one() {
        check(b"\x1b]133\x1b]133;B\x07", &[text("\x1b]133"), Piece::Mark(Mark::Input)]);
        check(b"\x1b]133;A\x1b]133;B\x07", &[text("\x1b]133;A"), Piece::Mark(Mark::Input)]);
    }

    #[test]
    fn colours_are_not_read() {
        assert_eq!(plain(b"\x1b[1;31mdenied\x1b[0m: x\r\n"), "denied: x\n");
    }

    fn bytes_with_marks() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            any::<Vec<u8>>(),
            Just(b"\x1b]133;A\x07".to_vec()),
            Just(b"\x1b]133;D;7\x1b\\".to_vec()),
            Just(b"\x1b]133;".to_vec()),
            Just(b"\x1b".to_vec()),
        ];
        prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    fn joined(pieces: impl IntoIterator<Item = Piece>) -> Vec<Piece> {
        let mut all: Vec<Piece> = Vec::new();
        for piece in pieces {
            match (all.last_mut(), piece) {
                (Some(Piece::Text(before)), Piece::Text(more)) => before.extend(more),
                (_, piece) => all.push(piece),
            }
        }
        all
    }

    proptest! {
        /// Serial lines deliver bytes in any grouping; the meaning may not depend on it.
        #[test]
        fn reads_may_be_cut_anywhere(input in bytes_with_marks(), size in 1usize..9) {
            let whole = joined(Splitter::default().feed(&input));
            let mut splitter = Splitter::default();
            let cut = joined(input.chunks(size).flat_map(|chunk| splitter.feed(chunk)));
            prop_assert_eq!(whole, cut);
        }

        #[test]
        fn text_without_escapes_is_untouched(input in "[^\x1b]*") {
            let pieces = joined(Splitter::default().feed(input.as_bytes()));
            let expected = if input.is_empty() { vec![] } else { vec![text(&input)] };
            prop_assert_eq!(pieces, expected);
        }

        #[test]
        fn plain_reads_any_bytes(input in any::<Vec<u8>>()) {
            prop_assert!(!plain(&input).contains('\x1b'));
        }
    }
}
