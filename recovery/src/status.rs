//! `status`: what is on the disks. Each line is found by itself, so a disk that is destroyed hides nothing else.

use std::fmt::Write as _;
use std::fs;

use aios_image::gpt::Table;
use aios_image::layout::{EMPTY_NAME, Part};
use aios_slots::{Slot, UkiName};
use rustix::fs::statvfs;

use crate::blocks::{self, Block};
use crate::cmdline;
use crate::evidence::{Form, form_in};
use crate::failure::harmless;
use crate::rollback;
use crate::unlock;
use crate::volume::{Access, Journal, Kind, Mounted, kind_of};

/// What this is, in one line.
pub(crate) fn greeting() -> String {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let version = cmdline::parse(&line).ok().and_then(|line| line.version);
    let version = version.unwrap_or_else(|| "of an unknown version".to_owned());
    format!("AIOS recovery {version}, kernel {}", rustix::system::uname().release().to_string_lossy())
}

/// Everything that can be said.
pub(crate) fn text() -> String {
    let mut text = greeting();
    text.push('\n');
    let blocks = blocks::list();
    let disks: Vec<&Block> = blocks.iter().filter(|block| block.number.is_none()).collect();
    if disks.is_empty() {
        text.push_str("no disk: this machine has none, or this kernel has no driver for it\n");
    }
    for disk in disks {
        let _ = write!(text, "{}  {} MiB", disk.path().display(), disk.bytes >> 20);
        if !disk.model.is_empty() {
            let _ = write!(text, ", {}", harmless(&disk.model));
        }
        text.push('\n');
        for line in disk_lines(disk, &blocks) {
            let _ = writeln!(text, "  {}", harmless(&line));
        }
    }
    text
}

fn disk_lines(disk: &Block, blocks: &[Block]) -> Vec<String> {
    let found = match disk.partitions() {
        Ok(found) => found,
        Err(why) => {
            let volume = volume_line(disk);
            return vec![volume.unwrap_or_else(|| format!("partition table: not readable: {why}"))];
        }
    };
    let parts = found.table.entries.iter().flatten().count();
    if !found.is_ours {
        let mut lines = vec![format!("partition table: readable, {parts} partitions, not those of AIOS")];
        lines.extend(
            blocks.iter().filter(|block| block.number.is_some() && block.disk == disk.name).filter_map(volume_line),
        );
        return lines;
    }
    let mut lines = vec![format!("partition table: readable, {parts} partitions of AIOS")];
    match blocks::partition(blocks, &disk.name, Part::Esp) {
        Some(esp) => lines.extend(boot_lines(esp)),
        None => lines.push("partitions: not seen by the kernel; the first copy of the table is damaged".to_owned()),
    }
    lines.extend([Slot::A, Slot::B].map(|slot| format!("slot {slot}: {}", slot_content(&found.table, slot))));
    if let Some(data) = blocks::partition(blocks, &disk.name, Part::Data) {
        lines.push(format!("data: {}", data_content(data)));
    }
    lines
}

/// What a device without partitions of ours has on it, if it is a file system.
fn volume_line(block: &Block) -> Option<String> {
    let device = block.path();
    match kind_of(&device) {
        Ok(Kind::Fat { label }) => Some(format!("{}: a FAT volume labelled '{label}'", device.display())),
        Ok(Kind::Ext4 { .. }) => Some(format!("{}: an ext4 file system", device.display())),
        Ok(Kind::Luks) => Some(format!("{}: encrypted", device.display())),
        Ok(Kind::Iso9660) => Some(format!("{}: a disc", device.display())),
        Ok(Kind::Unknown) => None,
        Err(error) => Some(format!("{}: cannot be read: {error}", device.display())),
    }
}

fn boot_lines(esp: &Block) -> Vec<String> {
    let entries = Mounted::open(&esp.path(), Access::Read)
        .map_err(|failure| failure.to_string())
        .and_then(|mounted| rollback::entries(mounted.path()).map_err(|error| error.to_string()));
    let entries = match entries {
        Ok(entries) => entries,
        Err(why) => return vec![format!("boot entries: not readable: {why}")],
    };
    let next = rollback::next(&entries);
    if next.is_none() {
        return vec!["boot entries: none that the loader would start; it starts recovery".to_owned()];
    }
    let line = |entry: &rollback::Entry| {
        let starts = if next.as_ref() == Some(&entry.name) { ", starts next" } else { "" };
        format!("boot entry {}: {}{starts}", entry.file, tries(&entry.name))
    };
    entries.iter().map(line).collect()
}

fn tries(name: &UkiName) -> String {
    match name.counter {
        None => "good".to_owned(),
        Some(counter) if counter.left == 0 => "spent".to_owned(),
        Some(counter) => format!("on trial, {} tries left after {}", counter.left, counter.done),
    }
}

fn slot_content(table: &Table, slot: Slot) -> String {
    let entry = table.entries.get(Part::Root(slot).number() - 1).and_then(Option::as_ref);
    match entry.map(|entry| entry.name.as_str()) {
        Some(EMPTY_NAME) => "empty".to_owned(),
        Some(name) => name.strip_prefix("aios_").map_or(name.to_owned(), |version| format!("version {version}")),
        None => "not in the table".to_owned(),
    }
}

fn data_content(data: &Block) -> String {
    let partition = data.path();
    let kind = kind_of(&partition).map_err(|error| error.to_string());
    let (device, kind, mut text) = match (kind, unlock::open_already(&partition)) {
        (Ok(Kind::Luks), Ok(Some(device))) => {
            let kind = kind_of(&device).map_err(|error| error.to_string());
            let text = format!("encrypted, open as {}, ", device.display());
            (device, kind, text)
        }
        (Ok(Kind::Luks), Ok(None)) => return "encrypted; 'unlock' asks for its pass phrase".to_owned(),
        (Ok(Kind::Luks), Err(failure)) => return format!("encrypted: {failure}"),
        (kind, _) => (partition, kind, String::new()),
    };
    let journal = match kind {
        Ok(Kind::Ext4 { journal }) => journal,
        Ok(_) => return format!("{text}cannot be mounted: it holds no ext4 file system"),
        Err(error) => return format!("{text}cannot be read: {error}"),
    };
    let mounted = match Mounted::open(&device, Access::Read) {
        Ok(mounted) => mounted,
        Err(failure) => return format!("{text}cannot be mounted: {failure}"),
    };
    text.push_str("can be mounted");
    if let Ok(size) = statvfs(mounted.path()) {
        let mib = |blocks: u64| blocks.saturating_mul(size.f_frsize) >> 20;
        let _ = write!(text, ", {} of {} MiB free", mib(size.f_bfree), mib(size.f_blocks));
    }
    if journal == Journal::Waiting {
        text.push_str(", not shut down cleanly");
    }
    text.push_str(match form_in(mounted.path()) {
        Some(Form::Log(_)) => ", has an evidence log ('verify' checks it)",
        _ => ", has no evidence log",
    });
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use aios_image::gpt::Write as WriteTable;
    use aios_image::layout::Layout;

    use super::*;

    #[test]
    fn a_counter_is_told_in_words() {
        for (name, expected) in [
            ("aios_1.0.efi", "good"),
            ("aios_1.1+2-1.efi", "on trial, 2 tries left after 1"),
            ("aios_1.1+0-3.efi", "spent"),
        ] {
            assert_eq!(tries(&name.parse().expect(name)), expected);
        }
    }

    fn block(image: &Path, bytes: u64) -> Block {
        Block { name: image.display().to_string(), disk: "x".into(), bytes, sector: 512, ..Block::default() }
    }

    #[test]
    fn a_disk_of_ours_whose_partitions_are_not_seen_and_a_destroyed_one_are_described() {
        let bytes = 2 << 30;
        let image = tempfile::NamedTempFile::new().expect("a file");
        image.as_file().set_len(bytes).expect("sparse");
        let disk = block(image.path(), bytes);
        let lines = disk_lines(&disk, &[]);
        assert!(lines[0].starts_with("partition table: not readable"), "{lines:?}");

        let layout = Layout::plan(bytes, 512).expect("large enough");
        let mut table = layout.table(&[7; 32]);
        let root = aios_ids::Digest::from_bytes([3; 32]);
        aios_image::layout::occupy(&mut table, Slot::A, &"1.2".parse().expect("a version"), &root);
        table.write(image.as_file(), layout.geometry, WriteTable::New).expect("written");
        let lines = disk_lines(&disk, &[]);
        assert_eq!(lines[0], "partition table: readable, 7 partitions of AIOS");
        assert!(lines[1].contains("not seen by the kernel"), "{lines:?}");
        assert_eq!(lines[2..], ["slot a: version 1.2", "slot b: empty"]);
    }
}
