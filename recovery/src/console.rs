//! A console: read a line, do it, say how it ended.

use std::io::{self, BufRead as _, Read as _};
use std::process::Command as Process;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use aios_linux::signals::Signals;
use rustix::process::Signal;
use signal_hook::consts::{SIGINT, SIGQUIT, SIGTSTP};

use crate::command::{self, Command, HELP};
use crate::end::{self, Afterwards};
use crate::failure::Failure;
use crate::{accept, evidence, export, machine, marks, rollback, status, terminals, unlock};

/// The longest line; a terminal gives no longer one either.
const LINE_LIMIT: u64 = 4096;

/// Reads lines until the terminal closes; PID 1 starts the next console then.
pub(crate) fn run(name: &str) -> io::Result<()> {
    // Handlers instead of ignoring: what is started from here gets its usual Ctrl-C back, and the console stays.
    for key in [SIGINT, SIGQUIT, SIGTSTP] {
        signal_hook::flag::register(key, Arc::new(AtomicBool::new(false)))?;
    }
    // Blocked, because taking the terminal back from a shell that was killed is done from the background.
    let _blocked = Signals::open(&[Signal::TTOU.as_raw()])?;
    terminals::take()?;
    println!("\n{}", status::greeting());
    println!("This is recovery on {name}: it runs in memory and needs no disk. 'help' lists the commands.");
    loop {
        marks::prompt("recovery> ")?;
        let mut bytes = Vec::new();
        // Not kept locked: a command may ask for a pass phrase.
        if io::stdin().lock().take(LINE_LIMIT).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(());
        }
        marks::output_begins()?;
        let ended = match String::from_utf8(bytes) {
            Ok(line) => carry_out(&line),
            Err(_) => Err(Failure::usage("the line is not UTF-8 text, and nothing was done")),
        };
        let status = ended.unwrap_or_else(|failure| {
            println!("recovery: {failure}");
            failure.status
        });
        marks::command_ended(status)?;
    }
}

/// Does what a line says; the exit status comes back.
fn carry_out(line: &str) -> Result<u8, Failure> {
    let command =
        command::parse(line).map_err(|error| Failure::usage(error.to_string()).hint("'help' lists the commands"))?;
    match command {
        Command::Nothing => {}
        Command::Help => print!("{HELP}"),
        Command::Status => print!("{}", status::text()),
        Command::Verify { place } => evidence::verify(place.as_deref())?,
        Command::Rollback { disk } => rollback::run(disk.as_deref())?,
        Command::Export { device } => export::run(&device)?,
        Command::AcceptRestored { records } => accept::run(records)?,
        Command::Unlock { device } => unlock::run(device.as_deref())?,
        Command::Shell { line } => return shell(line.as_deref()),
        Command::Reboot => end::end(Afterwards::Reboot)?,
        Command::PowerOff => end::end(Afterwards::PowerOff)?,
    }
    Ok(0)
}

/// A shell on this terminal, or one command in it.
fn shell(line: Option<&str>) -> Result<u8, Failure> {
    let mut shell = Process::new(machine::BUSYBOX);
    shell.arg("sh").env("PS1", "recovery# ");
    match line {
        Some(line) => drop(shell.args(["-c", line])),
        None => println!("This shell may do everything, also to the disks. 'exit' comes back."),
    }
    let ended = shell.status().map_err(|error| {
        Failure::new(format!("cannot start {}", machine::BUSYBOX), &error).hint("the other commands do not need it")
    })?;
    terminals::make_ordinary().map_err(|error| Failure::new("cannot take the terminal back from the shell", &error))?;
    // A shell that a signal ended has no status; shells count such an end as 128 and the signal.
    use std::os::unix::process::ExitStatusExt as _;
    let status = ended.code().or_else(|| ended.signal().map(|signal| 128 + signal));
    Ok(status.and_then(|status| u8::try_from(status).ok()).unwrap_or(1))
}
