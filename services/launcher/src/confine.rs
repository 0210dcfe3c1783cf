//! The sandbox of an action, as one description: the only one there is.
//!
//! All programs get all namespaces, no capability, Landlock, the same system-call list, an empty `/tmp`. They differ in
//! what the row of their tier opens ([`profile`]).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use aios_linux::calls::{CallFilter, CallListError, Otherwise};
use aios_linux::sandbox::{
    Allow, Content, Identity, Mount, Namespace, PathRules, Reach, Resource as Limit, Sandbox, View,
};
use aios_wire::launch::{FIRST_UID, LaunchRequest, Opened, Program, Resource};

use crate::profile::{self, Shown};

/// Compiled in: the launcher trusts no file for it.
const CALLS: &str = include_str!("../../../rootfs/seccomp/action.list");

/// The group of granted folders.
const ACTIONS_GROUP: u32 = 300;

/// What becomes descriptor 3 in the sandbox.
pub(crate) const RESOURCE: i32 = 3;

const PRIVATE: &str = "/tmp";

/// Where a program that came along as a file is in its own tree.
const APP: &str = "/app/program";

/// The system-call list of every action.
pub fn calls() -> Result<CallFilter, CallListError> {
    CallFilter::compile(CALLS, Otherwise::Fails)
}

/// Where the program is, on the machine and in the sandbox.
pub fn path(program: &Program) -> &Path {
    match program {
        Program::Adapter => Path::new("/usr/lib/aios/adapter"),
        Program::Probe(_) => Path::new("/usr/lib/aios/aios-probe"),
        Program::Store(path) => Path::new(path),
        Program::App { .. } => Path::new(APP),
    }
}

/// Everything around the program of `request`.
pub fn sandbox(request: &LaunchRequest, calls: &CallFilter) -> Sandbox {
    let uid = FIRST_UID + u32::from(request.uid_offset);
    let shares_folder = request.resource == Resource::Folder;
    let identity = Identity { uid, gid: uid, groups: if shares_folder { vec![ACTIONS_GROUP] } else { Vec::new() } };
    Sandbox {
        namespaces: Namespace::ALL.to_vec(),
        view: View::Only(mounts(request)),
        reach: Reach::Only(rules(request)),
        calls: Some(calls.clone()),
        limits: vec![
            (Limit::Core, 0),
            (Limit::Memlock, 0),
            (Limit::Msgqueue, 0),
            (Limit::Nofile, 256),
            (Limit::Fsize, request.limits.written.into()),
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

/// The sandbox with the program that came along in it.
#[must_use]
pub fn with_program(mut sandbox: Sandbox, bytes: Vec<u8>) -> Sandbox {
    if let View::Only(mounts) = &mut sandbox.view {
        mounts.push(Mount::Content { at: APP.into(), bytes: Content::new(bytes) });
    }
    sandbox
}

fn mounts(request: &LaunchRequest) -> Vec<Mount> {
    let execute = |path: &Path| Mount::Bind { from: path.into(), at: path.into(), allow: Allow::Execute };
    let profile = profile::of(request.program.tier());
    let mut mounts = vec![Mount::Memory { at: PRIVATE.into(), bytes: request.limits.written.into(), mode: 0o700 }];
    mounts.extend(profile.programs.iter().map(|folder| execute(Path::new(folder))));
    mounts.extend(own_program(&request.program).map(execute));
    if profile.processes == Shown::Yes {
        mounts.push(Mount::Proc);
    }
    if !profile.devices.is_empty() {
        mounts.push(Mount::Devices);
    }
    mounts
}

fn rules(request: &LaunchRequest) -> PathRules {
    let profile = profile::of(request.program.tier());
    let opens = request.program.opens();
    let mut rules = PathRules { write: vec![PRIVATE.into()], ..PathRules::default() };
    if opens.has(Opened::Store) {
        rules.execute.extend(profile.programs.iter().map(PathBuf::from));
    }
    if opens.has(Opened::Devices) {
        rules.device.extend(profile.devices.iter().map(|name| Path::new("/dev").join(name)));
    }
    if opens.has(Opened::Processes) && profile.processes == Shown::Yes {
        rules.read.push("/proc".into());
    }
    if !matches!(request.program, Program::Store(_)) {
        rules.execute.push(path(&request.program).to_owned());
    }
    if request.resource == Resource::Folder {
        rules.write_descriptors.push(RESOURCE);
    }
    rules
}

/// The program where no folder of its tier has it and it does not come along.
fn own_program(program: &Program) -> Option<&Path> {
    (!matches!(program, Program::Store(_) | Program::App { .. })).then(|| path(program))
}

/// The program's arguments. The probe is told what is opened to it on purpose, which is no target.
pub fn arguments(request: &LaunchRequest) -> Vec<OsString> {
    let mut opened = match request.program {
        Program::Probe(_) => opened(&request.program),
        Program::Adapter | Program::Store(_) | Program::App { .. } => Vec::new(),
    };
    if matches!(request.program, Program::Probe(_)) && request.resource == Resource::Folder {
        opened.push(aios_wire::probe::FOLDER);
    }
    let given = request.args.iter().cloned().map(OsString::from_vec);
    opened.into_iter().map(OsString::from).chain(given).collect()
}

fn opened(program: &Program) -> Vec<&'static str> {
    let (profile, opens) = (profile::of(program.tier()), program.opens());
    let programs = profile.programs.iter().copied().filter(|_| opens.has(Opened::Store));
    let processes = (profile.processes == Shown::Yes && opens.has(Opened::Processes)).then_some("/proc");
    programs.chain(processes).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use aios_linux::spawn::{Program as Start, spawn};
    use aios_wire::launch::{Limits, Opens, Tier};
    use aios_wire::probe::ProbeReport;

    use super::*;

    const LIMITS: Limits = Limits {
        memory: 64 << 20,
        processes: 16,
        cpu_percent: 100,
        time_ms: 10_000,
        cpu_ms: 10_000,
        output: 1 << 20,
        written: 32 << 20,
    };

    fn request(program: Program, resource: Resource) -> LaunchRequest {
        LaunchRequest {
            action: "act_00000000000000000000000000".parse().expect("an id"),
            uid_offset: 7,
            program,
            args: vec![],
            resource,
            limits: LIMITS,
        }
    }

    #[test]
    fn nobody_gets_less_than_every_layer() {
        let calls = calls().expect("the list compiles");
        let probes = Tier::ALL.map(Program::Probe);
        let app = Program::App { sha256: aios_ids::Digest::of(b""), opens: Opens::NOTHING };
        for program in [Program::Adapter, Program::Store("/nix/store/a/b".into()), app].into_iter().chain(probes) {
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

    /// The real probe in the real sandbox of each tier, except for the layers that the build machine's kernel lacks (the
    /// newest Landlock, cgroup v2) and the store; with them it runs at every start of the action runtime.
    #[test]
    fn the_probe_is_contained() {
        let probe = std::env::current_exe().ok().and_then(|test| Some(test.parent()?.parent()?.join("aios-probe")));
        let Some(probe) = probe.filter(|probe| probe.exists() && rustix::process::geteuid().is_root()) else {
            eprintln!("skipped: needs root and a built aios-probe (cargo build -p action-runtime)");
            return;
        };
        for (tier, resource) in
            [(Tier::Program, Resource::None), (Tier::Adapter, Resource::None), (Tier::Adapter, Resource::Folder)]
        {
            let mut report = probed(&probe, &request(Program::Probe(tier), resource));
            // Landlock alone keeps a program from its own files of /proc.
            report
                .attempts
                .retain(|attempt| tier == Tier::Adapter || !["own_memory", "oom_score"].contains(&&*attempt.name));
            assert_eq!(report.verdict(), Ok(()), "{tier:?} {report:#?}");
        }
    }

    fn probed(probe: &Path, request: &LaunchRequest) -> ProbeReport {
        let mut sandbox = sandbox(request, &calls().expect("the list compiles"));
        sandbox.reach = Reach::Unlimited;
        let View::Only(mounts) = &mut sandbox.view else { panic!("every sandbox has a tree of its own") };
        mounts.retain(|mount| !matches!(mount, Mount::Bind { from, .. } if from.starts_with("/nix")));
        for mount in mounts {
            if let Mount::Bind { from, .. } = mount {
                *from = probe.to_owned();
            }
        }
        let granted = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::chown(granted.path(), None, Some(ACTIONS_GROUP)).expect("root may");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o2770);
        std::fs::set_permissions(granted.path(), mode).expect("ours");
        let folder = std::fs::File::open(granted.path()).expect("open");
        let folder = aios_linux::granted::alone(folder.as_fd()).expect("root may");
        let (mut output, writer) = std::io::pipe().expect("a pipe");
        let null = std::fs::File::open("/dev/null").expect("always there");
        let mut descriptors = vec![(null.as_fd(), 0), (writer.as_fd(), 1), (null.as_fd(), 2)];
        if request.resource == Resource::Folder {
            descriptors.push((folder.as_fd(), RESOURCE));
        }
        let inside = path(&request.program);
        let arguments = arguments(request);
        let start =
            Start { path: inside, arguments: &arguments, descriptors: &descriptors, listening: 0, cgroup: None };
        let started = spawn(&sandbox, &start).and_then(|child| child.started(inside));
        started.expect("every layer that was asked for is there");
        drop(writer);
        let mut text = Vec::new();
        output.read_to_end(&mut text).expect("readable");
        ProbeReport::parse(&text).expect("a report")
    }
}
