//! PID 1: mount what the kernel offers, start a console on each terminal, reap for ever.
//!
//! Consoles are processes of their own, so that a defect or a lack of memory in one of them ends a command and not the
//! machine. Nothing here reads a disk.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use aios_linux::tpm::Tpm;
use aios_slots::phase::{REGISTER, Way};
use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, WaitOptions, wait};
use rustix::system::{RebootCommand, reboot};

use crate::failure::{Failure, at};
use crate::{cmdline, terminals};

/// The argument that makes this program a console.
pub(crate) const TERMINAL: &str = "--terminal";

/// The kernel's own name for this program, whatever file it was.
const SELF: &str = "/proc/self/exe";
pub(crate) const BUSYBOX: &str = "/bin/busybox";

/// A console that ended is started again after so long.
const PAUSE: Duration = Duration::from_secs(1);

/// Sets the machine up and reaps; returns only when it cannot be set up.
pub(crate) fn run() -> Result<Infallible, Failure> {
    // A defect must not take the consoles down: the kernel would panic without PID 1.
    std::panic::set_hook(Box::new(|defect| {
        terminals::say_everywhere(&format!("recovery: defect: {defect}; please restart the machine"));
        loop {
            let _ = wait(WaitOptions::empty());
            std::thread::sleep(PAUSE);
        }
    }));
    mount_views()?;
    let line = fs::read_to_string("/proc/cmdline").map_err(at("read", "/proc/cmdline"))?;
    cmdline::parse(&line).map_err(|error| {
        Failure::new("this is no start for recovery", &error).hint("choose 'AIOS recovery' in the boot menu")
    })?;
    measure();
    name_busybox();
    let mut consoles: Vec<Console> = terminals::find().into_iter().map(|name| Console { name, pid: None }).collect();
    if consoles.is_empty() {
        return Err(Failure::plain("there is no terminal: neither tty1 nor ttyS0")
            .hint("give the machine a screen or a serial port"));
    }
    loop {
        for console in consoles.iter_mut().filter(|console| console.pid.is_none()) {
            match spawn(console.name) {
                Ok(pid) => console.pid = Some(pid),
                Err(error) => terminals::say_everywhere(&format!("recovery: no console on {}: {error}", console.name)),
            }
        }
        // Everything else that ends is a child of the shell that outlived it. Without any child there is nothing to wait for.
        if let Ok(Some((ended, _))) = wait(WaitOptions::empty()) {
            let Some(console) = consoles.iter_mut().find(|console| console.pid == Some(ended)) else { continue };
            console.pid = None;
        }
        std::thread::sleep(PAUSE);
    }
}

/// A terminal and the process that sits at it.
struct Console {
    name: &'static str,
    pid: Option<Pid>,
}

/// Says why recovery cannot be used and restarts the machine.
pub(crate) fn give_up(failure: &Failure) -> ! {
    terminals::say_everywhere(&format!("recovery: {failure}"));
    terminals::say_everywhere("recovery: the machine restarts in 10 seconds");
    std::thread::sleep(Duration::from_secs(10));
    loop {
        let _ = reboot(RebootCommand::Restart);
        std::thread::sleep(PAUSE);
    }
}

fn mount_views() -> Result<(), Failure> {
    let plain = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    for (kind, place, flags, options) in [
        ("devtmpfs", "/dev", MountFlags::NOSUID | MountFlags::NOEXEC, c"mode=0755"),
        ("proc", "/proc", plain, c""),
        ("sysfs", "/sys", plain, c""),
        ("tmpfs", "/run", plain, c"mode=0755,size=32m"),
        ("tmpfs", "/tmp", MountFlags::NOSUID | MountFlags::NODEV, c"mode=1777,size=50%"),
    ] {
        fs::create_dir_all(place).map_err(at("make", place))?;
        mount(kind, place, kind, flags, options).map_err(at("mount", place))?;
    }
    // Where somebody in the shell mounts something.
    fs::create_dir_all("/mnt").map_err(at("make", "/mnt"))
}

/// Tells the TPM, if there is one, that this is recovery: what is sealed for the other ways to start stays closed.
fn measure() {
    // It may take long; nobody waits for it.
    std::thread::spawn(|| {
        let words = || {
            let Some(mut tpm) = Tpm::open()? else { return Ok(()) };
            Way::Recovery.words().iter().try_for_each(|word| tpm.measure(REGISTER, word.as_bytes()))
        };
        if let Err(error) = words() {
            let error: aios_linux::tpm::TpmError = error;
            terminals::say_everywhere(&format!("recovery: this start is not measured: {error}"));
        }
    });
}

/// Gives every applet its name, so that scripts in the shell find them. Without it `busybox NAME` still works.
fn name_busybox() {
    match Command::new(BUSYBOX).args(["--install", "-s", "/bin"]).status() {
        Ok(status) if status.success() => {}
        Ok(status) => terminals::say_everywhere(&format!("recovery: naming busybox's commands failed: {status}")),
        Err(error) => terminals::say_everywhere(&format!("recovery: cannot start {BUSYBOX}: {error}")),
    }
}

fn spawn(name: &str) -> io::Result<Pid> {
    let terminal = terminals::open(name)?;
    let child = Command::new(SELF)
        .args([TERMINAL, name])
        .env_clear()
        .env("PATH", "/bin")
        .env("HOME", "/tmp")
        .env("TERM", if name.starts_with("ttyS") { "vt220" } else { "linux" })
        .stdin(Stdio::from(terminal.try_clone()?))
        .stdout(Stdio::from(terminal.try_clone()?))
        .stderr(Stdio::from(terminal))
        .spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::other("the kernel gave a process no number"))
}
