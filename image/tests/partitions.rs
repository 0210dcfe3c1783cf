//! Partition tables: against `sgdisk` and the crate `gpt`, and cut off after each write.

mod common;

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use aios_ids::Digest;
use aios_image::gpt::{Table, Write};
use aios_image::layout::{self, LEAST_DISK, Layout, LayoutError, PARTS, Part};
use aios_image::second_reader::{self, SecondReaderError};
use aios_slots::Slot;
use common::Record;
use proptest::prelude::*;

const GIB: u64 = 1 << 30;

fn written(bytes: u64, sector: u32) -> (tempfile::NamedTempFile, Layout, Table) {
    let image = tempfile::NamedTempFile::new().expect("a file");
    image.as_file().set_len(bytes).expect("sparse");
    let layout = Layout::plan(bytes, sector).expect("large enough");
    let mut table = layout.table(&[7; 32]);
    layout::occupy(&mut table, Slot::A, &"1.2.3".parse().expect("a version"), &Digest::of(b""));
    table.write(image.as_file(), layout.geometry, Write::New).expect("written");
    (image, layout, table)
}

#[test]
fn partitions_follow_each_other_and_fill_the_disk() {
    for (bytes, sector) in [(LEAST_DISK, 512), (4 * GIB, 4096), (16 * GIB, 512), (40 * GIB, 4096), (8192 * GIB, 512)] {
        let layout = Layout::plan(bytes, sector).expect("large enough");
        let mut end = 1 << 20;
        for part in PARTS {
            let place = layout.place(part);
            assert!(place.start >= end && place.start.is_multiple_of(1 << 20), "{bytes} {part:?}");
            end = place.start + place.length;
        }
        assert!(end <= (layout.geometry.last_usable() + 1) * u64::from(sector), "{bytes}");
        assert!(bytes - end < 3 << 20, "{bytes}: the data partition grows to the end");
        let data = layout.place(Part::Data);
        let tree = layout.place(Part::Tree(Slot::B));
        assert_eq!(data.start - tree.start - tree.length, if bytes >= 32 * GIB { 4 * GIB } else { 0 });
    }
    assert!(matches!(Layout::plan(LEAST_DISK - 1, 512), Err(LayoutError::TooSmall { .. })));
    assert!(Layout::plan(4 * GIB, 520).is_err());
}

#[test]
fn sgdisk_finds_no_fault_and_sees_the_ids() {
    if Command::new("sgdisk").arg("--version").output().is_err() {
        eprintln!("skipped: sgdisk is not installed");
        return;
    }
    for sector in [512, 4096] {
        let (image, ..) = written(4 * GIB, sector);
        // On a file sgdisk takes sectors of 512 bytes for granted; other sizes it believes of devices only.
        let device = match sector {
            512 => None,
            _ => match LoopDevice::over(image.path(), sector) {
                None => return eprintln!("skipped: loop devices need root"),
                device => device,
            },
        };
        let disk = device.as_ref().map_or(image.path(), |device| &device.0);
        let sgdisk = |arguments: &[&str]| {
            let output = Command::new("sgdisk").args(arguments).arg(disk).output().expect("sgdisk runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("text")
        };
        let verdict = sgdisk(&["-v"]);
        assert!(verdict.contains("No problems found"), "{verdict}");
        let root = sgdisk(&["-i", "3"]);
        for expected in ["E3B0C442-98FC-1C14-9AFB-F4C8996FB924", "4F68BCE3", "'aios_1.2.3'"] {
            assert!(root.contains(expected), "{expected}: {root}");
        }
        let tree = sgdisk(&["-i", "4"]);
        assert!(
            tree.contains("27AE41E4-649B-934C-A495-991B7852B855") && tree.contains("'aios_1.2.3_verity'"),
            "{tree}"
        );
    }
}

/// A file as a disk whose sectors have another size; it goes away with the test.
struct LoopDevice(PathBuf);

impl LoopDevice {
    /// `None` without the right to make one.
    fn over(image: &Path, sector: u32) -> Option<Self> {
        let sector = sector.to_string();
        let output = Command::new("losetup").args(["--find", "--show", "--sector-size", &sector]).arg(image).output();
        let output = output.ok().filter(|output| output.status.success())?;
        Some(Self(String::from_utf8(output.stdout).expect("a path").trim().into()))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

#[test]
fn another_reader_sees_the_same_table() {
    for sector in [512, 4096] {
        let (image, layout, table) = written(3 * GIB, sector);
        second_reader::check(image.as_file(), layout.geometry, &table).expect("the same table");
        assert_eq!(Table::read(image.as_file(), layout.geometry).expect("ours"), table);
        assert_eq!(Layout::of(&table, layout.geometry).expect("our layout"), layout);
        let mut other = table.clone();
        layout::vacate(&mut other, Slot::A);
        let error = second_reader::check(image.as_file(), layout.geometry, &other).expect_err("another table");
        assert!(matches!(error, SecondReaderError::Differs { number: 3 }));
        let backup_entry = layout.geometry.last_usable() + 1;
        image.as_file().write_all_at(&[0xff], backup_entry * u64::from(sector) + 130).expect("damaged");
        let header = (layout.geometry.sectors - 1) * u64::from(sector) + 20;
        image.as_file().write_all_at(&[0xff], header).expect("damaged");
        assert!(second_reader::check(image.as_file(), layout.geometry, &table).is_err());
    }
}

#[test]
fn a_slot_is_known_by_its_partitions_number() {
    for part in PARTS {
        let expected = if let Part::Root(slot) = part { Some(slot) } else { None };
        assert_eq!(Slot::of_root_partition(part.number() as u32), expected);
    }
}

#[test]
fn equal_seeds_give_equal_tables() {
    let layout = Layout::plan(2 * GIB, 512).expect("large enough");
    assert_eq!(layout.table(&[1; 32]), layout.table(&[1; 32]));
    assert_ne!(layout.table(&[1; 32]), layout.table(&[2; 32]));
}

#[test]
fn a_change_that_is_cut_off_anywhere_leaves_the_old_or_the_new_table() {
    let layout = Layout::plan(2 * GIB, 512).expect("large enough");
    let mut old = layout.table(&[1; 32]);
    layout::occupy(&mut old, Slot::A, &"1".parse().expect("a version"), &Digest::of(b"1"));
    let mut new = old.clone();
    layout::occupy(&mut new, Slot::B, &"2".parse().expect("a version"), &Digest::of(b"2"));
    let disk = Record::new(2 * GIB);
    old.write(&disk, layout.geometry, Write::New).expect("written");
    disk.start_recording();
    new.write(&disk, layout.geometry, Write::Change).expect("written");
    let mut seen = Vec::new();
    for state in disk.states_of_a_cut() {
        let found = Table::read(&state, layout.geometry).expect("a whole table at every moment");
        assert!(found == old || found == new);
        seen.push(found == new);
    }
    assert!(seen.is_sorted() && seen.first() == Some(&false) && seen.last() == Some(&true));
}

#[test]
fn the_slot_of_a_root_hash_is_the_one_that_carries_it() {
    let (_, _, mut table) = written(2 * GIB, 512);
    assert_eq!(layout::slot_of(&table, &Digest::of(b"")), Some(Slot::A));
    assert_eq!(layout::slot_of(&table, &Digest::of(b"other")), None);
    layout::vacate(&mut table, Slot::A);
    assert_eq!(layout::slot_of(&table, &Digest::of(b"")), None);
}

proptest! {
    #[test]
    fn foreign_tables_never_panic(at in 0_u64..16384, value: u8, junk in prop::collection::vec(any::<u8>(), 2048)) {
        let layout = Layout::plan(LEAST_DISK, 512).expect("large enough");
        let disk = Record::new(LEAST_DISK);
        layout.table(&[1; 32]).write(&disk, layout.geometry, Write::New).expect("written");
        // A damaged first copy is replaced by the second; junk in both is an error.
        disk.overwrite(512 + at, &[value]);
        prop_assert!(Table::read(&disk, layout.geometry).is_ok());
        disk.overwrite(512, &junk);
        disk.overwrite(LEAST_DISK - 512, &junk[..512]);
        prop_assert!(Table::read(&disk, layout.geometry).is_err());
        let mut marked = junk;
        marked[..8].copy_from_slice(b"EFI PART");
        disk.overwrite(512, &marked);
        prop_assert!(Table::read(&disk, layout.geometry).is_err());
    }
}
