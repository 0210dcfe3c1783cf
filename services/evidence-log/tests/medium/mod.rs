//! A disk in memory whose power can be cut: what was synced is kept, of what was not each sector may be or not.

#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use evidence_log::{Bytes, Medium, Space};

/// The unit that a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Numbers that a seed decides (xorshift).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Debug, Clone, Default)]
struct File {
    /// What a reader sees.
    now: Vec<u8>,
    /// What survives for sure.
    durable: Vec<u8>,
    /// What may survive.
    waiting: Vec<Change>,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<String, File>,
    /// Operations until the power goes.
    left: u64,
    broken: Broken,
    space: Space,
    /// How long a sync takes, and how many there were.
    sync_takes: Duration,
    syncs: u64,
}

#[derive(Debug, PartialEq)]
enum Broken {
    Nothing,
    Syncs,
    Writes,
}

/// The disk.
#[derive(Debug, Clone)]
pub(crate) struct Disk(Arc<Mutex<State>>);

impl Default for Disk {
    fn default() -> Self {
        let space = Space { total: 1 << 40, free: 1 << 39 };
        Self(Arc::new(Mutex::new(State {
            files: BTreeMap::new(),
            left: u64::MAX,
            broken: Broken::Nothing,
            space,
            sync_takes: Duration::ZERO,
            syncs: 0,
        })))
    }
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds the disk")
    }

    /// The power goes after so many operations.
    pub(crate) fn cut_after(&self, operations: u64) {
        self.state().left = operations;
    }

    /// Whether it has gone.
    pub(crate) fn is_off(&self) -> bool {
        self.state().left == 0
    }

    pub(crate) fn fail_syncs(&self) {
        self.state().broken = Broken::Syncs;
    }

    pub(crate) fn fail_writes(&self) {
        self.state().broken = Broken::Writes;
    }

    pub(crate) fn work_again(&self) {
        self.state().broken = Broken::Nothing;
    }

    /// Every sync takes this long from now on.
    pub(crate) fn slow_down(&self, sync_takes: Duration) {
        self.state().sync_takes = sync_takes;
    }

    /// How many syncs there were.
    pub(crate) fn syncs(&self) -> u64 {
        self.state().syncs
    }

    pub(crate) fn set_space(&self, total: u64, free: u64) {
        self.state().space = Space { total, free };
    }

    /// The same files on a disk of their own, one of them changed by a hand that knows no log.
    pub(crate) fn with(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut files = self.state().files.clone();
        change(&mut files.get_mut(name).expect("a file of the log").now);
        let disk = Self::default();
        disk.state().files = files;
        disk
    }

    /// What is in a file.
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        self.state().files.get(name).map(|file| file.now.clone()).unwrap_or_default()
    }

    /// The disk as the next start finds it.
    pub(crate) fn after_the_cut(&self, random: &mut Random) -> Self {
        let mut files = BTreeMap::new();
        for (name, file) in &self.state().files {
            let mut bytes = file.durable.clone();
            // Disks differ: some keep all that was written, some nothing, most something.
            let keep = random.below(5);
            for change in &file.waiting {
                match change {
                    Change::Length(length) => {
                        if random.below(4) < keep {
                            bytes.resize(*length as usize, 0);
                        }
                    }
                    Change::Write(offset, data) => {
                        let mut at = 0;
                        while at < data.len() {
                            let place = *offset as usize + at;
                            let end = data.len().min(at + SECTOR - place % SECTOR);
                            if random.below(4) < keep {
                                write(&mut bytes, place, &data[at..end]);
                            }
                            at = end;
                        }
                    }
                }
            }
            files.insert(name.clone(), File { now: bytes.clone(), durable: bytes, waiting: Vec::new() });
        }
        let disk = Self::default();
        disk.state().files = files;
        disk
    }
}

fn write(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}

impl State {
    /// Counts an operation; an error when the power is off.
    fn step(&mut self) -> io::Result<()> {
        if self.left == 0 {
            return Err(io::Error::other("the power is off"));
        }
        self.left -= 1;
        Ok(())
    }
}

#[derive(Debug)]
struct Open {
    disk: Disk,
    name: String,
}

impl Open {
    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.broken == Broken::Writes && matches!(change, Change::Write(..)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let power = state.step();
        let file = state.files.entry(self.name.clone()).or_default();
        // The operation in which the power goes may have reached the disk.
        file.waiting.push(change.clone());
        power?;
        match change {
            Change::Length(length) => file.now.resize(length as usize, 0),
            Change::Write(offset, data) => write(&mut file.now, offset as usize, &data),
        }
        Ok(())
    }
}

impl Bytes for Open {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().files.get(&self.name).map_or(0, |file| file.now.len() as u64))
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state();
        let rest = state.files.get(&self.name).and_then(|file| file.now.get(offset as usize..)).unwrap_or_default();
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset, bytes.to_vec()))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.change(Change::Length(length))
    }

    fn erase(&self, offset: u64, length: u64) -> io::Result<()> {
        self.change(Change::Write(offset, vec![0; length as usize]))
    }

    fn sync(&self) -> io::Result<()> {
        let takes = self.disk.state().sync_takes;
        std::thread::sleep(takes);
        let mut state = self.disk.state();
        state.syncs += 1;
        if state.broken == Broken::Syncs {
            return Err(io::Error::other("the disk gave an error"));
        }
        state.step()?;
        if let Some(file) = state.files.get_mut(&self.name) {
            file.durable = file.now.clone();
            file.waiting.clear();
        }
        Ok(())
    }
}

impl Medium for Disk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn Bytes>> {
        self.state().files.entry(name.to_owned()).or_default();
        Ok(Arc::new(Open { disk: self.clone(), name: name.to_owned() }))
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.state().files.get(name).map(|file| file.now.clone()))
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        if state.broken == Broken::Writes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.step()?;
        let whole = File { now: content.to_vec(), durable: content.to_vec(), waiting: Vec::new() };
        state.files.insert(name.to_owned(), whole);
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        Ok(self.state().space)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.files.remove(name);
        Ok(())
    }
}
