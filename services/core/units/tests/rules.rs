//! The rules of supervision, each a sentence, held against every small machine in every order of events and against large
//! machines in random ones.
//!
//! - A unit is started only when all it requires is ready, nothing that it conflicts with has a process, and it has none.
//! - Only what has a process is told to end, and during a shutdown only when nothing that needs it has one.
//! - Actions are frozen exactly while a unit that freezes them is not ready, or said since its start that it holds them.
//! - A unit that is given up was spent first, and what is to follow was said.
//! - A refusal changes nothing.
//! - What waits for a caller has no process, and is given none before it is called or asked for.
//! - Every deadline lies ahead.
//! - Units of apps come and go at any time, and the others stay as they are and in their order. What was removed is started
//!   no more, and is gone only when it has no process; while it is not, nothing comes in its place.
//! - The machine is ready at most once; whatever happened before, a shutdown ends in no process at all.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher as _};

use aios_ids::UnitName;
use aios_units::{Effect, Ended, Event, Graph, Mode, Unit, What};
use aios_wire::init::ServiceState;
use proptest::prelude::*;

/// What the graph cannot see: processes that exist.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Machine {
    graph: Graph,
    /// Apps that may come.
    apps: Vec<Unit>,
    /// Units that were removed and are not gone.
    leaving: BTreeSet<UnitName>,
    now: u64,
    processes: BTreeMap<UnitName, Process>,
    holding: BTreeSet<UnitName>,
    frozen: bool,
    ending: bool,
    stopped: bool,
    ready: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Process {
    BeingMade,
    Runs,
}

impl Machine {
    fn begin(units: Vec<Unit>) -> Option<Self> {
        Self::with_apps(units, Vec::new())
    }

    fn with_apps(units: Vec<Unit>, apps: Vec<Unit>) -> Option<Self> {
        let graph = Graph::new(Mode::Live, units).ok()?;
        let mut machine = Self {
            graph,
            apps,
            leaving: BTreeSet::new(),
            now: 1_000,
            processes: BTreeMap::new(),
            holding: BTreeSet::new(),
            frozen: false,
            ending: false,
            stopped: false,
            ready: false,
        };
        machine.step(Event::Begin);
        Some(machine)
    }

    fn is_starting(&self, unit: &UnitName) -> bool {
        let state = self.graph.services().into_iter().find(|service| service.name == unit.as_str());
        state.is_some_and(|service| service.state == ServiceState::Starting)
    }

    fn is_up(&self, unit: &UnitName) -> bool {
        let state = self.graph.services().into_iter().find(|service| service.name == unit.as_str());
        state.is_some_and(|service| {
            matches!(service.state, ServiceState::Ready | ServiceState::Frozen | ServiceState::Finished)
        })
    }

    /// One event, its effects, and every rule.
    fn step(&mut self, event: Event) {
        match &event {
            Event::Started(unit, _) => drop(self.processes.insert(unit.clone(), Process::Runs)),
            Event::Ended(unit, _) | Event::NotStarted(unit, _) => drop(self.processes.remove(unit)),
            Event::Holds(unit, _) if self.is_starting(unit) || self.is_up(unit) => {
                self.holding.insert(unit.clone());
            }
            Event::Shutdown => self.ending = true,
            _ => {}
        }
        let before = self.graph.clone();
        let effects = self.graph.step(event.clone(), self.now);
        if effects.iter().any(|effect| matches!(effect, Effect::Refuse(_))) {
            let mut idle = before.clone();
            let others = idle.step(Event::Tick, self.now);
            assert_eq!(effects.len(), others.len() + 1, "{event:?} was refused and did something: {effects:?}");
            assert_eq!(idle, self.graph, "{event:?} was refused and changed something");
        }
        let was_refused = effects.iter().any(|effect| matches!(effect, Effect::Refuse(_)));
        match &event {
            Event::Remove(unit) if !was_refused => drop(self.leaving.insert(unit.clone())),
            Event::Add(unit) if !was_refused => {
                assert!(!self.leaving.contains(&unit.name), "{} comes while it goes", unit.name);
                assert_eq!(self.graph.unit(&unit.name), Some(&**unit), "it was not refused");
            }
            _ => {}
        }
        for (index, effect) in effects.iter().enumerate() {
            match effect {
                Effect::Spawn(unit) => {
                    assert!(!self.leaving.contains(unit), "{unit} was removed and is started");
                    self.holding.remove(unit);
                    self.may_start(unit);
                }
                Effect::Terminate(unit) => self.may_end(unit),
                Effect::Kill(unit) => assert!(self.processes.contains_key(unit), "{unit} has no process to kill"),
                Effect::Freeze(_) => self.frozen = true,
                Effect::Thaw => self.frozen = false,
                Effect::SystemReady => assert!(!std::mem::replace(&mut self.ready, true), "ready twice"),
                Effect::AllStopped => self.stopped = true,
                Effect::Gone(unit) => {
                    assert!(self.leaving.remove(unit), "{unit} goes and was not removed");
                    assert!(!self.processes.contains_key(unit), "{unit} is gone and has a process");
                    assert_eq!(self.graph.unit(unit), None, "{unit} is gone");
                }
                Effect::Record(Some(unit), What::Failed, _) => {
                    let told = effects[..index]
                        .iter()
                        .any(|effect| matches!(effect, Effect::Spent(spent, _) if spent == unit));
                    assert!(told, "{unit} is given up, and nobody was told that it is spent: {effects:?}");
                }
                Effect::Record(..) | Effect::Spent(..) | Effect::Refuse(_) => {}
            }
        }
        for waiting in self.graph.on_call() {
            assert!(!self.processes.contains_key(waiting), "{waiting} waits for a caller and runs after {event:?}");
        }
        for unit in &self.leaving {
            assert!(self.processes.contains_key(unit), "{unit} was removed, has no process and is still there");
        }
        let shipped =
            |graph: &Graph| -> Vec<Unit> { graph.units().filter(|unit| !unit.is_of_an_app()).cloned().collect() };
        assert_eq!(shipped(&before), shipped(&self.graph), "{event:?} changed what ships");
        let wished = matches!(event, Event::Called(_) | Event::Start(_) | Event::Restart(_));
        let waited: Vec<&UnitName> = before.on_call().filter(|_| !wished).collect();
        for effect in &effects {
            assert!(!matches!(effect, Effect::Spawn(unit) if waited.contains(&unit)), "nobody called: {event:?}");
        }
        let stands = |unit: &UnitName| self.is_up(unit) && !self.holding.contains(unit);
        let missing = self.graph.units().any(|unit| unit.freezes_actions && !stands(&unit.name));
        assert_eq!(self.frozen, missing, "frozen exactly while somebody who freezes holds or is not ready: {event:?}");
        assert!(!self.stopped || self.processes.is_empty(), "{:?} left behind", self.processes);
        assert!(self.graph.next_deadline().is_none_or(|at| at > self.now), "a deadline is missed after {event:?}");
    }

    fn may_start(&mut self, name: &UnitName) {
        assert!(!self.ending, "{name} is started during a shutdown");
        let unit = self.graph.unit(name).expect("known").clone();
        for required in &unit.requires {
            assert!(self.is_up(required), "{name} starts before {required} is ready");
        }
        for other in self.graph.units().filter(|other| self.processes.contains_key(&other.name)) {
            let clash = unit.conflicts.contains(&other.name) || other.conflicts.contains(name);
            assert!(!clash, "{name} starts beside {}", other.name);
        }
        let twice = self.processes.insert(name.clone(), Process::BeingMade);
        assert_eq!(twice, None, "{name} has two processes");
    }

    fn may_end(&self, name: &UnitName) {
        assert!(self.processes.contains_key(name), "{name} has no process to end");
        if self.ending {
            for other in self.graph.units().filter(|other| self.processes.contains_key(&other.name)) {
                let needs = [&other.requires, &other.wants, &other.after].iter().any(|list| list.contains(name));
                assert!(!needs, "{name} is stopped while {} still runs", other.name);
            }
        }
    }

    /// Everything that could happen now.
    fn possible(&self) -> Vec<Event> {
        let mut events = vec![Event::Shutdown, Event::Hurry];
        for (unit, process) in &self.processes {
            let unit = || unit.clone();
            match process {
                Process::BeingMade => {
                    events.extend([Event::Started(unit(), 7), Event::NotStarted(unit(), "no".into())])
                }
                Process::Runs => events.extend([
                    Event::Ready(unit()),
                    Event::Alive(unit()),
                    Event::Holds(unit(), "damaged".into()),
                    Event::StoodStill(unit()),
                    Event::Ended(unit(), Ended::Status(0)),
                    Event::Ended(unit(), Ended::Signal(9)),
                ]),
            }
        }
        for unit in self.graph.units() {
            let unit = || unit.name.clone();
            events.extend([Event::Start(unit()), Event::Stop(unit()), Event::Restart(unit())]);
        }
        for app in &self.apps {
            events.extend([Event::Add(Box::new(app.clone())), Event::Remove(app.name.clone())]);
        }
        events.extend(self.graph.on_call().cloned().map(Event::Called));
        events.extend(self.graph.next_deadline().map(|_| Event::Tick));
        events
    }

    /// Time passes only when nothing else happens: then to the next deadline.
    fn happens(&mut self, event: Event) {
        if event == Event::Tick {
            self.now = self.graph.next_deadline().unwrap_or(self.now);
        }
        self.step(event);
    }

    /// A shutdown from here, with units that listen or with ones that have to be killed.
    fn ends(mut self, how: Ended) {
        self.step(Event::Shutdown);
        let limit = self.processes.len() * 3 + 3;
        for _ in 0..limit {
            if self.stopped {
                return;
            }
            if how == Ended::Signal(9) && self.graph.next_deadline().is_some() {
                self.happens(Event::Tick);
            }
            let stopping: Vec<String> = self
                .graph
                .services()
                .into_iter()
                .filter(|service| service.state == ServiceState::Stopping)
                .map(|service| service.name)
                .collect();
            for unit in self.processes.clone().into_keys().filter(|unit| stopping.contains(&unit.to_string())) {
                self.step(Event::Ended(unit, how));
            }
        }
        assert!(self.stopped, "the shutdown does not end: {:?}", self.graph.services());
    }
}

/// How two units hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tie {
    None,
    Requires,
    Wants,
    After,
    Conflicts,
}

const TIES: [Tie; 5] = [Tie::None, Tie::Requires, Tie::Wants, Tie::After, Tie::Conflicts];

/// A unit with ties to some of those before it.
fn unit(number: usize, life: &str, ties: &[(usize, Tie)]) -> Unit {
    let list = |wanted: Tie| {
        let names = ties.iter().filter(|(_, tie)| *tie == wanted).map(|(other, _)| format!("\"u{other}\""));
        names.collect::<Vec<_>>().join(", ")
    };
    let lists = format!(
        "requires = [{}]\nwants = [{}]\nafter = [{}]\nconflicts = [{}]\n",
        list(Tie::Requires),
        list(Tie::Wants),
        list(Tie::After),
        list(Tie::Conflicts)
    );
    let text = format!(
        "program = \"/p\"\nuser = \"2000\"\n{lists}{life}\n[sandbox]\nown = [\"mount\", \"pid\", \"ipc\", \"uts\"]\ncalls = [\"x\"]\n"
    );
    Unit::parse(&format!("u{number}"), &text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

const CORE: &str = "kind = \"service\"\nmodes = [\"live\"]\nfreezes-actions = true\ncritical = true\nwatchdog-s = 20\n\
                    restart = { budget = 2, window-s = 1 }";
const WEAK: &str = "kind = \"service\"\nmodes = [\"live\"]\nrestart = { policy = \"on-failure\", budget = 1, when-spent = \"ignore\" }";
const ONCE: &str = "kind = \"oneshot\"\nmodes = [\"live\"]";
const CALLED: &str = "kind = \"service\"\nmodes = [\"live\"]\nsocket = true\nstart = \"on-call\"\n\
                      restart = { budget = 1, window-s = 1 }";
const ASKED: &str = "kind = \"agent\"";

/// Every machine of up to three units, every order of up to so many events after the start.
#[test]
fn the_rules_hold_in_every_order_on_every_small_machine() {
    const EVENTS: usize = 4;
    let (mut machines, mut states) = (0_usize, 0_usize);
    for last in [ONCE, ASKED, CALLED] {
        for ties in 0..TIES.len().pow(3) {
            let [first, second, third] = [ties % 5, ties / 5 % 5, ties / 25].map(|tie| TIES[tie]);
            let units =
                vec![unit(0, CORE, &[]), unit(1, WEAK, &[(0, first)]), unit(2, last, &[(0, second), (1, third)])];
            // Some of them do not fit together, and are refused as a whole.
            let Some(machine) = Machine::begin(units) else { continue };
            machines += 1;
            states += explore(machine, EVENTS);
        }
    }
    assert!(machines > 100 && states > 50_000, "{machines} machines, {states} states");
    println!("{machines} machines, {states} states");
}

/// Two apps, the second of them an agent, and one with the name of the first that is another.
fn apps() -> Vec<Unit> {
    let app = |name: &str, user: u32| {
        let (kind, calls) = if user < 3000 { ("agent", "service") } else { ("app", "action") };
        let text = format!(
            "kind = \"{kind}\"\nprogram = \"/p\"\nsha256 = \"{}\"\nuser = \"{user}\"\n\
             restart = {{ policy = \"on-failure\", budget = 1 }}\n[sandbox]\n\
             own = [\"mount\", \"pid\", \"ipc\", \"uts\", \"cgroup\"]\ncalls = [\"{calls}\"]\n",
            "0".repeat(64)
        );
        Unit::parse(name, &text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    vec![app("a0", 3000), app("a1", 2500), app("a0", 3002)]
}

/// Apps come and go in every order beside two units of the image.
#[test]
fn the_rules_hold_whenever_apps_come_and_go() {
    const EVENTS: usize = 4;
    let mut states = 0_usize;
    for tie in TIES {
        let units = vec![unit(0, CORE, &[]), unit(1, WEAK, &[(0, tie)])];
        let Some(machine) = Machine::with_apps(units, apps()) else { continue };
        states += explore(machine, EVENTS);
    }
    assert!(states > 2_000, "{states} states");
    println!("{states} states");
}

/// Visits all that can be reached; returns how many different states that is.
fn explore(machine: Machine, events: usize) -> usize {
    let mut seen = HashSet::new();
    let mut layer = vec![machine];
    for _ in 0..events {
        let mut next = Vec::new();
        for machine in layer {
            machine.clone().ends(Ended::Status(0));
            for event in machine.possible() {
                let mut then = machine.clone();
                then.happens(event);
                let mut hasher = DefaultHasher::new();
                then.hash(&mut hasher);
                if seen.insert(hasher.finish()) {
                    next.push(then);
                }
            }
        }
        layer = next;
    }
    layer.into_iter().step_by(7).for_each(|machine| machine.ends(Ended::Signal(9)));
    seen.len()
}

/// Up to forty units, each tied to some before it.
fn large() -> impl Strategy<Value = Vec<Unit>> {
    let life = prop::sample::select(vec![CORE, WEAK, WEAK, ONCE, ASKED, CALLED]);
    let tie = prop::sample::select(vec![Tie::Requires, Tie::Requires, Tie::Wants, Tie::After, Tie::Conflicts]);
    let ties = prop::collection::vec((any::<prop::sample::Index>(), tie), 0..4);
    prop::collection::vec((life, ties), 2..40).prop_map(|drawn| {
        let lives: Vec<&str> = drawn.iter().map(|(life, _)| *life).collect();
        let mut units = Vec::new();
        for (number, (life, ties)) in drawn.into_iter().enumerate() {
            let mut others: BTreeMap<usize, Tie> = BTreeMap::new();
            for (other, tie) in ties.into_iter().filter(|_| number > 0) {
                let other = other.index(number);
                // What starts by itself cannot need what does not, nor keep out what does; nobody can need what is called.
                let fits = match tie {
                    Tie::Conflicts => life == ASKED || lives[other] == ASKED,
                    Tie::Requires if lives[other] == CALLED => false,
                    Tie::Requires => life == ASKED || lives[other] != ASKED,
                    _ => true,
                };
                others.insert(other, if fits { tie } else { Tie::After });
            }
            units.push(unit(number, life, &others.into_iter().collect::<Vec<_>>()));
        }
        units
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_rules_hold_in_random_orders_on_large_machines(
        units in large(),
        choices in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
        killed in any::<bool>(),
    ) {
        let Some(mut machine) = Machine::with_apps(units, apps()) else { return Ok(()) };
        for choice in choices {
            // The machine's end is for the end.
            let mut events = machine.possible();
            events.retain(|event| *event != Event::Shutdown);
            let event = events[choice.index(events.len())].clone();
            machine.happens(event);
        }
        machine.ends(if killed { Ended::Signal(9) } else { Ended::Status(0) });
    }
}
