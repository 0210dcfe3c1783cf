//! Block devices as the kernel lists them, and what their partition tables say.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use aios_image::gpt::{Geometry, Table};
use aios_image::layout::{Layout, Part};

use crate::failure::chain;

/// Kinds of block devices that are made of memory or of others.
const NOT_DISKS: [&str; 7] = ["loop", "ram", "zram", "dm-", "fd", "md", "nbd"];

/// A disk or a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Block {
    /// The device's name, such as `vda2`.
    pub(crate) name: String,
    /// The disk that it is a partition of; its own name for a disk.
    pub(crate) disk: String,
    /// The partition's number; absent for a disk.
    pub(crate) number: Option<usize>,
    /// The partition's name.
    pub(crate) part_name: Option<String>,
    /// Its size.
    pub(crate) bytes: u64,
    /// Bytes in its sectors; only known of disks.
    pub(crate) sector: u32,
    /// What its maker calls it, or nothing.
    pub(crate) model: String,
}

/// A disk's partition table.
#[derive(Debug)]
pub(crate) struct Partitions {
    /// What it says.
    pub(crate) table: Table,
    /// Whether the partitions are those of an AIOS disk.
    pub(crate) is_ours: bool,
}

impl Block {
    /// Where it can be opened.
    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// Reads the partition table, or says why it cannot be.
    pub(crate) fn partitions(&self) -> Result<Partitions, String> {
        let disk = File::open(self.path()).map_err(|error| format!("the disk cannot be opened: {error}"))?;
        let geometry = Geometry::of(self.bytes, self.sector).map_err(|error| chain(&error))?;
        let table = Table::read(&disk, geometry).map_err(|error| chain(&error))?;
        let is_ours = Layout::of(&table, geometry).is_ok();
        Ok(Partitions { table, is_ours })
    }
}

/// All disks and partitions that have a medium, by name. What cannot be read is left out: it may be going away right now.
pub(crate) fn list() -> Vec<Block> {
    let Ok(entries) = fs::read_dir("/sys/class/block") else { return Vec::new() };
    let mut blocks: Vec<Block> = entries.flatten().filter_map(|entry| read(&entry.path())).collect();
    blocks.retain(|block| block.bytes > 0 && !NOT_DISKS.iter().any(|kind| block.name.starts_with(kind)));
    blocks.sort_by(|a, b| a.name.cmp(&b.name));
    blocks
}

/// The partition of a disk that has this part, if the kernel sees it.
pub(crate) fn partition<'a>(blocks: &'a [Block], disk: &str, part: Part) -> Option<&'a Block> {
    blocks.iter().find(|block| block.disk == disk && block.number == Some(part.number()))
}

fn read(entry: &Path) -> Option<Block> {
    let name = entry.file_name()?.to_str()?.to_owned();
    let real = fs::canonicalize(entry).ok()?;
    let text = |attribute: &str| fs::read_to_string(entry.join(attribute)).unwrap_or_default().trim().to_owned();
    let number = text("partition").parse().ok();
    let disk = match number {
        Some(_) => real.parent()?.file_name()?.to_str()?.to_owned(),
        None => name.clone(),
    };
    Some(Block {
        // The kernel counts in sectors of 512 bytes whatever the disk's own are.
        bytes: text("size").parse::<u64>().ok()?.checked_mul(512)?,
        sector: text("queue/logical_block_size").parse().unwrap_or(512),
        model: text("device/model"),
        part_name: part_name(&text("uevent")),
        name,
        disk,
        number,
    })
}

fn part_name(uevent: &str) -> Option<String> {
    uevent.lines().find_map(|line| line.strip_prefix("PARTNAME=")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use aios_image::gpt::Write;

    use super::*;

    #[test]
    fn a_partition_tells_its_name() {
        assert_eq!(part_name("MAJOR=254\nPARTN=7\nPARTNAME=aios-data\n").as_deref(), Some("aios-data"));
        assert_eq!(part_name("DEVTYPE=disk\n"), None);
    }

    /// The device's name may be any path for `Path::join`, so a file stands for a disk.
    fn disk(image: &Path, bytes: u64) -> Block {
        Block { name: image.display().to_string(), bytes, sector: 512, ..Block::default() }
    }

    #[test]
    fn a_destroyed_table_is_told_and_one_good_copy_is_enough() {
        let bytes = 2 << 30;
        let image = tempfile::NamedTempFile::new().expect("a file");
        image.as_file().set_len(bytes).expect("sparse");
        let disk = disk(image.path(), bytes);
        let why = disk.partitions().expect_err("no table");
        assert!(why.contains("no signature"), "{why}");

        let layout = Layout::plan(bytes, 512).expect("large enough");
        layout.table(&[7; 32]).write(image.as_file(), layout.geometry, Write::New).expect("written");
        assert!(disk.partitions().expect("a table").is_ours);
        image.as_file().write_all_at(&[0xff; 4096], 512).expect("overwritten");
        assert!(disk.partitions().expect("the second copy").is_ours);
        image.as_file().write_all_at(&[0xff; 4096], bytes - 4096).expect("overwritten");
        assert!(disk.partitions().is_err());
    }
}
