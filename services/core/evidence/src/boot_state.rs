//! Heads of the log outside its own file system: the boot state partition as a ring of places with a signed head each.
//!
//! Who puts back the data partition of an earlier day puts back a log that is sound and too short; the newest head in the
//! ring says so. Bytes come in and go out as arguments. Whoever puts back both partitions together is not noticed.

use aios_ids::Digest;
use sha2::{Digest as _, Sha256};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::keys::VerifierKey;

/// How many places the ring has: each head has another one than those before it, so that a cut write spoils none of them.
pub const PLACES: u64 = 256;

/// The bytes of a place, written in one piece.
pub const PLACE: usize = 4096;

const MAGIC: &[u8; 16] = b"aios-bootstate 1";
/// Magic, number, word, length of the note.
const HEAD: usize = 16 + 8 + 1 + 2;
const CHECK: usize = 32;

/// What a place says of its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The log had it.
    Kept,
    /// A person wants the log with this head to go on, whatever the places before say.
    Accepted,
}

/// A head in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Counts the heads that were ever placed; the rest of its division by [`PLACES`] is the place.
    pub number: u64,
    /// What is said of it.
    pub word: Word,
    /// The signed head.
    pub note: String,
}

/// The head is longer than a place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a head of {0} bytes does not fit into a place of the boot state")]
pub struct TooLong(pub usize);

impl Placed {
    /// Where it belongs, in bytes from the beginning of the partition.
    pub fn offset(&self) -> u64 {
        self.number % PLACES * PLACE as u64
    }

    /// The bytes of its place.
    pub fn write(&self) -> Result<Vec<u8>, TooLong> {
        let note = self.note.as_bytes();
        let length = u16::try_from(note.len()).ok().filter(|_| HEAD + note.len() + CHECK <= PLACE);
        let length = length.ok_or(TooLong(note.len()))?;
        let mut place = Vec::with_capacity(PLACE);
        place.extend_from_slice(MAGIC);
        place.extend_from_slice(&self.number.to_be_bytes());
        place.push(match self.word {
            Word::Kept => b'K',
            Word::Accepted => b'A',
        });
        place.extend_from_slice(&length.to_be_bytes());
        place.extend_from_slice(note);
        place.resize(PLACE - CHECK, 0);
        let check = Sha256::digest(&place);
        place.extend_from_slice(&check);
        Ok(place)
    }

    /// What [`Placed::write`] made; nothing when a byte of it is another one.
    fn read(place: &[u8]) -> Option<Self> {
        let (body, check) = place.split_at_checked(PLACE - CHECK)?;
        let rest = body.strip_prefix(MAGIC)?;
        if Sha256::digest(body)[..] != *check {
            return None;
        }
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (word, rest) = rest.split_first()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let note = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
        Some(Self {
            number: u64::from_be_bytes(*number),
            word: match word {
                b'K' => Word::Kept,
                b'A' => Word::Accepted,
                _ => return None,
            },
            note: str::from_utf8(note).ok()?.to_owned(),
        })
    }
}

/// What the partition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ring {
    /// Zeroes, as an installation leaves them.
    Empty,
    /// Something, and no whole place: no crash leaves that.
    Damaged,
    /// Heads. Places that are not whole are none: a cut write leaves one.
    Heads {
        /// The newest.
        newest: Placed,
        /// The newest that the log placed itself, where the newest of all is a person's word.
        kept: Option<Placed>,
    },
}

impl Ring {
    /// Reads the beginning of the partition; more than the ring is not looked at.
    pub fn read(bytes: &[u8]) -> Self {
        let (mut newest, mut kept) = (None::<Placed>, None::<Placed>);
        let later = |one: &Placed, than: &Option<Placed>| than.as_ref().is_none_or(|than| one.number > than.number);
        for placed in bytes.chunks_exact(PLACE).take(PLACES as usize).filter_map(Placed::read) {
            if placed.word == Word::Kept && later(&placed, &kept) {
                kept = Some(placed.clone());
            }
            if later(&placed, &newest) {
                newest = Some(placed);
            }
        }
        match newest {
            Some(newest) => {
                let kept = kept.filter(|_| newest.word == Word::Accepted);
                Self::Heads { newest, kept }
            }
            None if bytes.iter().all(|byte| *byte == 0) => Self::Empty,
            None => Self::Damaged,
        }
    }

    /// A place for the next head.
    pub fn next(&self, word: Word, note: String) -> Placed {
        let number = match self {
            Self::Heads { newest, .. } => newest.number.saturating_add(1),
            Self::Empty | Self::Damaged => 0,
        };
        Placed { number, word, note }
    }
}

/// Whether the log says of itself that it has heads in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// It does not: this is the first start with a ring.
    Never,
    /// It found its heads there at an earlier start.
    Kept,
}

/// The log as it was found on the data partition.
pub struct Found<'a> {
    /// Its keys.
    pub key: &'a VerifierKey,
    /// How many entries it has.
    pub size: u64,
    /// Whether it ever saw its heads in the ring.
    pub before: Before,
}

/// The log may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// There is no head yet to compare it with.
    First,
    /// It has all that the newest head has.
    Fits {
        /// The head's size.
        size: u64,
    },
    /// It does not, and a person wants it to go on.
    Accepted {
        /// The head that was accepted.
        head: Checkpoint,
        /// The head before that, as it says of itself: it may be another log's.
        instead_of: Option<Checkpoint>,
    },
}

/// A person has to decide whether the log may go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// Entries are missing.
    #[error(
        "the boot state has the head of {kept} entries and the log has {found}: the data partition is of an earlier day"
    )]
    Shorter {
        /// The head's size.
        kept: u64,
        /// The log's.
        found: u64,
    },
    /// Not those entries.
    #[error("the first {size} entries are not those whose head the boot state has: the log is another one")]
    OtherHistory {
        /// The head's size.
        size: u64,
    },
    /// Another log altogether.
    #[error("the newest head in the boot state is not of this log: the data partition belongs to another installation")]
    OtherLog(#[source] CheckpointError),
    /// The heads are gone.
    #[error(
        "the boot state is empty, and the log had its heads there: the data partition was moved, or they were removed"
    )]
    Emptied,
    /// Nothing of them is whole.
    #[error("the boot state holds something, and no whole head: it was overwritten")]
    Damaged,
}

/// Compares the log with what was kept of it outside. `root_at` gives the log's root when it had so many entries.
pub fn judge<E>(
    ring: &Ring,
    found: &Found<'_>,
    root_at: impl FnOnce(u64) -> Result<Digest, E>,
) -> Result<Result<Standing, Distrust>, E> {
    let (newest, kept) = match ring {
        Ring::Empty if found.before == Before::Never => return Ok(Ok(Standing::First)),
        Ring::Empty => return Ok(Err(Distrust::Emptied)),
        Ring::Damaged => return Ok(Err(Distrust::Damaged)),
        Ring::Heads { newest, kept } => (newest, kept),
    };
    let head = match Checkpoint::open(newest.note.as_bytes(), found.key) {
        Ok(head) => head,
        Err(error) => return Ok(Err(Distrust::OtherLog(error))),
    };
    if head.size > found.size {
        return Ok(Err(Distrust::Shorter { kept: head.size, found: found.size }));
    }
    if root_at(head.size)? != head.root {
        return Ok(Err(Distrust::OtherHistory { size: head.size }));
    }
    Ok(Ok(match newest.word {
        Word::Kept => Standing::Fits { size: head.size },
        Word::Accepted => {
            let instead_of = kept.as_ref().and_then(|kept| Checkpoint::unverified(kept.note.as_bytes()).ok());
            Standing::Accepted { head, instead_of }
        }
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::SigningKey;
    use crate::tree::{Tree, leaf_hash};

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 64], |_| format!("aios.internal/evidence/{seed:016x}")).expect("a key")
    }

    /// A log of so many entries, each a digit.
    fn log(size: u64, digit: u8) -> Tree {
        let mut tree = Tree::default();
        (0..size).for_each(|_| tree.push(leaf_hash(&[digit])));
        tree
    }

    fn note(key: &SigningKey, tree: &Tree) -> String {
        Checkpoint { origin: key.public().name().to_owned(), size: tree.size(), root: tree.root() }.sign(key)
    }

    fn ring(places: &[(Word, String)]) -> Vec<u8> {
        let mut bytes = vec![0; PLACE * PLACES as usize];
        for (word, note) in places {
            let placed = Ring::read(&bytes).next(*word, note.clone());
            let at = placed.offset() as usize;
            bytes[at..at + PLACE].copy_from_slice(&placed.write().expect("short enough"));
        }
        bytes
    }

    fn judged(bytes: &[u8], key: &SigningKey, tree: &Tree, before: Before) -> Result<Standing, Distrust> {
        let found = Found { key: key.public(), size: tree.size(), before };
        judge(&Ring::read(bytes), &found, |size| tree.root_at(size).ok_or(())).expect("within the tree")
    }

    #[test]
    fn a_log_that_goes_on_fits_and_one_that_was_put_back_does_not() {
        let key = key(7);
        let kept: Vec<_> = [3, 5, 9].map(|size| (Word::Kept, note(&key, &log(size, 1)))).into();
        let bytes = ring(&kept);
        let ask = |size, digit| judged(&bytes, &key, &log(size, digit), Before::Kept);
        assert_eq!(ask(9, 1), Ok(Standing::Fits { size: 9 }));
        assert_eq!(ask(12, 1), Ok(Standing::Fits { size: 9 }), "the ring may be behind");
        assert_eq!(ask(8, 1), Err(Distrust::Shorter { kept: 9, found: 8 }));
        assert_eq!(ask(12, 2), Err(Distrust::OtherHistory { size: 9 }));
        let other = judged(&bytes, &self::key(8), &log(12, 1), Before::Never);
        assert!(matches!(other, Err(Distrust::OtherLog(_))), "{other:?}");
    }

    #[test]
    fn an_empty_ring_is_a_beginning_only_for_a_log_that_never_had_one() {
        let (key, empty) = (key(7), ring(&[]));
        assert_eq!(judged(&empty, &key, &log(4, 1), Before::Never), Ok(Standing::First));
        assert_eq!(judged(&empty, &key, &log(4, 1), Before::Kept), Err(Distrust::Emptied));
        assert_eq!(judged(&vec![0xa5; empty.len()], &key, &log(4, 1), Before::Never), Err(Distrust::Damaged));
    }

    #[test]
    fn a_persons_word_holds_until_the_next_head() {
        let key = key(7);
        let mut places = vec![(Word::Kept, note(&key, &log(9, 1))), (Word::Accepted, note(&key, &log(4, 1)))];
        let (head, instead_of) = match judged(&ring(&places), &key, &log(5, 1), Before::Kept) {
            Ok(Standing::Accepted { head, instead_of }) => (head.size, instead_of.map(|head| head.size)),
            other => panic!("{other:?}"),
        };
        assert_eq!((head, instead_of), (4, Some(9)));
        // It is about this log and no other.
        assert!(judged(&ring(&places), &key, &log(3, 1), Before::Kept).is_err());
        places.push((Word::Kept, note(&key, &log(6, 1))));
        assert_eq!(judged(&ring(&places), &key, &log(6, 1), Before::Kept), Ok(Standing::Fits { size: 6 }));
    }

    #[test]
    fn the_ring_goes_round_and_a_cut_write_leaves_the_head_before() {
        let places: Vec<_> = (0..PLACES + 3).map(|number| (Word::Kept, format!("note {number}"))).collect();
        let mut bytes = ring(&places);
        let newest = |bytes: &[u8]| match Ring::read(bytes) {
            Ring::Heads { newest, kept: None } => newest,
            other => panic!("{other:?}"),
        };
        let last = newest(&bytes);
        assert_eq!((last.number, last.note.as_str(), last.offset()), (PLACES + 2, "note 258", 2 * PLACE as u64));
        for at in [0, 20, 24, 40, PLACE - 1] {
            let byte = 2 * PLACE + at;
            bytes[byte] ^= 1;
            assert_eq!(newest(&bytes).number, PLACES + 1, "byte {at}");
            bytes[byte] ^= 1;
        }
    }

    #[test]
    fn a_head_of_ours_fits_into_a_place_and_longer_ones_are_refused() {
        let key = key(7);
        let long = Checkpoint { origin: key.public().name().to_owned(), size: u64::MAX, root: Digest::of(b"") };
        let placed = Ring::Empty.next(Word::Kept, long.sign(&key));
        assert_eq!(Placed::read(&placed.write().expect("fits")), Some(placed));
        let placed = Ring::Empty.next(Word::Kept, "x".repeat(PLACE));
        assert_eq!(placed.write(), Err(TooLong(PLACE)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), number: u64, length: u16, word: u8) {
            // With a good check, so that the fields behind it are read.
            let mut place = [&MAGIC[..], &number.to_be_bytes(), &[word], &length.to_be_bytes(), &bytes].concat();
            place.resize(PLACE - CHECK, 0);
            let check = Sha256::digest(&place);
            place.extend_from_slice(&check);
            let ring = Ring::read(&place);
            let key = key(7);
            let found = Found { key: key.public(), size: 1, before: Before::Never };
            let fits = matches!(judge(&ring, &found, |_| Err(())), Ok(Ok(Standing::Fits { .. })));
            prop_assert!(!fits);
        }
    }
}
