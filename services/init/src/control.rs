//! PID 1's own socket: one line of JSON in, one line out, on connections that never make it wait.
//!
//! Who connected is read from the kernel when the connection is accepted. A connection that sends too much or too slowly
//! is closed; its request never happened. One that sends nothing yet stays as long as nobody needs its place: an action's
//! connection is opened before its sandbox is made, and on a busy machine that takes longer than any limit that is short
//! enough to be one.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use aios_identity::Peer;
use aios_wire::init::{Heard, REQUEST_LIMIT, Reply, Request};

use crate::failure::{Failure, at};
use crate::identity::Owners;

/// More callers at once than this are let in later.
const CONNECTIONS: usize = 64;
/// No caller may keep the others out.
const CONNECTIONS_OF_ONE: usize = 16;
/// A caller has so long from its first byte to the end of its request, and to take the answer. One that is silent keeps its
/// place for so long whoever waits for one.
const PATIENCE_MS: u64 = 5_000;

/// The listening socket and its connections.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    connections: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    peer: Option<Peer>,
    state: State,
    deadline: u64,
}

/// How far a connection is.
#[derive(Debug)]
enum State {
    /// Nothing has come from it.
    Silent,
    /// Its request arrives.
    Asking(Vec<u8>),
    /// It is answered when there is a line after this number.
    Parked { after: u64 },
    /// Its answer leaves.
    Answering(Vec<u8>),
    /// It is closed in the next turn.
    Done,
}

impl Control {
    /// Binds the socket `init` in `folder`.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("init");
        let listener = UnixListener::bind(&path).map_err(at("listen on", &path))?;
        listener.set_nonblocking(true).map_err(at("listen on", &path))?;
        rustix::fs::chmod(&path, rustix::fs::Mode::from_raw_mode(0o666)).map_err(at("open", &path))?;
        Ok(Self { listener, connections: Vec::new() })
    }

    /// What to wait for: descriptors to read and descriptors to write.
    pub(crate) fn waits(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Wait)> {
        let room = self.connections.len() < CONNECTIONS;
        let listener = room.then_some((self.listener.as_fd(), Wait::Read));
        let connections = self.connections.iter().map(|connection| {
            let wait = if matches!(connection.state, State::Answering(_)) { Wait::Write } else { Wait::Read };
            (connection.stream.as_fd(), wait)
        });
        listener.into_iter().chain(connections)
    }

    /// When a connection has to be given up next.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let crowded = self.is_crowded();
        let limited = |connection: &&Connection| crowded || !matches!(connection.state, State::Silent);
        self.connections.iter().filter(limited).map(|connection| connection.deadline).min()
    }

    /// Whether nobody more can be let in.
    fn is_crowded(&self) -> bool {
        self.connections.len() >= CONNECTIONS
    }

    /// Closes the connection that has been silent for longest, if that is too long: of `peer`, or of anybody.
    fn make_room(&mut self, now_ms: u64, of: Of<'_>) -> Room {
        let closable = |connection: &Connection| {
            let asked_for = match of {
                Of::Anybody => true,
                Of::One(peer) => connection.peer.as_ref() == peer,
            };
            asked_for && matches!(connection.state, State::Silent) && connection.deadline <= now_ms
        };
        let silent = self.connections.iter().enumerate().filter(|(_, connection)| closable(connection));
        match silent.min_by_key(|(_, connection)| connection.deadline).map(|(number, _)| number) {
            Some(number) => {
                self.connections.remove(number);
                Room::Made
            }
            None => Room::None,
        }
    }

    /// Accepts and reads without waiting; returns the requests that are complete. Each is answered by [`Self::answer`].
    pub(crate) fn receive(&mut self, now_ms: u64, owners: &Owners) -> Vec<Asked> {
        self.connections.retain(|connection| match connection.state {
            State::Done => false,
            // How long it waits was asked for: it is answered when that is over.
            State::Parked { .. } | State::Silent => true,
            State::Asking(_) | State::Answering(_) => connection.deadline > now_ms,
        });
        // Who has said something by now is not silent, whoever wants the place.
        for connection in self.connections.iter_mut().filter(|one| matches!(one.state, State::Silent)) {
            connection.begin(now_ms);
        }
        // Where nobody could be let in, one place is made free for the next.
        while !self.is_crowded() || self.make_room(now_ms, Of::Anybody) == Room::Made {
            let Ok((stream, _)) = self.listener.accept() else { break };
            if stream.set_nonblocking(true).is_ok() {
                let peer = owners.of_connection(&stream).cloned();
                let of_one = self.connections.iter().filter(|other| other.peer == peer).count();
                if of_one >= CONNECTIONS_OF_ONE && self.make_room(now_ms, Of::One(peer.as_ref())) == Room::None {
                    continue;
                }
                let deadline = now_ms + PATIENCE_MS;
                self.connections.push(Connection { stream, peer, state: State::Silent, deadline });
            }
        }
        let mut asked = Vec::new();
        for (number, connection) in self.connections.iter_mut().enumerate() {
            if let Some(request) = connection.turn(now_ms) {
                asked.push(Asked { connection: number, peer: connection.peer.clone(), request });
            }
        }
        asked
    }

    /// Answers a request that [`Self::receive`] returned in this turn.
    pub(crate) fn answer(&mut self, connection: usize, reply: &Reply) {
        if let Some(connection) = self.connections.get_mut(connection) {
            connection.set_answer(reply);
            connection.write();
        }
    }

    /// Keeps a request that [`Self::receive`] returned in this turn until there is a line after `after`, or until `until`.
    pub(crate) fn park(&mut self, connection: usize, after: u64, until: u64) {
        if let Some(connection) = self.connections.get_mut(connection) {
            connection.state = State::Parked { after };
            connection.deadline = until;
        }
    }

    /// The connections whose wait is over, each with the number after which lines are wanted. Each is answered by
    /// [`Self::answer`] in this turn.
    pub(crate) fn wake(&mut self, newest: u64, now_ms: u64) -> Vec<(usize, u64)> {
        let mut woken = Vec::new();
        for (number, connection) in self.connections.iter_mut().enumerate() {
            if let State::Parked { after } = connection.state
                && (newest > after || connection.deadline <= now_ms)
            {
                // From here on it is a caller who has so long to take the answer.
                connection.deadline = now_ms + PATIENCE_MS;
                woken.push((number, after));
            }
        }
        woken
    }
}

/// Whose place is needed.
#[derive(Debug, Clone, Copy)]
enum Of<'a> {
    Anybody,
    One(Option<&'a Peer>),
}

/// Whether a place has become free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Made,
    None,
}

/// A complete request.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) connection: usize,
    /// Who asks; none: nobody that PID 1 knows.
    pub(crate) peer: Option<Peer>,
    pub(crate) request: Request,
}

/// What a descriptor is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Read,
    Write,
}

impl Connection {
    fn turn(&mut self, now_ms: u64) -> Option<Request> {
        match self.state {
            State::Silent => self.begin(now_ms),
            State::Asking(_) => self.read(),
            State::Parked { .. } => self.listen(),
            State::Answering(_) => self.write(),
            State::Done => {}
        }
        let State::Asking(request) = &self.state else { return None };
        match Request::hear(request) {
            Heard::Whole(request) => return Some(request),
            Heard::Refused(reason) => self.refuse(reason),
            Heard::Part => {}
        }
        None
    }

    fn refuse(&mut self, reason: String) {
        self.set_answer(&Reply::Refused { reason });
        self.write();
    }

    /// The first byte starts the time that a request may take.
    fn begin(&mut self, now_ms: u64) {
        self.state = State::Asking(Vec::new());
        self.read();
        match &self.state {
            State::Asking(nothing) if nothing.is_empty() => self.state = State::Silent,
            _ => self.deadline = now_ms + PATIENCE_MS,
        }
    }

    fn read(&mut self) {
        let State::Asking(request) = &mut self.state else { return };
        let mut bytes = [0; REQUEST_LIMIT];
        match self.stream.read(&mut bytes[..REQUEST_LIMIT - request.len()]) {
            Ok(length) if length > 0 => request.extend_from_slice(&bytes[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Ok(_) | Err(_) => self.state = State::Done,
        }
    }

    /// A caller that waits has nothing more to say: it hung up, or it does not keep to the form.
    fn listen(&mut self) {
        match self.stream.read(&mut [0]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Ok(_) | Err(_) => self.state = State::Done,
        }
    }

    fn set_answer(&mut self, reply: &Reply) {
        let mut bytes = serde_json::to_vec(reply).unwrap_or_default();
        bytes.push(b'\n');
        self.state = State::Answering(bytes);
    }

    fn write(&mut self) {
        let State::Answering(answer) = &mut self.state else { return };
        match self.stream.write(answer) {
            Ok(length) if length < answer.len() => {
                answer.drain(..length);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Ok(_) | Err(_) => self.state = State::Done,
        }
    }
}

#[cfg(test)]
mod tests;
