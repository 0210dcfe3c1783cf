//! What PID 1 is asked and answers: one line of JSON each way on a stream socket, `/run/aios/init`.

use aios_identity::Peer;
use serde::{Deserialize, Serialize};

use crate::logs::{BootReport, Line};

/// A request to PID 1. The verb is also its name in `rootfs/peers.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the machine started and runs.
    Status,
    /// Every supervised unit.
    Services,
    /// The events after the one with number `after`; 0 asks for all that are kept.
    Events {
        /// The last event the caller has.
        after: u64,
    },
    /// The last lines that a unit printed.
    Logs {
        /// The unit.
        name: String,
    },
    /// The lines of all units after the one with number `after`, as soon as there is one.
    Lines {
        /// The last line the caller has; 0 asks for all that are kept.
        after: u64,
        /// How long to wait for a line, in milliseconds; at most [`LONGEST_WAIT_MS`].
        wait_ms: u64,
    },
    /// How long the parts of this boot took.
    Boot,
    /// Which unit or session a cgroup id belongs to.
    Identify {
        /// The id that `PIDFD_GET_INFO` gave.
        cgroup: u64,
    },
    /// Starts a stopped unit.
    Start {
        /// The unit.
        name: String,
    },
    /// Stops a unit.
    Stop {
        /// The unit.
        name: String,
    },
    /// Stops a unit and starts it again.
    Restart {
        /// The unit.
        name: String,
    },
    /// Adds the unit of an app and starts it.
    UnitAdd {
        /// Its name.
        name: String,
        /// The text of a unit file.
        text: String,
    },
    /// Stops the unit of an app and forgets it.
    UnitRemove {
        /// Its name.
        name: String,
    },
    /// Starts an operator's session on the terminal whose login asked for it.
    OpenSession {
        /// Who passed the login.
        operator: String,
        /// The terminal's device name, such as `ttyS0`.
        terminal: String,
    },
    /// Sets the clock on the wall by what a time server said.
    SetClock {
        /// Milliseconds since 1970.
        unix_ms: u64,
    },
    /// Lays the console's keyboard out.
    SetKeyboard {
        /// The layout's name, such as `us`.
        layout: String,
    },
    /// Ends everything in order and then the machine.
    Shutdown {
        /// What comes after.
        then: Afterwards,
    },
}

impl Request {
    /// The verb's name in the table of peers.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Services => "services",
            Self::Events { .. } => "events",
            Self::Logs { .. } => "logs",
            Self::Lines { .. } => "lines",
            Self::Boot => "boot",
            Self::Identify { .. } => "identify",
            Self::Start { .. } => "start",
            Self::Stop { .. } => "stop",
            Self::Restart { .. } => "restart",
            Self::UnitAdd { .. } => "unit-add",
            Self::UnitRemove { .. } => "unit-remove",
            Self::OpenSession { .. } => "open-session",
            Self::SetClock { .. } => "set-clock",
            Self::SetKeyboard { .. } => "set-keyboard",
            Self::Shutdown { .. } => "shutdown",
        }
    }
}

/// A request is a verb and at most two names, or the text of an app's unit, which is short.
pub const REQUEST_LIMIT: usize = 4096;

/// What a connection's bytes are so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The beginning of a request.
    Part,
    /// A request.
    Whole(Request),
    /// No request can become of them, for this reason.
    Refused(String),
}

impl Request {
    /// Reads the first line of what a caller has sent, at most [`REQUEST_LIMIT`] bytes. What follows the line counts as
    /// nothing: a connection is one request.
    pub fn hear(bytes: &[u8]) -> Heard {
        match bytes.iter().take(REQUEST_LIMIT).position(|byte| *byte == b'\n') {
            Some(end) => match serde_json::from_slice(&bytes[..end]) {
                Ok(request) => Heard::Whole(request),
                Err(error) => Heard::Refused(format!("the request cannot be read: {error}")),
            },
            None if bytes.len() >= REQUEST_LIMIT => {
                Heard::Refused(format!("the request is longer than {REQUEST_LIMIT} bytes"))
            }
            None => Heard::Part,
        }
    }
}

/// No caller of [`Request::Lines`] is kept waiting for longer.
pub const LONGEST_WAIT_MS: u64 = 60_000;

/// What follows a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Afterwards {
    /// The machine goes off.
    PowerOff,
    /// The machine starts again.
    Reboot,
    /// The machine starts its recovery image, once.
    Recovery,
    /// The machine shows its firmware's setup at the next start.
    Firmware,
}

/// PID 1's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(System),
    /// To [`Request::Services`].
    Services {
        /// In start order.
        services: Vec<Service>,
    },
    /// To [`Request::Events`].
    Events {
        /// How many events between `after` and the first one here were dropped from the ring.
        lost: u64,
        /// Oldest first.
        events: Vec<Event>,
    },
    /// To [`Request::Logs`].
    Logs {
        /// Oldest first; control characters are replaced.
        lines: Vec<String>,
    },
    /// To [`Request::Lines`].
    Lines {
        /// Oldest first; none when none came in time.
        lines: Vec<Line>,
    },
    /// To [`Request::Boot`].
    Boot(BootReport),
    /// To [`Request::Identify`]. Absent: the cgroup is nobody's that PID 1 knows.
    Identity {
        /// The owner of the cgroup.
        peer: Option<Peer>,
    },
    /// The verb was carried out or has begun.
    Done,
    /// The verb was refused; nothing changed.
    Refused {
        /// Why, on what, what to try.
        reason: String,
    },
}

/// The machine in one look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// The release.
    pub version: String,
    /// Where the root came from.
    pub origin: Origin,
    /// The kernel's boot id.
    pub boot_id: String,
    /// The root hash in the signed command line.
    pub root_hash: String,
    /// Whether the firmware enforced signatures.
    pub secure_boot: bool,
    /// Whether it could have.
    pub firmware_keys: FirmwareKeys,
    /// Whose keys signed this system.
    pub keys: SigningKeys,
    /// What the TPM holds of this start.
    pub measured: Box<Measured>,
    /// Seconds since the kernel started.
    pub uptime_s: u64,
    /// Milliseconds from kernel start until PID 1 ran, the console was ready, the system was ready.
    pub boot_ms: BootTimes,
    /// Whether actions are frozen, and why.
    pub frozen: Option<String>,
    /// Units whose restarts are spent and whose absence matters.
    #[serde(default)]
    pub degraded: Vec<String>,
}

/// Whether firmware has keys to check signatures with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirmwareKeys {
    /// Some are enrolled.
    Enrolled,
    /// None: it is in setup mode, and whoever comes first may enrol theirs.
    None,
    /// It does not know of signatures.
    Unknown,
}

/// Whose keys signed a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SigningKeys {
    /// Keys that were made for a release.
    Release,
    /// Keys that a build machine made for itself: they protect nobody.
    Development,
}

/// What the TPM holds of a start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Measured {
    /// The machine has none.
    NoTpm,
    /// Not all words of the start have been said.
    Ongoing {
        /// Said so far.
        words: Vec<String>,
    },
    /// The kernel image and all words are in register 11.
    Done {
        /// What it holds in the bank of SHA-256, if the TPM keeps that bank.
        pcr11: Option<String>,
        /// The words.
        words: Vec<String>,
    },
    /// The register does not show this start.
    Failed {
        /// Why.
        why: String,
    },
}

/// Milestones in milliseconds since the kernel started; absent: not reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootTimes {
    /// PID 1's first instruction.
    pub init: Option<u64>,
    /// The first console can be typed on.
    pub console: Option<u64>,
    /// Every service of the boot is ready.
    pub system: Option<u64>,
}

/// Where the running root came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum Origin {
    /// The ISO: nothing outlives this boot.
    Live,
    /// The ISO, to install.
    Install,
    /// A slot of an installed disk.
    Disk {
        /// The disk's device name, such as `vda`.
        disk: String,
        /// `a` or `b`.
        slot: String,
    },
}

/// One supervised unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Whose program it is.
    pub role: Role,
    /// What it is doing.
    pub state: ServiceState,
    /// Its process, while there is one.
    pub pid: Option<u32>,
    /// How often it was started in this boot.
    pub starts: u32,
    /// What it last said of itself, or why it last ended.
    pub note: String,
}

/// Whose program a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The system's.
    System,
    /// A person's, on a terminal.
    Session,
    /// One that only proposes.
    Agent,
    /// One that a person let in and enabled.
    App,
    /// The same, and it only proposes.
    AppAgent,
}

impl Role {
    /// Whether it proposes and never decides.
    pub fn is_an_agent(self) -> bool {
        matches!(self, Self::Agent | Self::AppAgent)
    }

    /// Whether it is there because a person let its program in.
    pub fn is_of_an_app(self) -> bool {
        matches!(self, Self::App | Self::AppAgent)
    }
}

/// What a unit is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceState {
    /// Not started.
    Stopped,
    /// Not started: its next caller starts it.
    OnCall,
    /// Waits for the units it requires.
    Waiting,
    /// Its process runs and has not said that it is ready.
    Starting,
    /// Ready.
    Ready,
    /// Its cgroup is frozen.
    Frozen,
    /// It was told to stop and still runs.
    Stopping,
    /// It ended and will be started again shortly.
    Restarting,
    /// It is not started again: its restarts are spent.
    Failed,
    /// A one-shot unit that ended well.
    Finished,
}

/// One thing PID 1 saw or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts from 1 in each boot.
    pub number: u64,
    /// Milliseconds since the kernel started.
    pub at_ms: u64,
    /// The unit, or `init` for the machine itself.
    pub unit: String,
    /// One word: `asked`, `started`, `ready`, `exited`, `stopped`, `failed`, `idle`, `holds-actions`, `frozen`,
    /// `thawed`, `boot`, `shutdown`, `spent`, `shed`, `session`.
    pub what: String,
    /// The rest, for people.
    pub detail: String,
    /// The operator's session that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
}

/// The status with which a session ends that nobody used for too long.
pub const SESSION_EXPIRED: u8 = 75;

/// An operator's session on a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Whose it is, and what its beginning proved.
    pub operator: Peer,
    /// Where.
    pub terminal: String,
    /// What became of it.
    pub change: SessionChange,
}

/// What became of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionChange {
    /// It began.
    Began,
    /// The person left.
    LoggedOut,
    /// Nobody used it for too long.
    Expired,
    /// It was ended, or its program failed.
    Ended,
}

impl SessionChange {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::LoggedOut => "logged-out",
            Self::Expired => "expired",
            Self::Ended => "ended",
        }
    }
}
