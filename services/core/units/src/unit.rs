//! Unit files: TOML in, a checked [`Unit`] out.
//!
//! One file describes one program: who it is, when it starts, how it is restarted and what it may reach. A file without
//! a `[sandbox]` table is refused: a program without a profile does not start. Unknown keys are refused, so a misspelt
//! restriction is never silently absent. What other units exist is not known here; see [`Graph`](crate::Graph).

use aios_ids::{Digest, UnitName};
use serde::Deserialize;

use crate::app;
pub use crate::profile::{Network, Own, Paths, Profile, View};
use crate::restart::RawRestart;
pub use crate::restart::{Restart, RestartPolicy, WhenSpent};

/// A unit file is at most so long.
pub const FILE_LIMIT: usize = 32 * 1024;

/// One supervised program, as its file describes it and checked by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unit {
    /// Its name, which is also its file's, its socket's and its cgroup's. An instance on a terminal has the terminal's
    /// name behind it.
    pub name: UnitName,
    /// What peers know it as; the same for all instances.
    pub base: UnitName,
    /// The terminal of an instance of a terminal unit.
    pub terminal: Option<String>,
    /// What kind of life it has.
    pub kind: Kind,
    /// The program's absolute path.
    pub program: String,
    /// What the program has to be, where it does not lie on the verified root: a copy with this digest is run.
    pub sha256: Option<Digest>,
    /// Its arguments; `{terminal}` stands for the terminal of an instance.
    pub args: Vec<String>,
    /// The user it runs as, a name of the image's table of users.
    pub user: String,
    /// In which ways of running the machine it is there; an agent is in all but an installation.
    pub modes: Vec<Mode>,
    /// What starts it, besides being asked for.
    pub start: Start,
    /// Units that must be ready before it is started.
    pub requires: Vec<UnitName>,
    /// Units that are started with it when it is asked for, and that it is ordered after; they may be missing or fail.
    pub wants: Vec<UnitName>,
    /// Units that must be ready, ended or given up before it is started.
    pub after: Vec<UnitName>,
    /// Units that never run while it does: whichever is asked for ends the other.
    pub conflicts: Vec<UnitName>,
    /// When it counts as ready.
    pub readiness: Readiness,
    /// Whether PID 1 listens on `/run/aios/<name>` for it.
    pub socket: bool,
    /// Whether it is given the kernel's records of what was refused, to read.
    pub audit: bool,
    /// Whether it is given the boot state partition of the running disk, to read and to write.
    pub boot_state: bool,
    /// Whether it is given the kernel's messages, to keep.
    pub kernel_messages: bool,
    /// Whether it is given the TPM of a machine that is installed.
    pub tpm: bool,
    /// Whether the machine counts as ready only when this is.
    pub critical: bool,
    /// Whether actions and agents are frozen while this is not ready.
    pub freezes_actions: bool,
    /// Folders that are its own: made by PID 1, mode 0700.
    pub state: Vec<String>,
    /// Folders of its own that others may read: made by PID 1, mode 0755.
    pub published: Vec<String>,
    /// Whether what it prints is shown on the consoles as it comes.
    pub output: OutputTo,
    /// The operator whose session this is.
    pub session: Option<UnitName>,
    /// How long it may take to become ready, in milliseconds.
    pub start_timeout_ms: u64,
    /// How long it may take to end after it was told to, in milliseconds.
    pub stop_timeout_ms: u64,
    /// Once ready it has to say `WATCHDOG=1` at least this often, in milliseconds, or it is killed.
    pub watchdog_ms: Option<u64>,
    /// When it is started again.
    pub restart: Restart,
    /// What it may reach.
    pub sandbox: Profile,
    /// What it may use up.
    pub resources: Resources,
}

/// What kind of life a unit has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Runs until it is stopped.
    Service,
    /// Runs once and ends.
    Oneshot,
    /// Runs once on each console terminal; ending well starts it again.
    Terminal,
    /// Proposes and never decides. One that an image brings is started when it is asked for, one that is an app when it is
    /// added.
    Agent,
    /// A program that a person let in. No image brings one: it is added while the machine runs, and starts then.
    App,
}

/// A way of running the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// From the ISO, to try.
    Live,
    /// From the ISO, to install.
    Install,
    /// From an installed disk.
    Disk,
}

/// What starts a unit, besides being asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// The machine's start.
    #[default]
    Boot,
    /// Whoever calls its socket while it does not run. It ends when it has nothing to do.
    OnCall,
    /// The machine's start, and once it has ended well whoever calls.
    BootThenOnCall,
}

/// When a unit counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readiness {
    /// When it says `READY=1`.
    Notify,
    /// As soon as its program runs.
    Started,
}

/// Where a unit's output goes besides being kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputTo {
    /// Nowhere; the last lines are shown when it fails.
    #[default]
    Log,
    /// To every console, as it comes.
    Consoles,
}

/// What a unit may use up.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Resources {
    /// Memory in MiB.
    pub memory_max_mib: u64,
    /// Processes and threads.
    pub pids_max: u64,
    /// Open descriptors of one process.
    pub descriptors_max: u64,
    /// Its share of the processors among its neighbours; 100 is everybody's.
    pub cpu_weight: u32,
    /// How soon the kernel ends it when memory is short, from -999 (last) to 1000 (first); see [`Unit::oom_score`].
    pub oom_score: Option<i16>,
}

impl Default for Resources {
    fn default() -> Self {
        Self { memory_max_mib: 128, pids_max: 64, descriptors_max: 1024, cpu_weight: 100, oom_score: None }
    }
}

/// A unit file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// The file is longer than any unit needs.
    #[error("unit '{name}' is {length} bytes long; a unit file has at most {FILE_LIMIT}")]
    Long {
        /// The file's name.
        name: String,
        /// Its length.
        length: usize,
    },
    /// It is not TOML of this form.
    #[error("unit '{name}' cannot be read")]
    Form {
        /// The file's name.
        name: String,
        /// Where and why, with the line and a caret.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value is well formed and makes no sense.
    #[error("unit '{name}': {key} {why}")]
    Value {
        /// The file's name.
        name: String,
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawUnit {
    kind: Kind,
    program: String,
    #[serde(default)]
    sha256: Option<Digest>,
    #[serde(default)]
    args: Vec<String>,
    user: String,
    #[serde(default)]
    modes: Vec<Mode>,
    #[serde(default)]
    start: Start,
    #[serde(default)]
    requires: Vec<UnitName>,
    #[serde(default)]
    wants: Vec<UnitName>,
    #[serde(default)]
    after: Vec<UnitName>,
    #[serde(default)]
    conflicts: Vec<UnitName>,
    #[serde(default)]
    readiness: Option<Readiness>,
    #[serde(default)]
    socket: bool,
    #[serde(default)]
    audit: bool,
    #[serde(default)]
    boot_state: bool,
    #[serde(default)]
    kernel_messages: bool,
    #[serde(default)]
    tpm: bool,
    #[serde(default)]
    critical: bool,
    #[serde(default)]
    freezes_actions: bool,
    #[serde(default)]
    state: Vec<String>,
    #[serde(default)]
    published: Vec<String>,
    #[serde(default)]
    output: OutputTo,
    #[serde(default)]
    session: Option<UnitName>,
    #[serde(default)]
    start_timeout_s: Option<u64>,
    #[serde(default)]
    stop_timeout_s: Option<u64>,
    #[serde(default)]
    watchdog_s: Option<u64>,
    #[serde(default)]
    restart: RawRestart,
    sandbox: Profile,
    #[serde(default)]
    resources: Resources,
}

impl Unit {
    /// Reads the file `<name>.toml`.
    pub fn parse(name: &str, text: &str) -> Result<Self, UnitError> {
        if text.len() > FILE_LIMIT {
            return Err(UnitError::Long { name: shown(name), length: text.len() });
        }
        let raw: RawUnit =
            toml::from_str(text).map_err(|e| UnitError::Form { name: shown(name), source: Box::new(e) })?;
        Self::check(name, raw)
    }

    fn check(name: &str, raw: RawUnit) -> Result<Self, UnitError> {
        let value = |key, why: String| UnitError::Value { name: shown(name), key, why };
        let unit_name: UnitName = name.parse().map_err(|e: aios_ids::IdError| value("file name", e.to_string()))?;
        let paths = [
            ("program", std::slice::from_ref(&raw.program)),
            ("state", &raw.state),
            ("published", &raw.published),
            ("sandbox.read", &raw.sandbox.read),
            ("sandbox.execute", &raw.sandbox.execute),
            ("sandbox.write", &raw.sandbox.write),
            ("sandbox.connect", &raw.sandbox.connect),
            ("sandbox.device", &raw.sandbox.device),
        ];
        for (key, paths) in paths {
            if let Some(path) = paths.iter().find(|path| !is_plain_path(path)) {
                return Err(value(key, format!("has '{}': write an absolute path without '..'", shown(path))));
            }
        }
        raw.sandbox.check(raw.kind).map_err(|(key, why)| value(key, why))?;
        if raw.modes.is_empty() && !matches!(raw.kind, Kind::Agent | Kind::Terminal | Kind::App) {
            return Err(value("modes", "is empty: the unit would never start".into()));
        }
        if raw.start != Start::Boot {
            check_on_call(&raw).map_err(|why| value("start", why.into()))?;
        }
        if raw.session.is_some() && raw.kind != Kind::Terminal {
            return Err(value("session", "is only for a terminal unit".into()));
        }
        let given = [
            ("freezes-actions", raw.freezes_actions),
            ("audit", raw.audit),
            ("boot-state", raw.boot_state),
            ("kernel-messages", raw.kernel_messages),
            ("tpm", raw.tpm),
        ];
        for (key, said) in given {
            if said && raw.kind != Kind::Service {
                return Err(value(key, "is only for a service".into()));
            }
        }
        if raw.kind == Kind::Agent && (raw.critical || raw.socket || !raw.modes.is_empty() || !raw.published.is_empty())
        {
            return Err(value("kind", "agent goes without critical, socket, modes and published".into()));
        }
        if raw.kind == Kind::Agent {
            raw.sandbox.check_agent().map_err(|why| value("sandbox", why.into()))?;
            check_agent(name, &raw).map_err(|(key, why)| value(key, why))?;
        }
        let restart = raw.restart.resolve(raw.kind, raw.critical).map_err(|why| value("restart", why.into()))?;
        for (key, names) in
            [("requires", &raw.requires), ("wants", &raw.wants), ("after", &raw.after), ("conflicts", &raw.conflicts)]
        {
            if names.contains(&unit_name) {
                return Err(value(key, "names the unit itself".into()));
            }
        }
        if let Some(name) = raw.conflicts.iter().find(|name| raw.requires.contains(name) || raw.wants.contains(name)) {
            return Err(value("conflicts", format!("names '{name}', which the unit also needs")));
        }
        check_limits(&raw).map_err(|(key, why)| value(key, why))?;
        if raw.sha256.is_some() && !matches!(raw.kind, Kind::App | Kind::Agent) {
            return Err(value("sha256", "is only for an app: what ships lies on the verified root".into()));
        }
        let default_readiness = if raw.kind == Kind::Service { Readiness::Notify } else { Readiness::Started };
        let unit = Self {
            base: unit_name.clone(),
            name: unit_name,
            terminal: None,
            kind: raw.kind,
            program: raw.program,
            sha256: raw.sha256,
            args: raw.args,
            user: raw.user,
            modes: raw.modes,
            start: raw.start,
            requires: raw.requires,
            wants: raw.wants,
            after: raw.after,
            conflicts: raw.conflicts,
            readiness: raw.readiness.unwrap_or(default_readiness),
            socket: raw.socket,
            audit: raw.audit,
            boot_state: raw.boot_state,
            kernel_messages: raw.kernel_messages,
            tpm: raw.tpm,
            critical: raw.critical,
            freezes_actions: raw.freezes_actions,
            state: raw.state,
            published: raw.published,
            output: raw.output,
            session: raw.session,
            start_timeout_ms: raw.start_timeout_s.unwrap_or(30).clamp(1, 1800) * 1000,
            stop_timeout_ms: raw.stop_timeout_s.unwrap_or(5).clamp(1, 60) * 1000,
            watchdog_ms: raw.watchdog_s.map(|seconds| seconds * 1000),
            restart,
            sandbox: raw.sandbox,
            resources: raw.resources,
        };
        if unit.kind == Kind::App || unit.is_of_an_app() {
            app::check(&unit).map_err(|(key, why)| value(key, why))?;
        }
        Ok(unit)
    }

    /// Whether its program is an app's, which somebody handed in: no image brings such a unit, and it can be taken away.
    pub fn is_of_an_app(&self) -> bool {
        self.sha256.is_some()
    }

    /// How soon the kernel ends it when memory is short. What decides and records goes last, agents go before everything
    /// but actions.
    pub fn oom_score(&self) -> i16 {
        self.resources.oom_score.unwrap_or(match self.kind {
            Kind::Agent => AGENT_OOM_SCORE,
            Kind::App => app::OOM_SCORE,
            Kind::Terminal => 0,
            Kind::Service | Kind::Oneshot if self.freezes_actions => -900,
            Kind::Service | Kind::Oneshot if self.critical => -700,
            Kind::Service | Kind::Oneshot => -400,
        })
    }

    /// The instance of a terminal unit on `terminal`. Its name must stay a unit's name.
    pub fn on_terminal(&self, terminal: &str) -> Result<Self, UnitError> {
        let name = format!("{}-{}", self.base, terminal.to_ascii_lowercase());
        let why = |e: aios_ids::IdError| UnitError::Value { name: name.clone(), key: "terminal", why: e.to_string() };
        Ok(Self {
            name: name.parse().map_err(why)?,
            terminal: Some(terminal.to_owned()),
            args: self.args.iter().map(|arg| arg.replace("{terminal}", terminal)).collect(),
            ..self.clone()
        })
    }
}

/// What waits for a caller has a socket to be called on, and the machine works without it.
fn check_on_call(raw: &RawUnit) -> Result<(), &'static str> {
    if raw.kind != Kind::Service || !raw.socket {
        return Err("other than boot is only for a service with a socket");
    }
    if raw.critical || raw.freezes_actions {
        return Err("other than boot is not for a unit that is critical or freezes actions");
    }
    Ok(())
}

/// Limits that would be none, or that end what they should hold.
fn check_limits(raw: &RawUnit) -> Result<(), (&'static str, String)> {
    if let Some(seconds) = raw.watchdog_s {
        if !(1..=3600).contains(&seconds) {
            return Err(("watchdog-s", "is from 1 to 3600 seconds".into()));
        }
        if raw.kind != Kind::Service || raw.readiness == Some(Readiness::Started) {
            return Err(("watchdog-s", "is only for a service that says when it is ready".into()));
        }
    }
    let resources = &raw.resources;
    if resources.memory_max_mib == 0 || resources.memory_max_mib > 1 << 20 {
        return Err(("resources.memory-max-mib", "is from 1 to 1048576".into()));
    }
    if resources.pids_max == 0 || resources.descriptors_max < 8 {
        return Err(("resources", "leave a program at least one process and eight descriptors".into()));
    }
    if !(1..=10_000).contains(&resources.cpu_weight) {
        return Err(("resources.cpu-weight", "is from 1 to 10000".into()));
    }
    match resources.oom_score {
        // -1000 is never ended, and that is PID 1 alone.
        Some(score) if !(-999..=1000).contains(&score) => Err(("resources.oom-score", "is from -999 to 1000".into())),
        Some(score) if raw.kind == Kind::Agent && score < AGENT_OOM_SCORE => {
            Err(("resources.oom-score", format!("of an agent is at least {AGENT_OOM_SCORE}")))
        }
        _ => Ok(()),
    }
}

/// Agents are ended before anything of the system.
const AGENT_OOM_SCORE: i16 = 600;

/// What an agent's file may not say outside its profile.
fn check_agent(name: &str, raw: &RawUnit) -> Result<(), (&'static str, String)> {
    let own_folder = format!("/aios/agents/{name}");
    if raw.state.iter().any(|path| *path != own_folder) {
        return Err(("state", format!("of an agent is nothing but {own_folder}")));
    }
    if raw.sha256.is_none() && !raw.user.parse::<u32>().is_ok_and(|uid| AGENT_USERS.contains(&uid)) {
        return Err(("user", "of an agent is a number from 2000 to 2499".into()));
    }
    Ok(())
}

/// Numbers that no other program runs under, for agents that an image brings.
const AGENT_USERS: std::ops::Range<u32> = 2000..*app::AGENT_USERS.start();

fn is_plain_path(path: &str) -> bool {
    path.starts_with('/') && path.len() < 1024 && !path.contains('\0') && !path.split('/').any(|part| part == "..")
}

/// What came from outside, safe to print.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_default).collect()
}
