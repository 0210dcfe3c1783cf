//! Updates of a disk in a file, whole, refused, and cut off at every write.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::rc::Rc;

use aios_image::release::{Description, FileEntry, Files};
use aios_slots::{Rename, UkiName, bless, loader_choice};
use aios_verity::BLOCK;
use ed25519_dalek::SigningKey;

use super::*;
use crate::entries::Folder;

const DISK: u64 = 2 << 30;

/// How many changes the disk still takes before the power fails.
#[derive(Clone)]
struct Power(Rc<Cell<u32>>);

impl Power {
    fn use_up(&self) -> io::Result<()> {
        let left = self.0.get().checked_sub(1).ok_or_else(|| io::Error::other("the power failed"))?;
        self.0.set(left);
        Ok(())
    }
}

struct Cut<T>(T, Power);

impl Medium for Cut<File> {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.1.use_up().inspect_err(|_| {
            // A write that power fails in may have happened in part.
            let _ = self.0.write_at(offset, &bytes[..bytes.len() / 2]);
        })?;
        self.0.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn forget(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Entries for Cut<Folder> {
    fn list(&self) -> io::Result<Vec<UkiName>> {
        self.0.list()
    }

    fn remove(&self, name: &UkiName) -> io::Result<()> {
        self.1.use_up()?;
        self.0.remove(name)
    }

    fn add(&self, name: &UkiName, content: &[u8]) -> io::Result<()> {
        self.1.use_up()?;
        self.0.add(name, content)
    }

    fn rename(&self, change: &Rename) -> io::Result<()> {
        self.0.rename(change)
    }
}

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[3; 32])
}

fn key() -> ReleaseKey {
    let digits: String = signing_key().verifying_key().to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    ReleaseKey::parse(&digits).expect("a key")
}

fn root_of(version: &str) -> Vec<u8> {
    let number = version.bytes().map(usize::from).sum::<usize>();
    (0..20 * BLOCK).map(|at| (at / BLOCK * 7 + at * number) as u8).collect()
}

fn tree_of(version: &str) -> Tree {
    Tree::over(&root_of(version)).expect("a tree")
}

fn release(folder: &Path, version: &str, least: &str, key: &SigningKey) -> Source {
    let folder = folder.join(format!("release-{version}"));
    fs::create_dir_all(&folder).expect("a folder");
    let (root, tree) = (root_of(version), tree_of(version));
    let file = |name: &str, bytes: &[u8]| {
        fs::write(folder.join(name), bytes).expect("written");
        FileEntry::of(bytes)
    };
    let files = Files {
        root: file("root.erofs", &root),
        tree: file("root.verity", tree.bytes()),
        uki: file("aios.efi", format!("uki of {version}").as_bytes()),
        recovery: file("recovery.efi", b"recovery"),
        loader: file("loader.efi", b"loader"),
        shim: file("shim.efi", b"shim"),
        mok_manager: file("mok.efi", b"mok"),
        certificate: file("aios.cer", b"certificate"),
    };
    let text = |text: &str| text.parse().expect("a version");
    let (bytes, signature) =
        Description::new(text(version), text(least), tree.root(), 20, files).sign(key).expect("signed");
    fs::write(folder.join("release.json"), bytes).expect("written");
    fs::write(folder.join("release.json.sig"), signature).expect("written");
    Source::Folder(folder)
}

/// A disk that runs release 1 from slot a, with release 0.9 in slot b as the way back.
fn target(folder: &Path, power: u32) -> (Target<Cut<File>, Cut<Folder>>, Running) {
    let _ = fs::remove_dir_all(folder.join("entries"));
    fs::create_dir(folder.join("entries")).expect("a folder");
    let disk = File::options().read(true).write(true).create(true).truncate(true).open(folder.join("disk"));
    let disk = disk.expect("a file");
    disk.set_len(DISK).expect("sparse");
    let places = Layout::plan(DISK, 512).expect("large enough");
    let mut table = places.table(&[1; 32]);
    for (slot, version) in [(Slot::A, "1"), (Slot::B, "0.9")] {
        let tree = tree_of(version);
        let (root, hashes) = (places.place(Part::Root(slot)), places.place(Part::Tree(slot)));
        slot::write(&disk, root, hashes, &tree, &mut root_of(version).as_slice(), |_| ()).expect("written");
        layout::occupy(&mut table, slot, &version.parse().expect("a version"), &tree.root());
        fs::write(folder.join(format!("entries/aios_{version}.efi")), "uki").expect("written");
    }
    table.write(&disk, places.geometry, Write::New).expect("written");
    let power = Power(Rc::new(Cell::new(power)));
    let entries = Cut(Folder(folder.join("entries")), power.clone());
    let running = Running { version: "1".parse().expect("a version"), root: tree_of("1").root() };
    (Target { disk: Cut(disk, power), geometry: places.geometry, entries }, running)
}

/// The version that the loader would start; its slot must be whole.
fn next_start(target: &Target<Cut<File>, Cut<Folder>>) -> String {
    let names = target.entries.list().expect("listed");
    let version = loader_choice(&names).expect("there is always an entry").version.to_string();
    let tree = tree_of(&version);
    let table = Table::read(&target.disk, target.geometry).expect("there is always a table");
    let slot = layout::slot_of(&table, &tree.root()).expect("the entry's slot is there");
    let places = Layout::of(&table, target.geometry).expect("ours");
    let (root, hashes) = (places.place(Part::Root(slot)), places.place(Part::Tree(slot)));
    slot::check(&target.disk, root, hashes, &tree).expect("the slot is whole");
    version
}

#[test]
fn an_update_goes_into_the_other_slot_and_is_tried_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let (target, running) = target(folder.path(), u32::MAX);
    let source = release(folder.path(), "2", "1", &signing_key());
    let applied = apply(&target, &source, &key(), &running, |_| ()).expect("applied");
    assert_eq!((applied.slot.as_str(), applied.entry.as_str()), ("b", "aios_2+3.efi"));
    assert_eq!(next_start(&target), "2");
    assert!(folder.path().join("entries/aios_1.efi").exists(), "the way back stays");
    let names = target.entries.list().expect("listed");
    let change = bless(&"2".parse().expect("a version"), &names).expect("its entry").expect("on trial");
    target.entries.rename(&change).expect("renamed");
    assert_eq!(next_start(&target), "2");
    let again = apply(&target, &source, &key(), &running, |_| ()).expect("what is running has not changed");
    assert_eq!(again.slot, "b");
}

#[test]
fn a_cut_at_any_write_leaves_a_whole_release_to_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = release(folder.path(), "2", "1", &signing_key());
    let mut ends = BTreeMap::new();
    for power in 0.. {
        let (mut target, running) = target(folder.path(), power);
        let result = apply(&target, &source, &key(), &running, |_| ());
        *ends.entry(next_start(&target)).or_insert(0) += 1;
        if result.is_ok() {
            assert_eq!(next_start(&target), "2", "an update that says it is done is done");
            break;
        }
        assert_eq!(next_start(&target), "1");
        let on = Power(Rc::new(Cell::new(u32::MAX)));
        target.disk.1 = on.clone();
        target.entries.1 = on;
        apply(&target, &source, &key(), &running, |_| ()).expect("applied again after the cut");
        assert_eq!(next_start(&target), "2");
    }
    assert!(ends["1"] >= 10 && ends["2"] == 1, "the last change alone moves the pointer: {ends:?}");
}

#[test]
fn what_must_be_refused_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let foreign = SigningKey::from_bytes(&[4; 32]);
    let damaged = release(folder.path(), "3", "1", &signing_key());
    fs::write(folder.path().join("release-3/aios.efi"), "another").expect("changed");
    let cut_off = release(folder.path(), "4", "1", &signing_key());
    fs::write(folder.path().join("release-4/root.verity"), "").expect("changed");
    for (source, expected) in [
        (release(folder.path(), "2", "1", &foreign), "the release key did not sign this release"),
        (release(folder.path(), "1", "1", &signing_key()), "the release is refused"),
        (release(folder.path(), "0.5", "0.1", &signing_key()), "the release is refused"),
        (release(folder.path(), "2.5", "2", &signing_key()), "the release is refused"),
        (damaged, "'aios.efi' is not the file that the release names"),
        (cut_off, "'root.verity' is not the file that the release names"),
        (Source::Folder(folder.path().join("nothing")), "cannot open"),
    ] {
        // Without power every write fails, so nothing but a refusal can be the answer.
        let (target, running) = target(folder.path(), 0);
        let error = apply(&target, &source, &key(), &running, |_| ()).expect_err(expected).to_string();
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(next_start(&target), "1");
    }
}

#[test]
fn looking_at_an_offer_writes_nothing_and_says_whether_it_can_be_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let (target, running) = target(folder.path(), 0);
    let looked = |source: &Source| look(&target.entries, source, &key(), &running);
    let offer = looked(&release(folder.path(), "2", "1", &signing_key())).expect("signed");
    assert_eq!((offer.version.as_str(), offer.root, offer.refused), ("2", tree_of("2").root(), None));
    let old = looked(&release(folder.path(), "1", "1", &signing_key())).expect("signed");
    assert!(old.refused.is_some_and(|reason| reason.contains("is not newer")), "it runs already");
    let foreign = SigningKey::from_bytes(&[4; 32]);
    looked(&release(folder.path(), "3", "1", &foreign)).expect_err("nothing that a stranger signed is told");
}

#[test]
fn a_root_that_changes_on_its_way_is_never_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let (target, running) = target(folder.path(), u32::MAX);
    let source = release(folder.path(), "2", "1", &signing_key());
    let root = folder.path().join("release-2/root.erofs");
    let mut bytes = fs::read(&root).expect("the root");
    bytes[12 * BLOCK] ^= 1;
    fs::write(&root, bytes).expect("changed");
    let error = apply(&target, &source, &key(), &running, |_| ()).expect_err("refused");
    assert_eq!(error.to_string(), "the release did not get into slot b");
    assert_eq!(next_start(&target), "1");
}
