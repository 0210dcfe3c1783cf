//! What `action-runtime` and `launcher` say to each other: structures of fixed size, encoded by hand.
//!
//! The launcher is root, so what it reads has no lengths to trust beyond three bounded fields and no grammar. A request
//! is [`REQUEST_SIZE`] bytes with the descriptors of the program attached to its first byte: standard input, output,
//! error and, when [`LaunchRequest::resource`] says so, one more: the resource that becomes descriptor 3, or the program
//! itself. The answer is
//! [`Started`](LaunchReply::Started) and later [`Exited`](LaunchReply::Exited), or [`Refused`](LaunchReply::Refused)
//! alone. Hanging up before `Exited` ends the program: no action outlives the runtime that answers for it.
//!
//! All numbers are little-endian. Unused bytes are zero and checked, so that each request has exactly one form.

mod tier;

use aios_ids::{ActionId, Digest};

pub use tier::{Opened, Opens, Tier};

/// The size of every request.
pub const REQUEST_SIZE: usize = 8192;
/// The size of every reply.
pub const REPLY_SIZE: usize = 256;
/// How many sandboxes can run at once, each under its own user id.
pub const SANDBOXES: u16 = 1000;
/// The user id of the first sandbox.
pub const FIRST_UID: u32 = 61_000;

const MAGIC: [u8; 8] = *b"AIOSRUN2";
const ANSWER: [u8; 8] = *b"AIOSANS2";
const ID_SIZE: usize = 30;
const PATH_LIMIT: usize = 512;
const ARGS_LIMIT: usize = 7168;
const ARGS_COUNT: u16 = 64;
const TEXT_LIMIT: usize = 200;

/// What to run confined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchRequest {
    /// The action it runs for; names its cgroup.
    pub action: ActionId,
    /// Which of the sandbox user ids it gets: below [`SANDBOXES`].
    pub uid_offset: u16,
    /// The program.
    pub program: Program,
    /// Its arguments after the program's name; none holds a zero byte.
    pub args: Vec<Vec<u8>>,
    /// Whether a fourth descriptor comes along.
    pub resource: Resource,
    /// What it may use up.
    pub limits: Limits,
}

/// The only programs that run in an action sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// `/usr/lib/aios/adapter`.
    Adapter,
    /// `/usr/lib/aios/aios-probe`, in the sandbox that programs of the tier get.
    Probe(Tier),
    /// A program of a store path: absolute, below `/nix/store/`, without `.` and `..` parts.
    Store(String),
    /// The program that comes along as a file. The launcher runs it when its bytes have this digest, and gives it what of
    /// tier T1 it may use.
    App {
        /// The digest of the bytes.
        sha256: Digest,
        /// What it may use.
        opens: Opens,
    },
}

impl Program {
    /// How far its sandbox is open.
    pub const fn tier(&self) -> Tier {
        match self {
            Self::Adapter => Tier::Adapter,
            Self::Probe(tier) => *tier,
            Self::Store(_) => Tier::Program,
            Self::App { opens: Opens::NOTHING, .. } => Tier::Quarantine,
            Self::App { .. } => Tier::Program,
        }
    }

    /// What of tier T1 is opened to it; the adapter's tier has none of that.
    pub const fn opens(&self) -> Opens {
        match self {
            Self::App { opens, .. } => *opens,
            Self::Probe(Tier::Quarantine) => Opens::NOTHING,
            Self::Adapter | Self::Probe(_) | Self::Store(_) => Opens::ALL,
        }
    }
}

/// What becomes descriptor 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Nothing: the descriptor is closed.
    None,
    /// A connection to the service that owns the resource.
    Connection,
    /// A folder that the program may write below.
    Folder,
    /// No resource: the file that is the program, which the launcher keeps to itself.
    Program,
}

impl Resource {
    /// How many descriptors come with such a request.
    pub const fn descriptors(self) -> usize {
        match self {
            Self::None => 3,
            Self::Connection | Self::Folder | Self::Program => 4,
        }
    }

    /// For people and records.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Connection => "connection",
            Self::Folder => "folder",
            Self::Program => "program",
        }
    }
}

/// What a sandbox may use up. Zero is no limit that anyone can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: u64,
    /// Processes and threads.
    pub processes: u32,
    /// Hundredths of one processor.
    pub cpu_percent: u32,
    /// Milliseconds until it is ended.
    pub time_ms: u32,
    /// Milliseconds of processor time of all its processes together.
    pub cpu_ms: u32,
    /// Bytes that it may print, output and complaints together.
    pub output: u32,
    /// Bytes in its private folder, and of each file anywhere: beyond that the program gets an error and goes on. Also what
    /// it may write to disks in all: beyond that it is ended.
    pub written: u32,
}

/// What the launcher answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaunchReply {
    /// Every layer is in place and the program runs.
    Started {
        /// Its process id outside of the sandbox.
        pid: u32,
    },
    /// It ended; its cgroup is gone.
    Exited(Exit),
    /// Nothing was run.
    Refused {
        /// What was refused and why.
        reason: String,
    },
}

/// How a confined program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// How.
    pub ending: Ending,
    /// Processor time in microseconds.
    pub cpu_us: u64,
    /// The most memory it held, in bytes.
    pub memory_peak: u64,
}

/// Why a confined program is no longer there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this status.
    Status(i32),
    /// A signal ended it.
    Signal(i32),
    /// It made a system call outside of its list.
    ForbiddenCall,
    /// Its time was over.
    TimeOver,
    /// It wanted more memory than its limit.
    MemoryOver,
    /// Its processes used up their processor time.
    ProcessorOver,
    /// It printed more than it may.
    OutputOver,
    /// It wrote more to a disk than it may.
    WrittenOver,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exited with status {status}"),
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
            Self::ForbiddenCall => f.write_str("ended: it made a system call outside of the sandbox's list"),
            Self::TimeOver => f.write_str("ended: its time was over"),
            Self::MemoryOver => f.write_str("ended: it wanted more memory than its limit"),
            Self::ProcessorOver => f.write_str("ended: it used up its processor time"),
            Self::OutputOver => f.write_str("ended: it printed more than its limit"),
            Self::WrittenOver => f.write_str("ended: it wrote more than its limit"),
        }
    }
}

/// The bytes are no request or reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("launch message refused: {what}")]
pub struct LaunchFormatError {
    what: &'static str,
}

const fn wrong(what: &'static str) -> LaunchFormatError {
    LaunchFormatError { what }
}

impl LaunchRequest {
    /// The bytes to send. Refuses what the fields cannot hold.
    pub fn encode(&self) -> Result<[u8; REQUEST_SIZE], LaunchFormatError> {
        self.check()?;
        let mut out = Writer { bytes: [0; REQUEST_SIZE], at: 0 };
        out.put(&MAGIC);
        out.put(self.action.as_str().as_bytes());
        out.put(&self.uid_offset.to_le_bytes());
        let app;
        let (program, path) = match &self.program {
            Program::Adapter => (1u8, [].as_slice()),
            Program::Probe(Tier::Adapter) => (2, [].as_slice()),
            Program::Store(path) => (3, path.as_bytes()),
            Program::Probe(Tier::Program) => (4, [].as_slice()),
            Program::Probe(Tier::Quarantine) => (5, [].as_slice()),
            Program::App { sha256, opens } => {
                app = [[opens.0].as_slice(), sha256.as_bytes()].concat();
                (6, app.as_slice())
            }
        };
        let resource = match self.resource {
            Resource::None => 0u8,
            Resource::Connection => 1,
            Resource::Folder => 2,
            Resource::Program => 3,
        };
        out.put(&[program, resource]);
        let Limits { memory, processes, cpu_percent, time_ms, cpu_ms, output, written } = self.limits;
        out.put(&memory.to_le_bytes());
        for limit in [processes, cpu_percent, time_ms, cpu_ms, output, written] {
            out.put(&limit.to_le_bytes());
        }
        out.put(&(path.len() as u16).to_le_bytes());
        out.put(path);
        out.put(&(self.args.len() as u16).to_le_bytes());
        for arg in &self.args {
            out.put(&(arg.len() as u16).to_le_bytes());
            out.put(arg);
        }
        Ok(out.bytes)
    }

    /// Reads a request from outside: every field bounded, every unused byte zero.
    pub fn decode(bytes: &[u8; REQUEST_SIZE]) -> Result<Self, LaunchFormatError> {
        let mut from = Reader { rest: bytes };
        if from.take(MAGIC.len())? != MAGIC {
            return Err(wrong("it does not begin with AIOSRUN2"));
        }
        let action = std::str::from_utf8(from.take(ID_SIZE)?)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(wrong("its action id has no known form"))?;
        let uid_offset = from.u16()?;
        let program = from.u8()?;
        let resource = match from.u8()? {
            0 => Resource::None,
            1 => Resource::Connection,
            2 => Resource::Folder,
            3 => Resource::Program,
            _ => return Err(wrong("its resource is none, connection, folder or program")),
        };
        let limits = Limits {
            memory: from.u64()?,
            processes: from.u32()?,
            cpu_percent: from.u32()?,
            time_ms: from.u32()?,
            cpu_ms: from.u32()?,
            output: from.u32()?,
            written: from.u32()?,
        };
        let path_length = usize::from(from.u16()?);
        if path_length > PATH_LIMIT {
            return Err(wrong("its program path is longer than 512 bytes"));
        }
        let path = from.take(path_length)?;
        let program = match (program, path) {
            (1, []) => Program::Adapter,
            (2, []) => Program::Probe(Tier::Adapter),
            (4, []) => Program::Probe(Tier::Program),
            (5, []) => Program::Probe(Tier::Quarantine),
            (6, [opens, sha256 @ ..]) if opens & !Opens::ALL.0 == 0 => {
                let sha256 = sha256.try_into().map_err(|_| wrong("its program's digest has not 32 bytes"))?;
                Program::App { sha256: Digest::from_bytes(sha256), opens: Opens(*opens) }
            }
            (3, path) => {
                Program::Store(String::from_utf8(path.to_vec()).map_err(|_| wrong("its program path is not text"))?)
            }
            _ => return Err(wrong("its program is adapter, probe, a store path or an app")),
        };
        let count = from.u16()?;
        if count > ARGS_COUNT {
            return Err(wrong("it has more than 64 arguments"));
        }
        let mut args = Vec::new();
        for _ in 0..count {
            let length = usize::from(from.u16()?);
            args.push(from.take(length)?.to_vec());
        }
        if from.rest.iter().any(|byte| *byte != 0) {
            return Err(wrong("bytes follow its last argument"));
        }
        let request = Self { action, uid_offset, program, args, resource, limits };
        request.check()?;
        Ok(request)
    }

    fn check(&self) -> Result<(), LaunchFormatError> {
        if self.uid_offset >= SANDBOXES {
            return Err(wrong("its user id is outside of the sandbox range"));
        }
        if let Program::Store(path) = &self.program {
            check_store_path(path)?;
        }
        if matches!(self.program, Program::App { .. }) != (self.resource == Resource::Program) {
            return Err(wrong("a program comes along with an app and with nothing else"));
        }
        if self.args.len() > usize::from(ARGS_COUNT) {
            return Err(wrong("it has more than 64 arguments"));
        }
        if self.args.iter().map(|arg| arg.len() + 2).sum::<usize>() > ARGS_LIMIT {
            return Err(wrong("its arguments are longer than 7168 bytes together"));
        }
        if self.args.iter().any(|arg| arg.contains(&0)) {
            return Err(wrong("an argument holds a zero byte"));
        }
        let Limits { memory, processes, cpu_percent, time_ms, cpu_ms, output, written } = self.limits;
        if memory == 0 || [processes, cpu_percent, time_ms, cpu_ms, output, written].contains(&0) {
            return Err(wrong("a limit is zero"));
        }
        Ok(())
    }
}

fn check_store_path(path: &str) -> Result<(), LaunchFormatError> {
    let below = path.strip_prefix("/nix/store/").ok_or(wrong("its program is not below /nix/store/"))?;
    if path.len() > PATH_LIMIT {
        return Err(wrong("its program path is longer than 512 bytes"));
    }
    if path.contains('\0') || below.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(wrong("its program path has an empty, '.' or '..' part"));
    }
    Ok(())
}

impl LaunchReply {
    /// The bytes to send. A reason that is too long loses its end.
    pub fn encode(&self) -> [u8; REPLY_SIZE] {
        let mut out = Writer { bytes: [0; REPLY_SIZE], at: 0 };
        out.put(&ANSWER);
        match self {
            Self::Started { pid } => {
                out.put(&[1]);
                out.put(&pid.to_le_bytes());
            }
            Self::Exited(exit) => {
                let (how, value) = match exit.ending {
                    Ending::Status(status) => (0u8, status),
                    Ending::Signal(signal) => (1, signal),
                    Ending::ForbiddenCall => (2, 0),
                    Ending::TimeOver => (3, 0),
                    Ending::MemoryOver => (4, 0),
                    Ending::ProcessorOver => (5, 0),
                    Ending::OutputOver => (6, 0),
                    Ending::WrittenOver => (7, 0),
                };
                out.put(&[2, how]);
                out.put(&value.to_le_bytes());
                out.put(&exit.cpu_us.to_le_bytes());
                out.put(&exit.memory_peak.to_le_bytes());
            }
            Self::Refused { reason } => {
                let text = &reason[..reason.floor_char_boundary(TEXT_LIMIT)];
                out.put(&[3]);
                out.put(&(text.len() as u16).to_le_bytes());
                out.put(text.as_bytes());
            }
        }
        out.bytes
    }

    /// Reads the launcher's answer.
    pub fn decode(bytes: &[u8; REPLY_SIZE]) -> Result<Self, LaunchFormatError> {
        let mut from = Reader { rest: bytes };
        if from.take(ANSWER.len())? != ANSWER {
            return Err(wrong("the answer does not begin with AIOSANS2"));
        }
        match from.u8()? {
            1 => Ok(Self::Started { pid: from.u32()? }),
            2 => {
                let how = from.u8()?;
                let value = from.u32()? as i32;
                let ending = match how {
                    0 => Ending::Status(value),
                    1 => Ending::Signal(value),
                    2 => Ending::ForbiddenCall,
                    3 => Ending::TimeOver,
                    4 => Ending::MemoryOver,
                    5 => Ending::ProcessorOver,
                    6 => Ending::OutputOver,
                    7 => Ending::WrittenOver,
                    _ => return Err(wrong("the answer's ending is unknown")),
                };
                Ok(Self::Exited(Exit { ending, cpu_us: from.u64()?, memory_peak: from.u64()? }))
            }
            3 => {
                let length = usize::from(from.u16()?);
                let text = from.take(length)?;
                Ok(Self::Refused { reason: String::from_utf8_lossy(text).into_owned() })
            }
            _ => Err(wrong("the answer is neither started, exited nor refused")),
        }
    }
}

/// Fills a structure from its beginning. Its callers check lengths first.
struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    fn put(&mut self, part: &[u8]) {
        self.bytes[self.at..self.at + part.len()].copy_from_slice(part);
        self.at += part.len();
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], LaunchFormatError> {
        let (part, rest) = self.rest.split_at_checked(length).ok_or(wrong("a field reaches beyond its end"))?;
        self.rest = rest;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], LaunchFormatError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, LaunchFormatError> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, LaunchFormatError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, LaunchFormatError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, LaunchFormatError> {
        self.array().map(u64::from_le_bytes)
    }
}
