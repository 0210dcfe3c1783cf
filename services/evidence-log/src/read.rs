//! Reading the log: records, proofs, files of an export, questions. Nothing is given out that the tree does not confirm.

use std::io;

use aios_evidence::scan::Place;
use aios_evidence::{
    Fault, Filter, InclusionBundle, KeySource, Kind, Nodes as _, Record, Report, ResourcePath, TILE_WIDTH,
    encode_bundle_entry, inclusion_of, leaf_hash, verify_export, verify_inclusion,
};

use crate::derived::Remembered;
use crate::index::BLOCK;
use crate::log::Log;
use crate::medium::read_exact;

/// One answer to a query is at most this long, so that it passes every limit on the way.
const ANSWER_LIMIT: usize = 192 * 1024;

/// How many records a query gives when it does not say, and at most.
const DEFAULT_RECORDS: usize = 100;
const MOST_RECORDS: usize = 1000;

/// A question cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No such entry.
    #[error("there is no entry {index}: the log has {size}")]
    NoEntry {
        /// The question.
        index: u64,
        /// The log's size.
        size: u64,
    },
    /// Its time was over.
    #[error("the bytes of entry {index} were removed when their time was over; its hash is kept and proofs hold")]
    Pruned {
        /// Which.
        index: u64,
    },
    /// No such file.
    #[error("there is no {path} in a log of {size} entries")]
    NoResource {
        /// The question.
        path: String,
        /// The log's size.
        size: u64,
    },
    /// The files cannot be read.
    #[error("cannot read entry {index} from the disk")]
    Read {
        /// Which.
        index: u64,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// What the disk holds now is not what was written.
    #[error("entry {index} on the disk is not what was written")]
    Changed {
        /// Which.
        index: u64,
    },
}

impl Log {
    /// The line of one record.
    pub fn record_line(&self, index: u64) -> Result<String, QueryError> {
        self.confirmed(index, self.stored(index)?, &Remembered::of(&self.derived))
    }

    /// The line that these bytes of an entry are, once the path from them leads to the root.
    fn confirmed(&self, index: u64, bytes: Vec<u8>, nodes: &Remembered<'_>) -> Result<String, QueryError> {
        let failed = |source| QueryError::Read { index, source };
        let edge = self.edge();
        let path = inclusion_of(nodes, index, edge.size()).map_err(failed)?;
        if verify_inclusion(leaf_hash(&bytes), index, edge.size(), &path, &edge.root()).is_ok() {
            return String::from_utf8(bytes).map_err(|_| QueryError::Changed { index });
        }
        Err(wrong(index, &bytes))
    }

    /// The line of an entry that a filter asks for; nothing when it asks for others. An entry that is passed over is
    /// compared with the hash beside the segment only: the path to the root is for what is given out.
    fn matching(&self, index: u64, filter: &Filter, nodes: &Remembered<'_>) -> Result<Option<String>, QueryError> {
        let bytes = self.stored(index)?;
        let kept = self.derived.node(0, index).map_err(|source| QueryError::Read { index, source })?;
        if leaf_hash(&bytes) != kept {
            return Err(wrong(index, &bytes));
        }
        let text = str::from_utf8(&bytes).map_err(|_| QueryError::Changed { index })?;
        match filter.matches(text).ok_or(QueryError::Changed { index })? {
            true => self.confirmed(index, bytes, nodes).map(Some),
            false => Ok(None),
        }
    }

    /// A proof that an entry is under a signed head.
    pub fn prove(&self, index: u64) -> Result<String, QueryError> {
        let size = self.size();
        if index >= size {
            return Err(QueryError::NoEntry { index, size });
        }
        let head = self.head_with(index);
        let path = inclusion_of(&self.derived, index, head.size);
        let path = path.map_err(|source| QueryError::Read { index, source })?;
        Ok(InclusionBundle { index, path, checkpoint: head.note }.text())
    }

    /// A file of the log under its name in an export.
    pub fn resource(&self, path: ResourcePath) -> Result<Vec<u8>, QueryError> {
        let size = self.size();
        let missing = || QueryError::NoResource { path: path.to_string(), size };
        match path {
            ResourcePath::Checkpoint => Ok(self.checkpoint().into_bytes()),
            ResourcePath::Key => Ok(format!("{}\n", self.key()).into_bytes()),
            ResourcePath::Hashes { level, tile } => {
                let index = tile.index.saturating_mul(TILE_WIDTH);
                let found = ResourcePath::hashes_from(level, tile, &self.derived, size).ok_or_else(missing)?;
                found.map_err(|source| QueryError::Read { index, source })
            }
            ResourcePath::Entries { tile } => {
                let begin = tile.index.checked_mul(TILE_WIDTH).ok_or_else(missing)?;
                if begin.checked_add(tile.width).is_none_or(|end| end > size) {
                    return Err(missing());
                }
                self.bundle(begin, tile.width).map_err(|source| QueryError::Read { index: begin, source })
            }
        }
    }

    /// The bundle of entries from `begin` on, as the segment has them now: the verifier compares them itself.
    fn bundle(&self, begin: u64, width: u64) -> io::Result<Vec<u8>> {
        let mut bundle = Vec::new();
        self.side_by_side(begin, width, |entry| {
            // What was removed is an entry without bytes; the verifier asks for the record that says so.
            encode_bundle_entry(if entry.iter().all(|byte| *byte == 0) { &[] } else { entry }, &mut bundle);
        })?;
        Ok(bundle)
    }

    /// Reads up to [`TILE_WIDTH`] entries at once, as the segment has them now, and shows them in order.
    pub(crate) fn side_by_side(&self, begin: u64, width: u64, mut show: impl FnMut(&[u8])) -> io::Result<()> {
        let places = self.derived.places(begin, width)?;
        let (Some(first), Some(last)) = (places.first(), places.last()) else { return Ok(()) };
        // Entries that follow each other lie side by side, with their frames between.
        let start = first.offset;
        let length = (last.offset + u64::from(last.length)).checked_sub(start).filter(|length| *length <= BUNDLE_LIMIT);
        let length = length.ok_or_else(|| io::Error::other("the places of entries are not in order"))?;
        let mut bytes = vec![0; length as usize];
        read_exact(self.segment.as_ref(), start, &mut bytes)?;
        for Place { offset, length } in places {
            let at = offset.checked_sub(start).map(|at| at as usize);
            let entry = at.and_then(|at| bytes.get(at..at + length as usize));
            show(entry.ok_or_else(|| io::Error::other("the places of entries are not in order"))?);
        }
        Ok(())
    }

    /// Reads the whole log again and checks it as an export is checked.
    pub fn verify(&self) -> Result<Report, Fault> {
        // Appends go on meanwhile, so the files asked for are those of the head that was read first.
        let head = self.checkpoint();
        let read = |name: &str| {
            let path: ResourcePath = name.parse().map_err(|_| "no such file".to_owned())?;
            match path {
                ResourcePath::Checkpoint => Ok(head.clone().into_bytes()),
                path => self.resource(path).map_err(|error| aios_daemon::error_chain(&error)),
            }
        };
        verify_export(&read, KeySource::Pinned(&self.key().ed25519_line()))
    }

    /// The lines of the records that a filter asks for, oldest first.
    pub fn query(&self, filter: &Filter) -> Result<Vec<String>, QueryError> {
        let first = filter.after.map_or(0, |after| after.saturating_add(1));
        let mut answer = Answer::new(filter);
        let size = self.size();
        if first >= size {
            return Ok(answer.lines);
        }
        let indexed = self.indexed().min(size);
        let windows = first / WINDOW..=indexed / WINDOW;
        let inside = |index: &u64| (first..indexed).contains(index);
        if filter.after.is_some() {
            let old = windows.flat_map(|window| self.blocks(filter, window));
            let old = old.flat_map(|block| self.in_block(filter, block)).filter(inside);
            answer.look(self, old.chain(first.max(indexed)..size))?;
        } else {
            let old = windows.rev().flat_map(|window| self.blocks(filter, window).into_iter().rev());
            let old = old.flat_map(|block| self.in_block(filter, block).into_iter().rev()).filter(inside);
            answer.look(self, (first.max(indexed)..size).rev().chain(old))?;
            answer.lines.reverse();
        }
        Ok(answer.lines)
    }

    /// How many entries the index knows; without one, none.
    pub fn indexed(&self) -> u64 {
        self.index.as_ref().and_then(|index| index.reach().ok()).map_or(0, |(size, _)| size)
    }

    /// The blocks of one window that may hold what is asked for. An index that fails is as good as none: every block is
    /// looked through.
    fn blocks(&self, filter: &Filter, window: u64) -> Vec<u32> {
        let (first, last) = (window * WINDOW, (window + 1) * WINDOW - 1);
        let every = || (first / BLOCK..=last / BLOCK).map(|block| block as u32).collect();
        self.index.as_ref().and_then(|index| index.blocks(filter, first, last).ok()).unwrap_or_else(every)
    }

    fn in_block(&self, filter: &Filter, block: u32) -> Vec<u64> {
        let every = || (u64::from(block) * BLOCK..(u64::from(block) + 1) * BLOCK).collect();
        self.index.as_ref().and_then(|index| index.in_block(filter, block).ok()).unwrap_or_else(every)
    }

    /// The newest record of a kind.
    pub(crate) fn newest(&self, kind: Kind) -> Result<Option<Record>, QueryError> {
        let filter = Filter { kind: Some(kind), limit: Some(1), ..Filter::default() };
        let Some(line) = self.query(&filter)?.pop() else { return Ok(None) };
        Ok(Record::decode(line.as_bytes()).ok())
    }

    /// An entry's bytes as the segment has them now.
    fn stored(&self, index: u64) -> Result<Vec<u8>, QueryError> {
        let size = self.size();
        if index >= size {
            return Err(QueryError::NoEntry { index, size });
        }
        let read = self.derived.places(index, 1).and_then(|places| {
            let place = places.first().ok_or(io::ErrorKind::UnexpectedEof)?;
            let mut bytes = vec![0; place.length as usize];
            read_exact(self.segment.as_ref(), place.offset, &mut bytes)?;
            Ok(bytes)
        });
        read.map_err(|source| QueryError::Read { index, source })
    }
}

/// What is to be said of bytes that do not have their hash.
fn wrong(index: u64, bytes: &[u8]) -> QueryError {
    if bytes.iter().all(|byte| *byte == 0) { QueryError::Pruned { index } } else { QueryError::Changed { index } }
}

/// So many entries are looked up in the index at once: what is asked for is mostly among the newest.
const WINDOW: u64 = 64 * BLOCK;

/// The longest bundle: full of the largest records, with a commit behind each.
const BUNDLE_LIMIT: u64 = 256 * (32 * 1024 + 128);

/// An answer that grows until it is long enough.
struct Answer<'a> {
    filter: &'a Filter,
    limit: usize,
    bytes: usize,
    lines: Vec<String>,
}

impl<'a> Answer<'a> {
    fn new(filter: &'a Filter) -> Self {
        let limit = filter.limit.unwrap_or(DEFAULT_RECORDS).min(MOST_RECORDS);
        Self { filter, limit, bytes: 0, lines: Vec::new() }
    }

    fn look(&mut self, log: &Log, candidates: impl Iterator<Item = u64>) -> Result<(), QueryError> {
        if self.limit == 0 {
            return Ok(());
        }
        let nodes = Remembered::of(&log.derived);
        for index in candidates {
            let line = match log.matching(index, self.filter, &nodes) {
                // Its kind and action went with it, so no question can be about it.
                Err(QueryError::Pruned { .. }) | Ok(None) => continue,
                Ok(Some(line)) => line,
                Err(error) => return Err(error),
            };
            self.bytes += line.len() + 1;
            if self.bytes > ANSWER_LIMIT {
                return Ok(());
            }
            self.lines.push(line);
            if self.lines.len() == self.limit {
                return Ok(());
            }
        }
        Ok(())
    }
}
