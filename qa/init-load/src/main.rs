//! What measures a first process from inside its machine, the same on every machine; `cargo xtask bench init` starts it.
//!
//! It is all the programs of such a machine: the services that are supervised ([`service`]), what measures ([`measure`]),
//! and, where the first process is another system's, what lays the services out and then becomes it ([`peer`]). Our kernel
//! starts no scripts, so whatever a supervisor starts by a fixed name is a link to this program.

mod measure;
mod peer;
mod service;
mod supervisor;

use std::env;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use supervisor::System;

/// What one process of this program is.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// The machine's first process, until it becomes another.
    First(System, u32),
    /// What measures, with so many starts and stops of one service.
    Measure(System, u32),
    /// A service of this name.
    Serve(String),
    /// The second stage of runit's first process.
    RunitServices,
    /// The others.
    RunitNothing,
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().collect();
    let ended = match part(&words, &env::current_dir().unwrap_or_default()) {
        Some(Part::First(system, cycles)) => peer::become_first(system, cycles),
        Some(Part::Measure(system, cycles)) => measure::run(system, cycles),
        Some(Part::Serve(name)) => service::serve(&name),
        Some(Part::RunitServices) => Err(peer::run_services()),
        Some(Part::RunitNothing) => Ok(()),
        None => Err(io::Error::other(format!("these words are no part to play: {words:?}"))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("init-load: failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The part for these arguments, the program's name first, in this folder.
fn part(words: &[String], folder: &Path) -> Option<Part> {
    let (name, words) = words.split_first()?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match (name.rsplit('/').next()?, words.as_slice()) {
        ("run", _) => {
            let service = folder.file_name()?.to_str()?;
            // Supervisors start services without arguments, so the one that measures has them in its name.
            match service.split('.').collect::<Vec<_>>()[..] {
                ["measure", system, cycles] => Some(Part::Measure(system.parse().ok()?, cycles.parse().ok()?)),
                _ => Some(Part::Serve(service.to_owned())),
            }
        }
        ("1" | "3", _) => Some(Part::RunitNothing),
        ("2", _) => Some(Part::RunitServices),
        (_, ["first", system, cycles]) => Some(Part::First(system.parse().ok()?, cycles.parse().ok()?)),
        (_, ["measure", system, cycles]) => Some(Part::Measure(system.parse().ok()?, cycles.parse().ok()?)),
        (_, ["serve", name]) => Some(Part::Serve((*name).to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &str, folder: &str, expected: Option<Part>) {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        assert_eq!(part(&words, Path::new(folder)), expected, "{words:?} in {folder}");
    }

    #[test]
    fn a_name_or_words_say_which_part_is_played() {
        check("./run", "/run/services/many-007", Some(Part::Serve("many-007".into())));
        check("./run", "/run/services/measure.s6.100", Some(Part::Measure(System::S6, 100)));
        check("/etc/runit/1", "/", Some(Part::RunitNothing));
        check("/etc/runit/2", "/", Some(Part::RunitServices));
        check("init-load first runit 7", "/", Some(Part::First(System::Runit, 7)));
        check("init-load measure aios 7", "/", Some(Part::Measure(System::Aios, 7)));
        check("init-load measure openrc 7", "/", None);
        check("init-load measure aios seven", "/", None);
        check("init-load", "/", None);
    }
}
