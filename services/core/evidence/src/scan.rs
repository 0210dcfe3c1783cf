//! Reading a whole segment in one pass with little memory: what stands in it, where, and where it stops being whole.

use aios_ids::Digest;

use crate::segment::{Damage, FRAME_LIMIT, Frame, GROUP_LIMIT, HEADER, Next, Replay, entry_offset};
use crate::tree::Frontier;

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
    /// The tree over what was read.
    pub replay: Replay,
    /// Where the last commit ends.
    pub end: u64,
    /// What stopped the reading before the end of the bytes.
    pub damage: Option<Damage>,
}

/// Reads frames until the end or the first wrong one; absent when the bytes are not a segment of this version.
///
/// `read_at` fills what it can from an offset and says how much that was; 0 is the end. `watch` is the size of the stored
/// head. `committed` gets the hash and place of each entry once its commit was read.
pub fn scan<E>(
    mut read_at: impl FnMut(u64, &mut [u8]) -> Result<usize, E>,
    watch: u64,
    committed: impl FnMut(Digest, Place),
) -> Result<Option<Scan>, E> {
    let mut header = [0; HEADER.len()];
    let mut have = 0;
    while have < header.len() {
        match read_at(have as u64, &mut header[have..])? {
            0 => return Ok(None),
            got => have += got,
        }
    }
    if header != HEADER {
        return Ok(None);
    }
    scan_from(read_at, HEADER.len() as u64, Replay::after(Frontier::default(), watch), committed).map(Some)
}

/// The same from a place behind a commit, up to which `replay` is known.
pub fn scan_from<E>(
    read_at: impl FnMut(u64, &mut [u8]) -> Result<usize, E>,
    at: u64,
    replay: Replay,
    mut committed: impl FnMut(Digest, Place),
) -> Result<Scan, E> {
    let mut window = Window { read_at, at, bytes: Vec::new(), passed: 0 };
    let mut scan = Scan { replay, end: at, damage: None };
    let mut waiting = Vec::new();
    loop {
        let at = window.at;
        let bytes = window.fill(FRAME_LIMIT)?;
        if bytes.is_empty() {
            return Ok(scan);
        }
        let too_long = at - scan.end > GROUP_LIMIT as u64;
        let Next::Frame(frame, length) = Frame::read(bytes) else {
            scan.damage = Some(Damage::Frame { after: scan.replay.read() });
            return Ok(scan);
        };
        match scan.replay.take(&frame) {
            Err(damage) => {
                scan.damage = Some(damage);
                return Ok(scan);
            }
            Ok(Some(_)) if too_long => {
                // No writer makes such a group, so it is not read into memory either.
                scan.damage = Some(Damage::Frame { after: scan.replay.committed() });
                return Ok(scan);
            }
            Ok(Some(hash)) => {
                let head = entry_offset();
                waiting.push((hash, Place { offset: at + head as u64, length: (length - head) as u32 }));
            }
            Ok(None) => {
                for (hash, place) in waiting.drain(..) {
                    committed(hash, place);
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

    use proptest::prelude::*;

    use super::*;
    use crate::kind::Kind;
    use crate::record::{Clock, Parts};
    use crate::tree::leaf_hash;

    /// A segment of groups with so many entries each, and the entries' lines.
    fn segment(groups: &[u64]) -> (Vec<u8>, Vec<String>) {
        let (mut bytes, mut lines, mut tree) = (HEADER.to_vec(), Vec::new(), Frontier::default());
        for group in groups {
            for index in tree.size()..tree.size() + group {
                let parts = Parts {
                    kind: Kind::Decision,
                    writer: "w",
                    subject: "w",
                    action: "a",
                    digest: None,
                    epoch: "none",
                    boot: "b",
                    at_ms: 0,
                    wall: 0,
                    clock: Clock::Local,
                    payload: "{}",
                };
                let line = parts.line(index).expect("short");
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
        let scanned = scan(reader(&bytes, 7), 0, |hash, place| found.push((hash, place)));
        let scanned = scanned.expect("readable").expect("a segment");
        assert!(scanned.damage.is_none());
        assert_eq!((scanned.replay.committed(), scanned.end), (6, bytes.len() as u64));
        for ((hash, place), line) in found.iter().zip(&lines) {
            let stored = &bytes[place.offset as usize..][..place.length as usize];
            assert_eq!((*hash, stored), (leaf_hash(line.as_bytes()), line.as_bytes()));
        }
        assert_eq!(found.len(), 6);
    }

    #[test]
    fn reading_on_from_a_commit_is_reading_the_whole() {
        let (bytes, _) = segment(&[3, 2, 4]);
        let (first, _) = segment(&[3]);
        let known = scan(reader(&first, usize::MAX), 0, |_, _| {}).expect("readable").expect("a segment");
        let replay = Replay::after(known.replay.edge().clone(), 5);
        let rest = scan_from(reader(&bytes, 9), first.len() as u64, replay, |_, _| {}).expect("readable");
        let whole = scan(reader(&bytes, 9), 5, |_, _| {}).expect("readable").expect("a segment");
        assert_eq!((rest.replay.edge(), rest.end), (whole.replay.edge(), whole.end));
    }

    #[test]
    fn entries_without_their_commit_are_tail() {
        let (bytes, _) = segment(&[2, 2]);
        let cut = &bytes[..bytes.len() - 1];
        let mut found = 0;
        let scanned = scan(reader(cut, usize::MAX), 0, |_, _| found += 1).expect("readable").expect("a segment");
        assert_eq!((found, scanned.replay.committed()), (2, 2));
        let tail = tail(reader(cut, 5), &scanned, cut.len() as u64).expect("readable");
        assert_eq!(tail, &cut[scanned.end as usize..]);
        assert!(matches!(scanned.damage, Some(Damage::Frame { after: 4 })));
    }

    #[test]
    fn bytes_that_are_gone_without_a_record_are_noticed() {
        let (mut bytes, lines) = segment(&[1, 2]);
        let place = bytes.windows(lines[1].len()).position(|window| window == lines[1].as_bytes()).expect("there");
        bytes[place..place + lines[1].len()].fill(0);
        let scanned = scan(reader(&bytes, usize::MAX), 3, |_, _| {}).expect("readable").expect("a segment");
        assert_eq!((scanned.replay.committed(), scanned.replay.unexplained()), (3, Some(1)));
        // What no head has promised yet was never whole.
        let scanned = scan(reader(&bytes, usize::MAX), 1, |_, _| {}).expect("readable").expect("a segment");
        assert!(matches!(scanned.damage, Some(Damage::Entry { index: 1 })));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(damage in any::<Vec<u8>>(), at in 0usize..2000) {
            let (mut bytes, _) = segment(&[1, 3]);
            bytes.truncate(at.max(HEADER.len()));
            bytes.extend_from_slice(&damage);
            let scanned = scan(reader(&bytes, usize::MAX), 0, |_, _| {}).expect("readable").expect("a segment");
            prop_assert!(scanned.end <= bytes.len() as u64);
        }
    }
}
