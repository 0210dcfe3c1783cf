//! An adapter that is killed at any moment of its work. Needs root, as everything that is started confined.

#[path = "adapter/sandbox.rs"]
mod sandbox;

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use action_runtime::task::{Bytes, Task, Undo};
use aios_action::{Envelope, Request};
use aios_linux::spawn::{Program, spawn};
use rustix::process::{WaitId, WaitIdOptions};
use sandbox::{INSIDE, sandbox};
use serde_json::json;

const BEFORE: &str = "the state before";
/// Large enough that writing it takes a while.
const AFTER_BYTES: usize = 30_000;

/// Has the adapter do `task` in `folder` and kills it after `limit`. How long it took, if it came to its end.
fn adapted(task: &Task, folder: &Path, limit: Duration) -> Option<Duration> {
    let (input, mut to_input) = std::io::pipe().expect("a pipe");
    to_input.write_all(&serde_json::to_vec(task).expect("a task")).expect("it fits");
    drop(to_input);
    let output = tempfile::tempfile().expect("a file");
    let folder = std::fs::File::open(folder).expect("ours");
    let path = Path::new(INSIDE);
    let program = Program {
        path,
        arguments: &[OsString::from("0")],
        descriptors: &[(input.as_fd(), 0), (output.as_fd(), 1), (output.as_fd(), 2), (folder.as_fd(), 3)],
        listening: 0,
        cgroup: None,
    };
    let (pid, handle) = spawn(&sandbox(61_003), &program).and_then(|child| child.started(path)).expect("it starts");
    let began = Instant::now();
    let left = limit.saturating_sub(began.elapsed());
    let wait = rustix::event::Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
    let mut watched = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
    let ended = rustix::event::poll(&mut watched, Some(&wait)).expect("polled") > 0;
    if !ended {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("ours");
    }
    rustix::process::waitid(WaitId::PidFd(handle.as_fd()), WaitIdOptions::EXITED).expect("a child");
    ended.then(|| began.elapsed())
}

fn write(number: u8) -> Task {
    let parameters = json!({"path": "notes/state.txt", "content": "x".repeat(AFTER_BYTES)});
    let request: Request =
        serde_json::from_value(json!({"type": "file.write", "parameters": parameters})).expect("a request");
    let id = aios_ids::ActionId::new(0, [number; 10]);
    Task::Do(Envelope::new(id, "operator:ada".into(), request))
}

#[test]
fn killed_at_any_moment_it_leaves_the_old_file_or_the_new_one_and_undoing_brings_the_old_one_back() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: confined programs need root");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("notes/state.txt");
    std::fs::create_dir(folder.path().join("notes")).expect("ours");
    std::fs::write(folder.path().join("notes/.undo.new"), "planted").expect("ours");
    for path in [folder.path(), &folder.path().join("notes")] {
        rustix::fs::chown(path, None, Some(rustix::fs::Gid::from_raw(300))).expect("root may");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o2770)).expect("ours");
    }
    std::fs::write(&file, BEFORE).expect("ours");
    let undo = Task::Undo(Undo::File { path: "notes/state.txt".into(), content: Some(Bytes(BEFORE.into())) });
    let patience = Duration::from_secs(30);
    let whole = adapted(&write(0), folder.path(), patience).expect("it comes to its end");
    assert!(adapted(&undo, folder.path(), patience).is_some());

    const ROUNDS: u8 = 40;
    let mut cut = 0;
    for round in 1..=ROUNDS {
        let limit = whole.mul_f64(f64::from(round) / f64::from(ROUNDS));
        cut += usize::from(adapted(&write(round), folder.path(), limit).is_none());
        let content = std::fs::read_to_string(&file).expect("there is always one");
        assert!(content == BEFORE || content == "x".repeat(AFTER_BYTES), "half a file of {} bytes", content.len());
        // Undoing is cut off as well, and what that leaves behind keeps nobody from doing it again.
        let _ = adapted(&undo, folder.path(), limit);
        assert!(adapted(&undo, folder.path(), patience).is_some());
        assert_eq!(std::fs::read_to_string(&file).expect("there"), BEFORE);
    }
    assert!(cut > 0, "nothing was cut off in {ROUNDS} rounds");
}

/// A file system with so little room, until it is dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    fn of(bytes: usize) -> Self {
        let place = tempfile::tempdir().expect("a folder");
        let options = std::ffi::CString::new(format!("size={bytes},mode=2770,gid=300")).expect("no zero");
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", place.path(), "tmpfs", flags, Some(options.as_c_str())).expect("root may");
        Self(place)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn on_a_full_disk_the_old_file_stays_and_nothing_is_left_of_the_new_one() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: confined programs need root");
        return;
    }
    // Room for the old file and a part of the new one.
    let disk = Disk::of(64 << 10);
    let (folder, file) = (disk.0.path(), disk.0.path().join("notes/state.txt"));
    std::fs::create_dir(folder.join("notes")).expect("ours");
    std::fs::set_permissions(folder.join("notes"), std::fs::Permissions::from_mode(0o2770)).expect("ours");
    std::fs::write(&file, BEFORE).expect("ours");
    let others = folder.join("of-others");
    std::fs::write(&others, vec![b'o'; 40 << 10]).expect("it fits");
    let patience = Duration::from_secs(30);
    assert!(adapted(&write(1), folder, patience).is_some());
    assert_eq!(std::fs::read_to_string(&file).expect("there"), BEFORE);
    assert_eq!(std::fs::read_dir(folder.join("notes")).expect("there").count(), 1, "a part was left");
    // Nothing else stood in its way.
    std::fs::remove_file(others).expect("ours");
    assert!(adapted(&write(2), folder, patience).is_some());
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "x".repeat(AFTER_BYTES));
}
