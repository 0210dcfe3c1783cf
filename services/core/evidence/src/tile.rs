//! The names and bytes of the log's files as C2SP tlog-tiles has them: hash tiles, entry bundles and the checkpoint.
//!
//! A tile is 256 entries wide. The last one of a level may be narrower; its width is then part of its name, and a tree of
//! one size has exactly one set of files.

use std::fmt;
use std::str::FromStr;

use crate::tree::{Nodes, Tree};

/// How many hashes or entries a full tile has.
pub const TILE_WIDTH: u64 = 256;

/// Path elements have three digits; eight of them hold more than any log, and a limit keeps the parser's numbers small.
const PATH_ELEMENTS: usize = 6;

/// One tile's place in its row and how wide it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileAt {
    /// Counted from the left, from 0.
    pub index: u64,
    /// 1 to 256; 256 is a full tile.
    pub width: u64,
}

/// One file of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourcePath {
    /// `checkpoint`: the newest signed tree head.
    Checkpoint,
    /// `key`: the public key of the log, one line.
    Key,
    /// `tile/<level>/<index>`: hashes of subtrees.
    Hashes {
        /// 0 has the entries' own hashes.
        level: u8,
        /// Which of the level.
        tile: TileAt,
    },
    /// `tile/entries/<index>`: the entries.
    Entries {
        /// Which.
        tile: TileAt,
    },
}

/// The text names no file of a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no file of a log: write checkpoint, key, tile/0/000, tile/entries/000 or with .p/WIDTH")]
pub struct ResourcePathError(String);

impl fmt::Display for TileAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut elements = vec![format!("{:03}", self.index % 1000)];
        let mut rest = self.index / 1000;
        while rest > 0 {
            elements.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        elements.reverse();
        f.write_str(&elements.join("/"))?;
        if self.width < TILE_WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl fmt::Display for ResourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint => f.write_str("checkpoint"),
            Self::Key => f.write_str("key"),
            Self::Hashes { level, tile } => write!(f, "tile/{level}/{tile}"),
            Self::Entries { tile } => write!(f, "tile/entries/{tile}"),
        }
    }
}

impl FromStr for ResourcePath {
    type Err = ResourcePathError;

    fn from_str(text: &str) -> Result<Self, ResourcePathError> {
        parse(text)
            // Each file has one name; leading zeroes and the like are other texts for it.
            .filter(|path| path.to_string() == text)
            .ok_or_else(|| ResourcePathError(text.chars().take(80).flat_map(char::escape_default).collect()))
    }
}

fn parse(text: &str) -> Option<ResourcePath> {
    match text {
        "checkpoint" => return Some(ResourcePath::Checkpoint),
        "key" => return Some(ResourcePath::Key),
        _ => {}
    }
    let (row, place) = text.strip_prefix("tile/")?.split_once('/')?;
    let (index, width) = match place.split_once(".p/") {
        Some((index, width)) => (index, width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width))?),
        None => (place, TILE_WIDTH),
    };
    let elements: Vec<&str> = index.split('/').collect();
    if elements.len() > PATH_ELEMENTS {
        return None;
    }
    let mut number = 0;
    for element in elements {
        let digits = element.strip_prefix('x').unwrap_or(element);
        if digits.len() != 3 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        number = number * 1000 + digits.parse::<u64>().ok()?;
    }
    let tile = TileAt { index: number, width };
    if row == "entries" {
        return Some(ResourcePath::Entries { tile });
    }
    // 64 levels are what the format allows; 8 of them already hold 2^64 entries.
    Some(ResourcePath::Hashes { level: row.parse().ok().filter(|level| *level < 8)?, tile })
}

impl ResourcePath {
    /// The bytes of a hash tile of `tree`; absent when the tree of `size` entries has no such tile.
    pub fn hashes(level: u8, tile: TileAt, tree: &Tree, size: u64) -> Option<Vec<u8>> {
        Self::hashes_from(level, tile, tree, size)?.ok()
    }

    /// The same of hashes that are kept elsewhere.
    pub fn hashes_from<N: Nodes>(level: u8, tile: TileAt, nodes: &N, size: u64) -> Option<Result<Vec<u8>, N::Error>> {
        let row = level_width(level, size);
        let begin = tile.index.checked_mul(TILE_WIDTH)?;
        if begin.checked_add(tile.width)? > row {
            return None;
        }
        let hashes = nodes.row(u32::from(level) * 8, begin, tile.width);
        Some(hashes.map(|hashes| hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()))
    }
}

/// How many hashes level `level` has in a tree of `size` entries.
fn level_width(level: u8, size: u64) -> u64 {
    size.checked_shr(u32::from(level) * 8).unwrap_or(0)
}

/// The tiles of one row of `width` hashes, from the left.
pub(crate) fn row_tiles(width: u64) -> impl Iterator<Item = TileAt> {
    let full = width / TILE_WIDTH;
    let partial = (!width.is_multiple_of(TILE_WIDTH)).then_some(TileAt { index: full, width: width % TILE_WIDTH });
    (0..full).map(|index| TileAt { index, width: TILE_WIDTH }).chain(partial)
}

/// Every file of a log of `size` entries beside `checkpoint` and `key`: entry bundles first, then hashes from the leaves up.
pub fn tiles_of(size: u64) -> impl Iterator<Item = ResourcePath> {
    let entries = row_tiles(size).map(|tile| ResourcePath::Entries { tile });
    let hashes = (0..8).flat_map(move |level| {
        row_tiles(level_width(level, size)).map(move |tile| ResourcePath::Hashes { level, tile })
    });
    entries.chain(hashes)
}

/// Adds an entry to the bytes of a bundle. Records are limited far below what the length can say.
pub fn encode_bundle_entry(entry: &[u8], bundle: &mut Vec<u8>) {
    let length = u16::try_from(entry.len()).expect("a record is at most RECORD_LIMIT bytes, which 16 bits can say");
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
}

/// Takes the first entry off the bytes of a bundle; absent when they end inside it.
pub fn split_bundle(bundle: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bundle.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}
