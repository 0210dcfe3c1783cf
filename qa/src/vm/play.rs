//! `cargo xtask vm`: boots a machine for a person, for a script, or for whoever reads its console's log.

use std::io::IsTerminal;
use std::time::Duration;

use super::script::{self, Action, Expected, Step};
use super::{BOOT, Consoles, Echo, Machine, Options, VmError};

/// How long one command of a script may take; the machine's own time limit ends it as well.
const COMMAND: Duration = Duration::from_secs(3600);

/// Who a script runs as.
#[derive(Debug, Clone)]
pub enum Login {
    /// The console is logged in by itself, as on the live system.
    Already,
    /// By name and pass phrase, after each start.
    As {
        /// The operator.
        name: String,
        /// The operator's pass phrase.
        pass_phrase: String,
    },
}

impl Login {
    fn from_options(options: &Options) -> Result<Self, VmError> {
        let Some(name) = options.login.clone() else { return Ok(Self::Already) };
        let pass_phrase = std::env::var("AIOS_PASSPHRASE").map_err(|_| VmError::Options {
            what: format!("there is no pass phrase for --login {name}"),
            hint: "set AIOS_PASSPHRASE",
        })?;
        Ok(Self::As { name, pass_phrase })
    }

    /// Reaches the first prompt after a start.
    pub fn enter(&self, machine: &mut Machine, limit: Duration) -> Result<(), VmError> {
        match self {
            Self::Already => machine.console.prompt(limit),
            Self::As { name, pass_phrase } => machine.console.log_in(name, pass_phrase, limit),
        }
    }
}

/// Carries out `cargo xtask vm`.
pub fn vm(options: &Options) -> Result<(), VmError> {
    if options.consoles == Consoles::Screen {
        return Err(VmError::Options {
            what: "a machine with a screen alone has no console for this terminal".into(),
            hint: "use --consoles both; `cargo xtask qa screen-only` is what reads a screen",
        });
    }
    let steps = match &options.script {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(VmError::file("read", path))?;
            Some(script::parse(&text)?)
        }
        None => None,
    };
    if steps.is_none() && std::io::stdin().is_terminal() {
        eprintln!("leave with poweroff or Ctrl-A X");
        super::interactive(options)?;
        return Ok(());
    }
    let login = Login::from_options(options)?;
    let log = std::env::temp_dir().join(format!("aios-vm-{}.log", std::process::id()));
    let echo = if steps.is_some() { Echo::Hidden } else { Echo::Shown };
    let mut machine = Machine::start(options.clone(), &log, echo)?;
    if options.keep {
        eprintln!("the machine's folder is {}", machine.folder().display());
    }
    let done = match steps {
        Some(steps) => play(&mut machine, &steps, &login),
        None => machine.wait_for_power_off(options.limit()),
    };
    match &done {
        Ok(()) if !options.keep => {
            let _ = std::fs::remove_file(&log);
        }
        _ => eprintln!("the console's log is {}", log.display()),
    }
    done
}

/// Runs a script's steps and prints each with its output. The first that does not end as it should ends the run.
pub fn play(machine: &mut Machine, steps: &[Step], login: &Login) -> Result<(), VmError> {
    login.enter(machine, BOOT)?;
    for step in steps {
        match &step.action {
            Action::Run { command, expected } => {
                println!("> {command}");
                let output = machine.console.run(command, COMMAND)?;
                print!("{}", output.text);
                if !expected.is_met_by(output.status) {
                    return Err(VmError::Command {
                        line: step.line,
                        command: command.clone(),
                        expected: match expected {
                            Expected::Success => "should succeed",
                            Expected::Failure => "should fail",
                        },
                        status: output.status,
                    });
                }
            }
            Action::Wait(pattern) => machine.console.wait_for(pattern, COMMAND)?,
            Action::Reboot => {
                machine.console.prompt(COMMAND)?;
                machine.console.type_line("reboot")?;
                machine.wait_for_reset(BOOT)?;
                login.enter(machine, BOOT)?;
            }
            Action::PowerCut => {
                machine.power_cut()?;
                login.enter(machine, BOOT)?;
            }
        }
    }
    Ok(())
}
