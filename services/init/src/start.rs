//! From a unit to a running program: its folders, its cgroup, its sandbox, its descriptors.
//!
//! What a unit may reach is in its file; this module only translates. Every program gets the table of peers and its own
//! executable, because none could work without them, and nothing else that its file does not list.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use aios_ids::{Digest, UnitName};
use aios_linux::calls::{CallFilter, Otherwise};
use aios_linux::inherited::{AUDIT, BOOT_STATE, KERNEL_MESSAGES, TPM};
use aios_linux::sandbox::{
    Allow, Capability, Identity, Mount, Namespace, PathRules, Reach, Resource, Sandbox, Tcp, Terminal as Session, View,
};
use aios_linux::spawn::{Program, spawn};
use aios_units::Unit;
use aios_units::unit::{Kind, Network, Own, Paths, Profile, Readiness, View as Seen};
use aios_wire::init::Origin;
use rustix::process::Pid;

use crate::cgroups::Cgroup;
use crate::data;
use crate::failure::{Failure, at};
use crate::kernel_messages::KernelMessages;
use crate::machine::SOCKETS;
use crate::output::Output;
use crate::refusals::Refusals;
use crate::terminals::{Terminal, say_everywhere};
use crate::unit_files::Users;

const CALL_LISTS: &str = "/usr/share/aios/seccomp";
/// What every program may read.
const SHARED: &str = "/usr/share/aios";
/// Where the program of an app is in its own view.
const APPS: &str = "/app";
/// Seen by apps, and opened to those that may use it.
const STORE: &str = "/nix/store";
/// The TPM, on which each who opened it sees only its own objects and sessions.
const MANAGED_TPM: &str = "/dev/tpmrm0";
/// `/tmp` of a program with a view of its own.
const TMP_BYTES: u64 = 16 << 20;

/// What is the same for all programs of a boot.
#[derive(Debug)]
pub(crate) struct Starter {
    users: Users,
    boot_id: String,
    origin: Origin,
    calls: BTreeMap<Vec<String>, CallFilter>,
    sockets: BTreeMap<String, UnixListener>,
    messages: KernelMessages,
}

/// A program and the cgroup that it is in. Every program that is started inherits PID 1's descriptors and has to close
/// them, so there is none here that is needed for the start alone.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
    pub(crate) cgroup: Cgroup,
}

impl Starter {
    /// Makes every unit's folders and binds every socket that one listens on: callers can connect, and readers find
    /// what they read, before the service runs.
    pub(crate) fn new<'a>(
        users: Users,
        boot_id: String,
        origin: Origin,
        units: impl Iterator<Item = &'a Unit>,
    ) -> Result<Self, Failure> {
        let mut messages = KernelMessages::default();
        let mut sockets = BTreeMap::new();
        for unit in units {
            if unit.kernel_messages {
                messages = KernelMessages::open();
            }
            let uid = users.id(&unit.user)?;
            for (folders, mode) in [(&unit.state, 0o700), (&unit.published, 0o755)] {
                for folder in folders {
                    data::folder(folder, uid, uid, mode)?;
                }
            }
            if !unit.socket {
                continue;
            }
            let path = Path::new(SOCKETS).join(unit.name.as_str());
            let socket = UnixListener::bind(&path).map_err(at("listen on", &path))?;
            // Everybody may connect; who may do what is decided by who they are.
            rustix::fs::chmod(&path, rustix::fs::Mode::from_raw_mode(0o666)).map_err(at("open", &path))?;
            sockets.insert(unit.name.to_string(), socket);
        }
        Ok(Self { users, boot_id, origin, calls: BTreeMap::new(), sockets, messages })
    }

    /// What a unit listens on, if it does.
    pub(crate) fn socket(&self, unit: &UnitName) -> Option<BorrowedFd<'_>> {
        self.sockets.get(unit.as_str()).map(AsFd::as_fd)
    }

    /// Starts `unit` in a cgroup with its open folder; what it prints goes to `output`, or to its terminal if it has one.
    /// The descriptor is where it reports how its start went.
    pub(crate) fn start(
        &mut self,
        unit: &Unit,
        (cgroup, folder): (Cgroup, fs::File),
        output: &mut Output,
        refusals: &Refusals,
    ) -> Result<(Running, OwnedFd), Failure> {
        let uid = self.users.id(&unit.user)?;
        let mut sandbox = self.sandbox(unit, uid)?;
        let records = refusals.descriptor().filter(|_| unit.audit);
        if records.is_some() {
            sandbox.environment.push(("AIOS_AUDIT".into(), AUDIT.to_string().into()));
        }
        let boot_state = self.boot_state(unit);
        if boot_state.is_some() {
            sandbox.environment.push(("AIOS_BOOT_STATE".into(), BOOT_STATE.to_string().into()));
        }
        let messages = self.messages.descriptor().filter(|_| unit.kernel_messages);
        if messages.is_some() {
            sandbox.environment.push(("AIOS_KERNEL_MESSAGES".into(), KERNEL_MESSAGES.to_string().into()));
        }
        let tpm = self.tpm(unit);
        if tpm.is_some() {
            sandbox.environment.push(("AIOS_TPM".into(), TPM.to_string().into()));
        }
        let terminal = unit.terminal.as_ref().map(|name| Terminal { name: name.clone() });
        let listener = self.socket(&unit.name);
        let streams = Streams::open(terminal.as_ref(), uid, output)?;
        let mut descriptors = streams.descriptors();
        descriptors.extend(listener.map(|socket| (socket, 3)));
        descriptors.extend(records.map(|records| (records, AUDIT)));
        descriptors.extend(boot_state.as_ref().map(|partition| (partition.as_fd(), BOOT_STATE)));
        descriptors.extend(messages.map(|messages| (messages, KERNEL_MESSAGES)));
        descriptors.extend(tpm.as_ref().map(|tpm| (tpm.as_fd(), TPM)));
        let arguments: Vec<_> = unit.args.iter().map(Into::into).collect();
        let path = place_of(unit);
        let program = Program {
            path: &path,
            arguments: &arguments,
            descriptors: &descriptors,
            listening: u32::from(listener.is_some()),
            cgroup: Some(folder.as_fd()),
        };
        let child = spawn(&sandbox, &program).map_err(|error| Failure::new(format!("unit {}", unit.name), error))?;
        Ok((Running { pid: child.pid, pidfd: child.pidfd, cgroup }, child.report))
    }

    /// The partition for a unit that keeps something in it. A disk that does not give it starts the unit all the same.
    fn boot_state(&self, unit: &Unit) -> Option<fs::File> {
        if !unit.boot_state {
            return None;
        }
        let opened = data::boot_state(&self.origin);
        opened.unwrap_or_else(|error| {
            say_everywhere(&format!("init: the boot state partition cannot be opened: {error}"));
            None
        })
    }

    /// The TPM for a unit that has it keep something. A live system keeps nothing; a machine without one starts the unit all
    /// the same. Opening it sends the TPM nothing, so it is not waited for.
    fn tpm(&self, unit: &Unit) -> Option<fs::File> {
        if !unit.tpm || !matches!(self.origin, Origin::Disk { .. }) {
            return None;
        }
        match fs::File::options().read(true).write(true).open(MANAGED_TPM) {
            Ok(tpm) => Some(tpm),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                say_everywhere(&format!("init: {MANAGED_TPM} cannot be opened: {error}"));
                None
            }
        }
    }

    fn sandbox(&mut self, unit: &Unit, uid: u32) -> Result<Sandbox, Failure> {
        let profile = &unit.sandbox;
        let wrong = |what: &str, text: &str| Failure::plain(format!("unit {}: there is no {what} '{text}'", unit.name));
        let mut groups = Vec::new();
        for group in &profile.groups {
            groups.push(self.users.id(group)?);
        }
        let mut capabilities = Vec::new();
        for name in &profile.capabilities {
            capabilities.push(name.parse::<Capability>().map_err(|_| wrong("capability", name))?);
        }
        Ok(Sandbox {
            namespaces: namespaces(profile),
            view: match profile.view {
                Seen::Whole => View::Whole,
                Seen::Listed => View::Only(mounts(unit)),
            },
            reach: match profile.paths {
                Paths::Unlimited => Reach::Unlimited,
                Paths::Enforced => Reach::Only(path_rules(unit)),
            },
            capabilities,
            calls: self.call_filter(profile)?,
            limits: vec![(Resource::Nofile, unit.resources.descriptors_max), (Resource::Core, 0)],
            environment: self.environment(unit),
            // What is private is so by its folder; what is published has to be readable.
            umask: 0o022,
            terminal: match unit.terminal {
                Some(_) => Session::Controlling,
                None => Session::None,
            },
            oom_score: Some(unit.oom_score()),
            ..Sandbox::new(Identity { uid, gid: uid, groups })
        })
    }

    fn call_filter(&mut self, profile: &Profile) -> Result<Option<CallFilter>, Failure> {
        if !profile.limits_calls() {
            return Ok(None);
        }
        if let Some(filter) = self.calls.get(&profile.calls) {
            return Ok(Some(filter.clone()));
        }
        let mut lists = String::new();
        for name in &profile.calls {
            let path = Path::new(CALL_LISTS).join(format!("{name}.list"));
            lists.push_str(&fs::read_to_string(&path).map_err(at("read", &path))?);
            lists.push('\n');
        }
        let doing = || format!("cannot use the system-call lists {}", profile.calls.join(", "));
        let filter = CallFilter::compile(&lists, Otherwise::Fails).map_err(|error| Failure::new(doing(), error))?;
        self.calls.insert(profile.calls.clone(), filter.clone());
        Ok(Some(filter))
    }

    fn environment(&self, unit: &Unit) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
        let mut environment = vec![("AIOS_BOOT_ID", self.boot_id.as_str()), ("RUST_BACKTRACE", "0")];
        let notify = format!("{SOCKETS}/notify");
        if unit.readiness == Readiness::Notify || unit.kind == Kind::Service {
            environment.push(("NOTIFY_SOCKET", &notify));
        }
        let watchdog = unit.watchdog_ms.map(|limit| (limit * 1000).to_string());
        if let Some(microseconds) = &watchdog {
            environment.push(("WATCHDOG_USEC", microseconds));
        }
        if let Some(terminal) = &unit.terminal {
            let kind = if terminal.starts_with("ttyS") { "vt220" } else { "linux" };
            environment.extend([("AIOS_TERMINAL", terminal.as_str()), ("TERM", kind), ("PATH", "/usr/bin")]);
        }
        if unit.session.is_some() {
            environment.push(("HOME", "/root"));
        }
        environment.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
    }
}

/// Where a program's first three descriptors lead.
enum Streams {
    Terminal(OwnedFd),
    Pipe { null: fs::File, writer: OwnedFd },
}

impl Streams {
    fn open(terminal: Option<&Terminal>, uid: u32, output: &mut Output) -> Result<Self, Failure> {
        match terminal {
            Some(terminal) => Ok(Self::Terminal(terminal.open_for(uid).map_err(at("open", terminal.path()))?)),
            None => {
                let null = fs::File::open("/dev/null").map_err(at("open", "/dev/null"))?;
                let writer = output.open().map_err(|error| Failure::new("cannot make a pipe", error))?;
                Ok(Self::Pipe { null, writer })
            }
        }
    }

    fn descriptors(&self) -> Vec<(BorrowedFd<'_>, i32)> {
        match self {
            Self::Terminal(terminal) => (0..3).map(|number| (terminal.as_fd(), number)).collect(),
            Self::Pipe { null, writer } => vec![(null.as_fd(), 0), (writer.as_fd(), 1), (writer.as_fd(), 2)],
        }
    }
}

fn namespaces(profile: &Profile) -> Vec<Namespace> {
    let own = profile.own.iter().map(|own| match own {
        Own::Mount => Namespace::Mount,
        Own::Pid => Namespace::Pid,
        Own::Ipc => Namespace::Ipc,
        Own::Uts => Namespace::Uts,
        Own::Cgroup => Namespace::Cgroup,
    });
    let net = (profile.network == Network::None).then_some(Namespace::Net);
    own.chain(net).collect()
}

/// Where a unit's program is in its own view.
fn place_of(unit: &Unit) -> PathBuf {
    match unit.sha256 {
        Some(_) => Path::new(APPS).join(unit.name.as_str()),
        None => PathBuf::from(&unit.program),
    }
}

/// The tree of an app: what an action's has, whatever of it is opened by [`rules_of_app`], and the door if it is an agent.
fn mounts_of_app(unit: &Unit, sha256: Digest) -> Vec<Mount> {
    let store = PathBuf::from(STORE);
    let mut mounts = vec![
        Mount::Checked { from: unit.program.clone().into(), sha256, at: place_of(unit) },
        Mount::Bind { from: store.clone(), at: store, allow: Allow::Execute },
        Mount::Memory { at: "/tmp".into(), bytes: TMP_BYTES, mode: 0o700 },
        Mount::Devices,
        Mount::Proc,
    ];
    let connect = unit.sandbox.connect.iter();
    mounts.extend(connect.map(|path| Mount::Bind { from: path.into(), at: path.into(), allow: Allow::Read }));
    mounts
}

/// Its program, its `/tmp`, and what its file lists; nothing that other units have without saying so.
fn rules_of_app(unit: &Unit) -> PathRules {
    let paths = |list: &[String]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
    let profile = &unit.sandbox;
    let mut execute = paths(&profile.execute);
    execute.push(place_of(unit));
    PathRules {
        execute,
        read: paths(&profile.read),
        write: vec!["/tmp".into()],
        connect: paths(&profile.connect),
        device: paths(&profile.device),
        ..PathRules::default()
    }
}

/// The tree of a unit with a view of its own.
fn mounts(unit: &Unit) -> Vec<Mount> {
    if let Some(sha256) = unit.sha256 {
        return mounts_of_app(unit, sha256);
    }
    let profile = &unit.sandbox;
    let bind = |path: &str, allow| Mount::Bind { from: path.into(), at: path.into(), allow };
    let mut mounts = vec![
        bind(&unit.program, Allow::Execute),
        bind(SHARED, Allow::Read),
        Mount::Memory { at: "/tmp".into(), bytes: TMP_BYTES, mode: 0o700 },
        Mount::Devices,
    ];
    if profile.own.contains(&Own::Pid) {
        mounts.push(Mount::Proc);
    }
    for (paths, allow) in [
        (&profile.read, Allow::Read),
        (&profile.connect, Allow::Read),
        (&profile.execute, Allow::Execute),
        (&profile.write, Allow::Write),
        (&unit.state, Allow::Write),
        (&unit.published, Allow::Write),
    ] {
        mounts.extend(paths.iter().map(|path| bind(path, allow)));
    }
    mounts
}

fn path_rules(unit: &Unit) -> PathRules {
    if unit.sha256.is_some() {
        return rules_of_app(unit);
    }
    let profile = &unit.sandbox;
    let paths = |lists: &[&[String]]| lists.iter().flat_map(|list| list.iter().map(PathBuf::from)).collect();
    let mut write: Vec<PathBuf> = paths(&[&profile.write, &unit.state, &unit.published]);
    if profile.view == Seen::Listed {
        write.push("/tmp".into());
    }
    let mut read: Vec<PathBuf> = paths(&[&profile.read]);
    read.extend([PathBuf::from(SHARED), "/dev/urandom".into(), "/dev/random".into(), "/dev/zero".into()]);
    if profile.own.contains(&Own::Pid) && profile.view == Seen::Listed {
        read.push("/proc".into());
    }
    write.push("/dev/null".into());
    let mut execute: Vec<PathBuf> = paths(&[&profile.execute]);
    execute.push(unit.program.clone().into());
    PathRules {
        execute,
        read,
        write,
        connect: paths(&[&profile.connect]),
        device: paths(&[&profile.device]),
        tcp: match profile.network {
            Network::None => Tcp::Refused,
            Network::Host => Tcp::Allowed,
        },
        ..PathRules::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, text: &str) -> Unit {
        Unit::parse(name, text).expect("a unit that ships")
    }

    fn places(unit: &Unit) -> Vec<String> {
        let place = |mount: Mount| match mount {
            Mount::Bind { at, .. }
            | Mount::Content { at, .. }
            | Mount::Checked { at, .. }
            | Mount::Memory { at, .. }
            | Mount::Link { at, .. } => at.display().to_string(),
            Mount::Proc => "/proc".into(),
            Mount::Devices => "/dev".into(),
        };
        mounts(unit).into_iter().map(place).collect()
    }

    #[test]
    fn an_agent_sees_its_program_the_door_and_nothing_of_anybody() {
        let agent = unit("example", include_str!("../../../rootfs/agents/example.toml"));
        let expected =
            ["/usr/lib/aios/example-agent", "/usr/share/aios", "/tmp", "/dev", "/proc", "/run/aios/agent-door"];
        assert_eq!(places(&agent), expected);
        let rules = path_rules(&agent);
        assert_eq!(rules.connect, [PathBuf::from("/run/aios/agent-door")]);
        assert_eq!(rules.execute, [PathBuf::from("/usr/lib/aios/example-agent")]);
        assert_eq!(rules.write, [PathBuf::from("/tmp"), "/dev/null".into()]);
        assert_eq!(rules.tcp, Tcp::Refused);
        assert!(namespaces(&agent.sandbox).contains(&Namespace::Net));
    }

    #[test]
    fn an_app_is_opened_what_its_file_lists_and_its_program_is_a_copy() {
        let sha256 = "0".repeat(64);
        let text = |lists: &str| {
            format!(
                "kind = \"app\"\nprogram = \"/aios/chunks/{sha256}\"\nsha256 = \"{sha256}\"\nuser = \"3000\"\n\
                 [sandbox]\nown = [\"mount\", \"pid\", \"ipc\", \"uts\", \"cgroup\"]\ncalls = [\"action\"]\n{lists}"
            )
        };
        let app = unit("clock", &text(""));
        assert_eq!(places(&app), ["/app/clock", "/nix/store", "/tmp", "/dev", "/proc"]);
        let rules = path_rules(&app);
        assert_eq!(rules.execute, [PathBuf::from("/app/clock")]);
        assert_eq!((rules.read.len(), rules.device.len(), rules.connect.len()), (0, 0, 0));
        assert_eq!((rules.write, rules.tcp), (vec![PathBuf::from("/tmp")], Tcp::Refused));
        assert_eq!(namespaces(&app.sandbox).len(), Namespace::ALL.len());
        let opened = unit("clock", &text("execute = [\"/nix/store\"]\nread = [\"/proc\"]\ndevice = [\"/dev/null\"]"));
        let rules = path_rules(&opened);
        assert_eq!(rules.execute, [PathBuf::from("/nix/store"), "/app/clock".into()]);
        assert_eq!((rules.read, rules.device), (vec![PathBuf::from("/proc")], vec![PathBuf::from("/dev/null")]));
    }

    #[test]
    fn an_app_that_is_an_agent_is_opened_the_door_and_nothing_else() {
        let sha256 = "0".repeat(64);
        let text = format!(
            "kind = \"agent\"\nprogram = \"/aios/chunks/{sha256}\"\nsha256 = \"{sha256}\"\nuser = \"2500\"\n[sandbox]\n\
             own = [\"mount\", \"pid\", \"ipc\", \"uts\", \"cgroup\"]\nconnect = [\"/run/aios/agent-door\"]\n\
             calls = [\"service\"]\n"
        );
        let agent = unit("asker", &text);
        assert_eq!(places(&agent), ["/app/asker", "/nix/store", "/tmp", "/dev", "/proc", "/run/aios/agent-door"]);
        let rules = path_rules(&agent);
        assert_eq!(rules.connect, [PathBuf::from("/run/aios/agent-door")]);
        assert_eq!(rules.execute, [PathBuf::from("/app/asker")]);
        assert_eq!((rules.read.len(), rules.device.len()), (0, 0));
        assert_eq!((rules.write, rules.tcp), (vec![PathBuf::from("/tmp")], Tcp::Refused));
        assert_eq!(namespaces(&agent.sandbox).len(), Namespace::ALL.len());
    }

    #[test]
    fn a_service_writes_its_own_folders_and_no_others() {
        let service = unit("evidence-log", include_str!("../../../rootfs/units/evidence-log.toml"));
        let rules = path_rules(&service);
        assert_eq!(rules.write, [PathBuf::from("/aios/system/evidence"), "/tmp".into(), "/dev/null".into()]);
        let places = places(&service);
        assert!(!places.iter().any(|place| place == "/root" || place == "/aios" || place == "/proc"), "{places:?}");
        for mount in mounts(&service) {
            if let Mount::Bind { at, allow: Allow::Write, .. } = mount {
                assert_eq!(at, Path::new("/aios/system/evidence"));
            }
        }
    }
}
