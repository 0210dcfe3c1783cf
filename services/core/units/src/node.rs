//! One unit of a graph: its state, its process, its restarts. What it may do because of other units is decided in
//! [`Graph`](crate::Graph).

use std::collections::VecDeque;

use aios_wire::init::{Role, Service, ServiceState};

use crate::state::{Effect, State, Then, What};
use crate::unit::{Kind, Readiness, RestartPolicy, Start, Unit, WhenSpent};

/// Waits between restarts never grow beyond this.
const BACKOFF_LIMIT_MS: u64 = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) unit: Unit,
    pub(crate) state: State,
    pid: Option<u32>,
    starts: u32,
    /// When it was last started by itself; never longer than the budget.
    recent: VecDeque<u64>,
    backoff_ms: u64,
    pub(crate) note: String,
    /// Why nothing may be done though it works.
    holds: Option<String>,
    /// What its note was when it was started: what it had waited for, or how it had ended before.
    before: String,
    standing: Standing,
    pub(crate) staying: Staying,
}

/// Whether a unit was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Staying {
    Stays,
    /// It goes when its process has ended.
    Leaves,
}

/// Whether a unit's restarts have been spent since it last worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Standing {
    Good,
    Spent,
}

/// How a process ended, seen from the unit's promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quality {
    Good,
    Bad,
}

impl Node {
    pub(crate) fn new(unit: Unit) -> Self {
        Self {
            backoff_ms: unit.restart.backoff_ms,
            unit,
            state: State::Stopped,
            pid: None,
            starts: 0,
            recent: VecDeque::new(),
            note: String::new(),
            holds: None,
            before: String::new(),
            standing: Standing::Good,
            staying: Staying::Stays,
        }
    }

    /// Whether units that require this one may start.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Ready { .. } | State::Finished)
    }

    /// Whether units that are only ordered after this one should still wait.
    pub(crate) fn is_on_its_way(&self) -> bool {
        matches!(self.state, State::Waiting | State::Starting { .. } | State::Killed { .. } | State::Restarting { .. })
    }

    /// Whether the machine is less than it should be because of this unit.
    pub(crate) fn degrades(&self) -> bool {
        self.standing == Standing::Spent && self.unit.restart.when_spent != WhenSpent::Ignore
    }

    /// When it needs a tick next.
    pub(crate) fn deadline(&self) -> Option<u64> {
        match self.state {
            State::Starting { deadline } | State::Stopping { deadline, killed: false, .. } => Some(deadline),
            State::Ready { alive_by } => alive_by,
            State::Restarting { at } => Some(at),
            _ => None,
        }
    }

    /// It starts by itself, or waits for a caller if only its callers start it.
    pub(crate) fn begin(&mut self) {
        self.state = if self.unit.start == Start::OnCall { State::OnCall } else { State::Waiting };
    }

    /// Somebody calls its socket.
    pub(crate) fn called(&mut self) {
        if self.state == State::OnCall {
            self.state = State::Waiting;
            self.note = "a caller".into();
        }
    }

    pub(crate) fn spawn(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        self.state = State::Starting { deadline: now_ms + self.unit.start_timeout_ms };
        self.starts += 1;
        self.before = std::mem::take(&mut self.note);
        self.holds = None;
        self.recent.push_back(now_ms);
        while self.recent.len() > self.unit.restart.budget as usize {
            self.recent.pop_front();
        }
        effects.push(Effect::Spawn(self.unit.name.clone()));
    }

    pub(crate) fn started(&mut self, pid: u32, now_ms: u64, effects: &mut Vec<Effect>) {
        if !self.state.runs() {
            return;
        }
        self.pid = Some(pid);
        let detail = match self.before.as_str() {
            "" => format!("process {pid}"),
            before => format!("process {pid}; before: {before}"),
        };
        effects.push(self.record(What::Started, detail));
        if self.unit.readiness == Readiness::Started && self.unit.kind != Kind::Oneshot {
            self.ready(now_ms, effects);
        }
    }

    pub(crate) fn ready(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        if matches!(self.state, State::Starting { .. }) {
            self.state = State::Ready { alive_by: self.unit.watchdog_ms.map(|limit| now_ms + limit) };
            self.backoff_ms = self.unit.restart.backoff_ms;
            self.standing = Standing::Good;
            effects.push(self.record(What::Ready, String::new()));
        }
    }

    /// It works, and nothing may be done. It never takes this back: what is wrong is looked at again by its next start.
    pub(crate) fn hold(&mut self, why: String, effects: &mut Vec<Effect>) {
        let runs = matches!(self.state, State::Starting { .. } | State::Ready { .. });
        if self.unit.freezes_actions && runs && self.holds.is_none() {
            effects.push(self.record(What::Holds, why.clone()));
            self.note.clone_from(&why);
            self.holds = Some(why);
        }
    }

    /// Why actions must stand still because of it.
    pub(crate) fn freezes(&self) -> Option<String> {
        let name = &self.unit.name;
        match (&self.state, &self.holds) {
            _ if !self.unit.freezes_actions => None,
            (State::Ready { .. }, None) => None,
            (State::Ready { .. }, Some(why)) => Some(format!("{name}: {why}")),
            _ => Some(format!("{name} is not ready")),
        }
    }

    /// It gave a sign of life.
    pub(crate) fn alive(&mut self, now_ms: u64) {
        if let (State::Ready { alive_by }, Some(limit)) = (&mut self.state, self.unit.watchdog_ms) {
            *alive_by = Some(now_ms + limit);
        }
    }

    /// Kills a process that is of no use any more; what follows waits until the kernel tells its end.
    pub(crate) fn kill(&mut self, why: &'static str, effects: &mut Vec<Effect>) {
        if matches!(self.state, State::Starting { .. } | State::Ready { .. }) {
            self.state = State::Killed { why };
            self.note = why.into();
            effects.push(Effect::Kill(self.unit.name.clone()));
        }
    }

    /// The process is gone, or there never was one.
    pub(crate) fn ended(&mut self, how: &str, quality: Quality, now_ms: u64, effects: &mut Vec<Effect>) {
        self.pid = None;
        let called = self.unit.start != Start::Boot;
        if called && quality == Quality::Good && matches!(self.state, State::Ready { .. }) {
            return self.idle(now_ms, effects);
        }
        self.note = how.to_owned();
        // Who ends before being ready has not answered its caller, who would start it again at once.
        let quality = if called { Quality::Bad } else { quality };
        match self.state {
            State::Stopping { then, .. } => {
                effects.push(self.record(What::Stopped, how.to_owned()));
                self.state = if then == Then::Start { State::Waiting } else { State::Stopped };
            }
            State::Killed { why } => {
                self.note = format!("{why}: {how}");
                effects.push(self.record(What::Exited, self.note.clone()));
                self.after_end(Quality::Bad, now_ms, effects);
            }
            State::Starting { .. } | State::Ready { .. } => {
                effects.push(self.record(What::Exited, how.to_owned()));
                self.after_end(quality, now_ms, effects);
            }
            _ => {}
        }
    }

    /// It ended because it had nothing to do. What it last said of itself stays.
    fn idle(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        self.state = match self.room(now_ms) {
            None => State::OnCall,
            Some(room) => self.without_room(room, effects),
        };
        effects.push(self.record(What::Idle, String::new()));
        self.tell_if_failed(effects);
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
            (_, Quality::Bad) if policy == RestartPolicy::Never => {
                self.spent(effects);
                State::Failed
            }
            _ => self.next_start(now_ms, effects),
        };
        self.tell_if_failed(effects);
    }

    fn tell_if_failed(&mut self, effects: &mut Vec<Effect>) {
        if self.state == State::Failed {
            let note = format!("{}; it is not started again", self.note);
            effects.push(self.record(What::Failed, note.clone()));
            self.note = note;
        }
    }

    /// When it is started again, if it is.
    fn next_start(&mut self, now_ms: u64, effects: &mut Vec<Effect>) -> State {
        let backoff = self.backoff_ms;
        self.backoff_ms = (backoff * 2).min(BACKOFF_LIMIT_MS);
        let soon = now_ms + backoff;
        match self.room(soon) {
            None => State::Restarting { at: soon },
            Some(room) => self.without_room(room, effects),
        }
    }

    /// When it may be started again, if that is later than `soon` because of its budget.
    fn room(&self, soon: u64) -> Option<u64> {
        let full = self.recent.len() >= self.unit.restart.budget as usize;
        let room = self.recent.front().filter(|_| full).map(|first| first + self.unit.restart.window_s * 1000);
        room.filter(|room| *room > soon)
    }

    /// Its budget is spent until `room`.
    fn without_room(&mut self, room: u64, effects: &mut Vec<Effect>) -> State {
        self.spent(effects);
        match self.unit.restart.policy {
            RestartPolicy::Always => State::Restarting { at: room },
            RestartPolicy::OnFailure | RestartPolicy::Never => State::Failed,
        }
    }

    /// Its budget is used up: what its file says of that follows, every time.
    fn spent(&mut self, effects: &mut Vec<Effect>) {
        self.standing = Standing::Spent;
        effects.push(Effect::Spent(self.unit.name.clone(), self.unit.restart.when_spent));
    }

    pub(crate) fn start(&mut self, _now_ms: u64, _then: Then, _effects: &mut Vec<Effect>) {
        match self.state {
            State::Stopped | State::OnCall | State::Failed | State::Finished | State::Restarting { .. } => {
                // A person's wish is not bound by what went wrong before.
                self.recent.clear();
                self.backoff_ms = self.unit.restart.backoff_ms;
                self.standing = Standing::Good;
                self.state = State::Waiting;
            }
            State::Stopping { ref mut then, .. } => *then = Then::Start,
            State::Waiting | State::Starting { .. } | State::Killed { .. } | State::Ready { .. } => {}
        }
    }

    pub(crate) fn stop(&mut self, now_ms: u64, then: Then, effects: &mut Vec<Effect>) {
        let deadline = now_ms + self.unit.stop_timeout_ms;
        match self.state {
            State::Starting { .. } | State::Ready { .. } => {
                self.state = State::Stopping { deadline, killed: false, then };
                effects.push(Effect::Terminate(self.unit.name.clone()));
            }
            State::Killed { .. } => self.state = State::Stopping { deadline, killed: true, then },
            State::Stopping { then: ref mut next, .. } => *next = then,
            _ if then == Then::Start => self.start(now_ms, then, effects),
            State::Waiting | State::OnCall | State::Restarting { .. } => self.state = State::Stopped,
            State::Stopped | State::Failed | State::Finished => {}
        }
        if then == Then::Stay {
            self.standing = Standing::Good;
        }
    }

    /// It is told to end, for good.
    pub(crate) fn leave(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        self.staying = Staying::Leaves;
        self.stop(now_ms, Then::Stay, effects);
    }

    /// A stop that has begun may take until `latest` and no longer.
    pub(crate) fn hurry(&mut self, latest: u64) {
        if let State::Stopping { deadline, .. } = &mut self.state {
            *deadline = latest.min(*deadline);
        }
    }

    pub(crate) fn deadlines(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        match &mut self.state {
            State::Starting { deadline } if *deadline <= now_ms => self.kill("did not become ready in time", effects),
            State::Ready { alive_by: Some(limit) } if *limit <= now_ms => {
                self.kill("gave no sign of life in time", effects);
            }
            State::Stopping { deadline, killed, .. } if !*killed && *deadline <= now_ms => {
                *killed = true;
                effects.push(Effect::Kill(self.unit.name.clone()));
            }
            State::Restarting { at } if *at <= now_ms => self.begin(),
            _ => {}
        }
    }

    fn record(&self, what: What, detail: String) -> Effect {
        Effect::Record(Some(self.unit.name.clone()), what, detail)
    }

    /// Whether it stands still with actions, because nothing of what it is refused could be recorded.
    fn stands_still(&self) -> bool {
        matches!(self.unit.kind, Kind::Agent | Kind::App)
    }

    /// What callers are told of it.
    pub(crate) fn service(&self, frozen: Frozen) -> Service {
        let state = match self.state {
            State::Stopped => ServiceState::Stopped,
            State::OnCall => ServiceState::OnCall,
            State::Waiting => ServiceState::Waiting,
            State::Starting { .. } => ServiceState::Starting,
            State::Ready { .. } if frozen == Frozen::Yes && self.stands_still() => ServiceState::Frozen,
            State::Ready { .. } => ServiceState::Ready,
            State::Killed { .. } | State::Stopping { .. } => ServiceState::Stopping,
            State::Restarting { .. } => ServiceState::Restarting,
            State::Failed => ServiceState::Failed,
            State::Finished => ServiceState::Finished,
        };
        let role = match (self.unit.kind, &self.unit.session) {
            (Kind::Agent, _) if self.unit.is_of_an_app() => Role::AppAgent,
            (Kind::Agent, _) => Role::Agent,
            (Kind::App, _) => Role::App,
            (_, Some(_)) => Role::Session,
            _ => Role::System,
        };
        let (name, note) = (self.unit.name.to_string(), self.note.clone());
        Service { name, role, state, pid: self.pid, starts: self.starts, note }
    }
}

/// Whether actions and agents stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frozen {
    Yes,
    No,
}
