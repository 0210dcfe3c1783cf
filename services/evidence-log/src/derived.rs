//! What can be computed from the segment and is kept beside it, so that neither memory nor the time to start grow with the
//! log: the hash of every complete subtree, in the order in which they came to be, and the place of every entry.
//!
//! It is never believed: a hash counts when the path from it leads to the root, and the root is the one that was signed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use aios_evidence::scan::Place;
use aios_evidence::{Frontier, Nodes, Tree, node_position, nodes_of};
use aios_ids::Digest;

use crate::medium::{Bytes, Medium, read_exact};

const HASHES: &str = "hashes";
const PLACES: &str = "places";
const HASH: u64 = 32;
const PLACE: u64 = 8;

/// Hashes that lie within so many of each other are read together: a tile of leaves does.
const NEAR: u64 = 1024;

/// Bytes of derived data for each entry: two hashes and a place.
pub(crate) const PER_ENTRY: u64 = 2 * HASH + PLACE;

/// Hashes and places.
#[derive(Debug)]
pub(crate) enum Derived {
    /// Beside the segment.
    Files {
        /// Hashes, each at its position.
        hashes: Arc<dyn Bytes>,
        /// Offset and length of each entry in one number.
        places: Arc<dyn Bytes>,
    },
    /// Of a log that is not to be written to.
    Memory {
        /// The hashes.
        tree: Tree,
        /// The places.
        places: Vec<Place>,
    },
}

impl Nodes for Derived {
    type Error = io::Error;

    fn node(&self, level: u32, place: u64) -> io::Result<Digest> {
        match self {
            Self::Files { hashes, .. } => {
                let mut hash = [0; HASH as usize];
                read_exact(hashes.as_ref(), node_position(level, place) * HASH, &mut hash)?;
                Ok(Digest::from_bytes(hash))
            }
            Self::Memory { tree, .. } => tree.node(level, place).map_err(io::Error::other),
        }
    }

    fn row(&self, level: u32, first: u64, count: u64) -> io::Result<Vec<Digest>> {
        let places = (first..first + count).map(|place| node_position(level, place));
        let (Some(begin), Some(end)) = (places.clone().next(), places.clone().next_back()) else {
            return Ok(Vec::new());
        };
        match self {
            // A row of leaves has the nodes above it in between, so all of it is one read instead of hundreds.
            Self::Files { hashes, .. } if end - begin < NEAR => {
                let mut bytes = vec![0; ((end - begin + 1) * HASH) as usize];
                read_exact(hashes.as_ref(), begin * HASH, &mut bytes)?;
                let found = bytes.as_chunks::<{ HASH as usize }>().0;
                Ok(places.map(|at| Digest::from_bytes(found[(at - begin) as usize])).collect())
            }
            _ => (first..first + count).map(|place| self.node(level, place)).collect(),
        }
    }
}

/// Nodes that are read once and then remembered: records that are given out together share most of their paths.
pub(crate) struct Remembered<'a> {
    nodes: &'a Derived,
    seen: RefCell<HashMap<(u32, u64), Digest>>,
}

impl<'a> Remembered<'a> {
    pub(crate) fn of(nodes: &'a Derived) -> Self {
        Self { nodes, seen: RefCell::default() }
    }
}

impl Nodes for Remembered<'_> {
    type Error = io::Error;

    fn node(&self, level: u32, place: u64) -> io::Result<Digest> {
        if let Some(hash) = self.seen.borrow().get(&(level, place)) {
            return Ok(*hash);
        }
        let hash = self.nodes.node(level, place)?;
        self.seen.borrow_mut().insert((level, place), hash);
        Ok(hash)
    }
}

impl Derived {
    /// The files beside the segment; empty ones when they are not there.
    pub(crate) fn open(medium: &dyn Medium) -> io::Result<Self> {
        Ok(Self::Files { hashes: medium.open(HASHES)?, places: medium.open(PLACES)? })
    }

    /// Whether the hashes of the first entries make this root, and as many places are there.
    pub(crate) fn reach(&self, size: u64, root: Digest) -> io::Result<Option<Frontier>> {
        if let Self::Files { hashes, places } = self
            && (hashes.length()? < nodes_of(size) * HASH || places.length()? < size * PLACE)
        {
            return Ok(None);
        }
        let edge = Frontier::of(self, size)?;
        Ok((edge.root() == root).then_some(edge))
    }

    /// Where the entries from `first` on are.
    pub(crate) fn places(&self, first: u64, count: u64) -> io::Result<Vec<Place>> {
        match self {
            Self::Files { places, .. } => {
                let mut bytes = vec![0; (count * PLACE) as usize];
                read_exact(places.as_ref(), first * PLACE, &mut bytes)?;
                Ok(bytes
                    .as_chunks::<{ PLACE as usize }>()
                    .0
                    .iter()
                    .map(|bytes| unpack(u64::from_be_bytes(*bytes)))
                    .collect())
            }
            Self::Memory { places, .. } => {
                let places = places.get(first as usize..(first + count) as usize);
                Ok(places.ok_or(io::ErrorKind::UnexpectedEof)?.to_vec())
            }
        }
    }

    /// Makes what was written survive a power cut.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self {
            Self::Files { hashes, places } => hashes.sync().and_then(|()| places.sync()),
            Self::Memory { .. } => Ok(()),
        }
    }

    /// How many bytes it has on the disk for so many entries.
    pub(crate) fn bytes(size: u64) -> u64 {
        size * PER_ENTRY
    }
}

/// Hashes and places of entries that follow each other, on their way to the files.
#[derive(Debug)]
pub(crate) struct Additions {
    /// The tree with them.
    pub(crate) edge: Frontier,
    first: u64,
    hashes: Vec<u8>,
    places: Vec<u8>,
}

impl Additions {
    /// None yet, behind the tree with this edge.
    pub(crate) fn after(edge: Frontier) -> Self {
        Self { first: edge.size(), edge, hashes: Vec::new(), places: Vec::new() }
    }

    /// Adds an entry.
    pub(crate) fn push(&mut self, hash: Digest, place: Place) {
        let hashes = &mut self.hashes;
        self.edge.push_with(hash, |hash| hashes.extend_from_slice(hash.as_bytes()));
        self.places.extend_from_slice(&pack(place).to_be_bytes());
    }

    /// Whether it is time to write them, so that they do not fill the memory.
    pub(crate) fn are_many(&self) -> bool {
        self.hashes.len() > 1 << 20
    }

    /// Writes them where the files have something else, and forgets them.
    pub(crate) fn correct(&mut self, to: &Derived) -> io::Result<()> {
        if let Derived::Files { hashes, places } = to {
            let same = |file: &dyn Bytes, at, wanted: &[u8]| {
                let mut found = vec![0; wanted.len()];
                read_exact(file, at, &mut found).is_ok() && found == wanted
            };
            if same(hashes.as_ref(), nodes_of(self.first) * HASH, &self.hashes)
                && same(places.as_ref(), self.first * PLACE, &self.places)
            {
                return self.forget();
            }
        }
        self.write(to)
    }

    fn forget(&mut self) -> io::Result<()> {
        self.first = self.edge.size();
        self.hashes.clear();
        self.places.clear();
        Ok(())
    }

    /// Writes them and forgets them.
    pub(crate) fn write(&mut self, to: &Derived) -> io::Result<()> {
        let Derived::Files { hashes, places } = to else {
            return Err(io::Error::other("a log that is not to be written to has no additions"));
        };
        hashes.write_at(nodes_of(self.first) * HASH, &self.hashes)?;
        places.write_at(self.first * PLACE, &self.places)?;
        self.forget()
    }
}

/// A record is at most 32 KiB, so its length has room in the lowest 16 bits.
fn pack(place: Place) -> u64 {
    place.offset << 16 | u64::from(place.length)
}

fn unpack(packed: u64) -> Place {
    Place { offset: packed >> 16, length: (packed & 0xffff) as u32 }
}
