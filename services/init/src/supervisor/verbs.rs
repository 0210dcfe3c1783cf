//! What callers ask of PID 1, who may, and the answers.

use aios_identity::Peer;
use aios_ids::UnitName;
use aios_units::{Event, What};
use aios_wire::init::{Afterwards, Reply, Request, System};

use super::{SHUTDOWN_LIMIT_MS, Supervisor};
use crate::clock::now_ms;
use crate::output::Output;

impl Supervisor {
    pub(super) fn serve_callers(&mut self) {
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

    pub(super) fn shut_down(&mut self, then: Afterwards, by: &str) {
        if self.shutdown.is_some() {
            return;
        }
        self.shutdown = Some((then, now_ms() + SHUTDOWN_LIMIT_MS));
        self.record(None, What::Shutdown, format!("{then:?}, asked by {by}"));
        self.happened(Event::Shutdown);
    }
}
