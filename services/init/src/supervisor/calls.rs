//! Services that their callers start, as the kernel shows them: processes and connections, not states.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use super::test_machine::{BUDGET, PATIENCE, TestMachine};

/// What the service says of itself: its process id.
fn answer(caller: UnixStream) -> String {
    caller.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let mut line = String::new();
    BufReader::new(caller).read_line(&mut line).expect("an answer");
    line
}

#[test]
fn each_caller_who_finds_nobody_has_the_service_started() {
    let Some(machine) = TestMachine::start() else { return };
    machine.settles("", "at first");
    let mut answers = BTreeSet::new();
    for _ in 0..3 {
        assert_eq!(machine.process_of("door"), None, "nobody has called");
        answers.insert(answer(machine.call("door")));
        machine.is_gone("door");
    }
    // The second waits in the socket's queue while the first is answered, and has it started anew.
    let (one, other) = (machine.call("door"), machine.call("door"));
    answers.extend([answer(one), answer(other)]);
    assert_eq!(answers.len(), 5, "each was answered by a process of its own: {answers:?}");
}

#[test]
fn a_caller_who_waits_does_not_have_a_broken_service_started_for_ever() {
    let Some(machine) = TestMachine::start() else { return };
    let waiting = machine.call("broken");
    machine.settles("", "beside the broken one");
    for _ in 0..100 {
        if machine.starts() == BUDGET {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    thread::sleep(Duration::from_secs(1));
    assert_eq!(machine.starts(), BUDGET, "it may be started so often in an hour");
    drop(waiting);
    assert_ne!(answer(machine.call("door")), "", "others are answered");
}
