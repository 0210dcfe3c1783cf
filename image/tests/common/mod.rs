//! A medium in memory that records its writes, so that a test can see every state a cut could leave.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use aios_image::medium::Medium;

const PAGE: u64 = 512;

/// Sparse content, and what was written since recording began.
#[derive(Clone)]
pub(crate) struct Record {
    length: u64,
    pages: RefCell<BTreeMap<u64, [u8; PAGE as usize]>>,
    writes: RefCell<Vec<(u64, Vec<u8>)>>,
    before: RefCell<BTreeMap<u64, [u8; PAGE as usize]>>,
}

impl Record {
    /// `length` zeros.
    pub(crate) fn new(length: u64) -> Self {
        let empty = || RefCell::new(BTreeMap::new());
        Self { length, pages: empty(), writes: RefCell::new(Vec::new()), before: empty() }
    }

    /// From here on every write is a place where power may fail.
    pub(crate) fn start_recording(&self) {
        *self.before.borrow_mut() = self.pages.borrow().clone();
        self.writes.borrow_mut().clear();
    }

    /// The content before the first recorded write, in the middle of each, and after each.
    pub(crate) fn states_of_a_cut(&self) -> Vec<Self> {
        let state = Self::new(self.length);
        *state.pages.borrow_mut() = self.before.borrow().clone();
        let mut states = vec![state.clone()];
        for (offset, bytes) in self.writes.borrow().iter() {
            state.overwrite(*offset, &bytes[..bytes.len() / 2]);
            states.push(state.clone());
            state.overwrite(*offset, bytes);
            states.push(state.clone());
        }
        states
    }

    /// Changes content without recording it.
    pub(crate) fn overwrite(&self, offset: u64, bytes: &[u8]) {
        let mut pages = self.pages.borrow_mut();
        for (at, byte) in (offset..).zip(bytes) {
            pages.entry(at / PAGE).or_insert([0; PAGE as usize])[(at % PAGE) as usize] = *byte;
        }
    }
}

impl Medium for Record {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        if offset + bytes.len() as u64 > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let pages = self.pages.borrow();
        for (at, byte) in (offset..).zip(bytes) {
            *byte = pages.get(&(at / PAGE)).map_or(0, |page| page[(at % PAGE) as usize]);
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset + bytes.len() as u64 > self.length {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.overwrite(offset, bytes);
        self.writes.borrow_mut().push((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn forget(&self) -> io::Result<()> {
        Ok(())
    }
}
