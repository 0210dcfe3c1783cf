//! `aios boot`: where the boot time went.

use aios_wire::init::{BootTimes, Reply, Request};

use crate::failure::Failure;
use crate::show::Format;

pub(crate) fn run(format: Format) -> Result<(), Failure> {
    let Reply::Status(system) = aios_daemon::init::ask(&Request::Status)? else {
        return Err(Failure::failed("PID 1 answered something else than its status"));
    };
    format.print(&system.boot_ms, |times: &BootTimes| {
        let milestones =
            [("kernel to PID 1", times.init), ("console ready", times.console), ("system ready", times.system)];
        for (name, at) in milestones {
            println!(
                "{name:18} {}",
                at.map_or_else(|| "not yet".into(), |ms| format!("{ms} ms after the kernel's start"))
            );
        }
    });
    Ok(())
}
