//! The terminals that a person can sit at, and taking one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, tcgetattr, tcsetattr, tcsetpgrp,
};

/// The screen's first terminal and the first serial port.
const CONSOLES: [&str; 2] = ["tty1", "ttyS0"];

/// The terminals that this machine has.
pub(crate) fn find() -> Vec<&'static str> {
    let is_there = |name: &str| {
        // A serial driver lists ports that do not exist, as type 0.
        let kind = fs::read_to_string(format!("/sys/class/tty/{name}/type"));
        Path::new("/dev").join(name).exists() && !kind.is_ok_and(|kind| kind.trim() == "0")
    };
    CONSOLES.into_iter().filter(|name| is_there(name)).collect()
}

/// Opens a terminal without becoming its owner and without waiting for a carrier.
pub(crate) fn open(name: &str) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = rustix::fs::open(Path::new("/dev").join(name), flags, Mode::empty())?;
    rustix::fs::fcntl_setfl(&fd, OFlags::RDWR)?;
    Ok(File::from(fd))
}

/// Prints a line on every terminal that takes it at once.
pub(crate) fn say_everywhere(line: &str) {
    let mut told = false;
    for name in find() {
        let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        if let Ok(fd) = rustix::fs::open(Path::new("/dev").join(name), flags, Mode::empty()) {
            told |= File::from(fd).write_all(format!("{line}\r\n").as_bytes()).is_ok();
        }
    }
    if !told {
        // Too early for devices: the descriptor that the kernel opened.
        let _ = io::stderr().write_all(format!("{line}\r\n").as_bytes());
    }
}

/// Makes the terminal on standard input this process's own, so that Ctrl-C reaches what runs on it.
pub(crate) fn take() -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::ioctl_tiocsctty(io::stdin())?;
    make_ordinary()
}

/// Puts the terminal back into an ordinary state, whatever a program left it in, with this process in the foreground.
pub(crate) fn make_ordinary() -> io::Result<()> {
    let terminal = io::stdin();
    let terminal = terminal.as_fd();
    tcsetpgrp(terminal, rustix::process::getpgrp())?;
    let mut state = tcgetattr(terminal)?;
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
    Ok(tcsetattr(terminal, OptionalActions::Now, &state)?)
}
