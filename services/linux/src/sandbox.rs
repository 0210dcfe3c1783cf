//! What surrounds a confined program, as one finished description.
//!
//! A [`Sandbox`] says everything that [`spawn`](crate::spawn::spawn) will do between `clone3` and `execve`; nothing is
//! decided on the way. It is not policy: whoever fills it in has already decided. Layers are independent on purpose, so
//! that a hole in one is covered by the others: own user, namespaces, a file tree with only the listed mounts,
//! Landlock, no capabilities beyond a list, a system-call allow list, limits, no other descriptors.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;

use aios_ids::Digest;
pub use caps::Capability;
pub use rustix::process::Resource;

use crate::calls::CallFilter;

/// Everything around one program.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// Whom the kernel takes it for.
    pub identity: Identity,
    /// What it has of its own instead of sharing it with the machine.
    pub namespaces: Vec<Namespace>,
    /// Which file tree it sees. Anything but [`View::Whole`] needs [`Namespace::Mount`].
    pub view: View,
    /// What it may do in that tree and beyond it.
    pub reach: Reach,
    /// Capabilities it keeps, also across `execve` as an ordinary user. All others are gone for good.
    pub capabilities: Vec<Capability>,
    /// The system calls it may make; absent: all.
    pub calls: Option<CallFilter>,
    /// Hard and soft limit of each resource.
    pub limits: Vec<(Resource, u64)>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Where it starts, in its own view.
    pub directory: PathBuf,
    /// Bits that are never set in the mode of a file it creates.
    pub umask: u32,
    /// Its relation to a terminal.
    pub terminal: Terminal,
    /// How soon the kernel ends it when memory is short, from -999 to 1000; absent: as its parent.
    pub oom_score: Option<i16>,
}

impl Sandbox {
    /// A sandbox for `identity` that sees the whole file tree and may use nothing of it, has no capability, its own
    /// session, and an empty environment. Callers open what the program needs.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            namespaces: Vec::new(),
            view: View::Whole,
            reach: Reach::Only(PathRules::default()),
            capabilities: Vec::new(),
            calls: None,
            limits: Vec::new(),
            environment: Vec::new(),
            directory: PathBuf::from("/"),
            umask: 0o077,
            terminal: Terminal::None,
            oom_score: None,
        }
    }
}

/// User and groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Real, effective and saved user.
    pub uid: u32,
    /// Real, effective and saved group.
    pub gid: u32,
    /// All further groups.
    pub groups: Vec<u32>,
}

impl Identity {
    /// A user whose group has the same number and who is in no other.
    pub fn plain(id: u32) -> Self {
        Self { uid: id, gid: id, groups: Vec::new() }
    }
}

/// What a program has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Namespace {
    /// Mounts.
    Mount,
    /// Process ids. The program is process 1 of it, and all die with it.
    Pid,
    /// System V and POSIX message queues, shared memory.
    Ipc,
    /// Host name.
    Uts,
    /// Network: interfaces, ports, abstract sockets. A new one has nothing but a loopback that is down.
    Net,
    /// The root of the cgroup tree it sees.
    Cgroup,
}

impl Namespace {
    /// Each of them, in the order in which a strict sandbox lists them.
    pub const ALL: [Self; 6] = [Self::Mount, Self::Pid, Self::Ipc, Self::Uts, Self::Net, Self::Cgroup];
}

/// Which file tree a program sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// The machine's.
    Whole,
    /// A tree with these mounts and nothing else, made in this order.
    Only(Vec<Mount>),
}

/// One thing in a file tree of its own. `at` is an absolute path in that tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// A file or folder of the machine, without anything mounted below it.
    Bind {
        /// Where it is on the machine.
        from: PathBuf,
        /// Where it appears.
        at: PathBuf,
        /// What the mount itself allows, whatever Landlock and file modes say.
        allow: Allow,
    },
    /// A file with these bytes in a folder of its own, in memory: readable and executable, and nobody can write it.
    Content {
        /// Where it appears, below a folder that nothing else is in.
        at: PathBuf,
        /// What it holds.
        bytes: Content,
    },
    /// The same with what a file of the machine holds, if it has this digest. It is read and compared on the way to the
    /// program, so whoever starts it waits for nothing, and what becomes of the file later does not matter.
    Checked {
        /// Where it is on the machine.
        from: PathBuf,
        /// What it has to be.
        sha256: Digest,
        /// Where it appears, below a folder that nothing else is in.
        at: PathBuf,
    },
    /// Empty memory that goes with the program.
    Memory {
        /// Where it appears.
        at: PathBuf,
        /// At most so many bytes.
        bytes: u64,
        /// The mode of its top folder, which belongs to the program's user.
        mode: u32,
    },
    /// `/proc` of its own pid namespace, with nothing but processes in it. Needs [`Namespace::Pid`].
    Proc,
    /// `/dev` with `null`, `zero`, `full`, `random` and `urandom`.
    Devices,
    /// A symbolic link.
    Link {
        /// Where it appears.
        at: PathBuf,
        /// What it says.
        to: PathBuf,
    },
}

/// The bytes of a file.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(Arc<[u8]>);

impl Content {
    /// These.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What a mount allows. Set-user-id bits and device nodes never work on any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allow {
    /// Reading.
    Read,
    /// Reading and executing.
    Execute,
    /// Reading and writing.
    Write,
}

/// What a program may reach, enforced by Landlock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// No Landlock domain. For programs that have to mount, or to start programs with other rules than their own.
    Unlimited,
    /// Only what the rules list. Signals and abstract sockets reach no process outside the program's own domain.
    Only(PathRules),
}

/// Paths in the program's own view, each with everything below it. A path that is missing is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathRules {
    /// May be read and executed.
    pub execute: Vec<PathBuf>,
    /// May be read.
    pub read: Vec<PathBuf>,
    /// May be read, changed, made and removed; no device nodes.
    pub write: Vec<PathBuf>,
    /// Sockets that may be connected to.
    pub connect: Vec<PathBuf>,
    /// Devices that may be read, written and sent control calls.
    pub device: Vec<PathBuf>,
    /// Numbers that folders come under as descriptors; below each, files may be read, changed, made and removed. Such a
    /// folder need not be in the program's view.
    pub write_descriptors: Vec<RawFd>,
    /// Whether TCP may be used.
    pub tcp: Tcp,
}

/// Whether TCP may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tcp {
    /// Neither connecting nor listening.
    #[default]
    Refused,
    /// Both, on every port.
    Allowed,
}

/// A program's relation to a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// A session of its own without a terminal.
    None,
    /// A session of its own; descriptor 0 becomes its controlling terminal, taken from whoever had it.
    Controlling,
}
