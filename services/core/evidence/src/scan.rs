//! Reading a whole segment in one pass with little memory: what stands in it, where, and where it stops being whole.

use crate::record::Kind;
use crate::segment::{Damage, FRAME_LIMIT, Frame, GROUP_LIMIT, HEADER, Next, Replay, entry_offset};

/// Where an entry's bytes are in the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The first byte.
    pub offset: u64,
    /// How many.
    pub length: u32,
}

/// A segment as far as it is whole.
#[derive(Debug)]
pub struct Scan {
    /// The tree over what was read; entries after the last commit are in it until they are dropped.
    pub replay: Replay,
    /// Where the last commit ends.
    pub end: u64,
    /// What stopped the reading before the end of the bytes.
    pub damage: Option<Damage>,
}

/// Reads frames until the end or the first wrong one; absent when the bytes are not a segment of this version.
///
/// `read_at` fills what it can from an offset and says how much that was; 0 is the end. `committed` gets each entry once
/// its commit was read.
pub fn scan<E>(
    read_at: impl FnMut(u64, &mut [u8]) -> Result<usize, E>,
    mut committed: impl FnMut(Kind, &str, Place),
) -> Result<Option<Scan>, E> {
    let mut window = Window { read_at, at: 0, bytes: Vec::new(), passed: 0 };
    if !window.fill(HEADER.len())?.starts_with(HEADER) {
        return Ok(None);
    }
    window.skip(HEADER.len());
    let mut scan = Scan { replay: Replay::default(), end: window.at, damage: None };
    let mut waiting = Vec::new();
    loop {
        let at = window.at;
        let bytes = window.fill(FRAME_LIMIT)?;
        if bytes.is_empty() {
            return Ok(Some(scan));
        }
        let Next::Frame(frame, length) = Frame::read(bytes) else {
            scan.damage = Some(Damage::Frame { after: scan.replay.tree.size() });
            return Ok(Some(scan));
        };
        match scan.replay.take(&frame) {
            Err(damage) => {
                scan.damage = Some(damage);
                return Ok(Some(scan));
            }
            Ok(Some(record)) => {
                let head = entry_offset();
                let place = Place { offset: at + head as u64, length: (length - head) as u32 };
                waiting.push((record.kind, record.action, place));
            }
            Ok(None) => {
                for (kind, action, place) in waiting.drain(..) {
                    committed(kind, &action, place);
                }
                scan.end = at + length as u64;
            }
        }
        window.skip(length);
    }
}

/// What follows the last commit of a segment of `length` bytes, as much of it as [`crate::segment::judge`] needs.
pub fn tail<E>(
    mut read_at: impl FnMut(u64, &mut [u8]) -> Result<usize, E>,
    scan: &Scan,
    length: u64,
) -> Result<Vec<u8>, E> {
    let wanted = length.saturating_sub(scan.end).min(GROUP_LIMIT as u64 + 1);
    let mut tail = vec![0; wanted as usize];
    let mut have = 0;
    while have < tail.len() {
        match read_at(scan.end + have as u64, &mut tail[have..])? {
            0 => break,
            got => have += got,
        }
    }
    tail.truncate(have);
    Ok(tail)
}

/// A window that moves over the bytes, so that a long log needs little memory.
struct Window<R> {
    read_at: R,
    at: u64,
    bytes: Vec<u8>,
    /// How many of the bytes lie before the window's place.
    passed: usize,
}

impl<R> Window<R> {
    /// At least `wanted` bytes from the window's place, or all that are left.
    fn fill<E>(&mut self, wanted: usize) -> Result<&[u8], E>
    where
        R: FnMut(u64, &mut [u8]) -> Result<usize, E>,
    {
        const STEP: usize = 256 * 1024;
        if self.bytes.len() - self.passed < wanted {
            self.bytes.drain(..self.passed);
            self.passed = 0;
        }
        while self.bytes.len() - self.passed < wanted {
            let have = self.bytes.len();
            self.bytes.resize(have + STEP, 0);
            let got = (self.read_at)(self.at + have as u64, &mut self.bytes[have..])?;
            self.bytes.truncate(have + got);
            if got == 0 {
                break;
            }
        }
        Ok(&self.bytes[self.passed..])
    }

    fn skip(&mut self, length: usize) {
        self.passed += length;
        self.at += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use aios_ids::Digest;
    use proptest::prelude::*;
    use serde_json::Map;

    use super::*;
    use crate::record::Record;
    use crate::tree::{Tree, leaf_hash};

    /// A segment of groups with so many entries each, and the entries' lines.
    fn segment(groups: &[u64]) -> (Vec<u8>, Vec<String>) {
        let (mut bytes, mut lines, mut tree) = (HEADER.to_vec(), Vec::new(), Tree::default());
        for group in groups {
            for index in tree.size()..tree.size() + group {
                let record = Record {
                    index,
                    kind: Kind::Decision,
                    action: format!("a{index}"),
                    writer: "w".into(),
                    boot: "b".into(),
                    at_ms: 0,
                    wall: 0,
                    payload: Map::new(),
                };
                let line = record.encode().expect("short");
                let hash = leaf_hash(line.as_bytes());
                Frame::Entry { hash, entry: line.as_bytes() }.write(&mut bytes);
                tree.push(hash);
                lines.push(line);
            }
            Frame::Commit { size: tree.size(), root: tree.root() }.write(&mut bytes);
        }
        (bytes, lines)
    }

    /// Gives at most `most` bytes at once, as a slow medium may.
    fn reader(bytes: &[u8], most: usize) -> impl FnMut(u64, &mut [u8]) -> Result<usize, Infallible> {
        move |offset, out| {
            let rest = bytes.get(offset as usize..).unwrap_or_default();
            let count = rest.len().min(out.len()).min(most);
            out[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }
    }

    #[test]
    fn places_are_those_of_the_committed_lines() {
        let (bytes, lines) = segment(&[1, 3, 2]);
        let mut found = Vec::new();
        let scanned = scan(reader(&bytes, 7), |_, action, place| found.push((action.to_owned(), place)));
        let scanned = scanned.expect("readable").expect("a segment");
        assert!(scanned.damage.is_none());
        assert_eq!((scanned.replay.committed(), scanned.end), (6, bytes.len() as u64));
        for (index, (action, place)) in found.iter().enumerate() {
            let stored = &bytes[place.offset as usize..][..place.length as usize];
            assert_eq!((action, stored), (&format!("a{index}"), lines[index].as_bytes()));
        }
        assert_eq!(found.len(), 6);
    }

    #[test]
    fn entries_without_their_commit_are_tail() {
        let (bytes, _) = segment(&[2, 2]);
        let cut = &bytes[..bytes.len() - 1];
        let mut found = 0;
        let scanned = scan(reader(cut, usize::MAX), |_, _, _| found += 1).expect("readable").expect("a segment");
        assert_eq!((found, scanned.replay.committed()), (2, 2));
        let tail = tail(reader(cut, 5), &scanned, cut.len() as u64).expect("readable");
        assert_eq!(tail, &cut[scanned.end as usize..]);
        assert!(matches!(scanned.damage, Some(Damage::Frame { after: 4 })));
        assert_ne!(scanned.replay.tree.root(), Digest::from_bytes([0; 32]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(damage in any::<Vec<u8>>(), at in 0usize..2000) {
            let (mut bytes, _) = segment(&[1, 3]);
            bytes.truncate(at.max(HEADER.len()));
            bytes.extend_from_slice(&damage);
            let scanned = scan(reader(&bytes, usize::MAX), |_, _, _| {}).expect("readable").expect("a segment");
            prop_assert!(scanned.end <= bytes.len() as u64);
        }
    }
}
