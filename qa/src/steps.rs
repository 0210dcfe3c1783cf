//! What scenarios share: a machine that runs AIOS, and one module for each part of the system with the promises about it.
//!
//! A step takes a machine that stands at its prompt and leaves it there. Steps read `--json`, whose names are stable, and
//! people's text only where the text itself is promised.

pub(crate) mod action_types;
pub(crate) mod actions;
pub(crate) mod agent;
pub(crate) mod app_agent;
pub(crate) mod app_service;
pub(crate) mod apps;
pub(crate) mod attacks;
pub(crate) mod budgets;
pub(crate) mod bundles;
pub(crate) mod confinement;
pub(crate) mod cuts;
pub(crate) mod denials;
pub(crate) mod encryption;
pub(crate) mod evidence;
pub(crate) mod freeze;
pub(crate) mod hostile;
pub(crate) mod install;
pub(crate) mod keys;
pub(crate) mod logs;
pub(crate) mod policy;
pub(crate) mod recovery;
pub(crate) mod services;
pub(crate) mod store;
pub(crate) mod table;
pub(crate) mod update;
pub(crate) mod vault;
pub(crate) mod workflow;

use std::time::Duration;

use serde_json::Value;

use crate::scenario::{Failure, Stage, ensure};
use crate::vm::{BOOT, Echo, Login, Machine, Options};

/// How long a machine may be on, in seconds: one whose time is an hour of its own needs more than that.
const ON: u64 = 3600;
const ON_LONG: u64 = 12 * 3600;

/// The longest that one command takes under translation.
const COMMAND: Duration = Duration::from_secs(180);

/// The person on machines that scenarios install.
pub(crate) const OPERATOR: &str = "ada";
pub(crate) const PASS_PHRASE: &str = "correct horse battery";

/// What the loader's menu says while it counts down.
const MENU: &str = "Boot in ";

/// What PID 1 says when every service of the boot is ready.
pub(crate) const READY: &str = "aios: system ready";

/// The entries of the ISO's boot menu, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Install = 2,
    Recovery = 3,
}

impl Entry {
    /// Chooses the entry before the first one starts by itself.
    pub(crate) fn choose(self, machine: &mut Machine) -> Result<(), Failure> {
        machine.console.wait_for(MENU, BOOT)?;
        machine.console.type_bytes(&[b'0' + self as u8])?;
        // The loader redraws its menu for the number and would not see a key that comes with it.
        std::thread::sleep(Duration::from_millis(300));
        machine.console.type_bytes(b"\r")?;
        Ok(())
    }
}

/// How a command of `aios` ends; the numbers are the manual's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Done = 0,
    Failed = 1,
    Denied = 3,
    Waits = 4,
}

/// Whether a loader is part of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Menu {
    Shown,
    /// The emulator starts the kernel.
    None,
}

/// A machine that runs AIOS, at its console's prompt.
pub(crate) struct Aios {
    pub(crate) machine: Machine,
    login: Login,
}

impl Aios {
    /// Boots the live ISO as it is.
    pub(crate) fn live(stage: &Stage<'_>, name: &str) -> Result<Self, Failure> {
        let options = Options { iso: Some(stage.context.iso.clone()), ..Options::default() };
        Self::boot(stage, name, options, Login::Already)
    }

    /// Boots a machine and logs in.
    pub(crate) fn boot(stage: &Stage<'_>, name: &str, options: Options, login: Login) -> Result<Self, Failure> {
        let menu = if options.direct.is_some() { Menu::None } else { Menu::Shown };
        let mut aios = Self::start(stage, name, options, login)?;
        match menu {
            Menu::Shown => aios.enter_again(BOOT)?,
            Menu::None => aios.enter(BOOT)?,
        }
        Ok(aios)
    }

    /// Boots a kernel image that no loader starts, and logs in.
    pub(crate) fn boot_alone(stage: &Stage<'_>, name: &str, options: Options, login: Login) -> Result<Self, Failure> {
        let mut aios = Self::start(stage, name, options, login)?;
        aios.enter(BOOT)?;
        Ok(aios)
    }

    /// Boots a machine on which not everything gets ready, and logs in.
    pub(crate) fn boot_damaged(stage: &Stage<'_>, name: &str, options: Options, login: Login) -> Result<Self, Failure> {
        let mut aios = Self::start(stage, name, options, login)?;
        aios.machine.console.wait_for(MENU, BOOT)?;
        aios.machine.console.forget_marks();
        aios.login.enter(&mut aios.machine, BOOT)?;
        Ok(aios)
    }

    fn start(stage: &Stage<'_>, name: &str, options: Options, login: Login) -> Result<Self, Failure> {
        let options = Options {
            enrolled_vars: options.enrolled_vars.or_else(|| Some(stage.context.enrolled_vars.clone())),
            timeout: options.timeout.max(stage.context.extent.choose(ON, ON_LONG)),
            ..options
        };
        let machine = Machine::start(options, &stage.log(name), Echo::Hidden)?;
        Ok(Self { machine, login })
    }

    /// Logs in once the machine, which is about to start again, has done so.
    pub(crate) fn enter_again(&mut self, limit: Duration) -> Result<(), Failure> {
        // The loader's menu: until then the old system may still show a prompt.
        self.machine.console.wait_for(MENU, limit)?;
        self.machine.console.forget_marks();
        self.enter(limit)
    }

    fn enter(&mut self, limit: Duration) -> Result<(), Failure> {
        let begin = self.machine.console.position();
        self.login.enter(&mut self.machine, limit)?;
        // Before this, PID 1's announcements would stand in the middle of answers.
        self.machine.console.wait_for_from(begin, READY, BOOT)?;
        Ok(())
    }

    /// Approves as the person at the console, with the pass phrase where one is asked for.
    pub(crate) fn approve(&mut self, approval: &str) -> Result<(), Failure> {
        let line = self.begin_to_approve(approval)?;
        let output = self.machine.console.finish(&line, COMMAND)?;
        ensure!(
            output.status == 0,
            "'{line}' ended with status {} and said:\n{}",
            output.status,
            indented(&output.text)
        );
        Ok(())
    }

    /// Approves something that may not leave time for the command's end.
    pub(crate) fn begin_to_approve(&mut self, approval: &str) -> Result<String, Failure> {
        let shown = self.json(&format!("approval show {approval}"))?;
        let line = match shown["code"].as_str() {
            Some(code) => format!("approval approve {approval} --code {code}"),
            None => format!("approval approve {approval}"),
        };
        self.machine.console.start(&line, COMMAND)?;
        if let Login::As { pass_phrase, .. } = &self.login {
            self.machine.console.wait_for("pass phrase: ", COMMAND)?;
            // What is typed before the terminal stops showing it is thrown away.
            std::thread::sleep(Duration::from_millis(500));
            self.machine.console.type_line(pass_phrase)?;
        }
        Ok(line)
    }

    /// Runs a command to its end.
    pub(crate) fn ends(&mut self, line: &str, status: Status) -> Result<String, Failure> {
        let output = self.machine.console.run(line, COMMAND)?;
        ensure!(
            output.status == status as u8,
            "'{line}' ended with status {} instead of {} ({status:?}) and said:\n{}",
            output.status,
            status as u8,
            indented(&output.text)
        );
        Ok(output.text)
    }

    /// Runs a command that succeeds.
    pub(crate) fn ok(&mut self, line: &str) -> Result<String, Failure> {
        self.ends(line, Status::Done)
    }

    /// Runs a command that ends with `status` and reads its answer.
    pub(crate) fn json_of(&mut self, line: &str, status: Status) -> Result<Value, Failure> {
        // In front: what follows a program of the store is the program's.
        let line = format!("--json {line}");
        let text = self.ends(&line, status)?;
        first_json(&text).ok_or_else(|| Failure::broken(format!("'{line}' gave no JSON:\n{}", indented(&text))))
    }

    /// Runs a command that succeeds and reads its answer.
    pub(crate) fn json(&mut self, line: &str) -> Result<Value, Failure> {
        self.json_of(line, Status::Done)
    }

    /// Asks until the answer is as wanted.
    pub(crate) fn until(
        &mut self,
        line: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value, Failure> {
        let begin = std::time::Instant::now();
        loop {
            let said = self.ok(&format!("--json {line}"))?;
            // PID 1 shares the serial line: what it says in the middle of an answer spoils that one, not the next.
            let answer = first_json(&said);
            if let Some(answer) = answer.as_ref().filter(|answer| wanted(answer)) {
                return Ok(answer.clone());
            }
            ensure!(
                begin.elapsed() < limit,
                "waited {} s for {what}; '{line}' says:\n{}",
                limit.as_secs(),
                indented(&said)
            );
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Switches the machine off in order.
    pub(crate) fn power_off(mut self) -> Result<(), Failure> {
        self.machine.console.prompt(BOOT)?;
        self.machine.console.type_line("poweroff")?;
        self.machine.wait_for_power_off(BOOT)?;
        Ok(())
    }
}

/// The JSON value in a command's output: it begins on a line of its own, unlike what the kernel, which shares the serial
/// line, may have said before it.
fn first_json(text: &str) -> Option<Value> {
    let mut start = 0;
    let starts = text.split_inclusive('\n').filter_map(|line| {
        let at = start;
        start += line.len();
        matches!(line.trim_end(), "{" | "[" | "{}" | "[]").then_some(at)
    });
    starts.into_iter().find_map(|at| {
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        values.next()?.ok()
    })
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  | {line}\n")).collect()
}

/// A field that must be text.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str, Failure> {
    value[field].as_str().ok_or_else(|| Failure::broken(format!("there is no text '{field}' in {value:#}")))
}

/// A value that must be a list.
pub(crate) fn list(value: &Value) -> Result<&[Value], Failure> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| Failure::broken(format!("this is no list: {value:#}")))
}

/// When the first record of a kind was made, in milliseconds since the kernel started.
pub(crate) fn at_ms(records: &Value, kind: &str) -> Result<f64, Failure> {
    let record = list(records)?.iter().find(|record| record["kind"] == kind);
    let at = record.and_then(|record| record["at_ms"].as_f64());
    at.ok_or_else(|| Failure::broken(format!("there is no record '{kind}' in {records:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_messages_beside_the_answer_do_not_matter() {
        let text = "[    3.1] random: {x\n{\n  \"state\": \"succeeded\"\n}\ndone\n";
        assert_eq!(first_json(text), Some(serde_json::json!({"state": "succeeded"})));
        assert_eq!(first_json("nothing"), None);
    }
}
