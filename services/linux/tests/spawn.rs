//! Confined programs as they are really started. Needs root; the layers that a build machine may lack (cgroup v2, the
//! newest Landlock) are tested in the virtual machine.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Mutex;

use aios_linux::calls::{CallFilter, Otherwise};
use aios_linux::sandbox::{
    Allow, Capability, Content, Identity, Mount, Namespace, PathRules, Reach, Resource, Sandbox, View,
};
use aios_linux::spawn::{Program, SpawnError, spawn};

/// `spawn` wants a caller with one thread; the tests take turns.
static TURN: Mutex<()> = Mutex::new(());

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: starting confined programs needs root");
    }
    root
}

/// A shell's world: system folders to execute from, and nothing else.
fn shell_sandbox() -> Sandbox {
    let mut mounts: Vec<Mount> = ["/usr", "/bin", "/lib", "/lib64"]
        .iter()
        .filter(|path| Path::new(path).exists())
        .map(|path| Mount::Bind { from: path.into(), at: path.into(), allow: Allow::Execute })
        .collect();
    mounts.extend([Mount::Devices, Mount::Proc, Mount::Memory { at: "/tmp".into(), bytes: 1 << 20, mode: 0o700 }]);
    Sandbox {
        namespaces: vec![Namespace::Mount, Namespace::Pid, Namespace::Ipc, Namespace::Uts, Namespace::Net],
        view: View::Only(mounts),
        reach: Reach::Unlimited,
        environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
        ..Sandbox::new(Identity::plain(61_000))
    }
}

/// Runs a shell script in the sandbox and returns what it printed.
fn run(sandbox: &Sandbox, script: &str) -> Result<String, SpawnError> {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (mut output, writer) = std::io::pipe().expect("a pipe");
    let null = std::fs::File::open("/dev/null").expect("always there");
    let path = Path::new("/bin/sh");
    let program = Program {
        path,
        arguments: &[OsString::from("-c"), script.into()],
        descriptors: &[(null.as_fd(), 0), (writer.as_fd(), 1), (writer.as_fd(), 2)],
        listening: 0,
        cgroup: None,
    };
    let (_pid, pidfd) = spawn(sandbox, &program)?.started(path)?;
    drop(writer);
    let mut text = String::new();
    output.read_to_string(&mut text).expect("text");
    let id = rustix::process::WaitId::PidFd(pidfd.as_fd());
    rustix::process::waitid(id, rustix::process::WaitIdOptions::EXITED).expect("a child");
    Ok(text.trim().to_owned())
}

#[test]
fn a_file_that_was_put_there_runs_and_stays_as_it_is() {
    let Some(program) = std::fs::read("/usr/bin/env").ok().filter(|_| is_root()) else { return };
    let mut sandbox = shell_sandbox();
    let View::Only(mounts) = &mut sandbox.view else { panic!("it has a tree of its own") };
    let size = program.len();
    mounts.push(Mount::Content { at: "/app/program".into(), bytes: Content::new(program) });
    let said = |script: &str| run(&sandbox, script).expect("it starts");
    assert_eq!(said("/app/program echo it runs"), "it runs");
    assert_eq!(said("ls /app; wc -c < /app/program"), format!("program\n{size}"));
    let closed =
        "for do in 'echo x >' 'rm -f' 'mv /bin/sh' 'touch'; do eval \"$do /app/program\" 2>/dev/null && echo $do; done";
    assert_eq!(said(closed), "");
    assert_eq!(said("touch /app/other 2>/dev/null || echo closed"), "closed");
}

#[test]
fn a_file_is_run_as_what_it_has_to_be_or_not_at_all() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("program");
    std::fs::copy("/usr/bin/env", &file).expect("copied");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
    let sha256 = aios_ids::Digest::of(&std::fs::read(&file).expect("there"));
    let mut sandbox = shell_sandbox();
    let View::Only(mounts) = &mut sandbox.view else { panic!("it has a tree of its own") };
    mounts.push(Mount::Checked { from: file.clone(), sha256, at: "/app/program".into() });
    assert_eq!(run(&sandbox, "/app/program echo it runs").expect("it starts"), "it runs");
    let refused = || {
        let error = run(&sandbox, "true").expect_err("not what it has to be");
        format!("{error}: {}", std::error::Error::source(&error).expect("a reason"))
    };
    std::fs::write(&file, "another").expect("ours");
    assert!(refused().contains("damaged"), "{}", refused());
    std::fs::remove_file(&file).expect("ours");
    assert!(refused().contains("No such file"), "{}", refused());
    std::os::unix::fs::symlink("/usr/bin/env", &file).expect("ours");
    assert!(refused().contains("symbolic links"), "{}", refused());
    std::fs::remove_file(&file).expect("ours");
    rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).expect("a pipe");
    assert!(refused().contains("no file"), "{}", refused());
}

#[test]
fn the_program_is_alone_and_powerless() {
    if !is_root() {
        return;
    }
    let sandbox = shell_sandbox();
    let said = |script: &str| run(&sandbox, script).expect("it starts");
    assert_eq!(said("id -u; id -g; id -G; echo $$"), "61000\n61000\n61000\n1");
    assert_eq!(said("grep -E 'Cap(Prm|Eff|Bnd|Amb)' /proc/self/status | grep -v 0000000000000000"), "");
    assert_eq!(said("grep -c NoNewPrivs:.1 /proc/self/status"), "1");
    assert_eq!(said("echo $PATH; env | grep -vE '^(PATH|PWD|_|SHLVL|OLDPWD)='"), "/usr/bin:/bin");
    assert_eq!(said("echo /*"), "/bin /dev /lib /lib64 /proc /tmp /usr");
    assert_eq!(said("ls /dev | tr '\\n' ' '"), "full null random urandom zero");
    assert_eq!(said("ls /proc | grep -E '^[0-9]+$' | head -c 2"), "1");
    assert_eq!(said("ls /proc/self/fd | head -n 3 | tr '\\n' ' '"), "0 1 2");
    assert_eq!(said("tail -n +3 /proc/self/net/dev 2>/dev/null | grep -vc lo:"), "0");
    for write in ["/file", "/usr/file", "/dev/file"] {
        assert!(said(&format!("echo x >{write}")).contains("cannot create"), "{write}");
    }
    assert_eq!(said("echo x >/tmp/file && cat /tmp/file"), "x");
    assert!(said("cp /bin/true /tmp/t && chmod +x /tmp/t && /tmp/t").contains("ermission denied"));
    assert!(said("dd if=/dev/zero of=/tmp/big bs=64k count=32").contains("No space left"));
}

#[test]
fn descriptors_land_on_their_numbers_and_no_other_survives() {
    if !is_root() {
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (mut output, writer) = std::io::pipe().expect("a pipe");
    let mut leaked = Vec::new();
    for _ in 0..40 {
        leaked.push(rustix::io::dup(&writer).expect("a descriptor that execve would keep"));
    }
    let first = tempfile::tempfile().expect("a file");
    let second = std::fs::File::open("/dev/null").expect("always there");
    // Numbers that the parent uses for something else: nothing may be overwritten on the way.
    let program = Program {
        path: Path::new("/bin/sh"),
        arguments: &[
            "-c".into(),
            "ls -l /proc/self/fd | sed 's/.* \\([0-9]* ->\\)/\\1/'; echo $LISTEN_FDS $LISTEN_PID $$".into(),
        ],
        descriptors: &[
            (second.as_fd(), 0),
            (writer.as_fd(), 1),
            (writer.as_fd(), 2),
            (second.as_fd(), 3),
            (first.as_fd(), 7),
        ],
        listening: 1,
        cgroup: None,
    };
    let child = spawn(&shell_sandbox(), &program).expect("a process");
    let (_pid, pidfd) = child.started(program.path).expect("it starts");
    drop((writer, leaked));
    let mut text = String::new();
    output.read_to_string(&mut text).expect("text");
    let id = rustix::process::WaitId::PidFd(pidfd.as_fd());
    rustix::process::waitid(id, rustix::process::WaitIdOptions::EXITED).expect("a child");
    let numbers: Vec<&str> = text.lines().filter_map(|line| line.split_once(" ->")).map(|(number, _)| number).collect();
    // 4 is the folder that `ls` itself reads.
    assert_eq!(numbers, ["0", "1", "2", "3", "4", "7"], "{text}");
    assert!(text.contains("3 -> /dev/null"), "{text}");
    assert!(text.ends_with("1 1 1\n"), "{text}");
}

#[test]
fn a_listed_capability_survives_execve_as_an_ordinary_user() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox { capabilities: vec![Capability::CAP_NET_ADMIN], ..shell_sandbox() };
    let masks = run(&sandbox, "grep -E 'Cap(Prm|Eff|Bnd|Amb)' /proc/self/status | cut -f 2").expect("it starts");
    assert_eq!(masks, ["0000000000001000"; 4].join("\n"));
}

#[test]
fn root_keeps_only_the_listed_capabilities() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox { capabilities: vec![Capability::CAP_KILL], ..shell_sandbox() };
    let sandbox = Sandbox { identity: Identity::plain(0), ..sandbox };
    let masks = run(&sandbox, "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status | cut -f 2").expect("it starts");
    assert_eq!(masks, ["0000000000000020"; 3].join("\n"));
}

#[test]
fn calls_off_the_list_fail() {
    if !is_root() {
        return;
    }
    let list = include_str!("../../../rootfs/seccomp/service.list");
    let filter = |list: &str| Some(CallFilter::compile(list, Otherwise::Fails).expect("a good list"));
    let with = |list: &str| Sandbox { calls: filter(list), ..shell_sandbox() };
    assert_eq!(run(&with(list), "echo fine").expect("it starts"), "fine");
    let text = run(&with(list), "exec unshare -m true").expect("it starts");
    assert!(text.contains("not permitted"), "{text}");
    let without_mkdir: String =
        list.lines().filter(|line| !line.starts_with("mkdir")).map(|l| format!("{l}\n")).collect();
    assert!(run(&with(&without_mkdir), "exec mkdir /tmp/x").expect("it starts").contains("not permitted"));
}

#[test]
fn limits_hold() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox { limits: vec![(Resource::Nofile, 17), (Resource::Core, 0)], ..shell_sandbox() };
    assert_eq!(run(&sandbox, "ulimit -n; ulimit -H -n; ulimit -c").expect("it starts"), "17\n17\n0");
}

#[test]
fn a_failed_step_names_itself_and_its_object() {
    if !is_root() {
        return;
    }
    let failure = |sandbox: Sandbox| {
        let error = run(&sandbox, "true").expect_err("it must not start");
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {source}")
    };
    let missing = Mount::Bind { from: "/no/such".into(), at: "/x".into(), allow: Allow::Read };
    let text = failure(Sandbox { view: View::Only(vec![missing]), ..shell_sandbox() });
    assert!(text.contains("'/bin/sh'") && text.contains("/no/such") && text.contains("No such file"), "{text}");
    let outside = Mount::Memory { at: "/../x".into(), bytes: 1, mode: 0o700 };
    let text = failure(Sandbox { view: View::Only(vec![outside]), ..shell_sandbox() });
    assert!(text.contains("'..'"), "{text}");
    let text = failure(Sandbox { view: View::Only(vec![]), ..shell_sandbox() });
    assert!(text.contains("execute: /bin/sh"), "{text}");
    let text = failure(Sandbox { directory: "/nowhere".into(), ..shell_sandbox() });
    assert!(text.contains("change folder: /nowhere"), "{text}");
}

#[test]
fn a_kernel_with_less_landlock_is_an_error_and_a_newer_one_confines() {
    if !is_root() {
        return;
    }
    let rules = PathRules {
        execute: vec!["/usr".into(), "/bin".into(), "/lib".into(), "/lib64".into()],
        ..PathRules::default()
    };
    let sandbox = Sandbox { reach: Reach::Only(rules), ..shell_sandbox() };
    match run(&sandbox, "echo x >/tmp/file; echo fine") {
        Ok(text) => assert!(text.contains("cannot create /tmp/file") && text.ends_with("fine"), "{text}"),
        Err(error) => assert!(error.to_string().contains("Landlock"), "{error}"),
    }
}

#[test]
fn who_goes_first_when_memory_is_short_is_set_before_the_program_runs() {
    if !is_root() {
        return;
    }
    // Higher than the build machine's own, which is as much as root in a container may ask for.
    let sandbox = Sandbox { oom_score: Some(800), ..shell_sandbox() };
    assert_eq!(run(&sandbox, "cat /proc/self/oom_score_adj").expect("it starts"), "800");
    let said = run(&sandbox, "echo -900 >/proc/self/oom_score_adj || echo refused").expect("it starts");
    assert!(said.contains("refused"), "{said}");
}
