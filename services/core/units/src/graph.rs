//! The supervised units of one boot: what they wait for, and what each event leads to.
//!
//! The graph is checked when it is made: every name that a unit requires exists, nothing waits for itself. Rules that
//! hold at every moment: no unit starts before all it requires is ready; actions are frozen exactly while a unit that
//! freezes them is not ready; a unit's starts within its window never exceed its budget; a shutdown stops a unit only
//! when nothing that needs it runs any more.

use std::collections::{BTreeMap, VecDeque};

use aios_ids::UnitName;
use aios_wire::init::{Role, Service, ServiceState};

use crate::state::{Effect, Ended, Event, State, Then, What};
use crate::unit::{Kind, Mode, Readiness, RestartPolicy, Unit};

/// Waits between restarts never grow beyond this.
const BACKOFF_LIMIT_MS: u64 = 10_000;

/// Units that PID 1 supervises, in an order in which they can be started.
#[derive(Debug)]
pub struct Graph {
    mode: Mode,
    nodes: Vec<Node>,
    phase: Phase,
    frozen: Option<String>,
    system_ready: bool,
}

#[derive(Debug)]
struct Node {
    unit: Unit,
    state: State,
    pid: Option<u32>,
    starts: u32,
    /// When it was last started by itself; never longer than the budget.
    recent: VecDeque<u64>,
    backoff_ms: u64,
    note: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Running,
    Ending,
    Ended,
}

/// The units do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Two units have one name.
    #[error("two units are called '{0}'")]
    Twice(UnitName),
    /// A unit needs one that does not exist in a mode where it is started.
    #[error("unit '{unit}' requires '{missing}', which is not started in the same mode")]
    Missing {
        /// Who requires.
        unit: UnitName,
        /// What is not there.
        missing: UnitName,
    },
    /// Units wait for each other.
    #[error("units wait for each other: {}", .0.iter().map(UnitName::as_str).collect::<Vec<_>>().join(", "))]
    Circle(Vec<UnitName>),
}

impl Graph {
    /// Checks `units` together, for `mode`. Units of other modes are left out; agents stay, stopped.
    pub fn new(mode: Mode, units: Vec<Unit>) -> Result<Self, GraphError> {
        let mut waiting: BTreeMap<UnitName, Unit> = BTreeMap::new();
        for unit in units {
            if (unit.kind == Kind::Agent && mode != Mode::Install) || unit.modes.contains(&mode) {
                let name = unit.name.clone();
                if waiting.insert(name.clone(), unit).is_some() {
                    return Err(GraphError::Twice(name));
                }
            }
        }
        for unit in waiting.values() {
            if let Some(missing) = unit.requires.iter().find(|name| !waiting.contains_key(name)) {
                return Err(GraphError::Missing { unit: unit.name.clone(), missing: missing.clone() });
            }
        }
        let mut nodes: Vec<Node> = Vec::new();
        while !waiting.is_empty() {
            // Terminals first: whoever sits there should not wait for what nobody waits for.
            let free = waiting
                .values()
                .filter(|unit| !before(unit).any(|name| waiting.contains_key(name)))
                .min_by_key(|unit| unit.kind != Kind::Terminal);
            let Some(name) = free.map(|unit| unit.name.clone()) else {
                return Err(GraphError::Circle(waiting.into_keys().collect()));
            };
            if let Some(unit) = waiting.remove(&name) {
                nodes.push(Node {
                    backoff_ms: unit.restart.backoff_ms,
                    unit,
                    state: State::Stopped,
                    pid: None,
                    starts: 0,
                    recent: VecDeque::new(),
                    note: String::new(),
                });
            }
        }
        Ok(Self { mode, nodes, phase: Phase::Before, frozen: None, system_ready: false })
    }

    /// A unit by its name.
    pub fn unit(&self, name: &UnitName) -> Option<&Unit> {
        self.node(name).map(|node| &node.unit)
    }

    /// All units in start order.
    pub fn units(&self) -> impl Iterator<Item = &Unit> {
        self.nodes.iter().map(|node| &node.unit)
    }

    /// Why actions are frozen, while they are.
    pub fn frozen(&self) -> Option<&str> {
        self.frozen.as_deref()
    }

    /// What every unit is doing, in start order.
    pub fn services(&self) -> Vec<Service> {
        self.nodes.iter().map(|node| node.service(self.frozen.is_some())).collect()
    }

    /// When [`Event::Tick`] is needed next.
    pub fn next_deadline(&self) -> Option<u64> {
        let deadline = |node: &Node| match node.state {
            State::Starting { deadline, killed: false } | State::Stopping { deadline, killed: false, .. } => {
                Some(deadline)
            }
            State::Restarting { at } => Some(at),
            _ => None,
        };
        self.nodes.iter().filter_map(deadline).min()
    }

    /// One event, and everything that follows from it. `now_ms` never goes back.
    pub fn step(&mut self, event: Event, now_ms: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Begin => self.begin(),
            Event::Shutdown => self.end(&mut effects),
            Event::Tick => {}
            Event::Started(name, pid) => self.change(&name, |node| node.started(pid, &mut effects)),
            Event::NotStarted(name, why) => {
                self.change(&name, |node| node.ended(&why, Quality::Bad, now_ms, &mut effects))
            }
            Event::Ready(name) => self.change(&name, |node| node.ready(&mut effects)),
            Event::Said(name, text) => self.change(&name, |node| node.note = text),
            Event::Ended(name, how) => {
                let quality = if how == Ended::Status(0) { Quality::Good } else { Quality::Bad };
                self.change(&name, |node| node.ended(&how.to_string(), quality, now_ms, &mut effects));
            }
            Event::Start(name) => self.asked(&name, now_ms, Then::Start, Node::start, &mut effects),
            Event::Stop(name) => self.asked(&name, now_ms, Then::Stay, Node::stop, &mut effects),
            Event::Restart(name) => self.asked(&name, now_ms, Then::Start, Node::stop, &mut effects),
        }
        self.settle(now_ms, &mut effects);
        effects
    }

    fn node(&self, name: &UnitName) -> Option<&Node> {
        self.nodes.iter().find(|node| node.unit.name == *name)
    }

    fn change(&mut self, name: &UnitName, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.iter_mut().find(|node| node.unit.name == *name) {
            change(node);
        }
    }

    fn begin(&mut self) {
        if self.phase != Phase::Before {
            return;
        }
        self.phase = Phase::Running;
        for node in self.nodes.iter_mut().filter(|node| node.unit.modes.contains(&self.mode)) {
            node.state = State::Waiting;
        }
    }

    fn end(&mut self, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Ending | Phase::Ended) {
            return;
        }
        self.phase = Phase::Ending;
        effects.push(Effect::Record(None, What::Shutdown, "ending all units".into()));
        for node in &mut self.nodes {
            match node.state {
                State::Waiting | State::Restarting { .. } => node.state = State::Stopped,
                State::Stopping { ref mut then, .. } => *then = Then::Stay,
                _ => {}
            }
        }
    }

    fn asked(
        &mut self,
        name: &UnitName,
        now_ms: u64,
        then: Then,
        verb: fn(&mut Node, u64, Then, &mut Vec<Effect>),
        effects: &mut Vec<Effect>,
    ) {
        let refusal = match self.phase {
            Phase::Before => Some("the machine is not set up yet; ask again".to_owned()),
            Phase::Ending | Phase::Ended => Some("the machine is going down".to_owned()),
            Phase::Running if self.node(name).is_none() => {
                Some(format!("there is no unit '{name}' in this mode; 'aios service list' shows all"))
            }
            Phase::Running => None,
        };
        match refusal {
            Some(reason) => effects.push(Effect::Refuse(reason)),
            None => self.change(name, |node| verb(node, now_ms, then, effects)),
        }
    }

    /// Everything that no longer has to wait.
    fn settle(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        for node in &mut self.nodes {
            node.deadlines(now_ms, effects);
        }
        match self.phase {
            Phase::Running => self.start_what_can(now_ms, effects),
            Phase::Ending => self.stop_what_can(now_ms, effects),
            Phase::Before | Phase::Ended => {}
        }
        if self.phase != Phase::Before {
            self.freeze_or_thaw(effects);
        }
        if self.phase == Phase::Running && !self.system_ready {
            let mut critical = self.nodes.iter().filter(|node| node.unit.critical).peekable();
            if critical.peek().is_some() && critical.all(Node::is_up) {
                self.system_ready = true;
                effects.push(Effect::SystemReady);
            }
        }
    }

    fn freeze_or_thaw(&mut self, effects: &mut Vec<Effect>) {
        let missing = self.nodes.iter().find(|node| node.unit.freezes_actions && node.state != State::Ready);
        match (missing.map(|node| node.unit.name.clone()), self.frozen.is_some()) {
            (Some(name), false) => {
                let reason = format!("{name} is not ready");
                self.frozen = Some(reason.clone());
                // The freeze comes before anything else that follows from the same event.
                effects.insert(0, Effect::Freeze(reason.clone()));
                effects.push(Effect::Record(None, What::Frozen, reason));
            }
            (Some(name), true) => self.frozen = Some(format!("{name} is not ready")),
            (None, true) => {
                self.frozen = None;
                effects.push(Effect::Thaw);
                effects.push(Effect::Record(None, What::Thawed, "all that decides and records is ready".into()));
            }
            (None, false) => {}
        }
    }

    fn start_what_can(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        for index in 0..self.nodes.len() {
            if self.nodes[index].state != State::Waiting {
                continue;
            }
            let unit = &self.nodes[index].unit;
            let blocker = unit
                .requires
                .iter()
                .find(|name| !self.node(name).is_some_and(Node::is_up))
                .or_else(|| unit.after.iter().find(|name| self.node(name).is_some_and(Node::is_on_its_way)));
            match blocker {
                Some(name) => self.nodes[index].note = format!("waits for {name}"),
                None => self.nodes[index].spawn(now_ms, effects),
            }
        }
    }

    fn stop_what_can(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        for index in 0..self.nodes.len() {
            let name = &self.nodes[index].unit.name;
            let needed = self.nodes.iter().any(|other| other.state.runs() && before(&other.unit).any(|n| n == name));
            if !needed {
                self.nodes[index].stop(now_ms, Then::Stay, effects);
            }
        }
        if !self.nodes.iter().any(|node| node.state.runs()) {
            self.phase = Phase::Ended;
            effects.push(Effect::AllStopped);
        }
    }
}

/// What a unit's start waits for.
fn before(unit: &Unit) -> impl Iterator<Item = &UnitName> {
    unit.requires.iter().chain(&unit.after)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quality {
    Good,
    Bad,
}

impl Node {
    /// Whether units that require this one may start.
    fn is_up(&self) -> bool {
        matches!(self.state, State::Ready | State::Finished)
    }

    /// Whether units that are only ordered after this one should still wait.
    fn is_on_its_way(&self) -> bool {
        matches!(self.state, State::Waiting | State::Starting { .. } | State::Restarting { .. })
    }

    fn spawn(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        self.state = State::Starting { deadline: now_ms + self.unit.start_timeout_ms, killed: false };
        self.starts += 1;
        self.note.clear();
        self.recent.push_back(now_ms);
        while self.recent.len() > self.unit.restart.budget as usize {
            self.recent.pop_front();
        }
        effects.push(Effect::Spawn(self.unit.name.clone()));
    }

    fn started(&mut self, pid: u32, effects: &mut Vec<Effect>) {
        if !self.state.runs() {
            return;
        }
        self.pid = Some(pid);
        effects.push(self.record(What::Started, format!("process {pid}")));
        if self.unit.readiness == Readiness::Started && self.unit.kind != Kind::Oneshot {
            self.ready(effects);
        }
    }

    fn ready(&mut self, effects: &mut Vec<Effect>) {
        if matches!(self.state, State::Starting { killed: false, .. }) {
            self.state = State::Ready;
            self.backoff_ms = self.unit.restart.backoff_ms;
            effects.push(self.record(What::Ready, String::new()));
        }
    }

    /// The process is gone, or there never was one.
    fn ended(&mut self, how: &str, quality: Quality, now_ms: u64, effects: &mut Vec<Effect>) {
        self.pid = None;
        self.note = how.to_owned();
        match self.state {
            State::Stopping { then, .. } => {
                effects.push(self.record(What::Stopped, how.to_owned()));
                self.state = if then == Then::Start { State::Waiting } else { State::Stopped };
            }
            State::Starting { .. } | State::Ready => {
                effects.push(self.record(What::Exited, how.to_owned()));
                self.after_end(quality, now_ms, effects);
            }
            _ => {}
        }
    }

    fn after_end(&mut self, quality: Quality, now_ms: u64, effects: &mut Vec<Effect>) {
        let policy = self.unit.restart.policy;
        self.state = match (self.unit.kind, quality) {
            (Kind::Oneshot, Quality::Good) => State::Finished,
            (Kind::Terminal, Quality::Good) if policy == RestartPolicy::Always => {
                // A person who leaves is no failure: the terminal is there for the next one at once.
                self.recent.pop_back();
                State::Waiting
            }
            (_, Quality::Good) if policy != RestartPolicy::Always => State::Stopped,
            (_, Quality::Bad) if policy == RestartPolicy::Never => State::Failed,
            _ => match self.next_start(now_ms) {
                Some(at) => State::Restarting { at },
                None => State::Failed,
            },
        };
        if self.state == State::Failed {
            let note = format!("{}; it is not started again", self.note);
            effects.push(self.record(What::Failed, note.clone()));
            self.note = note;
        }
    }

    /// When it may be started again; none: its restarts are spent.
    fn next_start(&mut self, now_ms: u64) -> Option<u64> {
        let backoff = self.backoff_ms;
        self.backoff_ms = (backoff * 2).min(BACKOFF_LIMIT_MS);
        let soon = now_ms + backoff;
        let full = self.recent.len() >= self.unit.restart.budget as usize;
        let Some(room) = self.recent.front().filter(|_| full).map(|first| first + self.unit.restart.window_s * 1000)
        else {
            return Some(soon);
        };
        match self.unit.restart.policy {
            _ if room <= soon => Some(soon),
            RestartPolicy::Always => Some(room),
            RestartPolicy::OnFailure | RestartPolicy::Never => None,
        }
    }

    fn start(&mut self, _now_ms: u64, _then: Then, _effects: &mut Vec<Effect>) {
        match self.state {
            State::Stopped | State::Failed | State::Finished | State::Restarting { .. } => {
                // A person's wish is not bound by what went wrong before.
                self.recent.clear();
                self.backoff_ms = self.unit.restart.backoff_ms;
                self.state = State::Waiting;
            }
            State::Stopping { ref mut then, .. } => *then = Then::Start,
            State::Waiting | State::Starting { .. } | State::Ready => {}
        }
    }

    fn stop(&mut self, now_ms: u64, then: Then, effects: &mut Vec<Effect>) {
        match self.state {
            State::Starting { .. } | State::Ready => {
                self.state = State::Stopping { deadline: now_ms + self.unit.stop_timeout_ms, killed: false, then };
                effects.push(Effect::Terminate(self.unit.name.clone()));
            }
            State::Stopping { then: ref mut next, .. } => *next = then,
            _ if then == Then::Start => self.start(now_ms, then, effects),
            State::Waiting | State::Restarting { .. } => self.state = State::Stopped,
            State::Stopped | State::Failed | State::Finished => {}
        }
    }

    fn deadlines(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        match &mut self.state {
            State::Starting { deadline, killed } if !*killed && *deadline <= now_ms => {
                *killed = true;
                self.note = "did not become ready in time".into();
                effects.push(Effect::Kill(self.unit.name.clone()));
            }
            State::Stopping { deadline, killed, .. } if !*killed && *deadline <= now_ms => {
                *killed = true;
                effects.push(Effect::Kill(self.unit.name.clone()));
            }
            State::Restarting { at } if *at <= now_ms => self.state = State::Waiting,
            _ => {}
        }
    }

    fn record(&self, what: What, detail: String) -> Effect {
        Effect::Record(Some(self.unit.name.clone()), what, detail)
    }

    fn service(&self, frozen: bool) -> Service {
        let state = match self.state {
            State::Stopped => ServiceState::Stopped,
            State::Waiting => ServiceState::Waiting,
            State::Starting { .. } => ServiceState::Starting,
            State::Ready if frozen && self.unit.kind == Kind::Agent => ServiceState::Frozen,
            State::Ready => ServiceState::Ready,
            State::Stopping { .. } => ServiceState::Stopping,
            State::Restarting { .. } => ServiceState::Restarting,
            State::Failed => ServiceState::Failed,
            State::Finished => ServiceState::Finished,
        };
        let role = match (self.unit.kind, &self.unit.session) {
            (Kind::Agent, _) => Role::Agent,
            (_, Some(_)) => Role::Session,
            _ => Role::System,
        };
        let (name, note) = (self.unit.name.to_string(), self.note.clone());
        Service { name, role, state, pid: self.pid, starts: self.starts, note }
    }
}
