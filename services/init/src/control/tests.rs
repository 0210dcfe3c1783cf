//! Callers of all kinds, over the real socket.

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
fn nonsense_is_refused_and_half_a_request_is_given_up() {
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
    let mut slow = connect(&folder);
    slow.write_all(b"{\"verb\":").expect("sent");
    control.receive(10, &owners);
    assert_eq!(control.next_deadline(), Some(10 + PATIENCE_MS));
    control.receive(10 + PATIENCE_MS, &owners);
    assert_eq!((control.next_deadline(), control.connections.len()), (None, 0));
}

#[test]
fn who_connected_long_ago_may_still_ask() {
    let (folder, mut control) = control();
    let owners = Owners::default();
    let mut early = connect(&folder);
    control.receive(0, &owners);
    assert_eq!(control.next_deadline(), None, "nobody waits for its place, so nobody is woken for it");
    let late = 20 * PATIENCE_MS;
    control.receive(late, &owners);
    early.write_all(b"{\"verb\":").expect("it is still connected");
    control.receive(late, &owners);
    assert_eq!(control.next_deadline(), Some(late + PATIENCE_MS), "from its first byte on");
    early.write_all(b"\"status\"}\n").expect("it is still connected");
    let asked = control.receive(late + PATIENCE_MS - 1, &owners);
    assert_eq!(asked.len(), 1);
    control.answer(asked[0].connection, &Reply::Done);
    let mut line = String::new();
    BufReader::new(early).read_line(&mut line).expect("an answer");
    assert_eq!(line, "{\"reply\":\"done\"}\n");
}

#[test]
fn a_caller_that_used_its_places_up_gets_its_oldest_silent_one_again() {
    let (folder, mut control) = control();
    let owners = Owners::default();
    let mut silent: Vec<UnixStream> = Vec::new();
    for number in 0..CONNECTIONS_OF_ONE {
        silent.push(connect(&folder));
        control.receive(number as u64, &owners);
    }
    let ask = |control: &mut Control, now| {
        let mut caller = connect(&folder);
        let _ = caller.write_all(b"{\"verb\":\"status\"}\n");
        control.receive(now, &owners).len()
    };
    assert_eq!(ask(&mut control, PATIENCE_MS - 1), 0, "all have been silent for a moment only");
    assert_eq!(ask(&mut control, PATIENCE_MS), 1);
    silent[1].write_all(b"{\"verb\":\"status\"}\n").expect("the second is still connected");
    assert_eq!(control.receive(PATIENCE_MS, &owners).len(), 1);
    assert_eq!(silent[0].read(&mut [0]).expect("an end"), 0, "the first had been silent for longest");
}

#[test]
fn when_no_place_is_left_the_silent_make_room_for_others() {
    let (folder, mut control) = control();
    let owners = Owners::default();
    let mut silent: Vec<UnixStream> = Vec::new();
    // Each sixteen are of another caller.
    for caller in 0..CONNECTIONS / CONNECTIONS_OF_ONE {
        silent.extend((0..CONNECTIONS_OF_ONE).map(|_| connect(&folder)));
        control.receive(0, &owners);
        for connection in control.connections.iter_mut().filter(|connection| connection.peer.is_none()) {
            connection.peer = Some(Peer::Agent { name: format!("agent-{caller}") });
        }
    }
    assert_eq!(control.connections.len(), CONNECTIONS);
    let mut caller = connect(&folder);
    caller.write_all(b"{\"verb\":\"status\"}\n").expect("sent");
    assert_eq!(control.next_deadline(), Some(PATIENCE_MS), "then a place may be taken from one");
    assert!(control.receive(PATIENCE_MS - 1, &owners).is_empty());
    silent[0].write_all(b"{\"verb\":\"status\"}\n").expect("sent");
    let asked = control.receive(PATIENCE_MS, &owners);
    assert_eq!(asked.len(), 2, "the one that waited, and the one that had been silent for longest until now");
    asked.iter().for_each(|asked| control.answer(asked.connection, &Reply::Done));
    control.receive(PATIENCE_MS, &owners);
    assert_eq!(control.next_deadline(), None, "there is room again, and the others stay");
    assert!(control.connections.len() > CONNECTIONS - CONNECTIONS_OF_ONE);
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
                Request::Lines { after, wait_ms } => control.park(asked.connection, after, now + wait_ms.min(1_000)),
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
