//! How children begin and end: their reports, the signals about them, and the one place where they are reaped.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use aios_identity::Peer;
use aios_ids::UnitName;
use aios_linux::signals;
use aios_linux::spawn::read_report;
use aios_units::unit::Kind;
use aios_units::{Ended, Event, What};
use aios_wire::init::{Afterwards, SESSION_EXPIRED, Session, SessionChange};
use rustix::process::{Pid, WaitOptions, wait};

use super::{Process, Report, Supervisor};
use crate::cgroups::{Cgroup, Left};
use crate::clock::now_ms;
use crate::failure::chain;

/// What was killed takes a moment to go; what is not gone by then waits for a device that does not answer.
const GOING_MS: u64 = 2_000;
/// How often to look whether it has.
const LOOK_EVERY_MS: u64 = 3;

/// A unit whose main process has ended, until nothing of it is left.
#[derive(Debug)]
pub(super) struct Leaving {
    name: UnitName,
    cgroup: Cgroup,
    event: Event,
    until: u64,
}

impl Supervisor {
    /// Children that have executed their program, or failed to.
    pub(super) fn read_reports(&mut self, units: &[UnitName]) {
        let mut events = Vec::new();
        for name in units {
            events.extend(self.processes.get_mut(name).and_then(|process| process.take_report(name)));
        }
        for event in events {
            if let Event::Started(name, _) = &event
                && let Some(Process { session: Some(session), .. }) = self.processes.get(name)
            {
                self.tell_of_session(&name.clone(), session.clone(), SessionChange::Began, String::new());
            }
            self.happened(event);
        }
    }

    /// Units that start on call and have a caller. Their sockets are not touched: the unit answers.
    pub(super) fn answer_calls(&mut self, units: Vec<UnitName>) {
        for name in units {
            self.happened(Event::Called(name));
        }
    }

    /// What became of an operator's session: the evidence log makes a record of it.
    fn tell_of_session(&mut self, unit: &UnitName, session: (Peer, String), change: SessionChange, how: String) {
        let (operator, terminal) = session;
        self.ring.push_session(now_ms(), unit.as_str(), Session { operator, terminal, change }, how);
    }

    pub(super) fn read_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.next() {
            match signal {
                signals::CHILD => {}
                signals::INTERRUPT => self.shut_down(Afterwards::Reboot, "Ctrl-Alt-Del"),
                _ => self.shut_down(Afterwards::PowerOff, "a signal"),
            }
        }
        self.see_off();
        // Whatever the signals said: several ends may hide behind one.
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            if status.stopped() {
                self.stood_still(pid);
                continue;
            }
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
        let found = self.processes.iter().find(|(_, process)| process.running.pid == pid);
        let Some(name) = found.map(|(name, _)| name.clone()) else { return };
        let Some(mut process) = self.processes.remove(&name) else { return };
        // A unit is its main process: what is left of its cgroup ends with it.
        let _ = process.running.cgroup.kill();
        self.owners.clear(process.running.cgroup.id);
        if let Some(event) = process.take_report(&name) {
            if let Some(session) = process.session.clone() {
                self.tell_of_session(&name, session, SessionChange::Began, String::new());
            }
            self.happened(event);
        }
        let event = match (process.report, process.session) {
            (Report::Came(Err(why)), _) => Event::NotStarted(name.clone(), why),
            (_, None) => Event::Ended(name.clone(), ended),
            (_, Some(session)) => {
                let (change, how) = end_of_session(ended);
                self.tell_of_session(&name, session, change, how);
                // A person who went away without a word left all the same.
                let ended = if change == SessionChange::Expired { Ended::Status(0) } else { ended };
                Event::Ended(name.clone(), ended)
            }
        };
        let leaving = Leaving { name, cgroup: process.running.cgroup, event, until: now_ms() + GOING_MS };
        self.leaving.push(leaving);
        self.see_off();
    }

    /// Tells the graph of every unit of which nothing is left any more.
    pub(super) fn see_off(&mut self) {
        let now = now_ms();
        for leaving in std::mem::take(&mut self.leaving) {
            match leaving.cgroup.remove_if_empty() {
                Left::Something if leaving.until > now => self.leaving.push(leaving),
                Left::Something => {
                    self.record(Some(&leaving.name), What::Exited, "processes of it cannot be killed".into());
                    self.happened(leaving.event);
                }
                Left::Nothing => drop(self.happened(leaving.event)),
            }
        }
    }

    pub(super) fn next_look_at_leaving(&self) -> Option<u64> {
        (!self.leaving.is_empty()).then(|| now_ms() + LOOK_EVERY_MS)
    }

    /// A process that a signal stopped neither works nor ends. A terminal's is left to whoever sits there.
    fn stood_still(&mut self, pid: Pid) {
        let found = self.processes.iter().find(|(_, process)| process.running.pid == pid);
        let Some(name) = found.map(|(name, _)| name.clone()) else { return };
        if self.graph.unit(&name).is_some_and(|unit| unit.kind != Kind::Terminal) {
            self.happened(Event::StoodStill(name));
        }
    }
}

/// What the end of a session's program says about the session.
fn end_of_session(ended: Ended) -> (SessionChange, String) {
    match ended {
        Ended::Status(0) => (SessionChange::LoggedOut, String::new()),
        Ended::Status(status) if status == i32::from(SESSION_EXPIRED) => (SessionChange::Expired, String::new()),
        other => (SessionChange::Ended, other.to_string()),
    }
}

impl Process {
    /// Where its report is still to come.
    pub(super) fn awaited(&self) -> Option<BorrowedFd<'_>> {
        match &self.report {
            Report::Awaited(report) => Some(report.as_fd()),
            Report::Came(_) => None,
        }
    }

    /// Reads how its start went, once. An event for a program that runs; a failure is told when the process is reaped.
    fn take_report(&mut self, name: &UnitName) -> Option<Event> {
        let unread = Err("its report was not read".to_owned());
        let report = match std::mem::replace(&mut self.report, Report::Came(unread)) {
            Report::Awaited(report) => read_report(report, Path::new(name.as_str())).map_err(|error| chain(&error)),
            came @ Report::Came(_) => {
                self.report = came;
                return None;
            }
        };
        let started = report.is_ok();
        self.report = Report::Came(report);
        started.then(|| Event::Started(name.clone(), self.running.pid.as_raw_nonzero().get().unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_session_says_who_ended_it() {
        let change = |ended| end_of_session(ended).0;
        assert_eq!(change(Ended::Status(0)), SessionChange::LoggedOut);
        assert_eq!(change(Ended::Status(i32::from(SESSION_EXPIRED))), SessionChange::Expired);
        let (change, how) = end_of_session(Ended::Signal(9));
        assert_eq!((change, how.as_str()), (SessionChange::Ended, "killed by signal 9"));
    }
}
