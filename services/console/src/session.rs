//! A session: read a line, run it, say how it ended.

use std::io;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use aios_wire::init::{Afterwards, Origin, Reply, Request, SigningKeys};

use crate::prompt::{self, Prompt};
use crate::{line, marks};

pub(crate) const PROGRAM: &str = "/usr/bin/aios";

/// What the console understands itself.
pub(crate) const OWN_WORDS: [&str; 5] = ["exit", "logout", "poweroff", "reboot", "recovery"];

/// Status of a line that could not be run, as `aios` itself has it.
const WRONG_USAGE: u8 = 2;

const NOT_REACHABLE: u8 = 5;

/// What a line asks of the console.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    Leave,
    /// The emergency verbs: they go straight to PID 1, because they must work when nothing else does.
    End(Afterwards),
    Run(Vec<String>),
}

/// Reads lines until the terminal closes or the person leaves.
pub(crate) fn run() -> io::Result<()> {
    // A handler instead of ignoring: programs started from here get their usual Ctrl-C back, and the console stays.
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::new(AtomicBool::new(false)))?;
    greet();
    let mut prompt = Prompt::default();
    loop {
        let text = match prompt.ask() {
            Ok(prompt::Asked::Line(text)) => text,
            Ok(prompt::Asked::GivenUp) => continue,
            Ok(prompt::Asked::End) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                eprintln!("the line is not UTF-8 text; nothing was run");
                marks::command_ended(WRONG_USAGE)?;
                continue;
            }
            Err(error) => return Err(error),
        };
        marks::output_begins()?;
        let status = match line::words(&text) {
            Err(error) => {
                eprintln!("{error}");
                WRONG_USAGE
            }
            Ok(words) => match asked(words) {
                Asked::Nothing => 0,
                Asked::Leave => return marks::command_ended(0),
                Asked::End(then) => end(then),
                Asked::Run(words) => run_program(&words),
            },
        };
        marks::command_ended(status)?;
    }
}

fn asked(mut words: Vec<String>) -> Asked {
    if words.first().is_some_and(|word| word == "aios") {
        words.remove(0);
        return Asked::Run(words);
    }
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => Asked::Nothing,
        ["exit" | "logout"] => Asked::Leave,
        ["poweroff"] => Asked::End(Afterwards::PowerOff),
        ["reboot"] => Asked::End(Afterwards::Reboot),
        ["recovery"] => Asked::End(Afterwards::Recovery),
        ["firmware"] => Asked::End(Afterwards::Firmware),
        _ => Asked::Run(words),
    }
}

fn greet() {
    if let Ok(Reply::Status(system)) = aios_daemon::init::ask(&Request::Status) {
        println!("AIOS {}", system.version);
        if system.keys == SigningKeys::Development {
            println!("It is signed with development keys: for trying out, and for nothing that matters.");
        }
        if system.origin == Origin::Live {
            println!("This is the live system: nothing is kept, and being here is all the proof of who you are.");
        }
    }
    println!("'help' lists the commands, Tab completes; 'exit', 'reboot' and 'poweroff' work at any time.");
}

fn end(then: Afterwards) -> u8 {
    match aios_daemon::init::ask(&Request::Shutdown { then }) {
        Ok(_) => 0,
        Err(error) => {
            eprintln!("{}", aios_daemon::error_chain(&error));
            NOT_REACHABLE
        }
    }
}

fn run_program(words: &[String]) -> u8 {
    match Command::new(PROGRAM).args(words).status() {
        // A program that a signal ended has no status; shells count such an end as 128 and the signal.
        Ok(status) => {
            use std::os::unix::process::ExitStatusExt;
            let ended = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
            ended.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
        }
        Err(error) => {
            eprintln!("cannot start {PROGRAM}: {error}");
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Asked) {
        assert_eq!(asked(line::words(line).expect(line)), expected, "{line}");
    }

    #[test]
    fn the_word_aios_may_be_left_out() {
        check("status", Asked::Run(vec!["status".into()]));
        check("aios status", Asked::Run(vec!["status".into()]));
        check("", Asked::Nothing);
    }

    #[test]
    fn only_the_bare_emergency_words_go_to_pid_1() {
        check("reboot", Asked::End(Afterwards::Reboot));
        check("firmware", Asked::End(Afterwards::Firmware));
        check("aios reboot", Asked::Run(vec!["reboot".into()]));
        check("recovery status", Asked::Run(vec!["recovery".into(), "status".into()]));
    }
}
