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

/// A request is a verb and at most two names.
const REQUEST_LIMIT: usize = 4096;
/// More callers at once than this are let in later.
const CONNECTIONS: usize = 64;
/// No caller may keep the others out.
const CONNECTIONS_OF_ONE: usize = 16;
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
                if self.connections.iter().filter(|other| other.peer == peer).count() >= CONNECTIONS_OF_ONE {
                    continue;
                }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};

    fn control() -> (tempfile::TempDir, Control) {
        let folder = tempfile::tempdir().expect("a folder");
        let control = Control::open(folder.path()).expect("a socket");
        (folder, control)
    }

    fn connect(folder: &tempfile::TempDir) -> UnixStream {
        UnixStream::connect(folder.path().join("init")).expect("it listens")
    }

    #[test]
    fn a_request_in_pieces_is_answered_once_it_is_whole() {
        let (folder, mut control) = control();
        let owners = Owners::default();
        let mut caller = connect(&folder);
        caller.write_all(b"{\"verb\":").expect("sent");
        assert!(control.receive(0, &owners).is_empty());
        caller.write_all(b"\"status\"}\n").expect("sent");
        let asked = control.receive(1, &owners);
        assert_eq!(asked.len(), 1);
        assert_eq!((&asked[0].request, &asked[0].peer), (&Request::Status, &None));
        control.answer(asked[0].connection, &Reply::Done);
        let mut line = String::new();
        BufReader::new(caller).read_line(&mut line).expect("an answer");
        assert_eq!(line, "{\"reply\":\"done\"}\n");
        assert!(control.receive(2, &owners).is_empty());
        assert_eq!(control.next_deadline(), None, "the connection is gone");
    }

    #[test]
    fn nonsense_is_refused_and_silence_is_given_up() {
        let (folder, mut control) = control();
        let owners = Owners::default();
        for nonsense in [b"\xff\xff\n".to_vec(), b"{\"verb\":\"dance\"}\n".to_vec(), vec![b'x'; REQUEST_LIMIT]] {
            let mut caller = connect(&folder);
            caller.write_all(&nonsense).expect("sent");
            assert!(control.receive(0, &owners).is_empty());
            let mut line = String::new();
            BufReader::new(caller).read_line(&mut line).expect("an answer");
            assert!(line.contains("refused"), "{line}");
        }
        let silent = connect(&folder);
        control.receive(10, &owners);
        assert_eq!(control.next_deadline(), Some(10 + PATIENCE_MS));
        control.receive(10 + PATIENCE_MS, &owners);
        assert_eq!(control.next_deadline(), None);
        drop(silent);
    }

    #[test]
    fn one_caller_cannot_keep_the_others_out() {
        let (folder, mut control) = control();
        let callers: Vec<UnixStream> = (0..CONNECTIONS).map(|_| connect(&folder)).collect();
        control.receive(0, &Owners::default());
        assert_eq!(control.connections.len(), CONNECTIONS_OF_ONE);
        drop(callers);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let (folder, mut control) = control();
            let mut caller = connect(&folder);
            caller.write_all(&bytes).expect("sent");
            drop(caller);
            control.receive(0, &Owners::default());
            control.receive(1, &Owners::default());
        }
    }
}
