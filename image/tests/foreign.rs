//! Disk formats with holes, judged by QEMU's own reader.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use aios_image::sparse::SparseError;
use aios_image::{qcow2, vhdx};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;
/// What a second table of qcow2 covers.
const STRETCH: u64 = 512 * MIB;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Qcow2,
    Vhdx,
}

impl Format {
    const ALL: [Self; 2] = [Self::Qcow2, Self::Vhdx];

    fn name(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Vhdx => "vhdx",
        }
    }

    fn write(self, raw: &Path, out: &Path) -> Result<(), SparseError> {
        let (raw, out) = (File::open(raw).expect("the raw image"), File::create(out).expect("the new image"));
        match self {
            Self::Qcow2 => qcow2::write(&raw, &out),
            Self::Vhdx => vhdx::write(&raw, 512, &out),
        }
    }
}

/// Writes a disk of `bytes` bytes with some content at these places.
fn raw(path: &Path, bytes: u64, places: &[(u64, u8)]) {
    let file = File::create(path).expect("a file");
    file.set_len(bytes).expect("sparse");
    for (place, value) in places {
        let length = 5000.min(bytes - place) as usize;
        file.write_all_at(&vec![*value; length], *place).expect("written");
    }
}

/// Whether `qemu-img` is here; what it says has to be good.
fn qemu_img(arguments: &[&str]) -> Option<String> {
    let output = Command::new("qemu-img").args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "qemu-img {arguments:?}: {text}");
    Some(text)
}

/// Makes the image and has it judged: no fault, no lost cluster, the same content, the same size.
fn check(format: Format, bytes: u64, places: &[(u64, u8)]) {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("disk.raw"), folder.path().join("disk.out"));
    raw(&from, bytes, places);
    format.write(&from, &to).expect("written");
    let (from, to) = (from.to_str().expect("a path"), to.to_str().expect("a path"));
    let Some(verdict) = qemu_img(&["check", "-f", format.name(), to]) else {
        return eprintln!("skipped: qemu-img is not installed");
    };
    assert!(verdict.contains("No errors were found"), "{verdict}");
    qemu_img(&["compare", "-f", "raw", "-F", format.name(), from, to]);
    // Comparing takes zeros at a longer image's end for nothing.
    let facts = qemu_img(&["info", "-f", format.name(), "--output=json", to]).expect("it ran before");
    assert!(facts.contains(&format!("\"virtual-size\": {bytes},")), "{facts}");
    let again = folder.path().join("again");
    format.write(Path::new(from), &again).expect("written");
    assert!(fs::read(&again).expect("again") == fs::read(to).expect("once"), "equal content, equal bytes");
}

#[test]
fn qemu_reads_back_what_was_written() {
    for format in Format::ALL {
        check(format, 512, &[]);
        check(format, 3 * MIB + 512, &[(0, 1), (3 * MIB, 2)]);
        check(format, 8 << 30, &[(0, 1), (STRETCH - 2500, 2), (3 * STRETCH + 7, 3), ((8 << 30) - 1, 4)]);
    }
}

#[test]
fn holes_take_no_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("disk.raw"), folder.path().join("disk.out"));
    raw(&from, 1 << 40, &[(1 << 39, 1)]);
    for (format, most) in [(Format::Qcow2, 2 * MIB), (Format::Vhdx, 14 * MIB)] {
        format.write(&from, &to).expect("written");
        let size = fs::metadata(&to).expect("the image").len();
        assert!(size <= most, "{format:?} {size}");
    }
}

#[test]
fn other_content_gets_other_identifiers() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = |value| {
        let (from, to) = (folder.path().join("disk.raw"), folder.path().join("disk.out"));
        raw(&from, 4 * MIB, &[(MIB, value)]);
        Format::Vhdx.write(&from, &to).expect("written");
        fs::read(to).expect("the image")
    };
    let (one, other) = (image(1), image(2));
    let file_write_id = 0x10010..0x10020;
    assert_ne!(one[file_write_id.clone()], other[file_write_id]);
}

#[test]
fn sectors_of_4096_bytes_are_said_in_vhdx() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("disk.raw"), folder.path().join("disk.out"));
    raw(&from, 9 << 30, &[(0, 1), (9 * STRETCH, 2)]);
    vhdx::write(&File::open(&from).expect("raw"), 4096, &File::create(&to).expect("new")).expect("written");
    let image = fs::read(&to).expect("the image");
    let sector = 4096_u32.to_le_bytes();
    let values = (2 * MIB + (64 << 10)) as usize;
    assert_eq!(image[values + 32..values + 36], sector, "after block size, disk size and disk id");
}

#[test]
fn what_the_formats_cannot_hold_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("disk.raw"), folder.path().join("disk.out"));
    raw(&from, 1000, &[]);
    for format in Format::ALL {
        assert!(matches!(format.write(&from, &to), Err(SparseError::Size { bytes: 1000, .. })), "{format:?}");
    }
    raw(&from, 4 * MIB, &[(0, 1)]);
    let (input, output) = (File::open(&from).expect("raw"), File::create(&to).expect("new"));
    assert!(matches!(vhdx::write(&input, 520, &output), Err(SparseError::Size { .. })));
    assert!(matches!(qcow2::write(&input, &File::open(&to).expect("read-only")), Err(SparseError::Write { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_content_reads_back(
        sectors in 1_u64..1_400_000,
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
    ) {
        let bytes = sectors * 512;
        let places: Vec<(u64, u8)> =
            places.into_iter().map(|(index, value)| (index.index(bytes as usize) as u64, value)).collect();
        for format in Format::ALL {
            check(format, bytes, &places);
        }
    }
}
