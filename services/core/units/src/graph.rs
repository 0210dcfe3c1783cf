//! The supervised units of one boot: what they wait for, and what each event leads to.
//!
//! The graph is checked when it is made: every name that a unit requires exists, nothing waits for itself, what belongs
//! to one unit belongs to no other. Rules that hold at every moment: no unit starts before all it requires is ready, nor
//! beside one that it conflicts with; actions are frozen exactly while a unit that freezes them is not ready or says that
//! nothing may be done; a unit's
//! starts within its window never exceed its budget, and a spent budget is told; a shutdown stops a unit only when
//! nothing that needs it runs any more.

mod apps;

use std::collections::{BTreeMap, BTreeSet};

use aios_ids::UnitName;
use aios_wire::init::Service;

use crate::fit::{self, GraphError};
use crate::node::{Frozen, Node, Quality, Staying};
use crate::state::{Effect, Ended, Event, State, Then, What};
use crate::unit::{Kind, Mode, Unit};

/// After a second request for the end a unit has so long between being told and being killed.
const HURRY_MS: u64 = 500;

/// Units that PID 1 supervises, in an order in which they can be started.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Graph {
    mode: Mode,
    /// Names that no app's unit may have.
    shipped: BTreeSet<UnitName>,
    nodes: Vec<Node>,
    /// The place of each among the nodes, by its name.
    places: BTreeMap<UnitName, usize>,
    phase: Phase,
    frozen: Option<String>,
    system_ready: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    Before,
    Running,
    Ending(Pace),
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Pace {
    Orderly,
    Hurried,
}

impl Graph {
    /// Checks the image's `units` together, for `mode`. Units of other modes are left out; agents stay, stopped.
    pub fn new(mode: Mode, units: Vec<Unit>) -> Result<Self, GraphError> {
        let shipped = apps::names_of(&units);
        let mut waiting: BTreeMap<UnitName, Unit> = BTreeMap::new();
        for unit in units {
            if unit.kind == Kind::App || unit.is_of_an_app() {
                return Err(GraphError::App(unit.name));
            }
            if (unit.kind == Kind::Agent && mode != Mode::Install) || unit.modes.contains(&mode) {
                let name = unit.name.clone();
                if waiting.insert(name.clone(), unit).is_some() {
                    return Err(GraphError::Twice(name));
                }
            }
        }
        fit::check(mode, &waiting)?;
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
                nodes.push(Node::new(unit));
            }
        }
        let places = places_of(&nodes);
        Ok(Self { mode, shipped, nodes, places, phase: Phase::Before, frozen: None, system_ready: false })
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

    /// Units because of which the machine is less than it should be.
    pub fn degraded(&self) -> impl Iterator<Item = &UnitName> {
        self.nodes.iter().filter(|node| node.degrades()).map(|node| &node.unit.name)
    }

    /// What every unit is doing, in start order.
    pub fn services(&self) -> Vec<Service> {
        let frozen = if self.frozen.is_some() { Frozen::Yes } else { Frozen::No };
        self.nodes.iter().map(|node| node.service(frozen)).collect()
    }

    /// Units that whoever calls their sockets starts.
    pub fn on_call(&self) -> impl Iterator<Item = &UnitName> {
        self.nodes.iter().filter(|node| node.state == State::OnCall).map(|node| &node.unit.name)
    }

    /// When [`Event::Tick`] is needed next.
    pub fn next_deadline(&self) -> Option<u64> {
        self.nodes.iter().filter_map(Node::deadline).min()
    }

    /// One event, and everything that follows from it. `now_ms` never goes back.
    pub fn step(&mut self, event: Event, now_ms: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Begin => self.begin(),
            Event::Called(name) => self.change(&name, Node::called),
            Event::Shutdown => self.end(&mut effects),
            Event::Tick => {}
            Event::Hurry => self.hurry(),
            Event::Started(name, pid) => self.change(&name, |node| node.started(pid, now_ms, &mut effects)),
            Event::NotStarted(name, why) => {
                self.change(&name, |node| node.ended(&why, Quality::Bad, now_ms, &mut effects))
            }
            Event::Ready(name) => self.change(&name, |node| node.ready(now_ms, &mut effects)),
            Event::Alive(name) => self.change(&name, |node| node.alive(now_ms)),
            Event::StoodStill(name) => {
                self.change(&name, |node| node.kill("its process was stopped by a signal", &mut effects));
            }
            Event::Holds(name, why) => self.change(&name, |node| node.hold(why, &mut effects)),
            Event::Said(name, text) => self.change(&name, |node| node.note = text),
            Event::Ended(name, how) => {
                let quality = if how == Ended::Status(0) { Quality::Good } else { Quality::Bad };
                self.change(&name, |node| node.ended(&how.to_string(), quality, now_ms, &mut effects));
            }
            Event::Start(name) => self.asked(&name, Verb::Start, now_ms, &mut effects),
            Event::Stop(name) => self.asked(&name, Verb::Stop, now_ms, &mut effects),
            Event::Restart(name) => self.asked(&name, Verb::Restart, now_ms, &mut effects),
            Event::Add(unit) => {
                let added = self.add(*unit);
                effects.extend(added.err().map(Effect::Refuse));
            }
            Event::Remove(name) => {
                let removed = self.remove(&name, now_ms, &mut effects);
                effects.extend(removed.err().map(Effect::Refuse));
            }
        }
        self.settle(now_ms, &mut effects);
        effects
    }

    fn node(&self, name: &UnitName) -> Option<&Node> {
        self.places.get(name).map(|place| &self.nodes[*place])
    }

    fn change(&mut self, name: &UnitName, change: impl FnOnce(&mut Node)) {
        if let Some(place) = self.places.get(name) {
            change(&mut self.nodes[*place]);
        }
    }

    fn begin(&mut self) {
        if self.phase != Phase::Before {
            return;
        }
        self.phase = Phase::Running;
        for node in self.nodes.iter_mut().filter(|node| node.unit.modes.contains(&self.mode)) {
            node.begin();
        }
    }

    fn end(&mut self, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Ending(_) | Phase::Ended) {
            return;
        }
        self.phase = Phase::Ending(Pace::Orderly);
        effects.push(Effect::Record(None, What::Shutdown, "ending all units".into()));
        for node in &mut self.nodes {
            match node.state {
                State::Waiting | State::OnCall | State::Restarting { .. } => node.state = State::Stopped,
                State::Stopping { ref mut then, .. } => *then = Then::Stay,
                _ => {}
            }
        }
    }

    /// Only an end that has begun can be hurried.
    fn hurry(&mut self) {
        if matches!(self.phase, Phase::Ending(_)) {
            self.phase = Phase::Ending(Pace::Hurried);
        }
    }

    fn asked(&mut self, name: &UnitName, verb: Verb, now_ms: u64, effects: &mut Vec<Effect>) {
        if let Err(reason) = self.try_asked(name, verb, now_ms, effects) {
            effects.push(Effect::Refuse(reason));
        }
    }

    /// Either all of it is done or, with the reason, nothing.
    fn try_asked(&mut self, name: &UnitName, verb: Verb, now_ms: u64, effects: &mut Vec<Effect>) -> Result<(), String> {
        self.takes_wishes()?;
        let node = self.node(name);
        let node =
            node.ok_or_else(|| format!("there is no unit '{name}' in this mode; 'aios service list' shows all"))?;
        if node.staying == Staying::Leaves {
            return Err(format!("'{name}' is being removed; 'aios service enable {name}' brings it back"));
        }
        if verb == Verb::Stop {
            self.change(name, |node| node.stop(now_ms, Then::Stay, effects));
            return Ok(());
        }
        let starting = match node.state.runs() {
            // What it needed was there when it started.
            true => vec![name.clone()],
            false => fit::pulled_in(name, |name| self.node(name).map(|node| &node.unit)),
        };
        let rivals = self.rivals(&starting);
        if let Some(rival) = rivals.iter().find(|rival| self.unit(rival).is_some_and(|unit| unit.critical)) {
            return Err(format!("'{name}' conflicts with '{rival}', which the machine cannot be without"));
        }
        for rival in rivals {
            self.change(&rival, |node| node.stop(now_ms, Then::Stay, effects));
        }
        for other in starting.iter().filter(|other| *other != name) {
            self.change(other, |node| match node.state {
                State::Finished | State::Restarting { .. } => {}
                _ => node.start(now_ms, Then::Start, effects),
            });
        }
        match verb {
            Verb::Restart => self.change(name, |node| node.stop(now_ms, Then::Start, effects)),
            _ => self.change(name, |node| node.start(now_ms, Then::Start, effects)),
        }
        Ok(())
    }

    /// Units that conflict with one of `starting` and are not stopped.
    fn rivals(&self, starting: &[UnitName]) -> Vec<UnitName> {
        let clashes = |node: &&Node| {
            let mut with = starting.iter().filter_map(|name| self.unit(name));
            (node.state.runs() || node.is_on_its_way()) && with.any(|unit| fit::conflict(unit, &node.unit))
        };
        self.nodes.iter().filter(clashes).map(|node| node.unit.name.clone()).collect()
    }

    /// Everything that no longer has to wait.
    fn settle(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        for node in &mut self.nodes {
            node.deadlines(now_ms, effects);
        }
        match self.phase {
            Phase::Running => self.start_what_can(now_ms, effects),
            Phase::Ending(pace) => self.stop_what_can(pace, now_ms, effects),
            Phase::Before | Phase::Ended => {}
        }
        self.forget_gone(effects);
        if self.phase != Phase::Before {
            self.freeze_or_thaw(effects);
        }
        if self.phase == Phase::Running && !self.system_ready {
            let mut critical = self.nodes.iter().filter(|node| node.unit.critical).peekable();
            if critical.peek().is_some() && self.frozen.is_none() && critical.all(Node::is_up) {
                self.system_ready = true;
                effects.push(Effect::SystemReady);
            }
        }
    }

    fn freeze_or_thaw(&mut self, effects: &mut Vec<Effect>) {
        let reason = self.nodes.iter().find_map(Node::freezes);
        match (reason, self.frozen.is_some()) {
            (Some(reason), false) => {
                self.frozen = Some(reason.clone());
                // The freeze comes before anything else that follows from the same event.
                effects.insert(0, Effect::Freeze(reason.clone()));
                effects.push(Effect::Record(None, What::Frozen, reason));
            }
            (Some(reason), true) => self.frozen = Some(reason),
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
            let blocker = unit.requires.iter().find(|name| !self.node(name).is_some_and(Node::is_up)).or_else(|| {
                unit.wants.iter().chain(&unit.after).find(|name| self.node(name).is_some_and(Node::is_on_its_way))
            });
            let rival = || self.nodes.iter().find(|node| node.state.runs() && fit::conflict(unit, &node.unit));
            let note = match blocker {
                Some(name) => Some(format!("waits for {name}")),
                None => rival().map(|rival| format!("waits for the end of {}", rival.unit.name)),
            };
            match note {
                Some(note) => self.nodes[index].note = note,
                None => self.nodes[index].spawn(now_ms, effects),
            }
        }
    }

    fn stop_what_can(&mut self, pace: Pace, now_ms: u64, effects: &mut Vec<Effect>) {
        for index in 0..self.nodes.len() {
            let name = &self.nodes[index].unit.name;
            let needed = self.nodes.iter().any(|other| other.state.runs() && before(&other.unit).any(|n| n == name));
            if !needed {
                self.nodes[index].stop(now_ms, Then::Stay, effects);
            }
            if pace == Pace::Hurried {
                self.nodes[index].hurry(now_ms + HURRY_MS);
            }
        }
        if !self.nodes.iter().any(|node| node.state.runs()) {
            self.phase = Phase::Ended;
            effects.push(Effect::AllStopped);
        }
    }
}

/// Where each is, by its name.
fn places_of(nodes: &[Node]) -> BTreeMap<UnitName, usize> {
    nodes.iter().enumerate().map(|(place, node)| (node.unit.name.clone(), place)).collect()
}

/// What a unit's start waits for.
fn before(unit: &Unit) -> impl Iterator<Item = &UnitName> {
    unit.requires.iter().chain(&unit.wants).chain(&unit.after)
}

/// What somebody asks of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Start,
    Stop,
    Restart,
}
