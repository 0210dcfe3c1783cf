//! Unit files: TOML in, a checked [`Unit`] out.
//!
//! One file describes one program: who it is, when it starts, how it is restarted and what it may reach. A file without
//! a `[sandbox]` table is refused: a program without a profile does not start. Unknown keys are refused, so a misspelt
//! restriction is never silently absent. What other units exist is not known here; see [`Graph`](crate::Graph).

use aios_ids::UnitName;
use serde::Deserialize;

pub use crate::profile::{Network, Own, Paths, Profile, View};

/// A unit file is at most so long.
pub const FILE_LIMIT: usize = 32 * 1024;

/// One supervised program, as its file describes it and checked by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Its arguments; `{terminal}` stands for the terminal of an instance.
    pub args: Vec<String>,
    /// The user it runs as, a name of the image's table of users.
    pub user: String,
    /// In which ways of running the machine it is started; an agent is started when it is asked for.
    pub modes: Vec<Mode>,
    /// Units that must be ready before it is started.
    pub requires: Vec<UnitName>,
    /// Units that must be ready, ended or given up before it is started.
    pub after: Vec<UnitName>,
    /// When it counts as ready.
    pub readiness: Readiness,
    /// Whether PID 1 listens on `/run/aios/<name>` for it.
    pub socket: bool,
    /// Whether it is given the kernel's records of what was refused, to read.
    pub audit: bool,
    /// Whether it is given the kernel's messages, to keep.
    pub kernel_messages: bool,
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
    /// When it is started again.
    pub restart: Restart,
    /// What it may reach.
    pub sandbox: Profile,
    /// What it may use up.
    pub resources: Resources,
}

/// What kind of life a unit has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Runs until it is stopped.
    Service,
    /// Runs once and ends.
    Oneshot,
    /// Runs once on each console terminal; ending well starts it again.
    Terminal,
    /// Proposes and never decides; started when it is asked for.
    Agent,
}

/// A way of running the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// From the ISO, to try.
    Live,
    /// From the ISO, to install.
    Install,
    /// From an installed disk.
    Disk,
}

/// When a unit counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readiness {
    /// When it says `READY=1`.
    Notify,
    /// As soon as its program runs.
    Started,
}

/// Where a unit's output goes besides being kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputTo {
    /// Nowhere; the last lines are shown when it fails.
    #[default]
    Log,
    /// To every console, as it comes.
    Consoles,
}

/// When a unit is started again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Restart {
    /// After which ends.
    pub policy: RestartPolicy,
    /// Milliseconds to wait; doubled each time up to ten seconds.
    pub backoff_ms: u64,
    /// At most so many starts …
    pub budget: u32,
    /// … in so many seconds.
    pub window_s: u64,
}

impl Default for Restart {
    fn default() -> Self {
        Self { policy: RestartPolicy::Always, backoff_ms: 100, budget: 8, window_s: 60 }
    }
}

/// After which ends a unit is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// After every end. When the budget is spent it waits until the window has room again.
    Always,
    /// After a bad end, until the budget is spent.
    OnFailure,
    /// Never.
    Never,
}

/// What a unit may use up.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Resources {
    /// Memory in MiB.
    pub memory_max_mib: u64,
    /// Processes and threads.
    pub pids_max: u64,
    /// Open descriptors of one process.
    pub descriptors_max: u64,
}

impl Default for Resources {
    fn default() -> Self {
        Self { memory_max_mib: 128, pids_max: 64, descriptors_max: 1024 }
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
    args: Vec<String>,
    user: String,
    #[serde(default)]
    modes: Vec<Mode>,
    #[serde(default)]
    requires: Vec<UnitName>,
    #[serde(default)]
    after: Vec<UnitName>,
    #[serde(default)]
    readiness: Option<Readiness>,
    #[serde(default)]
    socket: bool,
    #[serde(default)]
    audit: bool,
    #[serde(default)]
    kernel_messages: bool,
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
    restart: Option<Restart>,
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
        raw.sandbox.check().map_err(|(key, why)| value(key, why))?;
        if raw.modes.is_empty() && !matches!(raw.kind, Kind::Agent | Kind::Terminal) {
            return Err(value("modes", "is empty: the unit would never start".into()));
        }
        if raw.session.is_some() && raw.kind != Kind::Terminal {
            return Err(value("session", "is only for a terminal unit".into()));
        }
        let given = [
            ("freezes-actions", raw.freezes_actions),
            ("audit", raw.audit),
            ("kernel-messages", raw.kernel_messages),
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
        let restart = raw.restart.unwrap_or(Restart {
            policy: match raw.kind {
                Kind::Service | Kind::Terminal => RestartPolicy::Always,
                Kind::Oneshot | Kind::Agent => RestartPolicy::Never,
            },
            ..Restart::default()
        });
        if restart.budget == 0 || restart.window_s == 0 || restart.backoff_ms == 0 {
            return Err(value("restart", "needs budget, window-s and backoff-ms above 0".into()));
        }
        if raw.requires.contains(&unit_name) || raw.after.contains(&unit_name) {
            return Err(value("requires", "names the unit itself".into()));
        }
        let default_readiness = if raw.kind == Kind::Service { Readiness::Notify } else { Readiness::Started };
        Ok(Self {
            base: unit_name.clone(),
            name: unit_name,
            terminal: None,
            kind: raw.kind,
            program: raw.program,
            args: raw.args,
            user: raw.user,
            modes: raw.modes,
            requires: raw.requires,
            after: raw.after,
            readiness: raw.readiness.unwrap_or(default_readiness),
            socket: raw.socket,
            audit: raw.audit,
            kernel_messages: raw.kernel_messages,
            critical: raw.critical,
            freezes_actions: raw.freezes_actions,
            state: raw.state,
            published: raw.published,
            output: raw.output,
            session: raw.session,
            start_timeout_ms: raw.start_timeout_s.unwrap_or(30).clamp(1, 600) * 1000,
            stop_timeout_ms: raw.stop_timeout_s.unwrap_or(5).clamp(1, 60) * 1000,
            restart,
            sandbox: raw.sandbox,
            resources: raw.resources,
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

/// What an agent's file may not say outside its profile.
fn check_agent(name: &str, raw: &RawUnit) -> Result<(), (&'static str, String)> {
    let own_folder = format!("/aios/agents/{name}");
    if raw.state.iter().any(|path| *path != own_folder) {
        return Err(("state", format!("of an agent is nothing but {own_folder}")));
    }
    if !raw.user.parse::<u32>().is_ok_and(|uid| AGENT_USERS.contains(&uid)) {
        return Err(("user", "of an agent is a number from 2000 to 2999".into()));
    }
    Ok(())
}

/// Numbers that no other program runs under.
const AGENT_USERS: std::ops::RangeInclusive<u32> = 2000..=2999;

fn is_plain_path(path: &str) -> bool {
    path.starts_with('/') && path.len() < 1024 && !path.contains('\0') && !path.split('/').any(|part| part == "..")
}

/// What came from outside, safe to print.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_default).collect()
}
