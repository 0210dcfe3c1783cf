//! The store against binary caches that Nix itself made and signed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::store::StoreError;
use object_store::{Index, Store};

mod nix;

use nix::{Made, PROGRAM, Server};

struct Machine {
    store: Option<Store>,
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("store")).expect("a folder");
        let mut machine = Self { store: None, folder };
        machine.restart();
        machine
    }

    fn restart(&mut self) {
        self.store = None;
        let index = Index::open(&self.folder.path().join("index.redb")).expect("an index");
        self.store = Some(Store::open(&self.trees(), Arc::new(index)).expect("a store"));
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("it was started")
    }

    fn trees(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn tree(&self, path: &str) -> PathBuf {
        self.trees().join(Path::new(path).file_name().expect("a name"))
    }

    /// Everything that can be seen at `/nix/store`.
    fn visible(&self) -> Vec<String> {
        let entries = fs::read_dir(self.trees()).expect("a folder");
        let mut names: Vec<_> = entries
            .map(|entry| format!("/nix/store/{}", entry.expect("an entry").file_name().to_string_lossy()))
            .collect();
        names.sort();
        names
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        fn writable(path: &Path) {
            if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
                let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
                fs::read_dir(path).into_iter().flatten().flatten().for_each(|entry| writable(&entry.path()));
            }
        }
        writable(&self.trees());
    }
}

fn chain(error: &StoreError) -> String {
    aios_daemon::error_chain(error)
}

#[test]
fn a_closure_is_fetched_in_every_compression_and_reads_back() {
    for compression in ["none", "xz", "zstd"] {
        let Some(Made { files, key, library, .. }) = nix::make(compression) else { return };
        let server = Server::start(files);
        let mut machine = Machine::new();
        let added = machine.store().add(PROGRAM, &server.url, &key, None).expect("added");
        assert_eq!((added.added, added.present), (vec![library.clone(), PROGRAM.to_owned()], vec![]));
        assert_eq!(machine.visible(), {
            let mut both = vec![library.clone(), PROGRAM.to_owned()];
            both.sort();
            both
        });
        let program = machine.tree(PROGRAM);
        assert_eq!(fs::read_to_string(program.join("run")).expect("through the link"), format!("uses {library}\n"));
        assert_eq!(fs::metadata(program.join("bin/prog")).expect("there").permissions().mode() & 0o777, 0o555);
        assert_eq!(fs::metadata(&program).expect("there").permissions().mode() & 0o777, 0o555);

        let info = machine.store().info(PROGRAM).expect("known");
        assert_eq!((info.references, info.signed_by.as_str()), (vec![library], "test-1"));
        assert!(machine.store().verify(PROGRAM).expect("known").intact);

        machine.restart();
        let asked = server.asked.lock().expect("no panic").len();
        let again = machine.store().add(PROGRAM, &server.url, &key, None).expect("there already");
        assert_eq!((again.added, again.present), (vec![], vec![PROGRAM.to_owned()]));
        assert_eq!(server.asked.lock().expect("no panic").len(), asked, "nothing is asked for twice");
    }
}

#[test]
fn damage_on_the_disk_is_found() {
    let Some(Made { files, key, .. }) = nix::make("none") else { return };
    let machine = Machine::new();
    machine.store().add(PROGRAM, &Server::start(files).url, &key, None).expect("added");
    let file = machine.tree(PROGRAM).join("bin/prog");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("writable");
    let mut bytes = fs::read(&file).expect("readable");
    bytes[0] ^= 1;
    fs::write(&file, bytes).expect("damaged");
    let verified = machine.store().verify(PROGRAM).expect("known");
    assert!(!verified.intact && verified.found.is_some() && verified.found != Some(verified.expected));
}

#[test]
fn without_the_trusted_key_nothing_is_visible_and_nothing_is_fetched() {
    let Some(Made { files, key, wrong_key, .. }) = nix::make("none") else { return };
    let server = Server::start(files);
    let machine = Machine::new();
    let error = machine.store().add(PROGRAM, &server.url, &wrong_key, None).expect_err("another key of the same name");
    assert!(chain(&error).contains("no signature of the trusted key 'test-1' vouches for"), "{}", chain(&error));

    // Flipping one byte of the signed reference, to a path that is as well formed.
    server.change("00bgd045z0d4icpbc2yyz4gx48ak44la.narinfo", |record| {
        let place = record.windows(12).position(|part| part == b"References: ").expect("a field") + 12;
        record[place] = if record[place] == b'0' { b'1' } else { b'0' };
    });
    let error = machine.store().add(PROGRAM, &server.url, &key, None).expect_err("the record was changed");
    assert!(chain(&error).contains("vouches for"), "{}", chain(&error));
    assert!(machine.visible().is_empty());
    assert!(server.asked.lock().expect("no panic").iter().all(|place| place.ends_with(".narinfo")));
}

#[test]
fn an_archive_that_is_not_the_signed_one_leaves_nothing() {
    for compression in ["none", "xz", "zstd"] {
        let Some(Made { files, key, library, .. }) = nix::make(compression) else { return };
        // The archive of the program, by the record's own word.
        let record = files.get("/00bgd045z0d4icpbc2yyz4gx48ak44la.narinfo").expect("a record");
        let record = String::from_utf8(record.clone()).expect("text");
        let place = record.lines().find_map(|line| line.strip_prefix("URL: ")).expect("a place").to_owned();
        type Change = fn(&mut Vec<u8>);
        let changes: [(&str, Change); 5] = [
            ("a flipped byte", |file| {
                let place = file.len() * 2 / 3;
                file[place] ^= 1;
            }),
            ("an end too early", |file| file.truncate(file.len() / 2)),
            ("nothing at all", Vec::clear),
            ("more at the end", |file| file.extend([0; 64])),
            ("endless", |file| file.extend(vec![0; 4 * 1024 * 1024])),
        ];
        for (name, change) in changes {
            let server = Server::start(files.clone());
            server.change(&place, change);
            let mut machine = Machine::new();
            let error = machine.store().add(PROGRAM, &server.url, &key, None).expect_err(name);
            assert!(matches!(error, StoreError::Archive { .. }), "{compression}, {name}: {}", chain(&error));
            // The library came whole, before the program, and stays; of the program there is nothing.
            assert_eq!(machine.visible(), [library.as_str()], "{compression}, {name}");
            machine.store().info(PROGRAM).expect_err("unknown");

            machine.restart();
            *server.files.lock().expect("no panic") = files.clone();
            machine.store().add(PROGRAM, &server.url, &key, None).expect("the right bytes do");
        }
    }
}

#[test]
fn what_the_cache_does_not_have_is_named() {
    let Some(Made { mut files, key, library, .. }) = nix::make("none") else { return };
    let hash = &library["/nix/store/".len()..][..32];
    files.remove(&format!("/{hash}.narinfo")).expect("it was there");
    let machine = Machine::new();
    let error = machine.store().add(PROGRAM, &Server::start(files).url, &key, None).expect_err("a part is missing");
    assert!(chain(&error).contains(&library) && chain(&error).contains("404"), "{}", chain(&error));
    let error = machine.store().add(PROGRAM, "http://127.0.0.1:1", &key, None).expect_err("nobody listens");
    assert!(chain(&error).contains("cannot get http://127.0.0.1:1/"), "{}", chain(&error));
    assert!(machine.visible().is_empty());
}

#[test]
fn a_crash_leaves_only_what_the_next_start_removes() {
    let Some(Made { files, key, library, .. }) = nix::make("none") else { return };
    let mut machine = Machine::new();
    machine.store().add(PROGRAM, &Server::start(files).url, &key, None).expect("added");
    // Power failed while a tree was unpacked, and once between the index and the rename.
    let half = machine.trees().join(".tmp-4vsg1x2z3pjvshdqzpwq2z61v5pdbsb9-half");
    fs::create_dir_all(half.join("bin")).expect("a folder");
    fs::set_permissions(&half, fs::Permissions::from_mode(0o555)).expect("read-only");
    let program = machine.tree(PROGRAM);
    fs::rename(&program, machine.folder.path().join("gone")).expect("moved away");
    machine.restart();
    assert_eq!(machine.visible(), [library.as_str()]);
    let known: Vec<_> = machine.store().list().expect("a list").into_iter().map(|stored| stored.path).collect();
    assert_eq!(known, [library]);
    let gone = machine.folder.path().join("gone");
    fs::set_permissions(&gone, fs::Permissions::from_mode(0o700)).expect("writable");
    fs::set_permissions(gone.join("bin"), fs::Permissions::from_mode(0o700)).expect("writable");
}

#[test]
fn a_tree_whose_index_was_lost_is_taken_again_only_if_it_is_the_signed_one() {
    let Some(Made { files, key, library, .. }) = nix::make("none") else { return };
    let server = Server::start(files);
    let mut machine = Machine::new();
    machine.store().add(PROGRAM, &server.url, &key, None).expect("added");
    machine.store = None;
    fs::remove_file(machine.folder.path().join("index.redb")).expect("lost");
    let place = machine.tree(PROGRAM);
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).expect("writable");
    fs::write(place.join("more"), b"not signed").expect("written");
    machine.restart();
    let error = machine.store().add(PROGRAM, &server.url, &key, None).expect_err("something else is there");
    assert!(matches!(&error, StoreError::Foreign { path } if path == PROGRAM), "{}", chain(&error));
    assert!(machine.store().verify(&library).expect("taken again").intact);
}
