//! Unpacking Nix archives, strictly.
//!
//! An archive is read before its digest can be known, so nothing in it is believed: lengths have limits before memory is
//! taken, names must be sorted, single and harmless, and padding must be zero. An archive that passes is the only encoding
//! of the tree that it makes. The decoder of `nix-nar` takes as much memory as an archive claims and takes names in any
//! order; its encoder is used to read trees back.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

/// The longest name that the file systems take.
const NAME_LIMIT: u64 = 255;

/// The longest target that the kernel takes.
const TARGET_LIMIT: u64 = 4095;

/// Deeper than any package, shallower than the stack.
const DEPTH_LIMIT: usize = 128;

/// The words of the format are shorter than this.
const WORD_LIMIT: u64 = 16;

/// An archive is not unpacked; what it made so far is for the caller to remove.
#[derive(Debug, thiserror::Error)]
pub enum NarError {
    /// The stream ended or failed.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// A word of the format is missing.
    #[error("the archive has '{found}' where it must have '{expected}'")]
    Word {
        /// What the format says.
        expected: &'static str,
        /// What is there, made harmless.
        found: String,
    },
    /// A string is longer than it can be.
    #[error("the archive has {length} bytes where at most {limit} can be")]
    Length {
        /// What it claims.
        length: u64,
        /// What can be.
        limit: u64,
    },
    /// Padding hides something.
    #[error("the archive has bytes in its padding")]
    Padding,
    /// A name would lead out of its folder, or is no name.
    #[error("the archive has a file named '{0}'")]
    Name(String),
    /// Names are not sorted, or one is there twice.
    #[error("the archive has '{0}' out of order or twice")]
    Order(String),
    /// A link to nothing.
    #[error("the archive has a link without a target")]
    Target,
    /// Folders in folders without end.
    #[error("the archive has folders more than {DEPTH_LIMIT} deep")]
    Depth,
    /// The disk failed.
    #[error("cannot write what the archive holds")]
    Write(#[source] io::Error),
}

/// Makes the tree of the archive at `destination`, which must not be there yet: files 0444 or 0555, folders 0555.
pub(crate) fn unpack(reader: &mut impl Read, destination: &Path) -> Result<(), NarError> {
    expect(reader, "nix-archive-1")?;
    node(reader, destination, 0)
}

fn node(reader: &mut impl Read, path: &Path, depth: usize) -> Result<(), NarError> {
    expect(reader, "(")?;
    expect(reader, "type")?;
    match word(reader)?.as_slice() {
        b"regular" => regular(reader, path)?,
        b"symlink" => link(reader, path)?,
        b"directory" => return folder(reader, path, depth),
        other => return Err(unexpected("regular, symlink or directory", other)),
    }
    expect(reader, ")")
}

fn regular(reader: &mut impl Read, path: &Path) -> Result<(), NarError> {
    let mode = match word(reader)?.as_slice() {
        b"contents" => 0o444,
        b"executable" => {
            expect(reader, "")?;
            expect(reader, "contents")?;
            0o555
        }
        other => return Err(unexpected("executable or contents", other)),
    };
    let size = number(reader)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(NarError::Write)?;
    copy(reader, &mut file, size)?;
    padding(reader, size)?;
    file.set_permissions(Permissions::from_mode(mode)).map_err(NarError::Write)
}

/// Like `io::copy`, telling the errors of the two ends apart.
fn copy(reader: &mut impl Read, file: &mut File, size: u64) -> Result<(), NarError> {
    let mut buffer = vec![0; 64 * 1024];
    let mut left = size;
    while left > 0 {
        let part = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let part = &mut buffer[..part];
        reader.read_exact(part).map_err(NarError::Read)?;
        io::Write::write_all(file, part).map_err(NarError::Write)?;
        left -= part.len() as u64;
    }
    Ok(())
}

fn link(reader: &mut impl Read, path: &Path) -> Result<(), NarError> {
    expect(reader, "target")?;
    let target = string(reader, TARGET_LIMIT)?;
    if target.is_empty() || target.contains(&0) {
        return Err(NarError::Target);
    }
    symlink(std::ffi::OsStr::from_bytes(&target), path).map_err(NarError::Write)
}

fn folder(reader: &mut impl Read, path: &Path, depth: usize) -> Result<(), NarError> {
    if depth >= DEPTH_LIMIT {
        return Err(NarError::Depth);
    }
    fs::create_dir(path).map_err(NarError::Write)?;
    let mut last = String::new();
    loop {
        match word(reader)?.as_slice() {
            b")" => break,
            b"entry" => {}
            other => return Err(unexpected("entry or )", other)),
        }
        expect(reader, "(")?;
        expect(reader, "name")?;
        let name = file_name(string(reader, NAME_LIMIT)?)?;
        if name <= last {
            return Err(NarError::Order(name.escape_debug().to_string()));
        }
        expect(reader, "node")?;
        node(reader, &path.join(&name), depth + 1)?;
        expect(reader, ")")?;
        last = name;
    }
    fs::set_permissions(path, Permissions::from_mode(0o555)).map_err(NarError::Write)
}

/// A name of one file in its folder. Nix takes any bytes; names that are not UTF-8 could not be read back by `nix-nar`.
fn file_name(bytes: Vec<u8>) -> Result<String, NarError> {
    let name = String::from_utf8(bytes).map_err(|error| NarError::Name(error.as_bytes().escape_ascii().to_string()))?;
    let harmless = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    if harmless { Ok(name) } else { Err(NarError::Name(name.escape_debug().to_string())) }
}

fn expect(reader: &mut impl Read, expected: &'static str) -> Result<(), NarError> {
    let found = word(reader)?;
    if found == expected.as_bytes() { Ok(()) } else { Err(unexpected(expected, &found)) }
}

fn unexpected(expected: &'static str, found: &[u8]) -> NarError {
    NarError::Word { expected, found: found.escape_ascii().to_string() }
}

fn word(reader: &mut impl Read) -> Result<Vec<u8>, NarError> {
    string(reader, WORD_LIMIT)
}

fn string(reader: &mut impl Read, limit: u64) -> Result<Vec<u8>, NarError> {
    let length = number(reader)?;
    let size = usize::try_from(length).ok().filter(|_| length <= limit).ok_or(NarError::Length { length, limit })?;
    let mut bytes = vec![0; size];
    reader.read_exact(&mut bytes).map_err(NarError::Read)?;
    padding(reader, length)?;
    Ok(bytes)
}

fn number(reader: &mut impl Read) -> Result<u64, NarError> {
    let mut bytes = [0; 8];
    reader.read_exact(&mut bytes).map_err(NarError::Read)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Strings are filled up with zeros to a multiple of eight bytes.
fn padding(reader: &mut impl Read, length: u64) -> Result<(), NarError> {
    let mut bytes = [0; 8];
    let size = (8 - (length % 8) as usize) % 8;
    reader.read_exact(&mut bytes[..size]).map_err(NarError::Read)?;
    if bytes == [0; 8] { Ok(()) } else { Err(NarError::Padding) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes the format, including what it forbids.
    fn nar(parts: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in [&b"nix-archive-1"[..]].iter().chain(parts) {
            bytes.extend((part.len() as u64).to_le_bytes());
            bytes.extend(*part);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        bytes
    }

    const FILE: [&[u8]; 6] = [b"(", b"type", b"regular", b"contents", b"text", b")"];

    /// A folder with an empty file for each name.
    fn folder_of(names: &[&[u8]]) -> Vec<u8> {
        let mut parts: Vec<&[u8]> = vec![b"(", b"type", b"directory"];
        for name in names {
            parts.extend([&b"entry"[..], b"(", b"name", name, b"node"]);
            parts.extend(FILE);
            parts.push(b")");
        }
        parts.push(b")");
        nar(&parts)
    }

    fn unpacked(bytes: &[u8]) -> Result<tempfile::TempDir, NarError> {
        let folder = tempfile::tempdir().expect("a folder");
        let result = unpack(&mut &bytes[..], &folder.path().join("tree"));
        let _ = fs::set_permissions(folder.path().join("tree"), Permissions::from_mode(0o700));
        result.map(|()| folder)
    }

    #[test]
    fn a_tree_reads_back_as_the_same_archive() {
        let source = tempfile::tempdir().expect("a folder");
        let tree = source.path().join("tree");
        fs::create_dir_all(tree.join("bin/empty")).expect("a folder");
        fs::write(tree.join("bin/run"), vec![7; 70_001]).expect("written");
        fs::set_permissions(tree.join("bin/run"), Permissions::from_mode(0o755)).expect("executable");
        fs::write(tree.join("bin-file"), b"").expect("written");
        symlink("../somewhere", tree.join("a link")).expect("a link");
        let mut archive = Vec::new();
        nix_nar::Encoder::new(&tree).expect("readable").read_to_end(&mut archive).expect("encoded");

        let made = tempfile::tempdir().expect("a folder");
        let copy = made.path().join("copy");
        unpack(&mut &archive[..], &copy).expect("unpacked");
        let mut again = Vec::new();
        nix_nar::Encoder::new(&copy).expect("readable").read_to_end(&mut again).expect("encoded");
        assert!(archive == again);
        let mode = |path: &str| copy.join(path).symlink_metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!((mode("bin"), mode("bin/run"), mode("bin-file")), (0o555, 0o555, 0o444));
        super::super::remove_tree(&copy).expect("removed");
    }

    #[test]
    fn a_single_file_is_a_tree() {
        let made = unpacked(&nar(&FILE)).expect("unpacked");
        assert_eq!(fs::read(made.path().join("tree")).expect("a file"), b"text");
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in [&b"."[..], b"..", b"", b"a/b", b"/etc", b"a\0b", b"\xff"] {
            assert!(matches!(unpacked(&folder_of(&[name])), Err(NarError::Name(_))), "{name:?}");
        }
        assert!(matches!(unpacked(&folder_of(&[&[b'a'; 256]])), Err(NarError::Length { length: 256, limit: 255 })));
    }

    #[test]
    fn names_out_of_order_or_twice_are_refused() {
        assert!(unpacked(&folder_of(&[b"A", b"a", b"b"])).is_ok());
        for names in [[&b"b"[..], b"a"], [b"a", b"a"], [b"a", b"B"]] {
            assert!(matches!(unpacked(&folder_of(&names)), Err(NarError::Order(_))), "{names:?}");
        }
    }

    #[test]
    fn a_length_takes_no_memory_before_it_is_believed() {
        for length in [u64::MAX, u64::MAX - 6, 1 << 62, 1 << 40] {
            let mut bytes = nar(&[b"(", b"type", b"symlink", b"target"]);
            bytes.extend(length.to_le_bytes());
            assert!(matches!(unpacked(&bytes), Err(NarError::Length { .. })), "{length}");

            let mut bytes = nar(&[b"(", b"type", b"regular", b"contents"]);
            bytes.extend(length.to_le_bytes());
            assert!(matches!(unpacked(&bytes), Err(NarError::Read(_))), "{length}");
        }
    }

    #[test]
    fn hidden_bytes_and_endless_folders_are_refused() {
        let mut hidden = nar(&FILE);
        let place = hidden.windows(4).position(|part| part == b"text").expect("the content") + 7;
        hidden[place] = 1;
        assert!(matches!(unpacked(&hidden), Err(NarError::Padding)));

        let level: [&[u8]; 8] = [b"(", b"type", b"directory", b"entry", b"(", b"name", b"a", b"node"];
        assert!(matches!(unpacked(&nar(&level.repeat(1000))), Err(NarError::Depth)));
        assert!(matches!(unpacked(&nar(&[b"(", b"type", b"symlink", b"target", b""])), Err(NarError::Target)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_changed_archive_is_refused_or_stays_below_its_folder(
            place in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
            keep in any::<proptest::sample::Index>(),
        ) {
            let mut bytes = folder_of(&[b"a", b"b"]);
            let place = place.index(bytes.len());
            bytes[place] = byte;
            bytes.truncate(bytes.len() - keep.index(bytes.len()) / 8);
            let folder = tempfile::tempdir().expect("a folder");
            let _ = unpack(&mut &bytes[..], &folder.path().join("tree"));
            let beside = fs::read_dir(folder.path()).expect("a folder").count();
            super::super::remove_tree(&folder.path().join("tree")).expect("removed");
            prop_assert!(beside <= 1);
        }
    }
}
