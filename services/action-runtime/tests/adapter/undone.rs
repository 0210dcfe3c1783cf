//! Each type that can be undone: what it does, and that afterwards the state is the one from before, however often it is
//! undone and whatever somebody else made of it in between.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::sync::Arc;

use action_runtime::journal::{Entry, Journal, Left};
use action_runtime::task::{Kept, Was};
use aios_action::{ActionView, CATALOGUE, Event, Reversal};
use object_store::Objects;
use object_store::index::Index;

use super::*;

/// Something that actions change, and the adapter's way to it.
trait Place {
    /// All of it, as text.
    fn state(&self) -> String;
    /// Has the adapter do a task on it.
    fn work(&self, task: &Task) -> Report;
    /// Makes the post-condition fail after the effect.
    fn spoil(&self);
}

struct Files(tempfile::TempDir);

impl Place for Files {
    fn state(&self) -> String {
        let mut all = BTreeMap::new();
        let mut folders = vec![self.0.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => drop(all.insert(path.clone(), std::fs::read_to_string(&path).expect("text"))),
                }
            }
        }
        format!("{all:?}")
    }

    fn work(&self, task: &Task) -> Report {
        adapted(task, File::open(self.0.path()).expect("a folder").as_fd())
    }

    fn spoil(&self) {
        // Where a file was written or patched it is another one now; where it was moved or removed nothing can be.
        let file = self.0.path().join("notes/today.txt");
        if file.exists() {
            std::fs::write(file, "spoiled").expect("written");
        }
    }
}

/// The settings by generation, the newest last.
#[derive(Clone)]
struct Settings(Arc<Mutex<Vec<BTreeMap<String, Value>>>>);

#[zbus::interface(name = "org.aios.Settings1")]
impl Settings {
    async fn set(&self, key: &str, value: &str) -> String {
        let mut generations = self.0.lock().expect("no panic");
        let mut next = generations.last().expect("the first").clone();
        next.insert(key.into(), serde_json::from_str(value).expect("JSON"));
        generations.push(next);
        json!({}).to_string()
    }

    async fn rollback(&self, generation: u64) -> String {
        let mut generations = self.0.lock().expect("no panic");
        let next = generations[usize::try_from(generation).expect("small")].clone();
        generations.push(next);
        json!({}).to_string()
    }
}

impl Place for Settings {
    fn state(&self) -> String {
        format!("{:?}", self.0.lock().expect("no panic").last())
    }

    fn work(&self, task: &Task) -> Report {
        answered(task, "/org/aios/Settings1", self.clone())
    }

    fn spoil(&self) {
        let mut generations = self.0.lock().expect("no panic");
        let mut next = generations.last().expect("the first").clone();
        next.insert("hostname".into(), "spoiled".into());
        generations.push(next);
    }
}

/// The real store of objects, behind the calls that these actions make.
#[derive(Clone)]
struct Store {
    objects: Arc<Objects>,
    /// Removed when the last copy is dropped.
    _folder: Arc<tempfile::TempDir>,
}

#[zbus::interface(name = "org.aios.Objects1")]
impl Store {
    async fn tag(&self, name: &str, tag: &str, version: u64) -> String {
        json!(self.objects.tag(name, tag, version).expect("tagged")).to_string()
    }

    async fn untag(&self, name: &str, tag: &str) -> String {
        json!(self.objects.untag(name, tag).expect("untagged")).to_string()
    }

    async fn tags(&self, name: &str) -> String {
        json!(self.objects.tags(name).expect("listed")).to_string()
    }

    async fn app_install(&self, manifest: &str) -> String {
        json!(self.objects.install_app(manifest, |_| false).expect("installed")).to_string()
    }

    async fn app_use(&self, name: &str, version: u64) -> String {
        json!(self.objects.use_app(name, (version != 0).then_some(version)).expect("there")).to_string()
    }

    async fn app_enable(&self, name: &str) -> String {
        json!(self.objects.enable_app(name).expect("enabled")).to_string()
    }

    async fn app_disable(&self, name: &str) -> String {
        json!(self.objects.disable_app(name).expect("disabled")).to_string()
    }

    async fn app_list(&self) -> String {
        json!(self.objects.apps().expect("listed")).to_string()
    }
}

/// The program of the catalogue's example.
const GREETER: &str = concat!(
    "f0VMRgIBAQAAAAAAAAAAAAIAPgABAAAAeABAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAEAAOAABAAAAAAAAAAEAAAAFAAAAAAAA",
    "AAAAAAAAAEAAAAAAAAAAQAAAAAAAnwAAAAAAAACfAAAAAAAAAAAQAAAAAAAAuAEAAAC/AQAAAEiNNRAAAAC6BgAAAA8FuDwAAAAx",
    "/w8FaGVsbG8K",
);

/// The same store, looked at for the version of an app that is in use.
struct Apps(Store);

impl Apps {
    /// With so many versions of the example; the last one is in use.
    fn with(versions: u64) -> Self {
        let store = Store::new();
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&Bytes::try_from(GREETER.to_owned()).expect("base64").0).expect("written");
        store.objects.put("apps/greeter", file.into()).expect("stored");
        let example = aios_action::find("app.install").expect("in the catalogue").example();
        for version in 0..versions {
            let manifest = example["manifest"].as_str().expect("text");
            let manifest = manifest.replace("Says hello", ["Says hello", "Says it again"][usize::from(version == 1)]);
            store.objects.install_app(&manifest, |_| false).expect("installed");
        }
        Self(store)
    }
}

impl Place for Apps {
    fn state(&self) -> String {
        let apps = self.0.objects.apps().expect("listed");
        format!("{:?}", apps.first().and_then(|app| app.current))
    }

    fn work(&self, task: &Task) -> Report {
        answered(task, "/org/aios/Objects1", self.0.clone())
    }

    fn spoil(&self) {
        let current = self.0.objects.apps().expect("listed").first().and_then(|app| app.current);
        self.0.objects.use_app("greeter", if current.is_some() { None } else { Some(1) }).expect("there");
    }
}

/// The same store, looked at for the apps that are services.
struct Served(Store);

impl Served {
    /// With the example, which says that it can be one.
    fn with(kept: Kept) -> Self {
        let Apps(store) = Apps::with(1);
        let example = aios_action::find("app.install").expect("in the catalogue").example();
        let mut manifest: Value = serde_json::from_str(example["manifest"].as_str().expect("text")).expect("JSON");
        manifest["service"] = json!({});
        store.objects.install_app(&manifest.to_string(), |_| false).expect("installed");
        if kept == Kept::Enabled {
            store.objects.enable_app("greeter").expect("enabled");
        }
        Self(store)
    }
}

impl Place for Served {
    fn state(&self) -> String {
        let apps = self.0.objects.apps().expect("listed");
        format!("{:?}", apps.first().map(|app| (app.current, app.service.is_some())))
    }

    fn work(&self, task: &Task) -> Report {
        answered(task, "/org/aios/Objects1", self.0.clone())
    }

    fn spoil(&self) {
        let is_one = self.0.objects.apps().expect("listed").first().is_some_and(|app| app.service.is_some());
        let changed = if is_one { self.0.objects.disable_app("greeter") } else { self.0.objects.enable_app("greeter") };
        changed.expect("there");
    }
}

impl Store {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("objects")).expect("a folder");
        let index = Index::open(&folder.path().join("index.redb")).expect("an index");
        let objects = Objects::open(&folder.path().join("objects"), Arc::new(index)).expect("objects");
        Self { objects: Arc::new(objects), _folder: Arc::new(folder) }
    }
}

impl Place for Store {
    fn state(&self) -> String {
        format!("{:?}", self.objects.tags("notes/today").expect("listed"))
    }

    fn work(&self, task: &Task) -> Report {
        answered(task, "/org/aios/Objects1", self.clone())
    }

    fn spoil(&self) {
        self.objects.tag("notes/today", "kept", 2).expect("tagged");
    }
}

/// The services that run.
struct Units(Arc<Mutex<BTreeSet<String>>>);

impl Place for Units {
    fn state(&self) -> String {
        format!("{:?}", self.0.lock().expect("no panic"))
    }

    fn work(&self, task: &Task) -> Report {
        let (here, mut there) = UnixStream::pair().expect("a pair");
        let running = Arc::clone(&self.0);
        let init = std::thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(&there).read_line(&mut line).expect("a line");
            let request: Value = serde_json::from_str(&line).expect("JSON");
            let name = request["name"].as_str().expect("a name").to_owned();
            let mut running = running.lock().expect("no panic");
            match request["verb"].as_str() {
                Some("start") => running.insert(name),
                Some("stop") => running.remove(&name),
                other => panic!("nobody asks PID 1 for {other:?} here"),
            };
            there.write_all(b"{\"reply\":\"done\"}\n").expect("sent");
        });
        let report = adapted(task, here.as_fd());
        init.join().expect("no panic");
        report
    }

    fn spoil(&self) {
        let mut running = self.0.lock().expect("no panic");
        if !running.remove("network") {
            running.insert("network".into());
        }
    }
}

/// The place of a type in a state in which its example has an effect, and how that is undone.
fn place(action_type: &str) -> (Box<dyn Place>, Undo) {
    let file = |undo: Undo| -> (Box<dyn Place>, Undo) {
        let folder = granted();
        std::fs::create_dir(folder.path().join("notes")).expect("a folder");
        let notes = folder.path().join("notes");
        rustix::fs::chown(&notes, None, Some(rustix::fs::Gid::from_raw(300))).expect("root may");
        std::fs::set_permissions(&notes, std::fs::Permissions::from_mode(0o2770)).expect("ours");
        std::fs::write(folder.path().join("notes/today.txt"), "hello world").expect("written");
        (Box::new(Files(folder)), undo)
    };
    let before = || Undo::File { path: "notes/today.txt".into(), content: Some(Bytes(b"hello world".to_vec())) };
    let settings = |undo: Undo| -> (Box<dyn Place>, Undo) {
        let generation = |name: &str| BTreeMap::from([("hostname".to_owned(), Value::from(name))]);
        (Box::new(Settings(Arc::new(Mutex::new(vec![generation("aios"), generation("box")])))), undo)
    };
    let unit = |was: Was| -> (Box<dyn Place>, Undo) {
        let running = if was == Was::Running { BTreeSet::from(["network".to_owned()]) } else { BTreeSet::new() };
        (Box::new(Units(Arc::new(Mutex::new(running)))), Undo::Unit { name: "network".into(), was })
    };
    let tag = |version: Option<u64>| -> (Box<dyn Place>, Undo) {
        let store = Store::new();
        for content in ["one", "two"] {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(content.as_bytes()).expect("written");
            store.objects.put("notes/today", file.into()).expect("stored");
        }
        if let Some(version) = version {
            store.objects.tag("notes/today", "kept", version).expect("tagged");
        }
        let undo = Undo::Tag { name: "notes/today".into(), tag: "kept".into(), version };
        (Box::new(store), undo)
    };
    let app = |versions: u64, version: Option<u64>| -> (Box<dyn Place>, Undo) {
        (Box::new(Apps::with(versions)), Undo::App { name: "greeter".into(), version })
    };
    let served = |kept: Kept| Undo::AppService { name: "greeter".into(), kept };
    match action_type {
        "service.stop" => unit(Was::Running),
        "service.start" => unit(Was::Stopped),
        "settings.set" => settings(Undo::Setting { key: "hostname".into(), value: "box".into() }),
        "settings.rollback" => settings(Undo::Settings { generation: 1 }),
        "object.tag" => tag(None),
        "object.untag" => tag(Some(2)),
        "app.install" | "app.install.request" => app(0, None),
        "app.remove" => app(1, Some(1)),
        "app.rollback" => app(2, Some(2)),
        "service.enable" => (Box::new(Served::with(Kept::Disabled)), served(Kept::Disabled)),
        "service.disable" => (Box::new(Served::with(Kept::Enabled)), served(Kept::Enabled)),
        "file.write" | "file.patch" | "file.delete" => file(before()),
        "file.move" => file(Undo::Move { from: "notes/yesterday.txt".into(), to: "notes/today.txt".into() }),
        other => panic!("nobody shows here that {other} can be undone"),
    }
}

#[test]
fn each_type_that_can_be_undone_leaves_the_state_from_before() {
    if !is_root() {
        return;
    }
    for entry in CATALOGUE.iter().filter(|entry| entry.reversal == Reversal::RestoresBefore) {
        let (place, undo) = place(entry.name);
        let before = place.state();
        let example = Task::Do(envelope(entry.name, Value::Object(entry.example())));
        let report = place.work(&example);
        assert!(matches!(report, Report::Done(_)), "{}: {report:?}", entry.name);
        assert_ne!(place.state(), before, "{}'s example has an effect", entry.name);
        place.spoil();
        // Once, and once more as after a crash in the middle of the first time.
        for _ in 0..2 {
            let report = place.work(&Task::Undo(undo.clone()));
            assert!(matches!(report, Report::Done(_)), "{}: {report:?}", entry.name);
            assert_eq!(place.state(), before, "{}", entry.name);
        }
    }
}

/// The runtime is killed after each write of the journal, and the next one does what the journal says.
#[test]
fn a_runtime_that_is_killed_at_any_write_leaves_the_effect_or_the_state_from_before() {
    if !is_root() {
        return;
    }
    for killed_after in 0..=5 {
        let (place, undo) = place("file.write");
        let before = place.state();
        let envelope = envelope("file.write", json!({"path": "notes/today.txt", "content": "new"}));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let (journal, _) = Journal::open(&path, "boot").expect("a journal");
        let id = &envelope.id;
        let mut writes = 0;
        // A step is taken only when the write before it was.
        let mut step = |step: &dyn Fn()| {
            if writes < killed_after {
                step();
            }
            writes += 1;
        };
        step(&|| drop(journal.insert(&entry_of(&envelope), 0).expect("inserted")));
        step(&|| drop(journal.advance(id, Event::Allowed, |_| {}).expect("allowed")));
        step(&|| {
            journal.begin(id, Some(undo.clone()), |_| {}).expect("begun");
            assert!(matches!(place.work(&Task::Do(envelope.clone())), Report::Done(_)));
        });
        step(&|| drop(journal.advance(id, Event::EffectDone, |_| {}).expect("done")));
        step(&|| journal.undoing(id, "it did not hold").expect("noted"));
        drop(journal);

        let (journal, left) = Journal::open(&path, "boot").expect("a journal");
        for left in left {
            if let Left::Undo(entry, undo, why) = left {
                assert!(matches!(place.work(&Task::Undo(undo)), Report::Done(_)));
                let events = [Event::Failed(why), Event::RolledBack];
                journal.advance_through(&entry.view.id, events, |_| {}).expect("ended");
            }
        }
        let measured = killed_after == 4;
        assert_eq!(place.state() == before, !measured, "killed after {killed_after} writes");
        let state = journal.show(id).map(|entry| entry.view.state.word()).unwrap_or("unknown");
        let expected = ["unknown", "denied", "failed", "rolled-back", "verifying", "rolled-back"][killed_after];
        assert_eq!(state, expected, "killed after {killed_after} writes");
    }
}

fn entry_of(envelope: &Envelope) -> Entry {
    Entry { before: Some("{}".into()), ..Entry::new(ActionView::proposed(envelope), "boot") }
}
