//! PID 1's own socket: one line of JSON in, one line out, on connections that never make it wait.
//!
//! Who connected is read from the kernel when the connection is accepted. A connection that sends too much, too slowly
//! or nothing is closed; its request never happened.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use aios_identity::Peer;
use aios_wire::init::{Reply, Request};

use crate::failure::{Failure, at};
use crate::identity::Owners;
use crate::machine::SOCKETS;

/// A request is a verb and at most two names.
const REQUEST_LIMIT: usize = 4096;
/// More callers at once than this are let in later.
const CONNECTIONS: usize = 64;
/// A caller has so long to ask, and to take the answer.
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
    request: Vec<u8>,
    answer: Option<Vec<u8>>,
    deadline: u64,
    done: bool,
}

impl Control {
    /// Binds `/run/aios/init`.
    pub(crate) fn open() -> Result<Self, Failure> {
        let path = Path::new(SOCKETS).join("init");
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
            (connection.stream.as_fd(), if connection.answer.is_some() { Wait::Write } else { Wait::Read })
        });
        listener.into_iter().chain(connections)
    }

    /// When a connection has to be given up next.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.connections.iter().map(|connection| connection.deadline).min()
    }

    /// Accepts and reads without waiting; returns the requests that are complete. Each is answered by [`Self::answer`].
    pub(crate) fn receive(&mut self, now_ms: u64, owners: &Owners) -> Vec<Asked> {
        self.connections.retain(|connection| !connection.done && connection.deadline > now_ms);
        while self.connections.len() < CONNECTIONS {
            let Ok((stream, _)) = self.listener.accept() else { break };
            if stream.set_nonblocking(true).is_ok() {
                let peer = owners.of_connection(&stream).cloned();
                let deadline = now_ms + PATIENCE_MS;
                self.connections.push(Connection {
                    stream,
                    peer,
                    request: Vec::new(),
                    answer: None,
                    deadline,
                    done: false,
                });
            }
        }
        let mut asked = Vec::new();
        for (number, connection) in self.connections.iter_mut().enumerate() {
            if let Some(request) = connection.turn() {
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
    fn turn(&mut self) -> Option<Request> {
        if self.answer.is_some() {
            self.write();
            return None;
        }
        self.read();
        if let Some(end) = self.request.iter().position(|byte| *byte == b'\n') {
            match serde_json::from_slice(&self.request[..end]) {
                Ok(request) => return Some(request),
                Err(error) => self.refuse(format!("the request cannot be read: {error}")),
            }
        } else if self.request.len() >= REQUEST_LIMIT {
            self.refuse(format!("the request is longer than {REQUEST_LIMIT} bytes"));
        }
        None
    }

    fn refuse(&mut self, reason: String) {
        self.set_answer(&Reply::Refused { reason });
        self.write();
    }

    fn read(&mut self) {
        let mut bytes = [0; REQUEST_LIMIT];
        match self.stream.read(&mut bytes[..REQUEST_LIMIT - self.request.len()]) {
            Ok(0) => self.done = true,
            Ok(length) => self.request.extend_from_slice(&bytes[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.done = true,
        }
    }

    fn set_answer(&mut self, reply: &Reply) {
        let mut bytes = serde_json::to_vec(reply).unwrap_or_default();
        bytes.push(b'\n');
        self.answer = Some(bytes);
    }

    fn write(&mut self) {
        let Some(answer) = &mut self.answer else { return };
        match self.stream.write(answer) {
            Ok(length) => {
                answer.drain(..length);
                self.done |= answer.is_empty();
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.done = true,
        }
    }
}
