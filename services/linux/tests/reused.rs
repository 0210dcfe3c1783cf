//! A process whose number another one has by now is nobody: neither its handle nor a connection that it made leads to the
//! other. Needs root, for a namespace of process numbers in which the next one can be chosen.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use aios_linux::peer::{pidfd_of, process_of};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The kernel gives the next process the number after this one.
const LAST: &str = "/proc/sys/kernel/ns_last_pid";

/// Where the helper connects to.
const SOCKET: &str = "AIOS_TEST_SOCKET";

fn this_test(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--ignored", "--exact", name]);
    command
}

#[test]
fn a_number_that_another_process_has_by_now_names_nobody() {
    if !rustix::process::geteuid().is_root() || !fs::exists(LAST).is_ok_and(|there| there) {
        eprintln!("SKIPPED: needs root and a kernel with {LAST}");
        return;
    }
    let inside = this_test("inside");
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(inside.get_program())
        .args(inside.get_args())
        .output()
        .expect("util-linux is everywhere");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "runs in the namespace that the test above makes"]
fn inside() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = UnixListener::bind(folder.path().join("socket")).expect("a socket");
    let mut first = this_test("connects")
        .env(SOCKET, folder.path().join("socket"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("this program");
    let number = first.id();
    let handle = pidfd_open(pid(number), PidfdFlags::empty()).expect("it runs");
    let (made_by_it, _) = listener.accept().expect("it connects");
    drop(first.stdin.take());
    first.wait().expect("ours");

    let mut second = sleeper_with(number);
    assert_eq!(
        process_of(pidfd_open(pid(number), PidfdFlags::empty()).expect("it runs")).expect("it runs").pid,
        number
    );
    assert!(process_of(&handle).is_err(), "the handle of the first leads to the second");
    assert!(pidfd_of(&made_by_it).and_then(process_of).is_err(), "the connection of the first leads to the second");
    assert!(pidfd_send_signal(handle.as_fd(), Signal::KILL).is_err());
    assert!(second.try_wait().expect("ours").is_none(), "a signal for the first met the second");
    second.kill().expect("ours");
    second.wait().expect("ours");
}

#[test]
#[ignore = "the process that `inside` starts"]
fn connects() {
    let _connection = UnixStream::connect(std::env::var_os(SOCKET).expect("where to")).expect("somebody listens");
    // Until there is nobody who could say more.
    std::io::read_to_string(std::io::stdin()).expect("an end");
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(number.cast_signed()).expect("not zero")
}

/// A process with this number. Threads of the test's own harness may take it first.
fn sleeper_with(number: u32) -> Child {
    for _ in 0..100 {
        fs::write(LAST, (number - 1).to_string()).expect("root of this namespace may");
        let mut child = Command::new("sleep").arg("1000").spawn().expect("coreutils are everywhere");
        if child.id() == number {
            return child;
        }
        child.kill().expect("ours");
        child.wait().expect("ours");
    }
    panic!("nobody gets the number {number}");
}
