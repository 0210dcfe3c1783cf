//! The launcher's list of calls is enough to make a sandbox, and to run in it what actions may. Needs root.

use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::Path;

use aios_linux::calls::{CallFilter, Otherwise};
use aios_linux::sandbox::{Allow, Capability, Identity, Mount, Namespace, Reach, Resource, Sandbox, View};
use aios_linux::spawn::{Program, spawn};

const SERVICE: &str = include_str!("../../../rootfs/seccomp/service.list");
const ACTION: &str = include_str!("../../../rootfs/seccomp/action.list");
const MOUNT: &str = include_str!("../../../rootfs/seccomp/mount.list");
const LAUNCHER: &str = include_str!("../../../rootfs/seccomp/launcher.list");

fn filter(lists: &[&str]) -> Option<CallFilter> {
    Some(CallFilter::compile(&lists.join("\n"), Otherwise::Fails).expect("they compile"))
}

/// Those that this process has: root of a build machine may lack some.
fn held<const N: usize>(wanted: [Capability; N]) -> Vec<Capability> {
    let status = std::fs::read_to_string("/proc/self/status").expect("there");
    let permitted = status.lines().find_map(|line| line.strip_prefix("CapPrm:")).expect("a line");
    let permitted = u64::from_str_radix(permitted.trim(), 16).expect("a number");
    wanted.into_iter().filter(|capability| permitted >> capability.index() & 1 == 1).collect()
}

/// Starts a program and gives what it printed.
fn output(sandbox: &Sandbox, path: &Path, arguments: &[&str]) -> String {
    let (mut output, writer) = std::io::pipe().expect("a pipe");
    let null = std::fs::File::open("/dev/null").expect("always there");
    let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
    let descriptors = [(null.as_fd(), 0), (writer.as_fd(), 1), (writer.as_fd(), 2)];
    let program = Program { path, arguments: &arguments, descriptors: &descriptors, listening: 0, cgroup: None };
    let started = spawn(sandbox, &program).and_then(|child| child.started(path));
    let (_, handle) = started.unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
    drop(writer);
    let mut text = String::new();
    output.read_to_string(&mut text).expect("text");
    let id = rustix::process::WaitId::PidFd(handle.as_fd());
    rustix::process::waitid(id, rustix::process::WaitIdOptions::EXITED).expect("a child");
    text
}

#[test]
fn a_launcher_under_its_own_list_makes_sandboxes() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: making sandboxes needs root");
        return;
    }
    // As its unit says, without Landlock and cgroups, which a build machine may lack.
    let launcher = Sandbox {
        namespaces: vec![Namespace::Mount, Namespace::Ipc, Namespace::Uts, Namespace::Net],
        view: View::Whole,
        reach: Reach::Unlimited,
        capabilities: held([
            Capability::CAP_SYS_ADMIN,
            Capability::CAP_SETUID,
            Capability::CAP_SETGID,
            Capability::CAP_SETPCAP,
            Capability::CAP_CHOWN,
            Capability::CAP_FOWNER,
            Capability::CAP_DAC_OVERRIDE,
        ]),
        calls: filter(&[SERVICE, ACTION, MOUNT, LAUNCHER]),
        ..Sandbox::new(Identity::plain(0))
    };
    let this = std::env::current_exe().expect("this program");
    let said = output(&launcher, &this, &["--exact", "as_a_launcher", "--ignored", "--nocapture", "--test-threads=1"]);
    assert!(said.contains("uid 61000 in a pipe, as 1 says"), "{said}");
    assert!(said.contains("test result: ok"), "{said}");
}

/// What the launcher does for an action. Started by the test above, in the launcher's own confinement.
#[test]
#[ignore = "another test starts it where it belongs"]
fn as_a_launcher() {
    let folder = std::fs::File::open("/tmp").expect("always there");
    aios_linux::granted::alone(folder.as_fd()).expect("a folder with nothing above it");
    let binds = ["/usr", "/bin", "/lib", "/lib64"].into_iter().filter(|path| Path::new(path).exists());
    let mut mounts: Vec<Mount> =
        binds.map(|path| Mount::Bind { from: path.into(), at: path.into(), allow: Allow::Execute }).collect();
    mounts.extend([Mount::Devices, Mount::Proc, Mount::Memory { at: "/tmp".into(), bytes: 1 << 20, mode: 0o700 }]);
    let action = Sandbox {
        namespaces: Namespace::ALL.to_vec(),
        view: View::Only(mounts),
        reach: Reach::Unlimited,
        calls: filter(&[ACTION]),
        limits: vec![(Resource::Core, 0), (Resource::Nofile, 256)],
        oom_score: Some(800),
        ..Sandbox::new(Identity { uid: 61_000, gid: 61_000, groups: vec![300] })
    };
    let script = "echo uid $(id -u) in a pipe, as $$ says | cat; mkdir /tmp/x";
    print!("{}", output(&action, Path::new("/bin/sh"), &["-c", script]));
    let forbidden = output(&action, Path::new("/bin/sh"), &["-c", "mount -t proc proc /proc; chroot /tmp"]);
    assert!(!forbidden.is_empty(), "a list that is wider above is not wider below");
}
