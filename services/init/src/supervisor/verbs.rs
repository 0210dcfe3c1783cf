//! What callers ask of PID 1, who may, and the answers.

use aios_identity::Peer;
use aios_ids::UnitName;
use aios_units::{Event, Unit, What};
use aios_wire::init::{LONGEST_WAIT_MS, Reply, Request, System};
use aios_wire::logs::INIT;

use super::Supervisor;
use crate::clock::now_ms;
use crate::failure::chain;
use crate::{keyboard, told_time};

/// What a caller gets.
enum Answer {
    Now(Box<Reply>),
    /// The lines after this number, as soon as there is one, or when it has waited so long.
    WithTheNextLine {
        after: u64,
        until: u64,
    },
}

impl Supervisor {
    pub(super) fn serve_callers(&mut self) {
        for asked in self.control.receive(now_ms(), &self.owners) {
            match self.answer(asked.peer.as_ref(), asked.request) {
                Answer::Now(reply) => self.control.answer(asked.connection, &reply),
                Answer::WithTheNextLine { after, until } => self.control.park(asked.connection, after, until),
            }
        }
        for (connection, after) in self.control.wake(self.outputs.newest(), now_ms()) {
            self.control.answer(connection, &Reply::Lines { lines: self.outputs.after(after) });
        }
    }

    fn answer(&mut self, peer: Option<&Peer>, request: Request) -> Answer {
        let verb = request.verb();
        let refused = |reason: String| Answer::Now(Box::new(Reply::Refused { reason }));
        let Some(peer) = peer else {
            return refused(format!("{verb} is refused: the caller is no service, session or agent"));
        };
        if !self.peers.allows(INIT, verb, peer) {
            return refused(format!("{peer} may not use {verb} of init: the table of peers does not open it"));
        }
        match request {
            Request::Lines { after, wait_ms } => {
                Answer::WithTheNextLine { after, until: now_ms() + wait_ms.min(LONGEST_WAIT_MS) }
            }
            other => Answer::Now(Box::new(self.carry_out_verb(peer, other))),
        }
    }

    fn carry_out_verb(&mut self, peer: &Peer, request: Request) -> Reply {
        let refused = |reason: String| Reply::Refused { reason };
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
            Request::Logs { name } => match self.outputs.of_unit(&name) {
                Some(lines) => return Reply::Logs { lines },
                None => {
                    let name = name.escape_default();
                    Err(format!("unit '{name}' has not printed anything; 'aios service list' shows all units"))
                }
            },
            Request::Lines { after, .. } => return Reply::Lines { lines: self.outputs.after(after) },
            Request::Boot => return Reply::Boot(self.times.report(&self.system)),
            Request::Start { name } => unit(&name).map(Event::Start),
            Request::Stop { name } => unit(&name).map(Event::Stop),
            Request::Restart { name } => unit(&name).map(Event::Restart),
            Request::UnitAdd { name, text } => self.read_unit(&name, &text),
            Request::UnitRemove { name } => unit(&name).map(Event::Remove),
            Request::OpenSession { operator, terminal } => {
                unit(&operator).and_then(|operator| self.open_session(operator, &terminal))
            }
            Request::SetClock { unix_ms } => match told_time::follow(unix_ms) {
                Ok(()) => return Reply::Done,
                Err(reason) => Err(reason),
            },
            Request::SetKeyboard { layout } => match keyboard::lay_out(&layout) {
                Ok(()) => return Reply::Done,
                Err(reason) => Err(reason),
            },
            Request::Shutdown { then } => {
                self.shut_down(then, &peer.to_string());
                return Reply::Done;
            }
        };
        let event = match event {
            Ok(event) => event,
            Err(reason) => return refused(reason),
        };
        let asked = match &event {
            Event::Start(name) => Some((name.clone(), "start")),
            Event::Stop(name) => Some((name.clone(), "stop")),
            Event::Restart(name) => Some((name.clone(), "restart")),
            Event::Add(unit) => Some((unit.name.clone(), "add")),
            Event::Remove(name) => Some((name.clone(), "remove")),
            _ => None,
        };
        if let Some(reason) = self.happened(event) {
            return refused(reason);
        }
        if let Some((name, verb)) = asked {
            self.record(Some(&name), What::Asked, format!("{verb}, by {peer}"));
        }
        Reply::Done
    }

    fn status(&self) -> System {
        System {
            uptime_s: now_ms() / 1000,
            degraded: self.graph.degraded().map(ToString::to_string).collect(),
            frozen: self.graph.frozen().map(str::to_owned),
            measured: self.words.state().into(),
            ..self.system.clone()
        }
    }

    /// The unit of an app, from its text.
    fn read_unit(&mut self, name: &str, text: &str) -> Result<Event, String> {
        let unit = Unit::parse(name, text).map_err(|error| chain(&error))?;
        self.outputs.keep_only(|name| self.graph.unit(name).is_some());
        Ok(Event::Add(Box::new(unit)))
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
}
