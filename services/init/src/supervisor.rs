//! The loop that PID 1 spends its life in: one `poll`, then whatever has happened, as events for the graph.
//!
//! Nothing here decides about units; [`Graph::step`] does. Nothing here waits: children report over pipes, callers and
//! services over sockets, ends over a signal descriptor.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::os::fd::AsFd as _;
use std::path::Path;

use aios_identity::{Peer, PeerTable, SessionStrength};
use aios_ids::UnitName;
use aios_linux::notify::NotifySocket;
use aios_linux::signals::{self, Signals};
use aios_linux::spawn::read_report;
use aios_units::unit::{Kind, OutputTo};
use aios_units::{Effect, Ended, Event, Graph, Unit, What};
use aios_wire::init::{Afterwards, Measured, Reply, Request, System};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, pidfd_send_signal, wait};

use crate::cgroups::{self, Frozen};
use crate::clock::now_ms;
use crate::control::{Control, Wait};
use crate::failure::{Failure, at, chain};
use crate::identity::Owners;
use crate::machine::{Machine, SOCKETS};
use crate::measure::Words;
use crate::output::Output;
use crate::power;
use crate::refusals::Refusals;
use crate::ring::Ring;
use crate::start::{Running, Starter};
use crate::terminals::say_everywhere;

/// Units that do not end within this time of a shutdown are left behind.
const SHUTDOWN_LIMIT_MS: u64 = 60_000;
/// A service that talks without end does not keep the loop from anything else.
const MESSAGES_A_TURN: usize = 64;
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
    outputs: BTreeMap<UnitName, Output>,
    owners: Owners,
    sessions: Sessions,
    ring: Ring,
    signals: Signals,
    notify: NotifySocket,
    control: Control,
    shutdown: Option<(Afterwards, u64)>,
}

#[derive(Debug)]
struct Process {
    running: Running,
    /// Whether it has executed its program; none: not known yet.
    report: Option<Result<(), String>>,
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
        let Machine { system, words, users, peers, graph, session, mut notes } = machine;
        let (refusals, note) = Refusals::open(graph.units());
        notes.extend(note);
        let own = [signals::CHILD, signals::INTERRUPT, signals::TERMINATE, signals::POWER];
        let notify = Path::new(SOCKETS).join("notify");
        let starter = Starter::new(users, system.boot_id.clone(), graph.units())?;
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
            outputs: BTreeMap::new(),
            owners: Owners::default(),
            sessions: Sessions { template: session, opened: 0, waiting: BTreeMap::new() },
            ring: Ring::default(),
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
        self.happened(Event::Begin);
        loop {
            self.wait();
            self.read_reports();
            self.read_signals();
            self.read_notifications();
            self.read_outputs();
            self.serve_callers();
            self.tell_of_measuring();
            self.happened(Event::Tick);
            if let Some((then, deadline)) = self.shutdown
                && deadline <= now_ms()
            {
                say_everywhere("init: some units do not end; the machine ends without them");
                power::end(then);
            }
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

    fn read_outputs(&mut self) {
        for (name, output) in &mut self.outputs {
            output.read();
            if self.graph.unit(name).is_some_and(|unit| unit.output == OutputTo::Consoles) {
                output.take_new().for_each(say_everywhere);
            }
        }
    }

    /// Waits until there is something to do.
    fn wait(&self) {
        let mut waits: Vec<PollFd<'_>> = vec![
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::from_borrowed_fd(self.notify.as_fd(), PollFlags::IN),
        ];
        let pending = self.processes.values().filter(|process| process.report.is_none());
        waits.extend(pending.map(|process| PollFd::new(&process.running.child.report, PollFlags::IN)));
        for output in self.outputs.values() {
            waits.extend(output.fd().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        }
        for (fd, wait) in self.control.waits() {
            let flags = match wait {
                Wait::Read => PollFlags::IN,
                Wait::Write => PollFlags::OUT,
            };
            waits.push(PollFd::from_borrowed_fd(fd, flags));
        }
        let deadlines =
            [self.graph.next_deadline(), self.control.next_deadline(), self.shutdown.map(|(_, deadline)| deadline)];
        let timeout = deadlines.into_iter().flatten().min().map(|deadline| {
            let ms = deadline.saturating_sub(now_ms());
            Timespec { tv_sec: (ms / 1000).cast_signed(), tv_nsec: (ms % 1000 * 1_000_000).cast_signed() }
        });
        // An interrupted or failed wait is only an early look at everything.
        let _ = poll(&mut waits, timeout.as_ref());
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
                if let Err(failure) = self.start(&name) {
                    self.events.push_back(Event::NotStarted(name, failure.to_string()));
                }
            }
            Effect::Terminate(name) => {
                if let Some(process) = self.processes.get(&name) {
                    // One that is gone is reaped in a moment.
                    let _ = pidfd_send_signal(&process.running.child.pidfd, Signal::TERM);
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
            Effect::SystemReady => {
                let now = now_ms();
                self.system.boot_ms.system = Some(now);
                self.record(None, What::Boot, format!("system ready at {now} ms"));
                say_everywhere(&format!("aios: system ready at {now} ms"));
                self.words.say("ready");
            }
            Effect::AllStopped => {
                if let Some((then, _)) = self.shutdown {
                    power::end(then);
                }
            }
            Effect::Refuse(_) => {}
        }
    }

    fn set_frozen(&mut self, frozen: Frozen, reason: &str) {
        if let Err(error) = cgroups::set_frozen(frozen) {
            say_everywhere(&format!("init: actions cannot be frozen or thawed ({reason}): {error}"));
        }
    }

    fn record(&mut self, unit: Option<&UnitName>, what: What, detail: String) {
        let now = now_ms();
        if let Some(name) = unit {
            let kind = self.graph.unit(name).map(|unit| unit.kind);
            if what == What::Ready && kind == Some(Kind::Terminal) && self.system.boot_ms.console.is_none() {
                self.system.boot_ms.console = Some(now);
                say_everywhere(&format!("aios: console ready at {now} ms"));
            }
            if matches!(what, What::Exited | What::Failed) && kind != Some(Kind::Terminal) {
                say_everywhere(&format!("init: {name} {}: {detail}", what.word()));
                if let Some(output) = self.outputs.get_mut(name).filter(|_| what == What::Exited) {
                    output.read();
                    output.last(SHOWN_LINES).for_each(|line| say_everywhere(&format!("  {name}: {line}")));
                }
            }
        }
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
            (None, None, Kind::Agent) => ("agents", name.to_string(), Peer::Agent { name: name.to_string() }),
            (None, None, _) => ("system", name.to_string(), Peer::Service { name: unit.base.to_string() }),
        };
        let cgroup = cgroups::make(branch, &cgroup, &unit.resources).map_err(at("make the cgroup", &cgroup))?;
        let id = cgroup.id;
        // Before the program runs: its first question may be who it is.
        self.owners.set(id, peer);
        let output = self.outputs.entry(name.clone()).or_default();
        match self.starter.start(unit, cgroup, output, &self.refusals) {
            Ok(running) => {
                self.processes.insert(name.clone(), Process { running, report: None });
                Ok(())
            }
            Err(failure) => {
                self.owners.clear(id);
                Err(failure)
            }
        }
    }

    /// Children that have executed their program, or failed to.
    fn read_reports(&mut self) {
        let mut events = Vec::new();
        for (name, process) in self.processes.iter_mut().filter(|(_, process)| process.report.is_none()) {
            let mut wait = [PollFd::new(&process.running.child.report, PollFlags::IN)];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            if poll(&mut wait, Some(&now)).is_ok_and(|ready| ready > 0) {
                events.extend(process.take_report(name));
            }
        }
        for event in events {
            self.happened(event);
        }
    }

    fn read_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.next() {
            match signal {
                signals::CHILD => {}
                signals::INTERRUPT => self.shut_down(Afterwards::Reboot, "Ctrl-Alt-Del"),
                _ => self.shut_down(Afterwards::PowerOff, "a signal"),
            }
        }
        // Whatever the signals said: several ends may hide behind one.
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let ended = match (status.exit_status(), status.terminating_signal()) {
                (Some(status), _) => Ended::Status(status),
                (None, Some(signal)) => Ended::Signal(signal),
                (None, None) => continue,
            };
            self.reaped(pid, ended);
        }
    }

    /// A process ended. One that is no unit's main process was somebody's orphan and is of no further interest.
    fn reaped(&mut self, pid: Pid, ended: Ended) {
        let found = self.processes.iter().find(|(_, process)| process.running.child.pid == pid);
        let Some(name) = found.map(|(name, _)| name.clone()) else { return };
        let Some(mut process) = self.processes.remove(&name) else { return };
        // A unit is its main process: what is left of its cgroup ends with it.
        let _ = process.running.cgroup.kill();
        self.owners.clear(process.running.cgroup.id);
        if process.report.is_none()
            && let Some(event) = process.take_report(&name)
        {
            self.happened(event);
        }
        process.running.cgroup.remove();
        let event = match process.report {
            Some(Err(why)) => Event::NotStarted(name, why),
            _ => Event::Ended(name, ended),
        };
        self.happened(event);
    }

    fn read_notifications(&mut self) {
        for _ in 0..MESSAGES_A_TURN {
            let Ok(Some(message)) = self.notify.next() else { break };
            let Ok(cgroup) = aios_linux::peer::cgroup_of(&message.sender) else { continue };
            let sender = self.processes.iter().find(|(_, process)| process.running.cgroup.id == cgroup);
            let Some(name) = sender.map(|(name, _)| name.clone()) else { continue };
            let text = String::from_utf8_lossy(&message.text).into_owned();
            for line in text.lines() {
                if line == "READY=1" {
                    self.happened(Event::Ready(name.clone()));
                } else if let Some(status) = line.strip_prefix("STATUS=") {
                    let status = status.chars().filter(|c| !c.is_control()).take(200).collect();
                    self.happened(Event::Said(name.clone(), status));
                }
            }
        }
    }

    fn serve_callers(&mut self) {
        for asked in self.control.receive(now_ms(), &self.owners) {
            let reply = self.answer(asked.peer.as_ref(), asked.request);
            self.control.answer(asked.connection, &reply);
        }
    }

    fn answer(&mut self, peer: Option<&Peer>, request: Request) -> Reply {
        let refused = |reason: String| Reply::Refused { reason };
        let verb = request.verb();
        let Some(peer) = peer else {
            return refused(format!("{verb} is refused: the caller is no service, session or agent"));
        };
        if !self.peers.allows("init", verb, peer) {
            return refused(format!("{peer} may not use {verb} of init: the table of peers does not open it"));
        }
        let unit = |name: &str| name.parse::<UnitName>().map_err(|error| error.to_string());
        let event = match request {
            Request::Status => return Reply::Status(self.status()),
            Request::Services => return Reply::Services { services: self.graph.services() },
            Request::Events { after } => {
                // Whoever takes the events also reads the kernel's records.
                self.refusals.ask_for_losses(now_ms());
                return self.ring.after(after);
            }
            Request::Identify { cgroup } => return Reply::Identity { peer: self.owners.of(cgroup).cloned() },
            Request::Logs { name } => match unit(&name).map(|name| self.outputs.get(&name).map(Output::all)) {
                Ok(Some(lines)) => return Reply::Logs { lines },
                Ok(None) => Err(format!("unit '{name}' has not printed anything; 'aios service list' shows all units")),
                Err(reason) => Err(reason),
            },
            Request::Start { name } => unit(&name).map(Event::Start),
            Request::Stop { name } => unit(&name).map(Event::Stop),
            Request::Restart { name } => unit(&name).map(Event::Restart),
            Request::OpenSession { operator, terminal } => {
                unit(&operator).and_then(|operator| self.open_session(operator, &terminal))
            }
            Request::Shutdown { then } => {
                self.shut_down(then, &peer.to_string());
                return Reply::Done;
            }
        };
        match event.map(|event| self.happened(event)) {
            Ok(None) => Reply::Done,
            Ok(Some(reason)) | Err(reason) => refused(reason),
        }
    }

    fn status(&self) -> System {
        System {
            uptime_s: now_ms() / 1000,
            frozen: self.graph.frozen().map(str::to_owned),
            measured: self.words.state().into(),
            ..self.system.clone()
        }
    }

    /// The login program of a terminal makes room for the operator's session.
    fn open_session(&mut self, operator: UnitName, terminal: &str) -> Result<Event, String> {
        if self.sessions.template.is_none() {
            return Err("this image has no unit for sessions".into());
        }
        let login = self
            .graph
            .units()
            .find(|unit| unit.terminal.as_deref() == Some(terminal) && unit.session.is_none())
            .map(|unit| unit.name.clone())
            .ok_or_else(|| format!("there is no login on a terminal '{}'", terminal.escape_default()))?;
        self.sessions.waiting.insert(login.clone(), operator);
        Ok(Event::Restart(login))
    }

    fn shut_down(&mut self, then: Afterwards, by: &str) {
        if self.shutdown.is_some() {
            return;
        }
        self.shutdown = Some((then, now_ms() + SHUTDOWN_LIMIT_MS));
        self.record(None, What::Shutdown, format!("{then:?}, asked by {by}"));
        self.happened(Event::Shutdown);
    }
}

impl Process {
    /// Reads how its start went. An event for a program that runs; a failure is told when the process is reaped.
    fn take_report(&mut self, name: &UnitName) -> Option<Event> {
        let report = self.running.child.report.try_clone().map_err(|error| error.to_string());
        let report =
            report.and_then(|report| read_report(report, Path::new(name.as_str())).map_err(|error| chain(&error)));
        let started = report.is_ok();
        self.report = Some(report);
        started.then(|| Event::Started(name.clone(), self.running.child.pid.as_raw_nonzero().get().unsigned_abs()))
    }
}
