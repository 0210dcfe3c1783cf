//! Text on a machine's screen, read from its picture.
//!
//! The picture is cut into the cells of a text console. Which glyph is which character is not known beforehand: what
//! somebody typed is shown, and [`Glyphs::learn`] takes each glyph from there. So nothing depends on a font of ours.

use std::collections::BTreeMap;

/// A cell of the kernel's font.
const WIDTH: usize = 8;
const HEIGHT: usize = 16;

/// What is brighter than this is text.
const LIGHT: u8 = 0x50;

/// The largest picture, in pixels a side.
const LIMIT: usize = 16_384;

/// One cell, a bit for each pixel.
type Glyph = u128;

/// A picture of a text console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Screen {
    columns: usize,
    cells: Vec<Glyph>,
}

/// Why a picture is none of a text console.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// Not this format.
    #[error("this is no portable pixmap of 8 bits a colour")]
    Format,
    /// Too large, or with fewer pixels than its header says.
    #[error("the picture of {width} by {height} pixels is too large or incomplete")]
    Size {
        /// Pixels in a line.
        width: usize,
        /// Lines.
        height: usize,
    },
}

impl Screen {
    /// Reads a picture in the portable pixmap format.
    pub fn read(picture: &[u8]) -> Result<Self, PictureError> {
        let mut words = picture.splitn(5, |byte| byte.is_ascii_whitespace());
        let mut word = || words.next().and_then(|word| std::str::from_utf8(word).ok()).ok_or(PictureError::Format);
        let (magic, width, height) = (word()?, word()?, word()?);
        let depth = word()?;
        let (Ok(width), Ok(height), "P6", "255") = (width.parse::<usize>(), height.parse::<usize>(), magic, depth)
        else {
            return Err(PictureError::Format);
        };
        let pixels = words.next().unwrap_or_default();
        if width > LIMIT || height > LIMIT || pixels.len() < width * height * 3 {
            return Err(PictureError::Size { width, height });
        }
        let light = |x: usize, y: usize| pixels[(y * width + x) * 3..][..3].iter().any(|colour| *colour > LIGHT);
        let (columns, rows) = (width / WIDTH, height / HEIGHT);
        let cell = |number: usize| {
            let (left, top) = (number % columns * WIDTH, number / columns * HEIGHT);
            let spots = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (left + x, top + y)));
            spots.fold(0, |glyph, (x, y)| glyph << 1 | Glyph::from(light(x, y)))
        };
        Ok(Self { columns, cells: (0..columns * rows).map(cell).collect() })
    }

    /// Its text, a line for each row, without the empty rows at the end. What is not known is shown as `?`.
    #[must_use]
    pub fn text(&self, glyphs: &Glyphs) -> String {
        let rows = self.cells.chunks(self.columns.max(1)).map(|row| {
            let row: String = row.iter().map(|cell| glyphs.character(*cell)).collect();
            row.trim_end().to_owned() + "\n"
        });
        rows.collect::<String>().trim_end().to_owned()
    }
}

/// What the glyphs mean that were seen so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Glyphs {
    known: BTreeMap<Glyph, char>,
}

impl Glyphs {
    /// Takes the glyphs of a text that was typed between two pictures; nothing else may have changed. `None` when
    /// something else has, or when two of its characters look alike. The text ends with the character it begins with,
    /// so that a lost key is seen.
    #[must_use]
    pub fn learn(before: &Screen, after: &Screen, typed: &str) -> Option<Self> {
        let typed: Vec<char> = typed.chars().collect();
        let changed = |number: &usize| before.cells.get(*number) != after.cells.get(*number);
        let first = (0..after.cells.len()).find(changed)?;
        let last = (0..after.cells.len()).rev().find(changed)?;
        // The cursor stands in the first cell before and after the last one afterwards, and may be dark at that moment.
        let length = last + 1 - first;
        let cells = after.cells.get(first..first + typed.len())?;
        let in_one_row = first / after.columns == (first + typed.len()) / after.columns;
        if before.columns != after.columns || !(typed.len()..=typed.len() + 1).contains(&length) || !in_one_row {
            return None;
        }
        let known: BTreeMap<Glyph, char> = cells.iter().copied().zip(typed.iter().copied()).collect();
        let one_comes_twice = typed.first() == typed.last() && cells.first() == cells.last();
        (one_comes_twice && known.len() + 1 == typed.len()).then_some(Self { known })
    }

    fn character(&self, glyph: Glyph) -> char {
        if glyph == 0 { ' ' } else { self.known.get(&glyph).copied().unwrap_or('?') }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A screen of 10 by 2 cells where each character has its number as its first line of pixels.
    fn picture(text: &str) -> Vec<u8> {
        let mut pixels = vec![[0; 3]; 80 * 32];
        for (number, character) in text.chars().enumerate().filter(|(_, character)| *character != ' ') {
            for bit in (0..8).filter(|bit| character as u32 >> bit & 1 == 1) {
                pixels[number / 10 * 16 * 80 + number % 10 * 8 + bit] = [0xaa; 3];
            }
        }
        [b"P6\n80 32\n255\n".to_vec(), pixels.concat()].concat()
    }

    fn screen(text: &str) -> Screen {
        Screen::read(&picture(text)).expect("a picture")
    }

    #[test]
    fn what_was_typed_tells_how_to_read_the_rest() {
        let before = screen("dcba      >_");
        let after = screen("dcba      >abcda_");
        let glyphs = Glyphs::learn(&before, &after, "abcda").expect("only this was typed");
        assert_eq!(after.text(&glyphs), "dcba\n?abcda?");
    }

    #[test]
    fn nothing_is_learned_from_a_screen_that_changed_otherwise() {
        let before = screen("dcba      >_");
        for (after, typed) in [
            ("dcbx      >abcda_", "abcda"), // a message came in between
            ("dcba      >abda_", "abcda"),  // a key was lost
            ("dcba      >abcd_", "abcda"),  // the last one was lost
            ("dcba      >abaca_", "abdca"), // no two characters share a glyph
            ("dcba      >_", "abcda"),
        ] {
            assert_eq!(Glyphs::learn(&before, &screen(after), typed), None, "{after}");
        }
    }

    #[test]
    fn other_pictures_are_refused() {
        let cut = &picture("a")[..100];
        assert_eq!(Screen::read(cut), Err(PictureError::Size { width: 80, height: 32 }));
        for bytes in [&b"P5\n80 32\n255\n"[..], b"", b"P6\n80", b"P6\n80 x\n255\n", b"P6\n80 32\n65535\n"] {
            assert_eq!(Screen::read(bytes), Err(PictureError::Format));
        }
    }

    proptest! {
        #[test]
        fn no_picture_panics(header in "P6\n[0-9]{1,20}\n[0-9]{1,20}\n255\n", pixels: Vec<u8>) {
            let _ = Screen::read(&[header.into_bytes(), pixels].concat());
        }
    }
}
