//! Each byte of a long segment flipped in turn, and a start finds it.

use std::convert::Infallible;

use aios_evidence::scan::{scan, scan_from};
use aios_evidence::segment::{FRAME_LIMIT, Frame, HEADER, Next, Replay, judge};
use aios_evidence::{Checkpoint, Clock, Frontier, Kind, Parts, leaf_hash};
use aios_ids::Digest;

const ENTRIES: u64 = 10_000;

/// Entries of many lengths, ten a group.
fn segment() -> Vec<u8> {
    let (mut bytes, mut tree) = (HEADER.to_vec(), Frontier::default());
    for index in 0..ENTRIES {
        let payload = format!(r#"{{"reason":"{}","type":"settings.set"}}"#, "x".repeat((index * 37 % 300) as usize));
        let parts = Parts {
            kind: [Kind::Decision, Kind::Intent, Kind::Login][(index % 3) as usize],
            writer: "service:policy-kernel",
            subject: "agent:helper",
            action: "act_01M7Z7PKEZSEHD0JVPXMZ3Q1A7",
            digest: (index % 2 == 0).then(|| Digest::of(b"an envelope")),
            epoch: "1-2bbe7e31caa2",
            boot: "01234567-89ab-cdef-0123-456789abcdef",
            at_ms: index,
            wall: 1_790_000_000_000 + index,
            clock: Clock::Local,
            payload: &payload,
        };
        let line = parts.line(index).expect("short");
        let hash = leaf_hash(line.as_bytes());
        Frame::Entry { hash, entry: line.as_bytes() }.write(&mut bytes);
        tree.push(hash);
        if index % 10 == 9 {
            Frame::Commit { size: tree.size(), root: tree.root() }.write(&mut bytes);
        }
    }
    bytes
}

/// A group of entries with its commit, and the tree before it.
struct Group {
    begin: usize,
    end: usize,
    before: Frontier,
}

fn groups(segment: &[u8]) -> Vec<Group> {
    let (mut at, mut begin, mut replay) = (HEADER.len(), HEADER.len(), Replay::default());
    let mut groups = Vec::new();
    while let Next::Frame(frame, length) = Frame::read(&segment[at..]) {
        let before = replay.edge().clone();
        replay.take(&frame).expect("sound");
        at += length;
        if matches!(frame, Frame::Commit { .. }) {
            groups.push(Group { begin, end: at, before });
            begin = at;
        }
    }
    groups
}

/// Each byte in turn, read from the group that it is in: what stands before is as it was, so a start reads to that place
/// without a difference, and there it must end.
#[test]
#[ignore = "takes 20 seconds with CARGO_PROFILE_DEV_OPT_LEVEL=3 and half an hour without"]
fn every_flipped_byte_of_ten_thousand_entries_is_found() {
    let segment = segment();
    let groups = groups(&segment);
    let last = groups.last().expect("entries");
    assert_eq!((last.end, last.before.size()), (segment.len(), ENTRIES - 10));
    for place in 0..HEADER.len() {
        let mut flipped = segment[..100].to_vec();
        flipped[place] ^= 1 << (place % 8);
        let read = scan(reader(&flipped, 0), ENTRIES, |_, _| {}).expect("in memory");
        assert!(read.is_none(), "byte {place}");
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let flips: usize = std::thread::scope(|scope| {
        let (segment, groups) = (&segment, &groups);
        let work = move |thread| groups.iter().skip(thread).step_by(threads).map(|group| sweep(segment, group)).sum();
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().map(|thread| -> usize { thread.join().expect("every byte is found") }).sum()
    });
    assert_eq!(flips, segment.len() - HEADER.len());
    println!("{} bytes", segment.len());
}

/// Flips each byte of a group; says how many.
fn sweep(segment: &[u8], group: &Group) -> usize {
    let head = Checkpoint { origin: "log".into(), size: ENTRIES, root: Digest::of(b"") };
    let mut bytes = segment[group.begin..segment.len().min(group.end + FRAME_LIMIT)].to_vec();
    for place in 0..group.end - group.begin {
        bytes[place] ^= 1 << (place % 8);
        let replay = Replay::after(group.before.clone(), head.size);
        let read = scan_from(reader(&bytes, group.begin), group.begin as u64, replay, |_, _| {}).expect("in memory");
        let found = group.begin + place;
        assert_eq!(read.replay.committed(), group.before.size(), "byte {found}");
        assert!(judge(&read.replay, Some(&head), &[], read.damage).is_err(), "byte {found}");
        bytes[place] ^= 1 << (place % 8);
    }
    group.end - group.begin
}

/// Reads bytes that begin at an offset.
fn reader(bytes: &[u8], begin: usize) -> impl FnMut(u64, &mut [u8]) -> Result<usize, Infallible> {
    move |offset, out| {
        let from = bytes.get(offset as usize - begin..).unwrap_or_default();
        let length = from.len().min(out.len());
        out[..length].copy_from_slice(&from[..length]);
        Ok(length)
    }
}
