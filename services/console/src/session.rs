//! A session: read a line, run it, say how it ended.

use std::io;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use aios_wire::init::{Afterwards, Origin, Reply, Request, SigningKeys};

use crate::prompt::{self, Prompt};
use crate::{greeting, line, marks};

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

/// After so long without a key, whoever logged in is not there any more. What runs is not disturbed: only a prompt waits.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Why a session is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The terminal closed or the person left.
    Left,
    /// Nobody was there any more.
    Expired,
}

/// Reads lines until the terminal closes, the person leaves, or seems to have.
pub(crate) fn run() -> io::Result<Over> {
    // A handler instead of ignoring: programs started from here get their usual Ctrl-C back, and the console stays.
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::new(AtomicBool::new(false)))?;
    let mut prompt = Prompt::new(greet());
    loop {
        let text = match prompt.ask() {
            Ok(prompt::Asked::Line(text)) => text,
            Ok(prompt::Asked::GivenUp) => continue,
            Ok(prompt::Asked::End) => return Ok(Over::Left),
            Ok(prompt::Asked::Expired) => {
                println!("nobody has typed anything for {} minutes: logged out", PATIENCE.as_secs() / 60);
                return Ok(Over::Expired);
            }
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
                Asked::Leave => return marks::command_ended(0).map(|()| Over::Left),
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

/// Says where one is; gives how long nobody may be here.
fn greet() -> Option<Duration> {
    let mut patience = None;
    if let Ok(Reply::Status(system)) = aios_daemon::init::ask(&Request::Status) {
        println!("AIOS {}", system.version);
        if system.keys == SigningKeys::Development {
            println!("It is signed with development keys: for trying out, and for nothing that matters.");
        }
        // Only where somebody logged in can a session end that the next one does not open again.
        patience = matches!(system.origin, Origin::Disk { .. }).then_some(PATIENCE);
        if system.origin == Origin::Live {
            println!("This is the live system: nothing is kept, and being here is all the proof of who you are.");
        }
    }
    if let Some(motd) = greeting::of(greeting::MOTD) {
        println!("{motd}");
    }
    println!("'help' lists the commands, Tab completes; 'exit', 'reboot' and 'poweroff' work at any time.");
    patience
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
