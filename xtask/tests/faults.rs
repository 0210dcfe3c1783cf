//! The builder as its users meet it when something is wrong: missing tools, no room, Ctrl-C. The real program runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Long enough on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// `cargo xtask --no-install` with everything that it writes in `folder`.
fn xtask(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("--no-install").args(words);
    set_folders(&mut command, folder);
    command
}

fn set_folders(command: &mut Command, folder: &Path) {
    command
        .env("AIOS_CACHE", folder.join("cache"))
        .env("AIOS_KEYS", folder.join("keys"))
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .stdin(Stdio::null());
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder of programs for the front of the path, with one program of this text.
fn stand_in(folder: &Path, name: &str, text: &str) -> std::ffi::OsString {
    let programs = folder.join("programs");
    fs::create_dir_all(&programs).expect("made");
    let program = programs.join(name);
    fs::write(&program, format!("#!/bin/sh\n{text}\n")).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
    let old = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&old))).expect("a path")
}

fn wait_for<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = seen() {
            return seen;
        }
        assert!(started.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

#[test]
fn missing_tools_are_named_in_one_line_with_what_to_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = xtask(folder.path(), &["iso"]).env("PATH", folder.path()).output().expect("started");
    assert_eq!(output.status.code(), Some(1));
    let text = errors(&output);
    let line = text.lines().find(|line| line.contains("this machine lacks")).expect("a line");
    assert!(line.contains("build-essential (gcc)") && line.contains("xorriso"), "{text}");
    let hint = text.lines().find(|line| line.contains("hint:")).expect("a hint");
    assert!(hint.contains("apt-get install --no-install-recommends") && hint.contains("build-essential"), "{text}");
    assert!(!folder.path().join("cache").exists(), "nothing is begun");
}

#[test]
fn a_tool_that_is_too_old_is_named_with_both_versions() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = stand_in(folder.path(), "mkfs.erofs", "echo mkfs.erofs 1.4; exit 1");
    let output = xtask(folder.path(), &["iso"]).env("PATH", path).output().expect("started");
    assert_eq!(output.status.code(), Some(1));
    let text = errors(&output);
    assert!(text.contains("mkfs.erofs 1.5 or newer (here is 1.4)"), "{text}");
    assert!(text.contains("erofs-utils"), "{text}");
}

#[test]
fn ctrl_c_ends_what_was_started_and_the_next_try_works() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mark = folder.path().join("started");
    // It answers as the real one when asked for its version, and never ends when keys are wanted.
    let text = format!(
        "[ \"$1\" = version ] && exec echo OpenSSL 3.0.0\necho $$ > {0}.new; mv {0}.new {0}; sleep 1000",
        mark.display()
    );
    let path = stand_in(folder.path(), "openssl", &text);
    let mut child = xtask(folder.path(), &["keys"]).env("PATH", path).stderr(Stdio::null()).spawn().expect("started");
    let tool: i32 = wait_for("the tool", || fs::read_to_string(&mark).ok()?.trim().parse().ok());
    let tool = Pid::from_raw(tool).expect("a process");
    // Only the builder is told: what it started has to be ended by it.
    kill_process(pid(&child), Signal::INT).expect("sent");
    let status = child.wait().expect("ended");
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "{status}");
    wait_for("the end of the tool", || test_kill_process(tool).is_err().then_some(()));

    let output = xtask(folder.path(), &["keys"]).output().expect("started");
    assert!(output.status.success(), "{}", errors(&output));
    for entry in fs::read_dir(folder.path().join("keys")).expect("keys") {
        let entry = entry.expect("an entry");
        assert!(entry.metadata().expect("known").len() > 0, "{} is half-written", entry.path().display());
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("cache"), "a file where a folder should be").expect("written");
    let output = xtask(folder.path(), &["kernel"]).output().expect("started");
    assert_eq!(output.status.code(), Some(1));
    let text = errors(&output);
    assert!(text.contains("cannot make the cache folder") && text.contains("cache/work"), "{text}");
    assert!(text.contains("because:"), "{text}");
}

#[test]
fn no_room_for_a_file_is_said_and_what_was_there_stays() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let made = xtask(folder.path(), &["keys"]).output().expect("started");
    assert!(made.status.success(), "{}", errors(&made));
    let release = folder.path().join("keys/release.key");
    let before = fs::read(&release).expect("a key");
    fs::remove_file(folder.path().join("keys/policy.pub")).expect("removed");
    fs::remove_file(folder.path().join("keys/policy.key")).expect("removed");
    // No file of this shell's children may have a single block.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_xtask")]);
    command.args(["--no-install", "keys"]);
    set_folders(&mut command, folder.path());
    let output = command.output().expect("started");
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    let text = errors(&output);
    assert!(text.contains("cannot write") && text.contains("/keys/"), "{text}");
    assert!(text.contains("ulimit -f"), "{text}");
    assert_eq!(fs::read(&release).expect("a key"), before);

    let output = xtask(folder.path(), &["keys"]).output().expect("started");
    assert!(output.status.success(), "the next try works: {}", errors(&output));
}

#[test]
fn plain_lines_go_to_a_pipe_and_bars_to_a_terminal() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = folder.path().join("empty.tar");
    fs::write(&source, "").expect("written");
    // The step begins, and fails because its source is no archive.
    let piped =
        xtask(folder.path(), &["kernel", "build"]).env("AIOS_KERNEL_SOURCE", &source).output().expect("started");
    let text = errors(&piped);
    assert!(text.contains("step kernel           begins: linux as one image"), "{text}");
    assert!(text.contains("(failed)"), "{text}");
    assert!(!piped.stderr.contains(&0x1b), "{text}");

    let words = format!("{} --no-install kernel build", env!("CARGO_BIN_EXE_xtask"));
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &words, "/dev/null"]).env("AIOS_KERNEL_SOURCE", &source);
    command.env("TERM", "xterm");
    set_folders(&mut command, folder.path());
    let terminal = command.output().expect("started");
    let text = String::from_utf8_lossy(&terminal.stdout);
    assert!(terminal.stdout.contains(&0x1b) && text.contains("linux as one image"), "{text:?}");
    assert!(text.contains("(failed)"), "{text:?}");
}
