//! PID 1's own socket: one line of JSON in, one line out, on connections that never make it wait.
//!
//! Who connected is read from the kernel when the connection is accepted. A connection that sends too much, too slowly
//! or nothing is closed; its request never happened.

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
    state: State,
    deadline: u64,
}

/// How far a connection is.
#[derive(Debug)]
enum State {
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
        self.connections.iter().map(|connection| connection.deadline).min()
    }

    /// Accepts and reads without waiting; returns the requests that are complete. Each is answered by [`Self::answer`].
    pub(crate) fn receive(&mut self, now_ms: u64, owners: &Owners) -> Vec<Asked> {
        self.connections.retain(|connection| match connection.state {
            State::Done => false,
            // How long it waits was asked for: it is answered when that is over.
            State::Parked { .. } => true,
            State::Asking(_) | State::Answering(_) => connection.deadline > now_ms,
        });
        while self.connections.len() < CONNECTIONS {
            let Ok((stream, _)) = self.listener.accept() else { break };
            if stream.set_nonblocking(true).is_ok() {
                let peer = owners.of_connection(&stream).cloned();
                if self.connections.iter().filter(|other| other.peer == peer).count() >= CONNECTIONS_OF_ONE {
                    continue;
                }
                let deadline = now_ms + PATIENCE_MS;
                self.connections.push(Connection { stream, peer, state: State::Asking(Vec::new()), deadline });
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
        match self.state {
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

    #[test]
    fn who_waits_for_a_line_is_answered_when_there_is_one_or_time_is_up() {
        let (folder, mut control) = control();
        let owners = Owners::default();
        let mut callers: Vec<UnixStream> = (0..3).map(|_| connect(&folder)).collect();
        for caller in &mut callers {
            caller.write_all(b"{\"verb\":\"lines\",\"after\":7,\"wait_ms\":9000}\n").expect("sent");
        }
        let asked = control.receive(0, &owners);
        assert_eq!(asked.len(), 3);
        for asked in &asked {
            control.park(asked.connection, 7, 9_000);
        }
        assert_eq!(control.wake(7, 8_999), []);
        assert!(control.receive(8_999, &owners).is_empty(), "longer than a caller's patience, and still there");
        assert_eq!(control.wake(8, 8_999), [(0, 7), (1, 7), (2, 7)]);
        control.answer(0, &Reply::Lines { lines: Vec::new() });
        let mut line = String::new();
        BufReader::new(&callers[0]).read_line(&mut line).expect("an answer");
        assert_eq!(line, "{\"reply\":\"lines\",\"lines\":[]}\n");
        // One that says more, and one that hung up, wait for nothing any more.
        control.park(1, 8, 20_000);
        control.park(2, 8, 20_000);
        callers[1].write_all(b"more").expect("sent");
        callers.truncate(2);
        control.receive(9_000, &owners);
        assert_eq!(control.wake(9, 20_000), []);
    }

    /// A generator of numbers, so that a failure comes again.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self, below: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % below.max(1) as u64).expect("below a usize")
        }
    }

    /// What a caller might send: a request, one that is broken somewhere, garbage, or far too much.
    fn input(numbers: &mut Numbers) -> Vec<u8> {
        let requests: [&[u8]; 5] = [
            b"{\"verb\":\"status\"}\n",
            b"{\"verb\":\"events\",\"after\":18446744073709551615}\n",
            b"{\"verb\":\"lines\",\"after\":1,\"wait_ms\":18446744073709551615}\n",
            b"{\"verb\":\"logs\",\"name\":\"../../\\u0000\"}\n",
            b"{\"verb\":\"open-session\",\"operator\":\"a\",\"terminal\":\"b\"}\n",
        ];
        let mut bytes = requests[numbers.next(requests.len())].to_vec();
        match numbers.next(6) {
            0 => {}
            1 => bytes.truncate(numbers.next(bytes.len())),
            2 => bytes = (0..numbers.next(200)).map(|_| numbers.next(256) as u8).collect(),
            3 => bytes = b"[".repeat(numbers.next(2 * REQUEST_LIMIT)),
            _ => {
                for _ in 0..=numbers.next(4) {
                    let at = numbers.next(bytes.len());
                    bytes[at] = numbers.next(256) as u8;
                }
            }
        }
        bytes
    }

    #[test]
    fn thousands_of_bad_callers_leave_it_answering_the_good_one() {
        const INPUTS: usize = 5_000;
        let (folder, mut control) = control();
        let owners = Owners::default();
        let mut numbers = Numbers(0x5eed);
        let mut now = 0;
        let mut open: Vec<(UnixStream, Vec<u8>)> = Vec::new();
        let turn = |control: &mut Control, now: u64| {
            for asked in control.receive(now, &owners) {
                match asked.request {
                    Request::Lines { after, wait_ms } => {
                        control.park(asked.connection, after, now + wait_ms.min(1_000))
                    }
                    _ => control.answer(asked.connection, &Reply::Done),
                }
            }
            for (connection, _) in control.wake(0, now) {
                control.answer(connection, &Reply::Lines { lines: Vec::new() });
            }
        };
        for number in 0..INPUTS {
            now += numbers.next(40) as u64;
            let caller = connect(&folder);
            caller.set_nonblocking(true).expect("a setting");
            open.push((caller, input(&mut numbers)));
            // Each sends a piece of what it has; some are slow, some hang up in the middle, none reads.
            for (caller, left) in &mut open {
                let piece = numbers.next(left.len() + 1);
                if let Ok(sent) = caller.write(&left[..piece]) {
                    left.drain(..sent);
                }
            }
            if numbers.next(3) == 0 {
                open.swap_remove(numbers.next(open.len()));
            }
            open.truncate(CONNECTIONS);
            turn(&mut control, now);
            assert!(control.connections.len() <= CONNECTIONS_OF_ONE);
            if number % 500 == 0 {
                open.clear();
                turn(&mut control, now + PATIENCE_MS + 2_000);
                turn(&mut control, now + PATIENCE_MS + 2_001);
                now += PATIENCE_MS + 2_001;
                let mut good = connect(&folder);
                good.write_all(b"{\"verb\":\"status\"}\n").expect("sent");
                turn(&mut control, now);
                let mut line = String::new();
                BufReader::new(good).read_line(&mut line).expect("an answer");
                assert_eq!(line, "{\"reply\":\"done\"}\n", "after {number} callers");
            }
        }
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
