//! Two hundred units: they start in rows, and what one of them does costs nothing for the others.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use super::faults::{Tracer, Watch};
use super::test_machine::{BEGIN, LAST, PATIENCE, TestMachine};

const CROWD: usize = 200;
/// How often a service is killed until the loop was seen at work.
const ATTEMPTS: usize = 8;
/// A turn of the loop reads its signals, what the unit said and who calls.
const READS_A_TURN: usize = 8;

#[test]
fn among_two_hundred_units_only_those_are_looked_at_that_did_something() {
    let Some(machine) = TestMachine::start_with(CROWD) else { return };
    let begin = Instant::now();
    while machine.made(LAST).is_none() {
        assert!(begin.elapsed() < PATIENCE, "not all have started");
        thread::sleep(Duration::from_millis(5));
    }
    let took = machine.made(LAST).zip(machine.made(BEGIN)).and_then(|(last, begin)| last.duration_since(begin).ok());
    let used = machine.processor_time(machine.looping());
    println!("{CROWD} units in rows started in {took:?}, for which PID 1 took {used:?} of a processor");

    machine.settles(&machine.exercise(), "among many");
    let tracer = Tracer::attach(machine.looping());
    // The tracer may come late on a busy machine, and then has seen nothing.
    let counted = (0..ATTEMPTS).map(|_| {
        tracer.set(Watch::Counting(BTreeMap::new()));
        machine.exercise();
        let Watch::Counting(made) = tracer.set(Watch::Idle) else { panic!("nobody else changes it") };
        let count = |name: &str| {
            let calls = made.iter().filter(|(call, _)| aios_linux::calls::name_of(**call) == Some(name));
            calls.map(|(_, count)| count).sum::<usize>()
        };
        (count("ppoll"), count("read"))
    });
    let (turns, reads) = counted.into_iter().find(|(turns, reads)| *turns > 2 && *reads > 2).unwrap_or_default();
    assert!(turns > 0, "in {ATTEMPTS} lives of a service the loop was never seen");
    assert!(reads < turns * READS_A_TURN, "{reads} reads in {turns} turns: silent units were read as well");
    assert!(machine.descriptors() < CROWD * 3, "{} descriptors", machine.descriptors());
}
