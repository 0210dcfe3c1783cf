//! PID 1.
//!
//! In the initial RAM file system ([`early`]) it finds the root that the signed command line names, lets the kernel
//! verify it and moves there. On the root ([`machine`], then [`supervisor`]) it mounts, starts, reaps, restarts, freezes
//! and shuts down. One thread does all of that, and a second one waits for the TPM ([`measure`]). It never waits for
//! a service, depends on none, and does not end: an error before supervision is shown on every console and restarts the machine; a defect in it leaves
//! a loop that still reaps, feeds the watchdog and takes a few words ([`defect`]).

mod blocks;
mod boot_times;
mod buttons;
mod care;
mod cgroups;
mod clock;
mod cmdline;
mod control;
mod data;
mod defect;
mod early;
mod efi;
mod failure;
mod identity;
mod kernel_messages;
mod kernel_settings;
mod keyboard;
mod last_words;
mod lines;
mod machine;
mod measure;
mod memory;
mod mounts;
mod output;
mod power;
mod pressure;
mod refusals;
mod ring;
mod seed;
mod start;
mod supervisor;
mod terminals;
mod told_time;
mod unit_files;
mod unlock;
mod wall_clock;
mod watchdog;

use std::process::ExitCode;

use failure::Failure;

fn main() -> ExitCode {
    if rustix::process::getpid().as_raw_nonzero().get() != 1 {
        eprintln!("init is PID 1 and nothing else; the kernel starts it");
        return ExitCode::from(2);
    }
    let born_ms = clock::now_ms();
    // A defect must not take the kernel down with it: what can be done without supervision goes on.
    std::panic::set_hook(Box::new(|defect| defect::live_on(&defect.to_string())));
    let failure = match run(born_ms) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    terminals::say_everywhere(&format!("init: cannot start this system: {failure}"));
    terminals::say_everywhere("init: the machine restarts in 10 seconds");
    power::restart_after_failure()
}

fn run(born_ms: u64) -> Result<std::convert::Infallible, Failure> {
    let early = early::find_root_and_move_there()?;
    let machine = machine::set_up(early, born_ms)?;
    supervisor::Supervisor::new(machine)?.run()
}
