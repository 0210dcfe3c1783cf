//! Block devices as the kernel lists them in `/sys/class/block`.

use std::fs;
use std::path::{Path, PathBuf};

/// A disk or a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Block {
    /// The device's name, such as `vda2`.
    pub(crate) name: String,
    /// The disk that it is a partition of; its own name for a disk.
    pub(crate) disk: String,
    /// Whether it is a partition.
    pub(crate) is_partition: bool,
    /// The partition's unique id, in lower case.
    pub(crate) part_uuid: Option<String>,
    /// The partition's number.
    pub(crate) part_number: Option<u32>,
    /// The partition's name.
    pub(crate) part_name: Option<String>,
    /// Its size in sectors of 512 bytes.
    pub(crate) sectors: u64,
}

impl Block {
    /// Where it can be opened.
    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }
}

/// All block devices that have a medium, by name. What cannot be read is left out: it may be going away right now.
pub(crate) fn list() -> Vec<Block> {
    let Ok(entries) = fs::read_dir("/sys/class/block") else { return Vec::new() };
    let mut blocks: Vec<Block> =
        entries.flatten().filter_map(|entry| read(&entry.path())).filter(|block| block.sectors > 0).collect();
    blocks.sort_by(|a, b| a.name.cmp(&b.name));
    blocks
}

fn read(entry: &Path) -> Option<Block> {
    let name = entry.file_name()?.to_str()?.to_owned();
    let real = fs::canonicalize(entry).ok()?;
    let sectors = fs::read_to_string(entry.join("size")).ok()?.trim().parse().ok()?;
    let mut block = Block { disk: name.clone(), name, sectors, ..Block::default() };
    apply(&mut block, &fs::read_to_string(entry.join("uevent")).ok()?);
    if block.is_partition {
        block.disk = real.parent()?.file_name()?.to_str()?.to_owned();
    }
    Some(block)
}

fn apply(block: &mut Block, uevent: &str) {
    for (key, value) in uevent.lines().filter_map(|line| line.split_once('=')) {
        match key {
            "DEVTYPE" => block.is_partition = value == "partition",
            "PARTUUID" => block.part_uuid = Some(value.to_ascii_lowercase()),
            "PARTN" => block.part_number = value.parse().ok(),
            "PARTNAME" => block.part_name = Some(value.to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_tells_its_id_and_name() {
        let mut block = Block::default();
        let uevent =
            "MAJOR=254\nMINOR=3\nDEVNAME=vda3\nDEVTYPE=partition\nPARTN=3\nPARTNAME=aios-data\nPARTUUID=ABCD-1\n";
        apply(&mut block, uevent);
        assert!(block.is_partition);
        assert_eq!(block.part_name.as_deref(), Some("aios-data"));
        assert_eq!(block.part_uuid.as_deref(), Some("abcd-1"));
        assert_eq!(block.part_number, Some(3));
    }
}
