//! Objects on a real disk: versions, crashes, and what is refused.

use proptest::prelude::*;

use super::*;

struct Fixture {
    objects: Objects,
    folder: tempfile::TempDir,
}

fn open(folder: tempfile::TempDir) -> Fixture {
    fs::create_dir_all(folder.path().join("objects")).expect("a folder");
    let index = Index::open(&folder.path().join("index.redb")).expect("an index");
    let objects = Objects::open(&folder.path().join("objects"), Arc::new(index)).expect("objects");
    Fixture { objects, folder }
}

fn fixture() -> Fixture {
    open(tempfile::tempdir().expect("a folder"))
}

impl Fixture {
    fn put(&self, name: &str, content: &[u8]) -> Result<ObjectVersion, ObjectError> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).expect("written");
        self.objects.put(name, file.into())
    }

    fn get(&self, name: &str, version: u64) -> Result<Vec<u8>, ObjectError> {
        let mut content = Vec::new();
        File::from(self.objects.get(name, version)?).read_to_end(&mut content).expect("readable");
        Ok(content)
    }

    fn content_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path().join("objects")).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }
}

#[test]
fn versions_count_up_and_each_can_be_had() {
    let fixture = fixture();
    assert_eq!(fixture.put("notes/today", b"one").expect("stored").version, 1);
    assert_eq!(fixture.put("notes/today", b"two").expect("stored").version, 2);
    assert_eq!(fixture.put("notes", b"another name").expect("stored").version, 1);
    assert_eq!(fixture.get("notes/today", 0).expect("the newest"), b"two");
    assert_eq!(fixture.get("notes/today", 1).expect("the first"), b"one");
    let list = fixture.objects.list().expect("a list");
    let list: Vec<_> = list.iter().map(|object| (object.name.as_str(), object.version)).collect();
    assert_eq!(list, [("notes", 1), ("notes/today", 2)]);
    assert_eq!(fixture.objects.log("notes/today").expect("a log").len(), 2);
}

#[test]
fn the_same_content_again_is_the_same_version() {
    let fixture = fixture();
    let first = fixture.put("a", b"content").expect("stored");
    assert_eq!(fixture.put("a", b"content").expect("stored"), first);
    fixture.put("b", b"content").expect("stored");
    assert_eq!(fixture.content_files().len(), 1);
}

#[test]
fn several_are_stored_or_none_is() {
    let fixture = fixture();
    let content = |text: &str| -> OwnedFd {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        file.into()
    };
    fixture.put("a", b"old").expect("stored");
    let put = fixture.objects.put_all(vec![("a".into(), content("new")), ("b".into(), content("b"))]).expect("stored");
    let put: Vec<_> = put.iter().map(|version| (version.name.as_str(), version.version)).collect();
    assert_eq!(put, [("a", 2), ("b", 1)]);

    let folder = File::open("/").expect("a folder");
    for wrong in [
        vec![],
        vec![("c".into(), content("c")), ("c".into(), content("d"))],
        vec![("c".into(), content("c")), ("../d".into(), content("d"))],
        vec![("c".into(), content("c")), ("d".into(), folder.into())],
        (0..17).map(|number| (format!("c{number}"), content("c"))).collect(),
    ] {
        fixture.objects.put_all(wrong).expect_err("refused");
        assert_eq!(fixture.objects.list().expect("a list").len(), 2);
    }
}

#[test]
fn a_descriptor_that_was_handed_out_cannot_write() {
    let fixture = fixture();
    fixture.put("a", b"content").expect("stored");
    let mut file = File::from(fixture.objects.get("a", 0).expect("there"));
    assert!(file.write_all(b"changed").is_err());
}

#[test]
fn damage_on_the_disk_is_noticed() {
    let fixture = fixture();
    fixture.put("a", b"content").expect("stored");
    let file = &fixture.content_files()[0];
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("writable");
    fs::write(file, b"c0ntent").expect("damaged");
    assert!(matches!(fixture.get("a", 0), Err(ObjectError::Damaged { version: 1, .. })));
}

#[test]
fn what_a_crash_leaves_is_removed_and_what_has_a_name_stays() {
    let first = fixture();
    first.put("a", b"content").expect("stored");
    let objects = first.folder.path().join("objects");
    fs::write(objects.join(".tmp-content"), b"half").expect("written");
    fs::write(objects.join(Digest::of(b"nameless").to_string()), b"nameless").expect("written");
    let Fixture { objects: closed, folder } = first;
    drop(closed);
    let again = open(folder);
    assert_eq!(again.content_files().len(), 1);
    assert_eq!(again.get("a", 1).expect("there"), b"content");
}

#[test]
fn a_pipe_is_read_to_its_end() {
    let fixture = fixture();
    let (reader, mut writer) = io::pipe().expect("a pipe");
    writer.write_all(b"through a pipe").expect("written");
    drop(writer);
    fixture.objects.put("a", reader.into()).expect("stored");
    assert_eq!(fixture.get("a", 0).expect("there"), b"through a pipe");
}

#[test]
fn too_much_and_wrong_kinds_are_refused_and_leave_nothing() {
    let fixture = fixture();
    let large = tempfile::tempfile().expect("a file");
    large.set_len(CONTENT_LIMIT + 1).expect("a hole");
    assert!(matches!(fixture.objects.put("a", large.into()), Err(ObjectError::TooLarge)));
    let device = File::open("/dev/zero").expect("a device");
    assert!(matches!(fixture.objects.put("a", device.into()), Err(ObjectError::Source)));
    let folder = File::open("/").expect("a folder");
    assert!(matches!(fixture.objects.put("a", folder.into()), Err(ObjectError::Source)));
    assert!(fixture.content_files().is_empty());
    assert!(matches!(fixture.get("a", 0), Err(ObjectError::NoSuchName(_))));
}

#[test]
fn a_version_that_is_not_there_says_which_is() {
    let fixture = fixture();
    fixture.put("a", b"content").expect("stored");
    let error = fixture.get("a", 9).expect_err("no such version");
    assert_eq!(error.to_string(), "'a' has no version 9; its newest is 1");
}

proptest! {
    #[test]
    fn a_name_never_leaves_its_form(name in "\\PC{0,40}|[./a]{0,8}") {
        let refused = check_name(&name);
        if refused.is_ok() {
            prop_assert!(name.split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
        }
    }
}
