//! The real adapter under the system-call list and in the file tree of an action sandbox. Needs root; the layers that a
//! build machine may lack (cgroup v2, the newest Landlock) are tested in the virtual machine.

#[path = "adapter/sandbox.rs"]
mod sandbox;
#[path = "adapter/undone.rs"]
mod undone;

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;

use action_runtime::task::{Bytes, Report, Task, Undo};
use aios_action::{Envelope, Request};
use aios_linux::spawn::{Program, spawn};
use sandbox::{INSIDE, sandbox};
use serde_json::{Value, json};

/// `spawn` wants a caller with one thread; the tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Gives the adapter a task and a resource, and returns its report.
fn adapted(task: &Task, resource: BorrowedFd<'_>) -> Report {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (input, mut to_input) = std::io::pipe().expect("a pipe");
    let (mut output, from_output) = std::io::pipe().expect("a pipe");
    to_input.write_all(&serde_json::to_vec(task).expect("a task")).expect("it fits");
    drop(to_input);
    let complaints = std::io::stderr();
    let path = Path::new(INSIDE);
    let program = Program {
        path,
        arguments: &[OsString::from("0")],
        descriptors: &[(input.as_fd(), 0), (from_output.as_fd(), 1), (complaints.as_fd(), 2), (resource, 3)],
        listening: 0,
        cgroup: None,
    };
    let started = spawn(&sandbox(61_001), &program).and_then(|child| child.started(path));
    started.expect("every layer that was asked for is there");
    drop(from_output);
    let mut report = Vec::new();
    output.read_to_end(&mut report).expect("readable");
    serde_json::from_slice(&report).unwrap_or_else(|error| {
        panic!("no report ({error}): {}", String::from_utf8_lossy(&report));
    })
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: confined programs need root");
    }
    root
}

fn envelope(action_type: &str, parameters: Value) -> Envelope {
    let request = Request::new(action_type, parameters.as_object().expect("an object").clone());
    Envelope::new("act_00000000000000000000000000".parse().expect("an id"), "operator:ada".into(), request)
}

/// A folder as PID 1 makes the granted one.
fn granted() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    rustix::fs::chown(folder.path(), None, Some(rustix::fs::Gid::from_raw(300))).expect("root may");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o2770)).expect("ours");
    folder
}

#[test]
fn a_file_is_written_through_the_given_folder_alone() {
    if !is_root() {
        return;
    }
    let folder = granted();
    let resource = File::open(folder.path()).expect("a folder");
    let write = envelope("file.write", json!({"path": "notes/today", "content": "hello"}));
    let report = adapted(&Task::Do(write), resource.as_fd());
    assert!(matches!(report, Report::Done(_)), "{report:?}");
    let file = folder.path().join("notes/today");
    assert_eq!(std::fs::read_to_string(&file).expect("written"), "hello");
    let mode = std::fs::metadata(&file).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "the group may read and write it");

    let back = Undo::File { path: "notes/today".into(), content: Some(Bytes(b"before".to_vec())) };
    assert!(matches!(adapted(&Task::Undo(back), resource.as_fd()), Report::Done(_)));
    assert_eq!(std::fs::read_to_string(&file).expect("written"), "before");
    let away = Undo::File { path: "notes/today".into(), content: None };
    assert!(matches!(adapted(&Task::Undo(away), resource.as_fd()), Report::Done(_)));
    assert!(!file.exists());

    let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).ok();
    let done =
        |action_type: &str, parameters: Value| adapted(&Task::Do(envelope(action_type, parameters)), resource.as_fd());
    std::fs::write(folder.path().join("plan"), "one\ntwo\n").expect("written");
    let conflict = done("file.patch", json!({"path": "plan", "old": "one\nthree\n", "new": "x"}));
    let Report::Failed(why) = conflict else { panic!("there is no such place") };
    assert!(why.contains("its first 1 lines are those from line 1, and line 2 is another"), "{why}");
    assert!(matches!(done("file.patch", json!({"path": "plan", "old": "two", "new": "2"})), Report::Done(_)));
    assert_eq!(text("plan").as_deref(), Some("one\n2\n"));
    let Report::Done(read) = done("file.read", json!({"path": "plan"})) else { panic!("it is there") };
    assert_eq!(read, json!({"content": Bytes(b"one\n2\n".to_vec())}));
    assert!(matches!(done("file.move", json!({"path": "plan", "to": "old/plan"})), Report::Done(_)));
    assert_eq!((text("plan"), text("old/plan").as_deref()), (None, Some("one\n2\n")));
    assert!(matches!(done("file.delete", json!({"path": "old/plan"})), Report::Done(_)));
    for (action_type, parameters) in [
        ("file.delete", json!({"path": "old/plan"})),
        ("file.read", json!({"path": "old/plan"})),
        ("file.patch", json!({"path": "old/plan", "old": "a", "new": "b"})),
        ("file.move", json!({"path": "old/plan", "to": "plan"})),
    ] {
        let Report::Failed(why) = done(action_type, parameters) else { panic!("{action_type}: it is gone") };
        assert_eq!(why, "there is no file 'old/plan' in the granted folder");
    }
    std::fs::write(folder.path().join("long"), vec![b'x'; aios_action::CONTENT_LIMIT + 1]).expect("written");
    assert!(matches!(done("file.read", json!({"path": "long"})), Report::Failed(_)));

    std::os::unix::fs::symlink("/etc", folder.path().join("up")).expect("a link");
    let out = envelope("file.write", json!({"path": "up/aios-test", "content": "gone"}));
    assert!(matches!(adapted(&Task::Do(out), resource.as_fd()), Report::Failed(_)));
    assert!(!Path::new("/etc/aios-test").exists());
}

/// What a service was asked, as `call argument argument`.
struct Service(std::sync::mpsc::Sender<String>);

#[zbus::interface(name = "org.aios.Settings1")]
impl Service {
    async fn set(&self, key: &str, value: &str) -> zbus::fdo::Result<String> {
        self.0.send(format!("set {key} {value}")).expect("the test listens");
        match key {
            "hostname" => Ok(json!({"old": "a", "new": "box"}).to_string()),
            _ => Err(zbus::fdo::Error::InvalidArgs(format!("there is no setting {key}"))),
        }
    }
}

struct Objects(std::sync::mpsc::Sender<String>);

#[zbus::interface(name = "org.aios.Objects1")]
impl Objects {
    async fn put(&self, name: &str, content: zbus::OwnedFd) -> zbus::fdo::Result<String> {
        let mut text = String::new();
        File::from(std::os::fd::OwnedFd::from(content)).read_to_string(&mut text).expect("readable");
        self.0.send(format!("put {name} {text}")).expect("the test listens");
        Ok(json!({"version": 1}).to_string())
    }
}

/// Has the adapter do `envelope` on a connection that `interface` answers.
fn called(envelope: Envelope, path: &'static str, interface: impl zbus::object_server::Interface) -> Report {
    answered(&Task::Do(envelope), path, interface)
}

/// Gives the adapter a task on a connection that `interface` answers.
fn answered(task: &Task, path: &'static str, interface: impl zbus::object_server::Interface) -> Report {
    let (here, there) = UnixStream::pair().expect("a pair");
    let (ready, is_ready) = std::sync::mpsc::channel();
    let service = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            ready.send(()).expect("the test waits");
            let builder = zbus::connection::Builder::unix_stream(there).server(zbus::Guid::generate()).p2p();
            let connection = builder.serve_at(path, interface).build().await.expect("a connection");
            connection.closed().await;
        });
    });
    is_ready.recv().expect("the service runs");
    let report = adapted(task, here.as_fd());
    drop(here);
    service.join().expect("no panic");
    report
}

#[test]
fn a_call_is_made_on_the_given_connection() {
    if !is_root() {
        return;
    }
    let (asked, was_asked) = std::sync::mpsc::channel();
    let set = envelope("settings.set", json!({"key": "hostname", "value": "box"}));
    let report = called(set, "/org/aios/Settings1", Service(asked.clone()));
    assert_eq!(report, Report::Done(json!({"old": "a", "new": "box"})));
    assert_eq!(was_asked.recv().as_deref(), Ok("set hostname \"box\""));

    let wrong = envelope("settings.set", json!({"key": "nothing", "value": 1}));
    let Report::Failed(text) = called(wrong, "/org/aios/Settings1", Service(asked.clone())) else {
        panic!("the service refused");
    };
    assert!(text.contains("there is no setting nothing"), "{text}");

    let put = envelope("object.put", json!({"name": "notes", "content": "hello"}));
    let report = called(put, "/org/aios/Objects1", Objects(asked));
    assert_eq!(report, Report::Done(json!({"version": 1})));
    assert_eq!(was_asked.try_iter().last().as_deref(), Some("put notes hello"));
}

#[test]
fn init_is_asked_in_its_own_form() {
    if !is_root() {
        return;
    }
    let (here, mut there) = UnixStream::pair().expect("a pair");
    let init = std::thread::spawn(move || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(&there), &mut line).expect("a line");
        there.write_all(b"{\"reply\":\"done\"}\n").expect("sent");
        line
    });
    let report = adapted(&Task::Do(envelope("service.restart", json!({"name": "network"}))), here.as_fd());
    assert!(matches!(report, Report::Done(_)), "{report:?}");
    assert_eq!(init.join().expect("no panic"), "{\"verb\":\"restart\",\"name\":\"network\"}\n");
}
