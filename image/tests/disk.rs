//! A whole disk image from a signed release, judged by the tools of others.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use aios_image::data::{self, SeedFile, Template};
use aios_image::disk::{self, Payload, Size, assemble};
use aios_image::esp;
use aios_image::fat::FatError;
use aios_image::guid::Guid;
use aios_image::layout::{Layout, Part, Place};
use aios_image::release::{Description, FileEntry, Files, Release, ReleaseError, ReleaseKey};
use aios_image::{second_reader, slot};
use aios_slots::Slot;
use aios_verity::{BLOCK, Tree};
use ed25519_dalek::SigningKey;
use proptest::prelude::*;

const DISK: Size = Size { bytes: 2 << 30, sector: 512 };

fn key() -> (SigningKey, ReleaseKey) {
    let signing = SigningKey::from_bytes(&[3; 32]);
    let text: String = signing.verifying_key().to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    (signing, ReleaseKey::parse(&text).expect("a key"))
}

/// A release of `blocks` blocks in `folder`, as the build writes one.
fn release(folder: &Path, version: &str, blocks: usize) -> Description {
    let root: Vec<u8> = (0..blocks * BLOCK).map(|at| (at / BLOCK * 7 + at) as u8).collect();
    let tree = Tree::over(&root).expect("a tree");
    let file = |name: &str, bytes: &[u8]| {
        fs::write(folder.join(name), bytes).expect("written");
        FileEntry::of(bytes)
    };
    let files = Files {
        root: file("root.erofs", &root),
        tree: file("root.verity", tree.bytes()),
        uki: file("aios.efi", &[b'u'; 100_000]),
        recovery: file("recovery.efi", &[b'r'; 50_000]),
        loader: file("loader.efi", b"loader"),
        shim: file("shim.efi", b"shim"),
        mok_manager: file("mok.efi", b"mok"),
        certificate: file("aios.cer", b"certificate"),
    };
    let version = version.parse().expect("a version");
    let description = Description::new(version, "0.1".parse().expect("a version"), tree.root(), blocks as u64, files);
    let (bytes, signature) = description.sign(&key().0).expect("signed");
    fs::write(folder.join("release.json"), bytes).expect("written");
    fs::write(folder.join("release.json.sig"), signature).expect("written");
    description
}

/// Runs a tool that judges; `false` when it is not installed.
fn accepts(command: &mut Command) -> bool {
    let Ok(output) = command.output() else {
        eprintln!("skipped: {command:?} is not installed");
        return false;
    };
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    true
}

/// Copies a partition out of an image, keeping it sparse.
fn extract(image: &Path, place: Place, out: &Path) {
    let skip = format!("skip={}", place.start >> 20);
    let count = format!("count={}", place.length >> 20);
    let (from, to) = (format!("if={}", image.display()), format!("of={}", out.display()));
    let status = Command::new("dd").args(["bs=1M", "conv=sparse", "status=none", &skip, &count, &from, &to]).status();
    assert!(status.expect("dd").success());
}

#[test]
fn an_assembled_disk_is_what_others_expect_and_always_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let description = release(folder.path(), "1.0", 300);
    let payload = Payload::open(folder.path(), &key().1).expect("a payload");
    let files = [SeedFile { path: "aios/system/policy/x.json".into(), owner: 102, bytes: b"{}".to_vec() }];
    let image = folder.path().join("disk.img");
    if Command::new("mke2fs").arg("-V").output().is_err() {
        eprintln!("skipped: e2fsprogs is not installed");
        return;
    }
    for size in [DISK, Size { sector: 4096, ..DISK }] {
        assemble(&image, size, &payload, &files, &[9; 32]).expect("assembled");
        let disk = File::open(&image).expect("the image");
        let layout = Layout::plan(size.bytes, size.sector).expect("large enough");
        second_reader::check(&disk, layout.geometry, &disk::table(&layout, &payload, &[9; 32]))
            .expect("the same table");
        if size.sector == 512 {
            accepts(Command::new("sgdisk").arg("-v").arg(&image));
        }
        let esp_image = folder.path().join("esp.img");
        extract(&image, layout.place(Part::Esp), &esp_image);
        accepts(Command::new("fsck.vfat").arg("-n").arg(&esp_image));
        let data_image = folder.path().join("data.img");
        extract(&image, layout.place(Part::Data), &data_image);
        accepts(Command::new("e2fsck").args(["-f", "-n"]).arg(&data_image));
        let stat = Command::new("debugfs").args(["-R", "stat aios/system/policy/x.json"]).arg(&data_image).output();
        let stat = String::from_utf8(stat.expect("debugfs").stdout).expect("text");
        assert!(stat.contains("Mode:  0600") && stat.contains("User:   102"), "{stat}");

        let tree = fs::read(folder.path().join("root.verity")).expect("the tree");
        let tree = Tree::read(description.root_hash, 300, tree).expect("a tree");
        let (root, hashes) = (layout.place(Part::Root(Slot::A)), layout.place(Part::Tree(Slot::A)));
        slot::check(&disk, root, hashes, &tree).expect("slot a holds the release");

        let again = folder.path().join("again.img");
        assemble(&again, size, &payload, &files, &[9; 32]).expect("assembled");
        let compared = Command::new("cmp").args([&image, &again]).status().expect("cmp");
        assert!(compared.success(), "equal inputs, equal images");
    }
    assert!(assemble(&image, Size { sector: 520, ..DISK }, &payload, &files, &[9; 32]).is_err());
}

#[test]
fn a_root_that_is_not_the_signed_one_is_not_written() {
    let folder = tempfile::tempdir().expect("a folder");
    release(folder.path(), "1.0", 300);
    let root = folder.path().join("root.erofs");
    let mut bytes = fs::read(&root).expect("the root");
    bytes[200 * BLOCK] ^= 1;
    fs::write(&root, bytes).expect("changed");
    let payload = Payload::open(folder.path(), &key().1).expect("the rest is whole");
    let error = assemble(&folder.path().join("disk.img"), DISK, &payload, &[], &[9; 32]).expect_err("refused");
    assert_eq!(error.to_string(), "the source of the root is not the signed release");
    fs::write(folder.path().join("aios.efi"), b"another").expect("changed");
    let error = Payload::open(folder.path(), &key().1).expect_err("refused");
    assert!(error.to_string().contains("'aios.efi' is not the file"), "{error}");
}

#[test]
fn fat_keeps_its_files_on_both_kinds_of_sectors() {
    let uki: Vec<u8> = (0..5_000_000_u32).map(|at| (at / 4096 + at) as u8).collect();
    for (sector, mib) in [(512, 512), (4096, 512), (4096, 1024), (512, 40)] {
        let image = tempfile::NamedTempFile::new().expect("a file");
        // Nothing that was on the disk before may be taken for content.
        let place = Place { start: 1 << 20, length: mib << 20 };
        image.as_file().set_len(place.start + place.length).expect("sparse");
        std::os::unix::fs::FileExt::write_all_at(image.as_file(), &[0xa5; 8 << 20], place.start).expect("junk");
        let programs = esp::Programs {
            shim: b"shim",
            mok_manager: b"mok",
            certificate: b"certificate",
            loader: b"loader",
            uki: &uki,
            recovery: b"recovery",
        };
        let mut files = esp::files(&"1.0".parse().expect("a version"), programs);
        files.extend(
            (0..150).map(|number| (format!("EFI/Linux/another-long-name-{number}.efi"), vec![number as u8; 9])),
        );
        files.push(("EFI/EMPTY".into(), Vec::new()));
        let plan = esp::plan(place, sector, 1, &files).expect("room");
        plan.write(image.as_file(), place).expect("written");
        plan.check(image.as_file(), place).expect("reads back");
        let partition = tempfile::NamedTempFile::new().expect("a file");
        extract(image.path(), place, partition.path());
        accepts(Command::new("fsck.vfat").arg("-n").arg(partition.path()));
        let options = fatfs::FsOptions::new();
        let volume = fatfs::FileSystem::new(partition.reopen().expect("the file"), options).expect("a file system");
        for (path, expected) in &files {
            let mut found = Vec::new();
            volume.root_dir().open_file(path).expect(path).read_to_end(&mut found).expect(path);
            assert!(found == *expected, "{path}");
        }
        let mut changed = files.clone();
        let longest = changed.iter_mut().max_by_key(|(_, content)| content.len()).expect("files");
        longest.1[4_999_999] ^= 2;
        let other = esp::plan(place, sector, 1, &changed).expect("room");
        assert!(matches!(other.check(image.as_file(), place), Err(FatError::ReadBack { .. })));
    }
}

#[test]
fn fat_says_what_does_not_fit() {
    let place = Place { start: 0, length: 40 << 20 };
    let plan = |path: &str, bytes: usize| esp::plan(place, 512, 1, &[(path.to_owned(), vec![1; bytes])]).map(drop);
    assert!(plan("A/B.TXT", 10).is_ok());
    assert!(matches!(plan("A", 40 << 20), Err(FatError::Size { .. })));
    for path in ["", "/A", "A/", "A//B", "..", "A\\B", "A.", "ä"] {
        assert!(matches!(plan(path, 1), Err(FatError::Name { .. })), "{path}");
    }
    let tiny = Place { start: 0, length: 4 << 20 };
    assert!(matches!(esp::plan(tiny, 512, 1, &[]), Err(FatError::Size { .. })));
}

#[test]
fn the_template_gets_an_identity_and_is_a_whole_file_system() {
    let folder = tempfile::tempdir().expect("a folder");
    let packed = match data::template(folder.path()) {
        Err(data::DataError::Run { .. }) => return eprintln!("skipped: e2fsprogs is not installed"),
        other => other.expect("a template"),
    };
    assert!(packed.len() < 256 * 1024, "{} bytes are shipped", packed.len());
    assert!(packed == data::template(folder.path()).expect("again"), "equal builds, equal templates");
    let template = Template::parse(&packed).expect("a template");
    let image = folder.path().join("fs");
    // What was on the disk before must not shine through.
    fs::write(&image, vec![0xa5; 64 << 20]).expect("junk");
    let file = File::options().read(true).write(true).open(&image).expect("the file");
    let uuid = Guid::derived(&[5; 32], "test");
    template.write(&file, Place { start: 0, length: 64 << 20 }, uuid).expect("written");
    accepts(Command::new("e2fsck").args(["-f", "-n"]).arg(&image));
    let listing = Command::new("dumpe2fs").arg("-h").arg(&image).output().expect("dumpe2fs");
    assert!(String::from_utf8_lossy(&listing.stdout).contains(&uuid.to_string()));
    file.set_len(3 << 30).expect("sparse");
    accepts(Command::new("resize2fs").arg(&image));
    accepts(Command::new("e2fsck").args(["-f", "-n"]).arg(&image));
    let mut damaged = packed.clone();
    damaged[20 + 4 + 1024 + 100] ^= 1;
    assert!(Template::parse(&damaged).is_err());
    assert!(Template::parse(&packed[..packed.len() - 1]).is_err());
}

#[test]
fn only_the_release_key_makes_a_release() {
    let folder = tempfile::tempdir().expect("a folder");
    let description = release(folder.path(), "1.0", 2);
    let (bytes, signature) = description.sign(&key().0).expect("signed");
    let verify = |bytes: &[u8], signature: &str| Release::verify(bytes, signature, &key().1);
    assert_eq!(verify(&bytes, &signature).expect("good").version.to_string(), "1.0");
    let (_, foreign) = description.sign(&SigningKey::from_bytes(&[4; 32])).expect("signed");
    assert!(matches!(verify(&bytes, &foreign), Err(ReleaseError::Signature)));
    let newer = String::from_utf8(bytes.clone()).expect("text").replace("\"1.0\"", "\"9.0\"");
    assert!(matches!(verify(newer.as_bytes(), &signature), Err(ReleaseError::Signature)));
    assert!(matches!(verify(&bytes, "zz"), Err(ReleaseError::SignatureForm)));
    assert!(matches!(verify(&vec![b' '; 70_000], &signature), Err(ReleaseError::TooLong)));
}

/// Signs any bytes, as a key holder by mistake might.
fn signed(bytes: &[u8]) -> Result<Release, ReleaseError> {
    use ed25519_dalek::Signer as _;
    let digits: String = key().0.sign(bytes).to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Release::verify(bytes, &digits, &key().1)
}

#[test]
fn a_signed_description_that_is_wrong_is_still_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bytes, _) = release(folder.path(), "1.0", 2).sign(&key().0).expect("signed");
    let text = String::from_utf8(bytes).expect("text");
    signed(text.as_bytes()).expect("unchanged");
    assert!(matches!(signed(text.replace("release.v1", "release.v2").as_bytes()), Err(ReleaseError::Format { .. })));
    assert!(matches!(
        signed(text.replace("\"blocks\": 2", "\"blocks\": 3").as_bytes()),
        Err(ReleaseError::Sizes { .. })
    ));
    assert!(matches!(signed(text.replace("\"blocks\"", "\"blacks\"").as_bytes()), Err(ReleaseError::Form(_))));
    assert!(matches!(signed(text.replace("\"1.0\"", "\"1.x\"").as_bytes()), Err(ReleaseError::Form(_))));
}

proptest! {
    #[test]
    fn foreign_descriptions_and_templates_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), signature in ".{0,140}") {
        let _ = signed(&bytes);
        let _ = Release::verify(&bytes, &signature, &key().1);
        let _ = ReleaseKey::parse(&signature);
        let _ = Template::parse(&bytes);
        let mut marked = b"aios.data.v1\0\0\0\0\x00\x40\x00\x00".to_vec();
        marked.extend_from_slice(&bytes);
        prop_assert!(Template::parse(&marked).is_err());
    }
}
