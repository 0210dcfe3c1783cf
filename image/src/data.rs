//! The data partition: an empty ext4 file system to begin with, and the files that a new machine starts from.
//!
//! An installer without `mkfs` needs a finished file system: the build makes one of 64 MiB with `mke2fs` and ships its
//! blocks that are not zero ([`template`]). On the disk it gets an identity of its own ([`Template::write`]) and is
//! grown by the kernel to the partition's size while mounted. `cargo xtask disk`, which may not mount, makes the file
//! system at its full size and puts the same files in with `debugfs` ([`make`]).

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::guid::Guid;
use crate::layout::{DATA_NAME, Place};
use crate::medium::Medium;

const BLOCK: usize = 4096;
/// One block group, so that there is one superblock to rewrite: its copies begin in the second group.
const BLOCKS: u32 = 16384;
/// Blocks that are written at once.
const RUN: u32 = 256;
const MAGIC: &[u8; 16] = b"aios.data.v1\0\0\0\0";
const RECORD: usize = 4 + BLOCK;

/// Where the superblock begins, and its fields that this module reads or changes.
const SUPERBLOCK: usize = 1024;
const SUPERBLOCK_BYTES: usize = 1024;
const EXT4_MAGIC: std::ops::Range<usize> = 0x38..0x3a;
const BLOCK_COUNT: std::ops::Range<usize> = 0x04..0x08;
const FEATURES_INCOMPATIBLE: std::ops::Range<usize> = 0x60..0x64;
const UUID: std::ops::Range<usize> = 0x68..0x78;
const CHECKSUM: std::ops::Range<usize> = 0x3fc..0x400;
/// The checksums of everything else begin from a stored seed and not from the UUID, which may therefore change.
const CHECKSUM_SEED_STORED: u32 = 0x2000;

/// Kept out of chance and time, so that equal builds give equal templates; each disk gets a UUID of its own.
const TEMPLATE_UUID: &str = "61696f73-6461-8461-8000-000000000001";
const HASH_SEED: &str = "61696f73-6461-8461-8000-000000000002";

/// A file on the data partition of a new machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedFile {
    /// Below the partition's root, with `/` between plain names.
    pub path: String,
    /// The user and group that own it and the last folder on its way.
    pub owner: u32,
    /// Its content; mode 0600 in a folder of mode 0700.
    pub bytes: Vec<u8>,
}

/// A checked template.
#[derive(Debug, Clone, Copy)]
pub struct Template<'a> {
    blocks: u32,
    records: &'a [u8],
}

/// The data partition cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The shipped template is damaged.
    #[error("the template of the data partition cannot be used: {fault}")]
    Template {
        /// What is wrong.
        fault: &'static str,
    },
    /// The partition is too small.
    #[error("the data partition has {room} bytes and its file system needs {needed}")]
    Room {
        /// The partition.
        room: u64,
        /// The template.
        needed: u64,
    },
    /// The medium.
    #[error("cannot write the data partition")]
    Write(#[source] io::Error),
    /// A file on the way.
    #[error("cannot use '{}'", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program that is not there.
    #[error("cannot run {program}: it is part of e2fsprogs")]
    Run {
        /// The program.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program that failed.
    #[error("{program} failed: {text}")]
    Failed {
        /// The program.
        program: &'static str,
        /// What it said.
        text: String,
    },
}

impl<'a> Template<'a> {
    /// Reads what [`template`] made.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DataError> {
        let wrong = |fault| DataError::Template { fault };
        let rest = bytes.strip_prefix(MAGIC).ok_or(wrong("it does not begin with its mark"))?;
        let (count, records) = rest.split_first_chunk::<4>().ok_or(wrong("it is cut off"))?;
        let blocks = u32::from_le_bytes(*count);
        if blocks != BLOCKS || records.len() % RECORD != 0 {
            return Err(wrong("it has another size"));
        }
        let numbers = records.chunks_exact(RECORD).map(number);
        if !numbers.clone().is_sorted_by(|before, after| before < after) || numbers.clone().any(|n| n >= blocks) {
            return Err(wrong("its blocks are not in order"));
        }
        let template = Self { blocks, records };
        if numbers.clone().next() != Some(0) {
            return Err(wrong("it has no superblock"));
        }
        let superblock = &records[4 + SUPERBLOCK..4 + SUPERBLOCK + SUPERBLOCK_BYTES];
        let field = |range: std::ops::Range<usize>| {
            superblock[range].iter().rev().fold(0_u32, |value, byte| value << 8 | u32::from(*byte))
        };
        if field(EXT4_MAGIC) != 0xef53
            || field(BLOCK_COUNT) != blocks
            || field(CHECKSUM) != crc32c(&superblock[..CHECKSUM.start])
        {
            return Err(wrong("its superblock is not whole"));
        }
        if field(FEATURES_INCOMPATIBLE) & CHECKSUM_SEED_STORED == 0 {
            return Err(wrong("its checksums depend on its UUID"));
        }
        Ok(template)
    }

    /// The bytes it takes on the disk.
    pub fn bytes(&self) -> u64 {
        u64::from(self.blocks) * BLOCK as u64
    }

    /// Writes the file system at the beginning of `place`, zeros included, as the file system `uuid`.
    pub fn write(&self, medium: &impl Medium, place: Place, uuid: Guid) -> Result<(), DataError> {
        if place.length < self.bytes() {
            return Err(DataError::Room { room: place.length, needed: self.bytes() });
        }
        let mut records = self.records.chunks_exact(RECORD).peekable();
        let mut run = vec![0; RUN as usize * BLOCK];
        for first in (0..self.blocks).step_by(RUN as usize) {
            run.fill(0);
            while let Some(record) = records.next_if(|record| number(record) < first + RUN) {
                let at = (number(record) - first) as usize * BLOCK;
                run[at..at + BLOCK].copy_from_slice(&record[4..]);
            }
            if first == 0 {
                rename(&mut run[SUPERBLOCK..SUPERBLOCK + SUPERBLOCK_BYTES], uuid);
            }
            medium.write_at(place.start + u64::from(first) * BLOCK as u64, &run).map_err(DataError::Write)?;
        }
        medium.sync().map_err(DataError::Write)
    }
}

fn number(record: &[u8]) -> u32 {
    u32::from_le_bytes([record[0], record[1], record[2], record[3]])
}

fn rename(superblock: &mut [u8], uuid: Guid) {
    superblock[UUID].copy_from_slice(&uuid.text_order());
    let checksum = crc32c(&superblock[..CHECKSUM.start]);
    superblock[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
}

/// CRC-32C without the final inversion, over a few kilobytes, so without a table.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let step = |value: u32, _| if value & 1 == 1 { value >> 1 ^ 0x82f6_3b78 } else { value >> 1 };
    bytes.iter().fold(!0, |value, byte| (0..8).fold(value ^ u32::from(*byte), step))
}

/// Makes the template with the build machine's `mke2fs`; `scratch` is a folder for the image.
pub fn template(scratch: &Path) -> Result<Vec<u8>, DataError> {
    let image = scratch.join("data.ext4");
    let at = |source| DataError::File { path: image.clone(), source };
    let place = Place { start: 0, length: u64::from(BLOCKS) * BLOCK as u64 };
    let file = fs::File::create(&image).map_err(at)?;
    file.set_len(place.length).map_err(at)?;
    format(&image, place, TEMPLATE_UUID)?;
    let bytes = fs::read(&image).map_err(at)?;
    fs::remove_file(&image).map_err(at)?;
    let mut packed = [MAGIC.as_slice(), &BLOCKS.to_le_bytes()].concat();
    for (number, block) in (0_u32..).zip(bytes.chunks_exact(BLOCK)) {
        if block.iter().any(|byte| *byte != 0) {
            packed.extend_from_slice(&number.to_le_bytes());
            packed.extend_from_slice(block);
        }
    }
    Template::parse(&packed)?;
    Ok(packed)
}

/// Makes the file system at its full size inside a disk image and puts `files` into it.
pub fn make(image: &Path, place: Place, uuid: Guid, files: &[SeedFile]) -> Result<(), DataError> {
    format(image, place, &uuid.to_string())?;
    let scratch = image.with_extension("seed");
    let at = |source| DataError::File { path: scratch.clone(), source };
    fs::create_dir_all(&scratch).map_err(at)?;
    let mut script = String::new();
    let mut known = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let content = scratch.join(index.to_string());
        fs::write(&content, &file.bytes).map_err(at)?;
        let folders: Vec<&str> = file.path.match_indices('/').map(|(end, _)| &file.path[..end]).collect();
        for folder in &folders {
            if !known.contains(folder) {
                known.push(folder);
                let _ = writeln!(script, "mkdir {folder}");
            }
        }
        let _ = writeln!(script, "write {} {}", content.display(), file.path);
        let mut own = |path: &str, mode: &str| {
            for (field, value) in [("uid", file.owner.to_string()), ("gid", file.owner.to_string())] {
                let _ = writeln!(script, "set_inode_field {path} {field} {value}");
            }
            let _ = writeln!(script, "set_inode_field {path} mode {mode}");
        };
        own(&file.path, "0100600");
        if let Some(folder) = folders.last() {
            own(folder, "040700");
        }
    }
    let commands = scratch.join("commands");
    fs::write(&commands, script).map_err(at)?;
    let mut device = OsString::from(image);
    device.push(format!("?offset={}", place.start));
    let result = run("debugfs", Command::new("debugfs").args(["-w", "-f"]).arg(&commands).arg(device));
    fs::remove_dir_all(&scratch).map_err(at)?;
    // debugfs ends well after a command that failed; it complains on standard error, after its first line.
    match result?.lines().skip(1).find(|line| !line.is_empty()) {
        None => Ok(()),
        Some(line) => Err(DataError::Failed { program: "debugfs", text: line.to_owned() }),
    }
}

fn format(image: &Path, place: Place, uuid: &str) -> Result<(), DataError> {
    let extended = format!(
        // Room in the first group for descriptors of 2 TiB, so that growing moves nothing.
        "offset={},hash_seed={HASH_SEED},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,resize=536870912",
        place.start
    );
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-T", "default", "-b", "4096", "-I", "256", "-i", "8192", "-m", "1"]);
    mke2fs.args(["-O", "metadata_csum,metadata_csum_seed,64bit", "-J", "size=16", "-L", DATA_NAME, "-U", uuid]);
    mke2fs.args(["-E", &extended]).arg(image).arg((place.length / BLOCK as u64).to_string());
    run("mke2fs", &mut mke2fs).map(drop)
}

/// Runs a program of e2fsprogs with a fixed clock; what it said on standard error comes back.
fn run(program: &'static str, command: &mut Command) -> Result<String, DataError> {
    let command = command.env("E2FSPROGS_FAKE_TIME", "1").env("LC_ALL", "C").stdin(Stdio::null());
    let output = command.output().map_err(|source| DataError::Run { program, source })?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(text) } else { Err(DataError::Failed { program, text: text.trim().to_owned() }) }
}
