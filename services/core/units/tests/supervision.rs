//! Supervision against a machine that does anything at any time: the rules that hold at every moment.

use std::collections::{BTreeMap, BTreeSet};

use aios_ids::UnitName;
use aios_units::{Effect, Ended, Event, Graph, Mode, Unit, What};
use aios_wire::init::ServiceState;
use proptest::prelude::*;

fn name(text: &str) -> UnitName {
    text.parse().expect("a name")
}

fn unit(unit: &str, lines: &str, sandbox: &str) -> Unit {
    let text = format!(
        "program = \"/p\"\nuser = \"u\"\n{lines}\n[sandbox]\nview = \"whole\"\ncalls = [\"service\"]\n{sandbox}"
    );
    Unit::parse(unit, &text).unwrap_or_else(|error| panic!("{error} {:?}", std::error::Error::source(&error)))
}

fn service(name: &str, lines: &str) -> Unit {
    unit(name, &format!("kind = \"service\"\nmodes = [\"live\"]\n{lines}"), "")
}

/// The shape of the real machine, smaller.
fn machine() -> Vec<Unit> {
    let agent = "own = [\"mount\", \"pid\", \"ipc\", \"uts\"]";
    vec![
        service("evidence", "critical = true\nfreezes-actions = true"),
        service("policy", "critical = true\nfreezes-actions = true\nrequires = [\"evidence\"]"),
        service("runtime", "critical = true\nrequires = [\"policy\"]\nafter = [\"network\"]"),
        service("network", "requires = [\"evidence\"]"),
        unit("tidy", "kind = \"oneshot\"\nmodes = [\"live\"]\nrequires = [\"runtime\"]", ""),
        unit("terminal", "kind = \"terminal\"\nmodes = [\"live\"]", ""),
        Unit::parse(
            "agent",
            &format!("kind = \"agent\"\nprogram = \"/p\"\nuser = \"2000\"\n[sandbox]\ncalls = [\"service\"]\n{agent}"),
        )
        .expect("an agent"),
    ]
}

/// Everything outside the graph: processes that exist, what was last ordered.
struct World {
    graph: Graph,
    now: u64,
    running: BTreeSet<UnitName>,
    ready: BTreeSet<UnitName>,
    frozen: bool,
    spawned: BTreeMap<UnitName, Vec<u64>>,
    ended: Vec<UnitName>,
    all_stopped: bool,
    system_ready: u32,
    shutting_down: bool,
}

impl World {
    fn new(units: Vec<Unit>) -> Self {
        Self {
            graph: Graph::new(Mode::Live, units).expect("they fit"),
            now: 1000,
            running: BTreeSet::new(),
            ready: BTreeSet::new(),
            frozen: false,
            spawned: BTreeMap::new(),
            ended: Vec::new(),
            all_stopped: false,
            system_ready: 0,
            shutting_down: false,
        }
    }

    /// One event, its effects carried out, and every rule checked after it. Refusals are returned.
    fn step(&mut self, event: Event) -> Option<String> {
        match &event {
            Event::Ended(unit, _) | Event::NotStarted(unit, _) => {
                self.running.remove(unit);
                self.ready.remove(unit);
                self.ended.push(unit.clone());
            }
            Event::Shutdown => self.shutting_down = true,
            _ => {}
        }
        let mut refusal = None;
        for effect in self.graph.step(event, self.now) {
            match effect {
                Effect::Spawn(unit) => self.check_spawn(unit),
                Effect::Record(Some(unit), What::Ready, _) => drop(self.ready.insert(unit)),
                Effect::Terminate(unit) => self.check_terminate(&unit),
                Effect::Freeze(_) => {
                    assert!(!self.frozen, "frozen twice");
                    self.frozen = true;
                }
                Effect::Thaw => {
                    assert!(self.frozen, "thawed without being frozen");
                    self.frozen = false;
                }
                Effect::SystemReady => self.system_ready += 1,
                Effect::AllStopped => self.all_stopped = true,
                Effect::Refuse(reason) => refusal = Some(reason),
                Effect::Kill(unit) => assert!(self.running.contains(&unit), "{unit} is killed and does not run"),
                Effect::Record(..) | Effect::Spent(..) | Effect::Gone(_) => {}
            }
        }
        let both = self.state("evidence") == ServiceState::Ready && self.state("policy") == ServiceState::Ready;
        assert_eq!(self.frozen, !both, "frozen exactly while evidence or policy is not ready");
        assert_eq!(self.graph.frozen().is_some(), self.frozen);
        assert!(self.system_ready <= 1);
        assert!(!self.all_stopped || self.running.is_empty(), "{:?} left behind", self.running);
        refusal
    }

    fn check_spawn(&mut self, unit: UnitName) {
        assert!(!self.shutting_down, "{unit} is started during a shutdown");
        assert!(self.running.insert(unit.clone()), "{unit} has two processes");
        for required in &self.graph.unit(&unit).expect("known").requires {
            let up = matches!(self.state(required.as_str()), ServiceState::Ready | ServiceState::Finished);
            assert!(up, "{unit} starts before {required} is ready");
        }
        self.spawned.entry(unit).or_default().push(self.now);
    }

    fn check_terminate(&mut self, unit: &UnitName) {
        if !self.shutting_down {
            return;
        }
        for other in self.graph.units().filter(|other| self.running.contains(&other.name)) {
            let needs = other.requires.contains(unit) || other.after.contains(unit);
            assert!(!needs, "{unit} is stopped while {} still runs", other.name);
        }
    }

    fn state(&self, unit: &str) -> ServiceState {
        self.graph.services().into_iter().find(|service| service.name == unit).expect("known").state
    }

    /// Lets everything start that can, and say that it is ready.
    fn bring_up(&mut self) {
        for _ in 0..10 {
            for unit in self.running.clone() {
                self.step(Event::Started(unit.clone(), 7));
                self.step(Event::Ready(unit));
            }
        }
    }
}

#[test]
fn the_machine_comes_up_in_order_and_is_ready_once() {
    let mut world = World::new(machine());
    world.step(Event::Begin);
    assert_eq!(world.running, ["evidence", "terminal"].map(name).into());
    assert!(world.frozen);
    world.step(Event::Started(name("evidence"), 5));
    assert_eq!(world.running.len(), 2, "running is not ready");
    world.step(Event::Ready(name("evidence")));
    assert_eq!(world.running, ["evidence", "network", "policy", "terminal"].map(name).into());
    world.step(Event::Ready(name("policy")));
    assert!(!world.frozen);
    assert!(!world.running.contains(&name("runtime")), "it is ordered after network");
    world.step(Event::Ready(name("network")));
    assert_eq!(world.system_ready, 0);
    world.step(Event::Ready(name("runtime")));
    assert_eq!(world.system_ready, 1);
    assert_eq!(world.state("agent"), ServiceState::Stopped, "an agent waits to be asked for");
}

#[test]
fn losing_the_log_freezes_at_once_and_its_return_thaws() {
    let mut world = World::new(machine());
    world.step(Event::Begin);
    world.bring_up();
    assert!(!world.frozen);
    let effects = world.graph.step(Event::Ended(name("evidence"), Ended::Signal(9)), world.now);
    assert!(matches!(effects.first(), Some(Effect::Freeze(_))), "before anything else: {effects:?}");
    let reason = world.graph.frozen().expect("frozen");
    assert!(reason.contains("evidence"), "{reason}");
}

/// One event and what follows from it on a machine where every start and every end works at once.
fn all_works(graph: &mut Graph, event: Event, now: u64) -> Vec<Effect> {
    let mut events = std::collections::VecDeque::from([event]);
    let mut all = Vec::new();
    while let Some(event) = events.pop_front() {
        for effect in graph.step(event, now) {
            match &effect {
                Effect::Spawn(unit) => events.extend([Event::Started(unit.clone(), 7), Event::Ready(unit.clone())]),
                Effect::Terminate(unit) => events.push_back(Event::Ended(unit.clone(), Ended::Status(0))),
                _ => {}
            }
            all.push(effect);
        }
    }
    all
}

#[test]
fn a_log_that_waits_for_a_person_is_not_killed_and_nothing_is_done() {
    let mut graph = Graph::new(Mode::Live, machine()).expect("they fit");
    let effects = graph.step(Event::Begin, 1000);
    assert!(effects.contains(&Effect::Spawn(name("evidence"))), "{effects:?}");
    all_works(&mut graph, Event::Started(name("terminal"), 6), 1000);
    all_works(&mut graph, Event::Started(name("evidence"), 7), 1000);
    all_works(&mut graph, Event::Holds(name("evidence"), "old data; start recovery".into()), 1000);
    let effects = all_works(&mut graph, Event::Ready(name("evidence")), 1000);
    assert!(effects.contains(&Effect::Spawn(name("runtime"))), "what requires it starts: {effects:?}");
    assert!(!effects.contains(&Effect::SystemReady), "{effects:?}");
    for minute in 1..10 {
        let effects = all_works(&mut graph, Event::Tick, 1000 + minute * 60_000);
        assert_eq!(effects, [], "it is left alone");
        assert_eq!(graph.frozen(), Some("evidence: old data; start recovery"));
    }
    let effects = all_works(&mut graph, Event::Restart(name("evidence")), 1_000_000);
    assert_eq!(graph.frozen(), None, "its next start takes it back");
    assert!(effects.contains(&Effect::SystemReady), "{effects:?}");
}

#[test]
fn restarts_wait_longer_each_time_and_stay_within_the_budget() {
    let lines = "[restart]\npolicy = \"on-failure\"\nbudget = 3\nbackoff-ms = 100";
    let mut units = machine();
    let text = format!(
        "kind = \"service\"\nmodes = [\"live\"]\nprogram = \"/p\"\nuser = \"u\"\n{lines}\n[sandbox]\nview = \"whole\"\ncalls = [\"x\"]"
    );
    units.push(Unit::parse("weak", &text).expect("a unit"));
    let mut world = World::new(units);
    world.step(Event::Begin);
    for wait in [100, 200] {
        world.step(Event::Ended(name("weak"), Ended::Status(1)));
        world.now += wait - 1;
        world.step(Event::Tick);
        assert_eq!(world.state("weak"), ServiceState::Restarting);
        world.now += 1;
        assert!(world.graph.next_deadline().is_some_and(|deadline| deadline <= world.now));
        world.step(Event::Tick);
        assert_eq!(world.state("weak"), ServiceState::Starting);
    }
    world.step(Event::Ended(name("weak"), Ended::Status(1)));
    assert_eq!(world.state("weak"), ServiceState::Failed);
    assert_eq!(world.step(Event::Start(name("weak"))), None, "a person may try again");
    assert_eq!(world.state("weak"), ServiceState::Starting);
}

/// A world with a unit of which `start` says what starts it, begun.
fn with_a_door(start: &str, restart: &str) -> World {
    let mut units = machine();
    units.push(service("door", &format!("start = \"{start}\"\nsocket = true\nrequires = [\"evidence\"]\n{restart}")));
    let mut world = World::new(units);
    world.step(Event::Begin);
    world
}

/// The door opens and, with nothing more to do, closes again.
fn comes_and_goes(world: &mut World) {
    world.step(Event::Started(name("door"), 9));
    world.step(Event::Ready(name("door")));
    assert_eq!(world.state("door"), ServiceState::Ready);
    world.step(Event::Ended(name("door"), Ended::Status(0)));
}

#[test]
fn a_caller_starts_a_unit_that_ends_when_it_has_nothing_to_do() {
    let mut world = with_a_door("on-call", "");
    assert_eq!(world.state("door"), ServiceState::OnCall);
    world.step(Event::Called(name("door")));
    assert_eq!(world.state("door"), ServiceState::Waiting, "what it requires is not ready");
    world.step(Event::Started(name("evidence"), 2));
    world.step(Event::Ready(name("evidence")));
    for _ in 0..3 {
        assert_eq!(world.state("door"), ServiceState::Starting);
        comes_and_goes(&mut world);
        assert_eq!(world.state("door"), ServiceState::OnCall);
        assert!(world.graph.degraded().next().is_none());
        world.step(Event::Called(name("door")));
    }
    comes_and_goes(&mut world);
    assert_eq!(world.step(Event::Stop(name("door"))), None);
    world.step(Event::Called(name("door")));
    assert_eq!(world.state("door"), ServiceState::Stopped, "what a person stopped no caller starts");
    assert_eq!(world.step(Event::Start(name("door"))), None);
    assert_eq!(world.state("door"), ServiceState::Starting);
}

#[test]
fn a_unit_that_cannot_answer_its_callers_is_not_started_for_ever() {
    let mut world = with_a_door("on-call", "restart = { budget = 3, window-s = 60 }");
    world.step(Event::Started(name("evidence"), 2));
    world.step(Event::Ready(name("evidence")));
    for (round, wait) in [100, 200].into_iter().enumerate() {
        world.step(Event::Called(name("door")));
        assert_eq!(world.state("door"), ServiceState::Starting, "round {round}");
        // That it ends well without ever being ready is no answer either.
        world.step(Event::Ended(name("door"), Ended::Status(0)));
        assert_eq!(world.state("door"), ServiceState::Restarting);
        world.step(Event::Called(name("door")));
        assert_eq!(world.state("door"), ServiceState::Restarting, "the caller waits");
        world.now += wait;
        world.step(Event::Tick);
        assert_eq!(world.state("door"), ServiceState::OnCall);
    }
    world.step(Event::Called(name("door")));
    comes_and_goes(&mut world);
    assert_eq!(world.state("door"), ServiceState::Restarting, "three starts are what it may have");
    assert_eq!(world.graph.degraded().collect::<Vec<_>>(), [&name("door")]);
    world.now += 60_000;
    world.step(Event::Tick);
    assert_eq!(world.state("door"), ServiceState::OnCall);
    world.step(Event::Called(name("door")));
    world.step(Event::Started(name("door"), 9));
    world.step(Event::Ready(name("door")));
    assert!(world.graph.degraded().next().is_none());
}

#[test]
fn a_unit_with_a_task_at_the_start_is_called_only_after_it() {
    let mut world = with_a_door("boot-then-on-call", "");
    world.step(Event::Started(name("evidence"), 2));
    world.step(Event::Ready(name("evidence")));
    world.step(Event::Started(name("door"), 9));
    world.step(Event::Ready(name("door")));
    world.step(Event::Ended(name("door"), Ended::Signal(9)));
    world.now += 100;
    world.step(Event::Tick);
    assert_eq!(world.state("door"), ServiceState::Starting, "its task may not be done");
    comes_and_goes(&mut world);
    assert_eq!(world.state("door"), ServiceState::OnCall);
}

#[test]
fn leaving_a_terminal_opens_it_again_at_once_however_often() {
    let mut world = World::new(machine());
    world.step(Event::Begin);
    for _ in 0..50 {
        world.step(Event::Started(name("terminal"), 3));
        assert_eq!(world.state("terminal"), ServiceState::Ready);
        world.step(Event::Ended(name("terminal"), Ended::Status(0)));
        assert_eq!(world.state("terminal"), ServiceState::Starting);
    }
}

#[test]
fn a_unit_that_never_gets_ready_is_killed_and_tried_again() {
    let mut world = World::new(machine());
    world.step(Event::Begin);
    world.now += 30_000;
    world.step(Event::Tick);
    assert_eq!(world.state("evidence"), ServiceState::Stopping, "the kernel has not told its end yet");
    world.step(Event::Ready(name("evidence")));
    assert_ne!(world.state("evidence"), ServiceState::Ready, "too late");
    world.step(Event::Ended(name("evidence"), Ended::Signal(9)));
    assert_eq!(world.state("evidence"), ServiceState::Restarting);
}

#[test]
fn verbs_that_cannot_be_carried_out_say_why() {
    let mut world = World::new(machine());
    let early = world.step_unchecked(Event::Start(name("agent")));
    assert!(early.is_some_and(|reason| reason.contains("not set up")));
    world.step(Event::Begin);
    let unknown = world.step(Event::Restart(name("nobody")));
    assert!(unknown.is_some_and(|reason| reason.contains("'nobody'")));
    world.step(Event::Shutdown);
    let late = world.step(Event::Start(name("agent")));
    assert!(late.is_some_and(|reason| reason.contains("going down")));
}

impl World {
    /// Before the machine begins nothing is frozen yet, and nothing that could be.
    fn step_unchecked(&mut self, event: Event) -> Option<String> {
        self.graph.step(event, self.now).into_iter().find_map(|effect| match effect {
            Effect::Refuse(reason) => Some(reason),
            _ => None,
        })
    }
}

#[derive(Debug, Clone)]
enum Doing {
    Started(usize),
    Ready(usize),
    Ended(usize, Ended),
    NotStarted(usize),
    Start(usize),
    Stop(usize),
    Restart(usize),
    Wait(u64),
}

fn doing() -> impl Strategy<Value = Doing> {
    let end = prop_oneof![Just(Ended::Status(0)), Just(Ended::Status(1)), Just(Ended::Signal(9))];
    prop_oneof![
        3 => (0..7_usize).prop_map(Doing::Started),
        6 => (0..7_usize).prop_map(Doing::Ready),
        4 => (0..7_usize, end).prop_map(|(unit, end)| Doing::Ended(unit, end)),
        1 => (0..7_usize).prop_map(Doing::NotStarted),
        1 => (0..7_usize).prop_map(Doing::Start),
        1 => (0..7_usize).prop_map(Doing::Stop),
        1 => (0..7_usize).prop_map(Doing::Restart),
        4 => (0..20_000_u64).prop_map(Doing::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_rules_hold_whatever_happens(happenings in prop::collection::vec(doing(), 0..120)) {
        let mut world = World::new(machine());
        let names: Vec<UnitName> = world.graph.units().map(|unit| unit.name.clone()).collect();
        world.step(Event::Begin);
        let mut asked = BTreeSet::new();
        for happening in happenings {
            let event = match happening {
                Doing::Started(unit) if world.running.contains(&names[unit]) => Event::Started(names[unit].clone(), 9),
                Doing::Ready(unit) if world.running.contains(&names[unit]) => Event::Ready(names[unit].clone()),
                Doing::Ended(unit, end) if world.running.contains(&names[unit]) => Event::Ended(names[unit].clone(), end),
                Doing::NotStarted(unit) if world.running.contains(&names[unit]) => {
                    Event::NotStarted(names[unit].clone(), "no".into())
                }
                Doing::Start(unit) => Event::Start(names[unit].clone()),
                Doing::Stop(unit) => Event::Stop(names[unit].clone()),
                Doing::Restart(unit) => Event::Restart(names[unit].clone()),
                Doing::Wait(ms) => {
                    world.now += ms;
                    Event::Tick
                }
                _ => continue,
            };
            if let Event::Start(unit) | Event::Stop(unit) | Event::Restart(unit) = &event {
                asked.insert(unit.clone());
            }
            world.step(event);
        }
        // What nobody asked for is bounded: 8 starts in 60 seconds.
        for (unit, times) in world.spawned.iter().filter(|(unit, _)| !asked.contains(*unit) && unit.as_str() != "terminal") {
            for nine in times.windows(9) {
                prop_assert!(nine[8] - nine[0] >= 60_000, "{} was started at {:?}", unit, nine);
            }
        }
        // And everything ends, whether it listens to SIGTERM or has to be killed.
        world.step(Event::Shutdown);
        for _ in 0..20 {
            for unit in world.running.clone().into_iter().rev().take(1) {
                let stopping = world.graph.services().into_iter()
                    .any(|service| service.name == unit.as_str() && service.state == ServiceState::Stopping);
                if stopping {
                    world.step(Event::Ended(unit, Ended::Signal(15)));
                }
            }
            world.now += 60_000;
            world.step(Event::Tick);
            for unit in world.running.clone() {
                let stopping = world.graph.services().into_iter()
                    .any(|service| service.name == unit.as_str() && service.state == ServiceState::Stopping);
                if stopping {
                    world.step(Event::Ended(unit, Ended::Signal(9)));
                }
            }
        }
        prop_assert!(world.all_stopped, "{:?}", world.graph.services());
    }
}
