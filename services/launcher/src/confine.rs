//! The sandbox of an action, as one description: the only one there is.
//!
//! All programs get all namespaces, no capability, Landlock, the same system-call list. They differ in what is in their
//! file tree: an adapter sees itself and an empty `/tmp`; a program of the store also sees `/nix/store`, its own
//! processes and the harmless devices, because C libraries expect them.

use std::path::{Path, PathBuf};

use aios_linux::calls::{CallFilter, CallListError, Otherwise};
use aios_linux::sandbox::{Allow, Identity, Mount, Namespace, PathRules, Reach, Resource as Limit, Sandbox, View};
use aios_wire::launch::{FIRST_UID, LaunchRequest, Program, Resource};

/// Compiled in: the launcher trusts no file for it.
const CALLS: &str = include_str!("../../../rootfs/seccomp/action.list");

/// The group of granted folders.
const ACTIONS_GROUP: u32 = 300;

/// What becomes descriptor 3 in the sandbox.
pub(crate) const RESOURCE: i32 = 3;

const STORE: &str = "/nix/store";
const PRIVATE: &str = "/tmp";
const PRIVATE_BYTES: u64 = 32 << 20;

/// The system-call list of every action.
pub(crate) fn calls() -> Result<CallFilter, CallListError> {
    CallFilter::compile(CALLS, Otherwise::Fails)
}

/// Where the program is, on the machine and in the sandbox.
pub(crate) fn path(program: &Program) -> &Path {
    match program {
        Program::Adapter => Path::new("/usr/lib/aios/adapter"),
        Program::Probe => Path::new("/usr/lib/aios/aios-probe"),
        Program::Store(path) => Path::new(path),
    }
}

/// Everything around the program of `request`.
pub(crate) fn sandbox(request: &LaunchRequest, calls: &CallFilter) -> Sandbox {
    let uid = FIRST_UID + u32::from(request.uid_offset);
    let shares_folder = request.resource == Resource::Folder;
    let identity = Identity { uid, gid: uid, groups: if shares_folder { vec![ACTIONS_GROUP] } else { Vec::new() } };
    Sandbox {
        namespaces: vec![
            Namespace::Mount,
            Namespace::Pid,
            Namespace::Ipc,
            Namespace::Uts,
            Namespace::Net,
            Namespace::Cgroup,
        ],
        view: View::Only(mounts(&request.program)),
        reach: Reach::Only(rules(request)),
        calls: Some(calls.clone()),
        limits: vec![
            (Limit::Core, 0),
            (Limit::Memlock, 0),
            (Limit::Msgqueue, 0),
            (Limit::Nofile, 256),
            (Limit::Fsize, PRIVATE_BYTES),
            (Limit::Nproc, u64::from(request.limits.processes)),
        ],
        environment: vec![
            ("AIOS_ACTION".into(), request.action.as_str().into()),
            ("HOME".into(), PRIVATE.into()),
            ("TMPDIR".into(), PRIVATE.into()),
            ("LANG".into(), "C.UTF-8".into()),
        ],
        directory: PathBuf::from(PRIVATE),
        // What is written to a granted folder stays readable for its group.
        umask: 0o007,
        // When memory is short, actions end first.
        oom_score: Some(800),
        ..Sandbox::new(identity)
    }
}

fn mounts(program: &Program) -> Vec<Mount> {
    let execute = |path: &Path| Mount::Bind { from: path.into(), at: path.into(), allow: Allow::Execute };
    let mut mounts = vec![Mount::Memory { at: PRIVATE.into(), bytes: PRIVATE_BYTES, mode: 0o700 }];
    match program {
        Program::Adapter | Program::Probe => mounts.push(execute(path(program))),
        Program::Store(_) => mounts.extend([execute(Path::new(STORE)), Mount::Proc, Mount::Devices]),
    }
    mounts
}

fn rules(request: &LaunchRequest) -> PathRules {
    let base = PathRules {
        write: vec![PRIVATE.into()],
        write_descriptors: if request.resource == Resource::Folder { vec![RESOURCE] } else { Vec::new() },
        ..PathRules::default()
    };
    match &request.program {
        program @ (Program::Adapter | Program::Probe) => PathRules { execute: vec![path(program).to_owned()], ..base },
        Program::Store(_) => PathRules {
            execute: vec![STORE.into()],
            read: vec!["/proc".into()],
            device: ["null", "zero", "full", "random", "urandom"].map(|name| Path::new("/dev").join(name)).into(),
            ..base
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use aios_linux::spawn::{Program as Start, spawn};
    use aios_wire::launch::Limits;
    use aios_wire::probe::ProbeReport;

    use super::*;

    fn request(program: Program, resource: Resource) -> LaunchRequest {
        LaunchRequest {
            action: "act_00000000000000000000000000".parse().expect("an id"),
            uid_offset: 7,
            program,
            args: vec![],
            resource,
            limits: Limits { memory: 64 << 20, processes: 16, cpu_percent: 100, time_ms: 10_000 },
        }
    }

    #[test]
    fn nobody_gets_less_than_every_layer() {
        let calls = calls().expect("the list compiles");
        for program in [Program::Adapter, Program::Probe, Program::Store("/nix/store/a/b".into())] {
            for resource in [Resource::None, Resource::Connection, Resource::Folder] {
                let sandbox = sandbox(&request(program.clone(), resource), &calls);
                assert_eq!(sandbox.namespaces.len(), 6);
                assert!(sandbox.capabilities.is_empty() && sandbox.calls.is_some());
                assert!(matches!(&sandbox.view, View::Only(_)));
                let Reach::Only(rules) = &sandbox.reach else { panic!("Landlock is a layer of every sandbox") };
                assert!(rules.connect.is_empty() && rules.tcp == aios_linux::sandbox::Tcp::Refused);
                assert_eq!(rules.write_descriptors.is_empty(), resource != Resource::Folder);
                assert_eq!(sandbox.identity.groups.is_empty(), resource != Resource::Folder);
                assert_eq!(sandbox.identity.uid, 61_007);
            }
        }
    }

    /// The real probe in the real sandbox, except for the layers that the build machine's kernel lacks (the newest
    /// Landlock, cgroup v2); with them it runs at every start of the action runtime.
    #[test]
    fn the_probe_is_contained() {
        let probe = std::env::current_exe().ok().and_then(|test| Some(test.parent()?.parent()?.join("aios-probe")));
        let Some(probe) = probe.filter(|probe| probe.exists() && rustix::process::geteuid().is_root()) else {
            eprintln!("skipped: needs root and a built aios-probe (cargo build -p action-runtime)");
            return;
        };
        let inside = path(&Program::Probe);
        let mut sandbox = sandbox(&request(Program::Probe, Resource::None), &calls().expect("the list compiles"));
        sandbox.reach = Reach::Unlimited;
        sandbox.view = View::Only(vec![
            Mount::Memory { at: PRIVATE.into(), bytes: PRIVATE_BYTES, mode: 0o700 },
            Mount::Bind { from: probe, at: inside.into(), allow: Allow::Execute },
        ]);
        let (mut output, writer) = std::io::pipe().expect("a pipe");
        let null = std::fs::File::open("/dev/null").expect("always there");
        let descriptors = [(null.as_fd(), 0), (writer.as_fd(), 1), (null.as_fd(), 2)];
        let start = Start { path: inside, arguments: &[], descriptors: &descriptors, listening: 0, cgroup: None };
        let started = spawn(&sandbox, &start).and_then(|child| child.started(inside));
        started.expect("every layer that was asked for is there");
        drop(writer);
        let mut text = Vec::new();
        output.read_to_end(&mut text).expect("readable");
        let report = ProbeReport::parse(&text).expect("a report");
        assert_eq!(report.verdict(), Ok(()), "{report:#?}");
    }
}
