//! The recovery image's only program of ours: `/init` of a system that lives in memory and needs no disk to be whole.
//!
//! As PID 1 ([`machine`]) it mounts the kernel's views, starts itself once a terminal and reaps. As a console
//! ([`console`]) it answers a short list of commands: what is on the disks, whether the evidence holds, starting the
//! release before this one, a shell. It has no service, no policy and no agent in it, asks no program of the system, and
//! writes to a disk only when `rollback`, `export` or `accept-restored` is typed.

mod accept;
mod blocks;
mod cmdline;
mod command;
mod console;
mod end;
mod evidence;
mod export;
mod failure;
mod log;
mod machine;
mod marks;
mod rollback;
mod status;
mod terminals;
mod unlock;
mod volume;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    if rustix::process::getpid() == rustix::process::Pid::INIT {
        match machine::run() {
            Ok(never) => match never {},
            Err(failure) => machine::give_up(&failure),
        }
    }
    match (args.next().as_deref(), args.next(), args.next()) {
        (Some(machine::TERMINAL), Some(name), None) => match console::run(&name) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("the console on {name} ends: {error}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("recovery is PID 1 of the recovery image; choose it in the boot menu");
            ExitCode::from(2)
        }
    }
}
