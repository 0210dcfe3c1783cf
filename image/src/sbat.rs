//! The section `.sbat`: by component and generation, so that shim can refuse all programs with a fault at once.
//!
//! It is a table in text. What a program of others says of itself stays, because a fault of theirs is one of ours; we add
//! our line. Its generation goes up when something we signed must never start again.

use crate::uki::{PeError, section, without};

/// The section.
pub const SECTION: &str = ".sbat";

/// Ours. Raised once for each fault that lets a signed image start what we did not sign.
pub const GENERATION: u32 = 1;

/// The first line of every table, for a program that has none.
const FORM: &str = "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n";

/// The longest table that we take over.
const LIMIT: usize = 16 * 1024;

/// The program without its table, and the table to be appended: its own lines and ours.
pub fn extended(program: &[u8], version: &str) -> Result<(Vec<u8>, String), PeError> {
    let malformed = PeError::Malformed { why: "its .sbat is no table in text" };
    let own = match section(program, SECTION)? {
        None => FORM.to_owned(),
        Some(bytes) if bytes.len() > LIMIT => return Err(malformed),
        Some(bytes) => {
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            let text = std::str::from_utf8(&bytes[..end]).ok().filter(|text| text.starts_with("sbat,"));
            text.ok_or(malformed)?.trim_end().to_owned() + "\n"
        }
    };
    // The table separates its fields with commas.
    let version: String = version.chars().filter(|c| c.is_ascii_graphic() && *c != ',').collect();
    Ok((without(program, SECTION)?, format!("{own}aios,{GENERATION},AIOS,aios,{version},https://aios.invalid/\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uki::{append, tests::stub};

    #[test]
    fn a_program_keeps_its_lines_and_gets_ours() {
        let old = format!("{FORM}systemd,1,The systemd Developers,systemd,252,https://systemd.io/\n\0\0");
        let program = append(&stub(), &[(SECTION, old.as_bytes())]).expect("fits");
        let (rest, table) = extended(&program, "0.1.0,x").expect("a table");
        assert_eq!(section(&rest, SECTION), Ok(None));
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("sbat,1,") && lines[1].starts_with("systemd,1,"), "{table}");
        assert_eq!(lines[2], "aios,1,AIOS,aios,0.1.0x,https://aios.invalid/");
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.split(',').count() == 6), "{table}");
    }

    #[test]
    fn a_program_without_a_table_gets_one_and_a_broken_one_is_refused() {
        let (_, table) = extended(&stub(), "1").expect("a new table");
        assert_eq!(table.lines().count(), 2);
        for broken in [&b"\xff"[..], b"text", &[b'a'; LIMIT + 1]] {
            let program = append(&stub(), &[(SECTION, broken)]).expect("fits");
            assert!(extended(&program, "1").is_err());
        }
    }
}
