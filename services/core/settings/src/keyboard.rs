//! Layouts of the console's keyboard: what each key says, as the kernel's table of keys wants it.
//!
//! A layout names every key of the typing area in every shift state, so that going from one to another leaves nothing of
//! the first. The other keys (function keys, arrows, the number pad) stay as the kernel has them. Who writes the table to
//! a screen's keyboard is PID 1.

use std::fmt;
use std::str::FromStr;

/// The kernel's numbers for the keys of the typing area, row by row from the left. 86 is the key that only European
/// keyboards have, between the left shift key and the letters.
const KEYS: [u8; 48] = [
    41, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, // digits
    16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, // upper row
    30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 43, // middle row
    86, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, // lower row
];

/// A layout that this release has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    name: &'static str,
    plain: &'static str,
    shift: &'static str,
    /// With AltGr; a space says nothing.
    third: &'static str,
    /// Signs that wait for a letter to stand on, without AltGr.
    dead: &'static str,
}

/// Every layout. A row of keys is a word; the lower row begins with key 86.
const LAYOUTS: [Layout; 8] = [
    Layout {
        name: "us",
        plain: "`1234567890-= qwertyuiop[] asdfghjkl;'\\ <zxcvbnm,./",
        shift: "~!@#$%^&*()_+ QWERTYUIOP{} ASDFGHJKL:\"| >ZXCVBNM<>?",
        third: "▫▫▫▫▫▫▫▫▫▫▫▫▫ ▫▫▫▫▫▫▫▫▫▫▫▫ ▫▫▫▫▫▫▫▫▫▫▫▫ |▫▫▫▫▫▫▫▫▫▫",
        dead: "",
    },
    Layout {
        name: "gb",
        plain: "`1234567890-= qwertyuiop[] asdfghjkl;'# \\zxcvbnm,./",
        shift: "¬!\"£$%^&*()_+ QWERTYUIOP{} ASDFGHJKL:@~ |ZXCVBNM<>?",
        third: "¦▫▫▫€▫▫▫▫▫▫▫▫ ▫▫▫▫▫▫▫▫▫▫▫▫ ▫▫▫▫▫▫▫▫▫▫▫▫ ▫▫▫▫▫▫▫▫▫▫▫",
        dead: "",
    },
    Layout {
        name: "de",
        plain: "^1234567890ß´ qwertzuiopü+ asdfghjklöä# <yxcvbnm,.-",
        shift: "°!\"§$%&/()=?` QWERTZUIOPÜ* ASDFGHJKLÖÄ' >YXCVBNM;:_",
        third: "▫▫²³▫▫▫{[]}\\▫ @▫€▫▫▫▫▫▫▫▫~ ▫▫▫▫▫▫▫▫▫▫▫▫ |▫▫▫▫▫▫µ▫▫▫",
        dead: "^´`",
    },
    Layout {
        name: "fr",
        plain: "²&é\"'(-è_çà)= azertyuiop^$ qsdfghjklmù* <wxcvbn,;:!",
        shift: "▫1234567890°+ AZERTYUIOP¨£ QSDFGHJKLM%µ >WXCVBN?./§",
        third: "▫▫~#{[|`\\^@]} ▫▫€▫▫▫▫▫▫▫▫¤ ▫▫▫▫▫▫▫▫▫▫▫▫ ▫▫▫▫▫▫▫▫▫▫▫",
        dead: "^¨",
    },
    Layout {
        name: "es",
        plain: "º1234567890'¡ qwertyuiop`+ asdfghjklñ´ç <zxcvbnm,.-",
        shift: "ª!\"·$%&/()=?¿ QWERTYUIOP^* ASDFGHJKLÑ¨Ç >ZXCVBNM;:_",
        third: "\\|@#~€¬▫▫▫▫▫▫ ▫▫€▫▫▫▫▫▫▫[] ▫▫▫▫▫▫▫▫▫▫{} ▫▫▫▫▫▫▫▫▫▫▫",
        dead: "`^´¨",
    },
    Layout {
        name: "it",
        plain: "\\1234567890'ì qwertyuiopè+ asdfghjklòàù <zxcvbnm,.-",
        shift: "|!\"£$%&/()=?^ QWERTYUIOPé* ASDFGHJKLç°§ >ZXCVBNM;:_",
        third: "▫▫▫▫▫▫▫{▫▫}`~ ▫▫€▫▫▫▫▫▫▫[] ▫▫▫▫▫▫▫▫▫@#▫ ▫▫▫▫▫▫▫▫▫▫▫",
        dead: "",
    },
    Layout {
        name: "se",
        plain: "§1234567890+´ qwertyuiopå¨ asdfghjklöä' <zxcvbnm,.-",
        shift: "½!\"#¤%&/()=?` QWERTYUIOPÅ^ ASDFGHJKLÖÄ* >ZXCVBNM;:_",
        third: "▫▫@£$▫▫{[]}\\▫ ▫▫€▫▫▫▫▫▫▫▫~ ▫▫▫▫▫▫▫▫▫▫▫▫ |▫▫▫▫▫▫▫▫▫▫",
        dead: "´`¨^",
    },
    Layout {
        name: "dvorak",
        plain: "`1234567890[] ',.pyfgcrl/= aoeuidhtns-\\ <;qjkxbmwvz",
        shift: "~!@#$%^&*(){} \"<>PYFGCRL?+ AOEUIDHTNS_| >:QJKXBMWVZ",
        third: "▫▫▫▫▫▫▫▫▫▫▫▫▫ ▫▫▫▫▫▫▫▫▫▫▫▫ ▫▫▫▫▫▫▫▫▫▫▫▫ |▫▫▫▫▫▫▫▫▫▫",
        dead: "",
    },
];

/// A key that says nothing.
const NOTHING: char = '▫';

/// The kernel's tables of keys that a layout fills; the numbers are sums of the modifiers' weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// No modifier.
    Plain = 0,
    /// Shift.
    Shift = 1,
    /// The right Alt key.
    AltGr = 2,
    /// Ctrl.
    Control = 4,
}

/// What one key says in one table, as `KDSKBENT` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The table.
    pub table: Table,
    /// The kernel's number of the key.
    pub key: u8,
    /// What it says.
    pub value: u16,
}

/// There is no such layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this release has no keyboard layout of that name; it has {}", LAYOUTS.map(|layout| layout.name).join(", "))]
pub struct NoLayout;

impl Layout {
    /// All that the layout says about the keyboard.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + use<> {
        let signs = |row: &'static str| row.chars().filter(|sign| *sign != ' ');
        let dead = self.dead;
        KEYS.into_iter().zip(signs(self.plain)).zip(signs(self.shift)).zip(signs(self.third)).flat_map(
            move |(((key, plain), shift), third)| {
                let waits = |sign: char| dead.contains(sign);
                let both = plain.is_alphabetic() && plain.to_uppercase().eq([shift]);
                let sign = |sign: char| if waits(sign) { waiting(sign) } else { value(sign, both) };
                [
                    (Table::Plain, sign(plain)),
                    (Table::Shift, sign(shift)),
                    (Table::AltGr, value(third, false)),
                    (Table::Control, control([plain, shift, third])),
                ]
                .map(|(table, value)| Entry { table, key, value })
            },
        )
    }
}

impl FromStr for Layout {
    type Err = NoLayout;

    fn from_str(name: &str) -> Result<Self, NoLayout> {
        LAYOUTS.into_iter().find(|layout| layout.name == name).ok_or(NoLayout)
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Types of `linux/keyboard.h`, in the upper half of a value.
const LATIN: u16 = 0;
const SPECIAL: u16 = 2 << 8;
const DEAD: u16 = 7 << 8;
const LETTER: u16 = 11 << 8;
/// What is no Latin-1 is a code point with these bits turned round.
const UNICODE: u16 = 0xf000;

/// A sign by itself. Only what has its other case on the shifted key follows the Caps Lock key.
fn value(sign: char, follows_caps_lock: bool) -> u16 {
    match u16::try_from(u32::from(sign)) {
        _ if sign == NOTHING => SPECIAL,
        Ok(code @ 0..=0xff) if follows_caps_lock => LETTER | code,
        Ok(code @ 0..=0xff) => LATIN | code,
        Ok(code) => code ^ UNICODE,
        // Beyond what the kernel's table holds; no layout has one.
        Err(_) => SPECIAL,
    }
}

/// A sign that waits for a letter.
fn waiting(sign: char) -> u16 {
    DEAD | match sign {
        '`' => 0,
        '´' => 1,
        '^' => 2,
        '~' => 3,
        _ => 4,
    }
}

/// With Ctrl: the first sign of the key that has a control character.
fn control(signs: [char; 3]) -> u16 {
    let code = signs.into_iter().find(|sign| sign.is_ascii_alphabetic() || "@[\\]^_".contains(*sign));
    code.map_or(SPECIAL, |sign| u16::from(sign as u8 & 0x1f))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(name: &str) -> Layout {
        name.parse().expect(name)
    }

    fn said(name: &str, table: Table, key: u8) -> u16 {
        let mut entries = layout(name).entries();
        entries.find(|entry| (entry.table, entry.key) == (table, key)).expect("every key is named").value
    }

    #[test]
    fn every_layout_names_every_key_in_every_table_once() {
        for layout in LAYOUTS {
            for row in [layout.plain, layout.shift, layout.third] {
                assert_eq!(
                    row.split(' ').map(|row| row.chars().count()).collect::<Vec<_>>(),
                    [13, 12, 12, 11],
                    "{row}"
                );
            }
            let mut seen: Vec<_> = layout.entries().map(|entry| (entry.key, entry.table as u8)).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), KEYS.len() * 4, "{layout}");
            // What can be typed to a shell, a path or a program in any language.
            let all = [layout.plain, layout.shift, layout.third].concat();
            assert!((' '..='~').all(|sign| all.contains(sign) || sign == '~' || sign == '`'), "{layout}");
        }
    }

    #[test]
    fn keys_say_what_is_printed_on_them() {
        assert_eq!(said("us", Table::Plain, 44), LETTER | u16::from(b'z'));
        assert_eq!(said("de", Table::Plain, 44), LETTER | u16::from(b'y'));
        assert_eq!(said("de", Table::Shift, 8), u16::from(b'/'));
        assert_eq!(said("de", Table::AltGr, 16), u16::from(b'@'));
        assert_eq!(said("de", Table::Shift, 40), LETTER | 0xc4);
        assert_eq!(said("de", Table::Plain, 12), 0xdf, "a letter without a capital does not follow Caps Lock");
        assert_eq!(said("de", Table::Plain, 41), DEAD | 2);
        assert_eq!(said("de", Table::AltGr, 18), 0x20ac ^ UNICODE);
        assert_eq!(said("fr", Table::AltGr, 10), u16::from(b'^'), "by AltGr it does not wait");
        assert_eq!(said("fr", Table::Shift, 3), u16::from(b'2'));
        assert_eq!(said("us", Table::AltGr, 16), SPECIAL, "nothing of another layout is left");
        assert_eq!(said("dvorak", Table::Control, 23), 3, "Ctrl goes by the letter");
        assert_eq!(said("us", Table::Control, 26), 27);
        assert_eq!(said("de", Table::Control, 9), 27);
    }

    #[test]
    fn an_unknown_layout_names_the_known_ones() {
        for name in ["", "xx", "US", "de-latin1"] {
            let error = name.parse::<Layout>().expect_err(name).to_string();
            assert!(error.contains("us, gb, de"), "{error}");
        }
        assert_eq!(layout("se").to_string(), "se");
    }
}
