//! Which entries belong to a kind, an action or a subject, and when blocks of them were written.
//!
//! It is made from the log and never the truth: it only says where to look, each record is looked at itself, and what is
//! not indexed yet is looked through. An index that is missing, damaged or of another log is thrown away and made again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, LazyLock};

use aios_evidence::{Filter, Kind, Line, spelled};
use aios_ids::Digest;
use redb::{Builder, Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::medium::{Bytes, Medium, read_exact};

const FILE: &str = "index.redb";

/// Entries are indexed in blocks of this many; 16 bits hold a place in one.
pub(crate) const BLOCK: u64 = 4096;

/// What a term's hash and a block have in common: the places in the block, 16 bits each.
const TERMS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("terms");

/// The earliest and latest time in a block.
const TIMES: TableDefinition<'_, u32, (u64, u64)> = TableDefinition::new("times");

/// How many entries are indexed and the root over them.
const REACH: TableDefinition<'_, (), (u64, [u8; 32])> = TableDefinition::new("reach");

/// The index's own memory; the log's data are in the page cache, which belongs to everybody.
const CACHE: usize = 4 << 20;

/// The index, open.
#[derive(Debug)]
pub(crate) struct Index(Database);

/// A step of redb has failed, whichever it was.
#[derive(Debug, thiserror::Error)]
#[error("the index cannot be used")]
pub(crate) struct IndexError(#[source] Box<redb::Error>);

impl<E: Into<redb::Error>> From<E> for IndexError {
    fn from(error: E) -> Self {
        Self(Box::new(error.into()))
    }
}

/// Something that entries are found by.
fn term(what: &str, value: &str) -> u64 {
    let hash = Digest::of(format!("{what}\0{value}").as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_be_bytes(first)
}

/// Every entry has one, and there are few, so they are made once.
fn kind_term(kind: Kind) -> u64 {
    static KINDS: LazyLock<BTreeMap<Kind, u64>> =
        LazyLock::new(|| Kind::ALL.iter().map(|kind| (*kind, term("kind", &kind.number().to_string()))).collect());
    KINDS[&kind]
}

/// Entries on their way into the index.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    terms: BTreeMap<(u64, u32), Vec<u16>>,
    times: BTreeMap<u32, (u64, u64)>,
}

impl Batch {
    /// Adds an entry; entries come in order.
    pub(crate) fn push(&mut self, line: &Line<'_>) {
        let Line { index, parts } = line;
        let (block, place) = ((index / BLOCK) as u32, (index % BLOCK) as u16);
        let mut add = |term| self.terms.entry((term, block)).or_default().push(place);
        add(kind_term(parts.kind));
        add(term("subject", parts.subject.as_str()));
        if parts.writer != parts.subject {
            add(term("subject", parts.writer.as_str()));
        }
        if !parts.action.as_str().is_empty() {
            add(term("action", parts.action.as_str()));
        }
        let time = self.times.entry(block).or_insert((parts.wall, parts.wall));
        *time = (time.0.min(parts.wall), time.1.max(parts.wall));
    }
}

impl Index {
    /// Opens the index, or begins a new one when there is none that can be used.
    pub(crate) fn open(medium: &dyn Medium) -> Result<Self, IndexError> {
        Self::open_as_it_is(medium).or_else(|_| {
            medium.remove(FILE).map_err(redb::StorageError::Io)?;
            Self::open_as_it_is(medium)
        })
    }

    fn open_as_it_is(medium: &dyn Medium) -> Result<Self, IndexError> {
        let file = medium.open(FILE).map_err(redb::StorageError::Io)?;
        let database = Builder::new().set_cache_size(CACHE).create_with_backend(Backend(file))?;
        let index = Self(database);
        let begin = index.0.begin_write()?;
        begin.open_table(TERMS)?;
        begin.open_table(TIMES)?;
        begin.open_table(REACH)?;
        begin.commit()?;
        Ok(index)
    }

    /// How many entries are indexed, and the root over them when they were.
    pub(crate) fn reach(&self) -> Result<(u64, Option<Digest>), IndexError> {
        let reach = self.0.begin_read()?.open_table(REACH)?.get(())?;
        Ok(reach.map_or((0, None), |found| (found.value().0, Some(Digest::from_bytes(found.value().1)))))
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) -> Result<(), IndexError> {
        let begin = self.0.begin_write()?;
        begin.delete_table(TERMS)?;
        begin.delete_table(TIMES)?;
        begin.delete_table(REACH)?;
        begin.open_table(TERMS)?;
        begin.open_table(TIMES)?;
        begin.open_table(REACH)?;
        begin.commit()?;
        Ok(())
    }

    /// Takes entries over, after which `size` are indexed.
    pub(crate) fn add(&self, batch: &Batch, size: u64, root: Digest) -> Result<(), IndexError> {
        let begin = self.0.begin_write()?;
        {
            let mut terms = begin.open_table(TERMS)?;
            for (key, places) in &batch.terms {
                let mut row = terms.get(key)?.map_or_else(Vec::new, |row| row.value().to_vec());
                places.iter().for_each(|place| row.extend_from_slice(&place.to_be_bytes()));
                terms.insert(key, &row[..])?;
            }
            let mut times = begin.open_table(TIMES)?;
            for (block, (first, last)) in &batch.times {
                let known = times.get(block)?.map_or((*first, *last), |known| known.value());
                times.insert(block, (known.0.min(*first), known.1.max(*last)))?;
            }
            begin.open_table(REACH)?.insert((), (size, *root.as_bytes()))?;
        }
        begin.commit()?;
        Ok(())
    }

    /// The latest time in a block.
    pub(crate) fn newest_in(&self, block: u32) -> Result<Option<u64>, IndexError> {
        let time = self.0.begin_read()?.open_table(TIMES)?.get(block)?;
        Ok(time.map(|time| time.value().1))
    }

    /// The blocks that may hold what a filter asks for, between two entries.
    pub(crate) fn blocks(&self, filter: &Filter, first: u64, last: u64) -> Result<Vec<u32>, IndexError> {
        let read = self.0.begin_read()?;
        let mut blocks: Vec<u32> = ((first / BLOCK) as u32..=(last / BLOCK) as u32).collect();
        // Times first: a row of them is a hundredth of a row of a frequent term.
        if let (Some(first), Some(last), true) =
            (blocks.first(), blocks.last(), filter.from.is_some() || filter.until.is_some())
        {
            let mut outside = BTreeSet::new();
            for row in read.open_table(TIMES)?.range(*first..=*last)? {
                let (block, time) = row?;
                let (begin, end) = time.value();
                if filter.from.is_some_and(|from| end < from) || filter.until.is_some_and(|until| begin > until) {
                    outside.insert(block.value());
                }
            }
            blocks.retain(|block| !outside.contains(block));
        }
        if let (Some(first), Some(last), Some(term)) = (blocks.first(), blocks.last(), terms_of(filter).first()) {
            let rows = read.open_table(TERMS)?;
            let rows = rows.range((*term, *first)..=(*term, *last))?;
            let with = rows.map(|row| Ok(row?.0.value().1)).collect::<Result<BTreeSet<_>, redb::StorageError>>()?;
            blocks.retain(|block| with.contains(block));
        }
        Ok(blocks)
    }

    /// The entries of a block that have every term of the filter, in order.
    pub(crate) fn in_block(&self, filter: &Filter, block: u32) -> Result<Vec<u64>, IndexError> {
        let begin = u64::from(block) * BLOCK;
        let terms = terms_of(filter);
        if terms.is_empty() {
            return Ok((begin..begin + BLOCK).collect());
        }
        let rows = self.0.begin_read()?.open_table(TERMS)?;
        let mut found: Option<Vec<u16>> = None;
        for term in terms {
            let row = rows.get((term, block))?;
            let places: Vec<u16> = row.map_or_else(Vec::new, |row| {
                row.value().as_chunks::<2>().0.iter().map(|place| u16::from_be_bytes(*place)).collect()
            });
            found = Some(match found {
                None => places,
                Some(mut found) => {
                    found.retain(|place| places.binary_search(place).is_ok());
                    found
                }
            });
        }
        Ok(found.unwrap_or_default().into_iter().map(|place| begin + u64::from(place)).collect())
    }
}

/// The terms of a filter, the one with the fewest entries first.
fn terms_of(filter: &Filter) -> Vec<u64> {
    let action = filter.action.as_ref().map(|action| term("action", &spelled(action)));
    let subject = filter.subject.as_ref().map(|subject| term("subject", &spelled(subject)));
    [action, subject, filter.kind.map(kind_term)].into_iter().flatten().collect()
}

/// The index's file as redb wants it.
#[derive(Debug)]
struct Backend(Arc<dyn Bytes>);

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        read_exact(self.0.as_ref(), offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_length(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }
}
