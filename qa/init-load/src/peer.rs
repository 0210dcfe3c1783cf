//! A machine whose first process is another system's: its services laid out, then this process becomes that one.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::mount::{MountFlags, mount};

use crate::supervisor::{ONE, SERVICES, System, many};

/// Where the first process has this program.
const SELF: &str = "/init";

/// Lays everything out and becomes the system's first process; it comes back only when it could not.
pub(crate) fn become_first(system: System, cycles: u32) -> io::Result<()> {
    mount("proc", "/proc", "proc", MountFlags::empty(), None)?;
    for name in many().iter().map(String::as_str).chain([ONE]) {
        service(name)?;
        // Not started before it is asked for.
        fs::write(format!("{SERVICES}/{name}/down"), "")?;
    }
    service(&format!("measure.{}.{cycles}", system.name()))?;
    let mut first = match system {
        System::Aios => return Err(io::Error::other("our first process is started by the kernel")),
        System::S6 => {
            let mut first = Command::new("/usr/bin/s6-svscan");
            first.arg(SERVICES);
            first
        }
        System::Runit => {
            fs::create_dir_all("/etc/runit")?;
            for stage in ["1", "2", "3"] {
                symlink(SELF, format!("/etc/runit/{stage}"))?;
            }
            Command::new("/sbin/runit")
        }
    };
    Err(first.env("PATH", "/usr/bin:/bin:/sbin").exec())
}

/// The second stage of runit: what supervises each service is started here.
pub(crate) fn run_services() -> io::Error {
    env::set_current_dir("/").err().unwrap_or_else(|| Command::new("/usr/bin/runsvdir").args(["-P", SERVICES]).exec())
}

fn service(name: &str) -> io::Result<()> {
    let folder = format!("{SERVICES}/{name}");
    fs::create_dir_all(&folder)?;
    symlink(SELF, format!("{folder}/run"))
}
