//! What is measured, in this order: the first process at rest; two hundred services started; all of them listed; some of
//! them killed; ten thousand orphans; one service started and stopped again and again.
//!
//! Each figure is a line `init-load: name value`; times are by the machine's monotonic clock.

use std::fs;
use std::io::{self, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::service::Ear;
use crate::supervisor::{ONE, System, many};

/// How often the many are started; the fastest counts, because everything else on the host only adds time.
const ROUNDS: usize = 3;

/// How often all services are listed.
const LISTS: usize = 7;

/// How many services are killed, each once.
const KILLED: usize = 9;

/// runit starts a service that ran for less than a second only when that second is over.
const LONG_ENOUGH: Duration = Duration::from_millis(1200);

/// The rest of the machine comes to rest.
const SETTLE: Duration = Duration::from_secs(5);

/// After so many starts everything that grows only once has grown.
const WARM: u32 = 100;

/// Each is a shell's child whose parent has ended, so that the first process must reap it.
const ORPHANS: &str = "n=0; while [ $n -lt 10000 ]; do ( : & ); n=$((n+1)); done";

pub(crate) fn run(system: System, cycles: u32) -> io::Result<()> {
    let mut ear = Ear::open()?;
    system.wait_until_ready()?;
    std::thread::sleep(SETTLE);
    figure("rest-resident-kib", memory(1, "VmRSS:")?)?;
    figure("rest-private-kib", supervisors(system)?)?;

    let (many, one) = (many(), [ONE.to_owned()]);
    system.open_the_gate()?;
    if system == System::Aios {
        // A unit that is started at all starts with the machine.
        ear.wait_for(&[&many[..], &one[..]].concat())?;
        system.stop(ONE)?;
        ear.wait_for_ends(&one)?;
        stop(system, &ear, &many)?;
    }
    let mut fastest = f64::INFINITY;
    for round in 0..ROUNDS {
        let begin = Instant::now();
        system.start_many()?;
        fastest = fastest.min(ms(ear.wait_for(&many)? - begin));
        std::thread::sleep(LONG_ENOUGH);
        if round + 1 < ROUNDS {
            stop(system, &ear, &many)?;
        }
    }
    figure("start-many-ms", fastest)?;
    figure("many-private-kib", supervisors(system)?)?;
    let mut lists = Vec::new();
    for _ in 0..LISTS {
        let begin = Instant::now();
        system.list()?;
        lists.push(ms(begin.elapsed()));
    }
    figure("list-ms", middle(lists))?;
    let mut killed = Vec::new();
    for name in many.iter().rev().take(KILLED) {
        let begin = Instant::now();
        kill_process(ear.process(name)?, Signal::KILL)?;
        killed.push(ms(ear.wait_for(std::slice::from_ref(name))? - begin));
    }
    figure("killed-ms", middle(killed))?;
    orphans()?;
    stop(system, &ear, &many)?;
    cycle(system, &mut ear, cycles)?;
    say("done")
}

fn stop(system: System, ear: &Ear, names: &[String]) -> io::Result<()> {
    system.stop_many()?;
    ear.wait_for_ends(names)?;
    // What is told of the ends is behind everybody too.
    std::thread::sleep(LONG_ENOUGH);
    Ok(())
}

fn orphans() -> io::Result<()> {
    let begin = Instant::now();
    let shell = ["/usr/lib/aios/busybox", "/bin/busybox"].into_iter().find(|path| fs::exists(path).unwrap_or(false));
    let shell = shell.ok_or_else(|| io::Error::other("there is no busybox"))?;
    let ended = Command::new(shell).args(["sh", "-c", ORPHANS]).status()?;
    if !ended.success() {
        return Err(io::Error::other(format!("the shell that makes orphans ended with {ended}")));
    }
    let made = Instant::now();
    while zombies()? > 0.0 && made.elapsed() < SETTLE {
        std::thread::sleep(Duration::from_millis(1));
    }
    figure("orphans-ms", ms(begin.elapsed()))?;
    figure("zombies", zombies()?)
}

fn cycle(system: System, ear: &mut Ear, cycles: u32) -> io::Result<()> {
    let one = [ONE.to_owned()];
    let mut took = Vec::new();
    for number in 0..cycles {
        if number == WARM.min(cycles / 2) {
            figure("warm-resident-kib", memory(1, "VmRSS:")?)?;
        }
        let begin = Instant::now();
        system.start(ONE)?;
        ear.wait_for(&one)?;
        system.stop(ONE)?;
        ear.wait_for_ends(&one)?;
        took.push(ms(begin.elapsed()));
    }
    figure("cycled-resident-kib", memory(1, "VmRSS:")?)?;
    figure("cycle-ms", middle(took))
}

/// The memory that all supervisors have to themselves, in KiB.
fn supervisors(system: System) -> io::Result<f64> {
    let mut sum = 0.0;
    for process in processes()? {
        let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
        if (system != System::Aios || process == 1) && system.programs().contains(&name.trim()) {
            sum += memory(process, "RssAnon:")?;
        }
    }
    Ok(sum)
}

/// A row of a process's status, in KiB.
fn memory(process: u32, row: &str) -> io::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(row)?.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| io::Error::other(format!("process {process} has no {row}")))
}

fn zombies() -> io::Result<f64> {
    let is_one = |process: &u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
    };
    Ok(processes()?.iter().filter(|process| is_one(process)).count() as f64)
}

fn processes() -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(found)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The middle of several, of which there is one at least.
fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn figure(name: &str, value: f64) -> io::Result<()> {
    say(&format!("{name} {value:.3}"))
}

/// One line, written at once: others write to the same console.
fn say(line: &str) -> io::Result<()> {
    io::stdout().lock().write_all(format!("init-load: {line}\n").as_bytes())
}
