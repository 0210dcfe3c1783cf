//! The loop that PID 1 spends its life in: one `poll`, then whatever has happened, as events for the graph.
//!
//! Nothing here decides about units; [`Graph::step`] does. Nothing here waits: children report over pipes, callers and
//! services over sockets, ends over a signal descriptor.

#[cfg(test)]
mod apps;
#[cfg(test)]
mod calls;
mod children;
#[cfg(test)]
mod crowd;
mod ending;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod test_machine;
mod verbs;

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use aios_identity::{Peer, PeerTable, SessionStrength};
use aios_ids::UnitName;
use aios_linux::notify::NotifySocket;
use aios_linux::signals::{self, Signals};
use aios_units::unit::{Kind, OutputTo};
use aios_units::{Effect, Event, Graph, Unit, What};
use aios_wire::init::{Afterwards, Measured, System};
use aios_wire::logs::Priority;
use aios_wire::notify::{self, Said};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use crate::boot_times::Times;
use crate::care::{Care, Memory, News};
use crate::cgroups::{self, Frozen};
use crate::clock::now_ms;
use crate::control::{Control, Wait};
use crate::failure::{Failure, at};
use crate::identity::Owners;
use crate::machine::{Machine, SOCKETS};
use crate::measure::Words;
use crate::output::Outputs;
use crate::power;
use crate::refusals::Refusals;
use crate::ring::Ring;
use crate::start::{Running, Starter};
use crate::terminals::say_everywhere;
use children::Leaving;
use ending::Ending;

/// A service that talks without end does not keep the loop from anything else.
const MESSAGES_A_TURN: usize = 64;
/// After so long a freeze that failed is tried again.
const FREEZE_AGAIN_MS: u64 = 20;
/// So many of a failing service's last lines are shown on the consoles.
const SHOWN_LINES: usize = 5;

/// PID 1's whole state after the start.
#[derive(Debug)]
pub(crate) struct Supervisor {
    system: System,
    words: Words,
    peers: PeerTable,
    graph: Graph,
    events: VecDeque<Event>,
    starter: Starter,
    refusals: Refusals,
    processes: BTreeMap<UnitName, Process>,
    outputs: Outputs,
    times: Times,
    owners: Owners,
    sessions: Sessions,
    ring: Ring,
    signals: Signals,
    notify: NotifySocket,
    control: Control,
    care: Care,
    /// What the kernel did not do when it was to freeze or thaw actions.
    freezing: Option<Frozen>,
    leaving: Vec<Leaving>,
    shutdown: Option<Ending>,
}

#[derive(Debug)]
struct Process {
    running: Running,
    report: Report,
    /// Whose session it is, and on which terminal.
    session: Option<(Peer, String)>,
}

/// Whether a unit's program was executed.
#[derive(Debug)]
enum Report {
    /// That is told here.
    Awaited(OwnedFd),
    Came(Result<(), String>),
}

/// What is waited for of a unit.
#[derive(Debug, Clone, Copy)]
enum Of {
    Report,
    Call,
    Output,
}

/// What a turn of the loop begins with. Only what the kernel names is looked at: what one unit does costs the same
/// however many others there are.
#[derive(Debug, Default)]
struct Ready {
    memory: Memory,
    /// Units whose program was executed, or was not.
    reports: Vec<UnitName>,
    /// Units that start on call and have a caller.
    called: Vec<UnitName>,
    /// Units that said something, or closed their pipe.
    outputs: Vec<UnitName>,
}

/// Logins whose sessions are to be started when the login program has ended.
#[derive(Debug)]
struct Sessions {
    template: Option<Unit>,
    opened: u64,
    waiting: BTreeMap<UnitName, UnitName>,
}

impl Supervisor {
    /// Opens everything that the loop reads from.
    pub(crate) fn new(machine: Machine) -> Result<Self, Failure> {
        let Machine { system, words, users, peers, graph, session, waited_ms, mut notes } = machine;
        let (refusals, note) = Refusals::open(graph.units());
        notes.extend(note);
        let (care, cared) = Care::begin(now_ms());
        notes.extend(cared);
        let own = [signals::CHILD, signals::INTERRUPT, signals::TERMINATE, signals::POWER];
        let notify = Path::new(SOCKETS).join("notify");
        let starter = Starter::new(users, system.boot_id.clone(), system.origin.clone(), graph.units())?;
        let mut supervisor = Self {
            starter,
            refusals,
            signals: Signals::open(&own).map_err(|error| Failure::new("cannot receive signals", error))?,
            notify: NotifySocket::bind(&notify).map_err(at("listen on", &notify))?,
            control: Control::open(Path::new(SOCKETS))?,
            system,
            words,
            peers,
            graph,
            events: VecDeque::new(),
            processes: BTreeMap::new(),
            outputs: Outputs::new(),
            times: Times::after_waiting(waited_ms),
            owners: Owners::default(),
            sessions: Sessions { template: session, opened: 0, waiting: BTreeMap::new() },
            ring: Ring::default(),
            care,
            freezing: None,
            leaving: Vec::new(),
            shutdown: None,
        };
        rustix::fs::chmod(&notify, rustix::fs::Mode::from_raw_mode(0o666)).map_err(at("open", &notify))?;
        let start = format!("release {}, root {}", supervisor.system.version, supervisor.system.root_hash);
        supervisor.record(None, What::Boot, start);
        for note in notes {
            say_everywhere(&format!("init: {note}"));
            supervisor.record(None, What::Boot, note);
        }
        Ok(supervisor)
    }

    /// Starts the machine's units and looks after them until the machine ends.
    pub(crate) fn run(mut self) -> Result<Infallible, Failure> {
        self.times.begin(now_ms());
        self.happened(Event::Begin);
        loop {
            let ready = self.wait();
            self.look_after(ready.memory);
            self.read_reports(&ready.reports);
            self.read_signals();
            self.read_notifications();
            self.read_outputs(&ready.outputs);
            self.answer_calls(ready.called);
            self.serve_callers();
            self.tell_of_measuring();
            if self.graph.next_deadline().is_some_and(|deadline| deadline <= now_ms()) {
                self.happened(Event::Tick);
            }
            if let Some(frozen) = self.freezing {
                self.set_frozen(frozen, "it is tried again");
            }
            self.end_in_time();
        }
    }

    /// What became of the words for the TPM, once it is known.
    fn tell_of_measuring(&mut self) {
        let Some(news) = self.words.news() else { return };
        if matches!(self.words.state(), Measured::Failed { .. }) {
            say_everywhere(&format!("init: {news}"));
        }
        self.record(None, What::Boot, news);
    }

    fn read_outputs(&mut self, units: &[UnitName]) {
        self.outputs.read(units, now_ms());
        for unit in self.graph.units().filter(|unit| unit.output == OutputTo::Consoles) {
            self.outputs.take_new(&unit.name).iter().for_each(|line| say_everywhere(line));
        }
    }

    /// The watchdog, the buttons, memory, the kernel's settings.
    fn look_after(&mut self, memory: Memory) {
        for news in self.care.turn(memory, &self.system.boot_id, now_ms()) {
            match news {
                News::PowerButton => self.shut_down(Afterwards::PowerOff, "the power button"),
                News::Shed(what) => {
                    say_everywhere(&format!("init: memory is short: {what}"));
                    self.record(None, What::Shed, what);
                }
                News::Machine(what) => {
                    say_everywhere(&format!("init: {what}"));
                    self.record(None, What::Boot, what);
                }
            }
        }
    }

    /// Waits until there is something to do.
    fn wait(&self) -> Ready {
        let reports = self.processes.iter().filter_map(|(name, process)| Some((Of::Report, name, process.awaited()?)));
        let called = self.graph.on_call().filter_map(|name| Some((Of::Call, name, self.starter.socket(name)?)));
        let outputs = self.outputs.fds().map(|(name, fd)| (Of::Output, name, fd));
        let units: Vec<(Of, &UnitName, BorrowedFd<'_>)> = reports.chain(called).chain(outputs).collect();
        let mut waits: Vec<PollFd<'_>> =
            units.iter().map(|(.., fd)| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        waits.push(PollFd::new(&self.signals, PollFlags::IN));
        waits.push(PollFd::from_borrowed_fd(self.notify.as_fd(), PollFlags::IN));
        waits.extend(self.care.fds().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        for (fd, wait) in self.control.waits() {
            let flags = match wait {
                Wait::Read => PollFlags::IN,
                Wait::Write => PollFlags::OUT,
            };
            waits.push(PollFd::from_borrowed_fd(fd, flags));
        }
        let deadlines = [
            self.graph.next_deadline(),
            self.control.next_deadline(),
            self.outputs.next_deadline(),
            self.shutdown.as_ref().map(|ending| ending.next_look(now_ms())),
            Some(self.care.next_deadline()),
            self.freezing.map(|_| now_ms() + FREEZE_AGAIN_MS),
            self.next_look_at_leaving(),
        ];
        let timeout = deadlines.into_iter().flatten().min().map(|deadline| {
            let ms = deadline.saturating_sub(now_ms());
            Timespec { tv_sec: (ms / 1000).cast_signed(), tv_nsec: (ms % 1000 * 1_000_000).cast_signed() }
        });
        // An interrupted or failed wait is only an early look at everything.
        let _ = poll(&mut waits, timeout.as_ref());
        let mut ready = Ready::default();
        if waits.iter().any(|wait| wait.revents().contains(PollFlags::PRI)) {
            ready.memory = Memory::Short;
        }
        for ((of, name, _), _) in units.iter().zip(&waits).filter(|(_, wait)| !wait.revents().is_empty()) {
            let list = match of {
                Of::Report => &mut ready.reports,
                Of::Call => &mut ready.called,
                Of::Output => &mut ready.outputs,
            };
            list.push((*name).clone());
        }
        ready
    }

    /// Lets the graph decide about `event` and everything that follows; returns why it was refused, if it was.
    fn happened(&mut self, event: Event) -> Option<String> {
        let mut refusal = None;
        self.events.push_back(event);
        while let Some(event) = self.events.pop_front() {
            for effect in self.graph.step(event, now_ms()) {
                if let Effect::Refuse(reason) = effect {
                    refusal = Some(reason);
                } else {
                    self.carry_out(effect);
                }
            }
        }
        refusal
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn(name) => {
                self.times.started(&name, now_ms());
                if let Err(failure) = self.start(&name) {
                    self.events.push_back(Event::NotStarted(name, failure.to_string()));
                }
            }
            Effect::Terminate(name) => {
                if let Some(process) = self.processes.get(&name) {
                    // One that is gone is reaped in a moment.
                    let _ = pidfd_send_signal(&process.running.pidfd, Signal::TERM);
                }
            }
            Effect::Kill(name) => {
                if let Some(process) = self.processes.get(&name)
                    && let Err(error) = process.running.cgroup.kill()
                {
                    say_everywhere(&format!("init: {name} cannot be killed: {error}"));
                }
            }
            Effect::Freeze(reason) => self.set_frozen(Frozen::Yes, &reason),
            Effect::Thaw => self.set_frozen(Frozen::No, ""),
            Effect::Record(unit, what, detail) => self.record(unit.as_ref(), what, detail),
            Effect::Spent(name, outcome) => self.spent(&name, outcome),
            Effect::SystemReady => {
                self.care.ready(now_ms());
                let now = now_ms();
                self.system.boot_ms.system = Some(now);
                self.record(None, What::Boot, format!("system ready at {now} ms"));
                say_everywhere(&format!("aios: system ready at {now} ms"));
                self.words.say("ready");
            }
            Effect::AllStopped => {
                if let Some(ending) = &self.shutdown {
                    power::end(ending.then);
                }
            }
            // The lines of it are kept until another unit comes: whoever takes them has had the time by then.
            Effect::Gone(name) => self.record(Some(&name), What::Stopped, "and removed".into()),
            Effect::Refuse(_) => {}
        }
    }

    /// What fails is tried again: actions must not go on without the log, nor stand still for ever beside it.
    fn set_frozen(&mut self, frozen: Frozen, reason: &str) {
        let before = self.freezing.take();
        if let Err(error) = cgroups::set_frozen(frozen) {
            if before != Some(frozen) {
                say_everywhere(&format!("init: actions cannot be frozen or thawed ({reason}): {error}"));
            }
            self.freezing = Some(frozen);
        }
    }

    fn record(&mut self, unit: Option<&UnitName>, what: What, detail: String) {
        let now = now_ms();
        if let Some(name) = unit {
            match what {
                What::Started => self.times.running(name, now),
                What::Ready => self.times.ready(name, now),
                _ => {}
            }
            let kind = self.graph.unit(name).map(|unit| unit.kind);
            if what == What::Ready && kind == Some(Kind::Terminal) && self.system.boot_ms.console.is_none() {
                self.system.boot_ms.console = Some(now);
                say_everywhere(&format!("aios: console ready at {now} ms"));
            }
            if matches!(what, What::Exited | What::Failed | What::Holds) && kind != Some(Kind::Terminal) {
                say_everywhere(&format!("init: {name} {}: {detail}", what.word()));
                if what == What::Exited {
                    let last = self.outputs.last(name, SHOWN_LINES, now);
                    last.iter().for_each(|line| say_everywhere(&format!("  {name}: {line}")));
                }
            }
        }
        let priority = match what {
            What::Failed => Priority::Err,
            What::Exited | What::Holds | What::Frozen => Priority::Warning,
            _ => Priority::Info,
        };
        let about = unit.map_or_else(|| what.word().to_owned(), |name| format!("{name} {}", what.word()));
        let line = if detail.is_empty() { about } else { format!("{about}: {detail}") };
        self.outputs.say(priority, line, now);
        self.ring.push(now, unit.map_or("init", UnitName::as_str), what.word(), detail);
    }

    /// Starts a unit's program, or the session that waits for its terminal.
    fn start(&mut self, name: &UnitName) -> Result<(), Failure> {
        let unit = self.graph.unit(name).ok_or_else(|| Failure::plain(format!("there is no unit {name}")))?;
        let operator = self.sessions.waiting.remove(name);
        let template = self.sessions.template.as_ref().zip(operator.as_ref()).map(|(template, _)| Unit {
            name: name.clone(),
            terminal: unit.terminal.clone(),
            ..template.clone()
        });
        let unit = template.as_ref().unwrap_or(unit);
        let (branch, cgroup, peer) = match (operator, &unit.session, unit.kind) {
            (Some(operator), ..) => {
                self.sessions.opened += 1;
                let peer = Peer::Operator { name: operator.to_string(), strength: SessionStrength::PassPhrase };
                ("operators", format!("{operator}-{}", self.sessions.opened), peer)
            }
            (None, Some(operator), _) => {
                let terminal = unit.terminal.as_deref().unwrap_or("none");
                let peer = Peer::Operator { name: operator.to_string(), strength: SessionStrength::Presence };
                ("operators", format!("{operator}-{terminal}"), peer)
            }
            // No name in the table of peers has a colon, so an app is nobody whom it names.
            (None, None, Kind::App) => ("apps", name.to_string(), Peer::Service { name: format!("app:{name}") }),
            (None, None, Kind::Agent) => ("agents", name.to_string(), Peer::Agent { name: name.to_string() }),
            (None, None, _) => ("system", name.to_string(), Peer::Service { name: unit.base.to_string() }),
        };
        let made = cgroups::make(branch, &cgroup, &unit.resources).map_err(at("make the cgroup", &cgroup))?;
        let id = made.0.id;
        let session = match &peer {
            Peer::Operator { .. } => Some((peer.clone(), unit.terminal.clone().unwrap_or_default())),
            Peer::Service { .. } | Peer::Agent { .. } => None,
        };
        // Before the program runs: its first question may be who it is.
        self.owners.set(id, peer);
        let output = self.outputs.of(name);
        match self.starter.start(unit, made, output, &self.refusals) {
            Ok((running, report)) => {
                let report = Report::Awaited(report);
                self.processes.insert(name.clone(), Process { running, report, session });
                Ok(())
            }
            Err(failure) => {
                self.owners.clear(id);
                Err(failure)
            }
        }
    }

    fn read_notifications(&mut self) {
        for _ in 0..MESSAGES_A_TURN {
            let Ok(Some(message)) = self.notify.next() else { break };
            let Ok(cgroup) = aios_linux::peer::cgroup_of(&message.sender) else { continue };
            let sender = self.processes.iter().find(|(_, process)| process.running.cgroup.id == cgroup);
            let Some(name) = sender.map(|(name, _)| name.clone()) else { continue };
            for said in notify::read(&message.text) {
                self.happened(match said {
                    Said::Ready => Event::Ready(name.clone()),
                    Said::Alive => Event::Alive(name.clone()),
                    Said::Status(status) => Event::Said(name.clone(), status),
                    Said::Hold(why) => Event::Holds(name.clone(), why),
                });
            }
        }
    }
}
