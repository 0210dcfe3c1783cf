//! The console's terminals: which there are, opening one for a program, and telling all of them something.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::termios::{ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, tcgetattr, tcsetattr};

/// The screen's first terminal and the first serial port: what people and machines sit at.
const CONSOLES: [&str; 2] = ["tty1", "ttyS0"];

/// A terminal that a person can sit at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// The device's name, such as `ttyS0`.
    pub(crate) name: String,
}

impl Terminal {
    /// Where it can be opened.
    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// Opens it in an ordinary state for a program of `uid`, whoever used it before and however they left it.
    pub(crate) fn open_for(&self, uid: u32) -> io::Result<OwnedFd> {
        let path = self.path();
        // Not waiting for a carrier: there may be nobody at the other end of the line yet.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::open(&path, flags, Mode::empty())?;
        rustix::fs::fcntl_setfl(&fd, OFlags::RDWR)?;
        rustix::fs::fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)))?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o600))?;
        let mut state = tcgetattr(&fd)?;
        state.input_modes |= InputModes::ICRNL | InputModes::IXON | InputModes::BRKINT | InputModes::IUTF8;
        state.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        state.control_modes |= ControlModes::CREAD | ControlModes::CLOCAL;
        state.local_modes |= LocalModes::ISIG
            | LocalModes::ICANON
            | LocalModes::ECHO
            | LocalModes::ECHOE
            | LocalModes::ECHOK
            | LocalModes::ECHOCTL
            | LocalModes::IEXTEN;
        tcsetattr(&fd, OptionalActions::Now, &state)?;
        Ok(fd)
    }
}

/// The terminals that this machine has.
pub(crate) fn find() -> Vec<Terminal> {
    let is_there = |name: &str| {
        // A serial driver lists ports that do not exist, as type 0.
        let kind = fs::read_to_string(format!("/sys/class/tty/{name}/type"));
        Path::new("/dev").join(name).exists() && !kind.is_ok_and(|kind| kind.trim() == "0")
    };
    CONSOLES.iter().filter(|name| is_there(name)).map(|name| Terminal { name: (*name).to_owned() }).collect()
}

/// Prints a line on every console. A console that does not take it at once goes without: PID 1 does not wait.
pub(crate) fn say_everywhere(line: &str) {
    let line = format!("{line}\r\n");
    let mut told = false;
    for terminal in find() {
        let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        if let Ok(fd) = rustix::fs::open(terminal.path(), flags, Mode::empty()) {
            told |= File::from(fd).write_all(line.as_bytes()).is_ok();
        }
    }
    if !told {
        // Too early for devices: the descriptor that the kernel opened.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}
