//! The words of ours on the sealed kernel command line.
//!
//! The line is part of the signed image, so it is trusted; it is still read strictly, because a word that is misspelt
//! there would otherwise silently mean nothing.

use aios_ids::Digest;
use aios_verity::BLOCKS_LIMIT;

/// What the command line says about the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandLine {
    /// The root hash.
    pub(crate) root: Digest,
    /// How many blocks of 4096 bytes the root has.
    pub(crate) blocks: u64,
    /// The release.
    pub(crate) version: String,
}

/// The command line does not name a root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandLineError {
    #[error("the kernel command line lacks {0}")]
    Missing(&'static str),
    #[error("the kernel command line has {0} twice")]
    Twice(&'static str),
    #[error("the kernel command line has the unknown word '{0}'")]
    Unknown(String),
    #[error("{key} on the kernel command line is '{value}', not {form}")]
    Value { key: &'static str, value: String, form: &'static str },
}

/// Reads our words; the kernel's own are left to the kernel.
pub(crate) fn parse(line: &str) -> Result<CommandLine, CommandLineError> {
    let (mut root, mut blocks, mut version) = (None, None, None);
    for word in line.split_ascii_whitespace().filter(|word| word.starts_with("aios.")) {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let (key, slot) = match key {
            "aios.root" => ("aios.root", &mut root),
            "aios.blocks" => ("aios.blocks", &mut blocks),
            "aios.version" => ("aios.version", &mut version),
            _ => return Err(CommandLineError::Unknown(shown(word))),
        };
        if slot.replace(value).is_some() {
            return Err(CommandLineError::Twice(key));
        }
    }
    let wrong = |key, value, form| CommandLineError::Value { key, value: shown(value), form };
    let root = root.ok_or(CommandLineError::Missing("aios.root"))?;
    let blocks = blocks.ok_or(CommandLineError::Missing("aios.blocks"))?;
    let version = version.ok_or(CommandLineError::Missing("aios.version"))?;
    let is_version = |text: &str| {
        (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+~".contains(&b))
    };
    Ok(CommandLine {
        root: root.parse().map_err(|_| wrong("aios.root", root, "a SHA-256 digest"))?,
        blocks: blocks
            .parse()
            .ok()
            .filter(|blocks| (1..=BLOCKS_LIMIT).contains(blocks))
            .ok_or_else(|| wrong("aios.blocks", blocks, "a number of blocks that a slot can hold"))?,
        version: match is_version(version) {
            true => version.to_owned(),
            false => return Err(wrong("aios.version", version, "a version")),
        },
    })
}

fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_read_beside_the_kernels_own_words() {
        let hash = "ab".repeat(32);
        let line = format!("console=ttyS0 aios.root={hash} quiet aios.blocks=2048 aios.version=0.1.0 panic=10\n");
        let read = parse(&line).expect("a good line");
        assert_eq!((read.root.to_string(), read.blocks, read.version.as_str()), (hash, 2048, "0.1.0"));
    }

    #[test]
    fn what_is_missing_doubled_or_unknown_is_refused_by_name() {
        let good = format!("aios.root={} aios.blocks=1 aios.version=1", "0".repeat(64));
        assert!(parse(&good).is_ok());
        for (line, expected) in [
            ("quiet".to_owned(), "lacks aios.root"),
            (good.replace("blocks=1", "blocks=0"), "aios.blocks"),
            (good.replace("blocks=1", "blocks=99999999999999999999"), "aios.blocks"),
            (good.replace("version=1", "version="), "aios.version"),
            (good.replace('0', "g"), "aios.root"),
            (format!("{good} aios.blocks=1"), "twice"),
            (format!("{good} aios.debug"), "unknown word 'aios.debug'"),
        ] {
            let error = parse(&line).expect_err(&line).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "(aios\\.(root|blocks|version)=[0-9a-z]{0,70} ){0,4}\\PC{0,40}") {
            let _ = parse(&line).is_ok();
        }
    }
}
